"""The parts and fields that specs are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pkgutil import resolve_name
from typing import Annotated, Any, Generic, TypeVar

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetJsonSchemaHandler, Strict
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

MAX_LEVELS = 16

Int = Annotated[int, Strict()]
Real = Annotated[float, Strict()]
"""JSON's numbers, and nothing else that pydantic would read as one."""
TEXT = r"^[^\x00]*$"
"""PostgreSQL cannot hold the character NUL in a text."""
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=TEXT)]


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


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
            raise ValueError(f"must be an object with a `kind`; got {value!r:.80}")  # noqa: TRY004 (pydantic's rule)
        kind = value.get("kind", self._default)
        if not isinstance(kind, str) or kind not in self._registry:
            raise ValueError(f"kind: must be one of {', '.join(self._registry)}; got {kind!r:.80}")
        return self._registry[kind].model_validate(value)

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        del source, handler
        written = core_schema.simple_ser_schema("any")  # as the part itself is written, not as its base class
        return core_schema.no_info_plain_validator_function(self.parsed, serialization=written)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        del schema
        parts = {kind: handler(part.__pydantic_core_schema__) for kind, part in self._registry.items()}
        mapping = {kind: part["$ref"] for kind, part in parts.items() if "$ref" in part}
        return {"oneOf": [*parts.values()], "discriminator": {"propertyName": "kind", "mapping": mapping}}


class OneOf:
    """Marks a text that is a name in `registry`, looked up when it is validated."""

    def __init__(self, registry: Mapping[str, Any]) -> None:
        self._registry = registry

    def known(self, name: str) -> str:
        if name not in self._registry:
            raise ValueError(f"must be one of {', '.join(self._registry)}; got {name!r:.80}")
        return name

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.no_info_after_validator_function(self.known, handler(source))

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return handler(schema) | {"enum": [*self._registry]}
