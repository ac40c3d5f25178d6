"""Fields of text and of lists: which characters a text may hold, how many entries a list; refused in plain words."""

from __future__ import annotations

import re
from typing import Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

_PLANES = "".join(chr(plane + last) for plane in range(0, 0x110000, 0x10000) for last in (0xFFFE, 0xFFFF))
_ODD = re.compile(f"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufdd0-\ufdef{_PLANES}]")
PLAIN = r"^[^\x00-\x1F\x7F-\x9F\u2028\u2029\uFDD0-\uFDEF\uFFFE\uFFFF]*$"
"""The same as a pattern of JSON Schema, which reaches no further than the first plane."""


def odd_character(text: str) -> str | None:
    """The first character, as U+…, that breaks lines, terminals, XML or databases: controls, separators of lines,
    non-characters, halves of surrogate pairs; None where there is none."""
    found = _ODD.search(text)
    return None if found is None else f"U+{ord(found[0]):04X}"


def cleaned(text: str) -> str:
    r"""The text with odd characters written as escapes (\x1b), so that it can be shown and sent anywhere."""
    return _ODD.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def plain(text: str) -> str:
    """The text itself. Raises ValueError naming the character that is not allowed."""
    odd = odd_character(text)
    if odd is not None:
        raise ValueError(f"must be plain text on one line, without the character {odd}")
    return text


class Plain:
    """Marks a text of a spec or request that holds no odd characters."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(plain, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"pattern": PLAIN}


class Matching:
    """Marks a text that is of the given pattern; `words` say which texts are."""

    def __init__(self, pattern: str, words: str) -> None:
        self._pattern, self._words = pattern, words

    def _checked(self, text: str) -> str:
        if re.fullmatch(self._pattern, text, re.ASCII) is None:
            raise ValueError(f"must be {self._words}")
        return text

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"pattern": f"^({self._pattern})$"}


class Entries:
    """Marks a list of `least` to `most` entries, counted before any entry is looked at: one fault, however many."""

    def __init__(self, least: int, most: int) -> None:
        self._least, self._most = least, most

    def _checked(self, value: Any) -> Any:
        if isinstance(value, list | tuple):
            if len(value) < self._least:
                raise ValueError(f"must have at least {self._least} entr{'y' if self._least == 1 else 'ies'}")
            if len(value) > self._most:
                raise ValueError(f"must have at most {self._most} entries, not {len(value)}")
        return value

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_before_validator_function(self._checked, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | ({"minItems": self._least} if self._least else {}) | {"maxItems": self._most}
