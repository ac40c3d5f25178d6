"""Which characters the texts of users may hold, and how odd ones are shown: in answers, on a terminal, in a picture."""

from __future__ import annotations

import re
import unicodedata
from typing import Any

_PLANES = "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
_ODD = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef{_PLANES}]")
PLAIN = r"^[^\x00-\x1F\x7F-\x9F\u2028\u2029\uFDD0-\uFDEF\uFFFE\uFFFF]*$"
"""The same as a pattern of JSON Schema, which reaches no further than the first plane."""


def odd_character(text: str) -> str | None:
    """The first character, as U+…, that breaks lines, terminals, XML or databases: controls, separators of lines,
    non-characters, halves of surrogate pairs; None where there is none."""
    found = _ODD.search(text)
    return None if found is None else f"U+{ord(found[0]):04X}"


def escaped(text: str) -> str:
    r"""The text with odd characters written as escapes (\x1b), so that it can be shown and sent anywhere."""
    return _ODD.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


BIDI = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def printable(text: str) -> str:
    """`text` with what a terminal would obey written out: escapes, controls, changes of direction, lone surrogates."""
    return "".join(character if _is_harmless(character) else _written_out(character) for character in text)


def _is_harmless(character: str) -> bool:
    if character in "\n\t":
        return True
    return unicodedata.category(character) not in ("Cc", "Cs") and character not in BIDI


def _written_out(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode()


UNDRAWABLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)
"""Control characters but TAB, LF and CR, lone surrogates, the non-characters of every plane, line separators.

Those that XML 1.0 forbids make vl-convert abort the whole process; U+2028 and U+2029 end a line even within the
quotes of Vega's expressions; the other non-characters have no shape in any font.
"""
REPLACEMENT = "\ufffd"


def plain_texts(value: Any) -> Any:
    """A JSON value with U+FFFD in place of each odd character of its texts: for rows of before these were refused."""
    if isinstance(value, str):
        return _ODD.sub(REPLACEMENT, value)
    if isinstance(value, dict):
        return {name: plain_texts(one) for name, one in value.items()}
    if isinstance(value, list):
        return [plain_texts(one) for one in value]
    return value


def cleaned(text: str) -> str:
    """The text with U+FFFD in place of each such character, so that one sees that something stood there."""
    return UNDRAWABLE.sub(REPLACEMENT, text)


def all_cleaned(value: Any) -> Any:
    """A JSON value with every text in it cleaned, the names of fields too."""
    if isinstance(value, str):
        return cleaned(value)
    if isinstance(value, dict):
        return {all_cleaned(name): all_cleaned(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [all_cleaned(one) for one in value]
    return value
