"""Texts of users where a terminal would obey them."""

from __future__ import annotations

import unicodedata

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
