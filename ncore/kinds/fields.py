"""The parts and fields that specs are made of."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from ncore.faults import shortened
from ncore.text import PLAIN, odd_character

MAX_LEVELS = 16
MAX_CLASSES = 10_000

Int = Annotated[int, Strict()]
Real = Annotated[float, Strict()]
"""JSON's numbers, and nothing else that pydantic would read as one."""


def _plain(text: str) -> str:
    """The text itself. Raises ValueError naming the character that is not allowed."""
    odd = odd_character(text)
    if odd is not None:
        raise ValueError(f"must be plain text on one line, without the character {odd}")
    return text


class Plain:
    """Marks a text of a spec or request that holds no odd characters."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(_plain, handler(source))

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


Label = Annotated[str, Field(min_length=1, max_length=64), Plain()]

MAX_OPTIONS, MAX_OPTION_DEPTH, MAX_OPTION_TEXT = 64, 4, 256


def _options(value: Any) -> dict[str, Any]:
    """JSON of a bounded size."""
    if not isinstance(value, dict):
        raise ValueError(f"must be an object; got {shortened(value)}")  # noqa: TRY004 (pydantic's rule)
    if _size(value, 0) > MAX_OPTIONS:
        raise ValueError(f"must hold at most {MAX_OPTIONS} values")
    return value


def _size(value: Any, depth: int) -> int:
    """How many values it holds in all."""
    if depth > MAX_OPTION_DEPTH:
        raise ValueError(f"is nested deeper than {MAX_OPTION_DEPTH} levels")
    if isinstance(value, dict):
        return sum(_size(one, depth + 1) for pair in value.items() for one in pair)
    if isinstance(value, list | tuple):
        return sum(_size(one, depth + 1) for one in value)
    if isinstance(value, str) and len(value) > MAX_OPTION_TEXT:
        raise ValueError(f"must have texts of at most {MAX_OPTION_TEXT} characters")
    return 1


Options = Annotated[dict[str, Any], BeforeValidator(_options)]
PluginName = Annotated[
    str,
    Field(max_length=128),
    Matching(r"[A-Za-z0-9_.-]+(:[A-Za-z0-9_.]+)?", "an entry point's name, or package.module:function"),
]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


def number_or_list(value: Any) -> str:
    """The member of a `number or list` field that `value` is meant for, so that one fault gives one message."""
    return "list" if isinstance(value, list | tuple) else "number"


Reference = str | Callable[..., Any]
"""A function, or where it is (`package.module:name`), so that a record can be read without what the function needs."""


def resolved(reference: Reference) -> Callable[..., Any]:
    return resolve_name(reference) if isinstance(reference, str) else reference


K = TypeVar("K", bound=Part)


class ByKind(Generic[K]):
    """Marks a field that holds a part of the class that `registry` has for its `kind`, looked up when it is validated:
    what is registered later is as good as what is there from the start."""

    def __init__(self, registry: Mapping[str, type[K]], default: str | None = None) -> None:
        self._registry, self._default = registry, default

    def parsed(self, value: Any) -> K:
        if isinstance(value, tuple(self._registry.values())):
            return value  # type: ignore[return-value]
        if not isinstance(value, Mapping):
            raise ValueError(f"must be an object with a `kind`; got {shortened(value)}")  # noqa: TRY004 (pydantic's rule)
        kind = value.get("kind", self._default)
        if not isinstance(kind, str) or kind not in self._registry:
            *others, last = self._registry
            raise ValueError(f"kind: must be {', '.join(others)} or {last}; got {shortened(kind)}")
        return self._registry[kind].model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        del source, handler
        written = core_schema.simple_ser_schema("any")  # as the part itself is written, not as its base class
        return core_schema.no_info_plain_validator_function(self.parsed, serialization=written)

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        del schema
        parts = {kind: part.__pydantic_core_schema__ for kind, part in self._registry.items()}
        return handler(core_schema.tagged_union_schema(parts, discriminator="kind"))


class OneOf:
    """Marks a text that is a name in `registry`, looked up when it is validated."""

    def __init__(self, registry: Mapping[str, Any]) -> None:
        self._registry = registry

    def known(self, name: str) -> str:
        if name not in self._registry:
            *others, last = self._registry
            raise ValueError(f"must be {', '.join(others)} or {last}; got {shortened(name)}")
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(self.known, handler(source))

    def __get_pydantic_json_schema__(self, schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        return handler(schema) | {"enum": [*self._registry]}
