"""Request bodies that several routes take."""

from __future__ import annotations

from typing import Annotated, Any, TypeVar

from fastapi import Body
from pydantic import BaseModel, ConfigDict, Field, PlainValidator, ValidationError

from ncore.faults import MAX_FAULTS, Fault, SpecError, fault_of, shortened
from ncore.presets import PRESETS
from ncore.spec import AnySpec
from ncore.text import odd_character


class PresetRequest(BaseModel):
    """A preset by name, with dotted paths changed: {"preset": "fig1", "set": {"optimizer.steps": 500}}."""

    model_config = ConfigDict(extra="forbid")
    preset: Annotated[str, Field(json_schema_extra={"enum": list(PRESETS)})]
    set: dict[str, Any] = Field(default_factory=dict, description="dotted paths of the spec and their new values")


MAX_DEPTH = 12
MAX_KEYS = 200
"""Levels and names of an object: several times what a spec or a sweep can use."""
T = TypeVar("T", bound=BaseModel)


def sound(body: Any) -> Any:
    """The body itself, after checks that it can be walked, stored and quoted in messages.

    Raises SpecError: nested too deep, too many names, numbers beyond 64 bits, texts that are not plain.
    """
    faults: list[Fault] = []
    left: list[tuple[str, Any, int]] = [("", body, 0)]
    while left and len(faults) < MAX_FAULTS:
        path, value, depth = left.pop()
        message = _unsound(value, depth)
        if message is not None:
            faults.append({"field": path, "message": f"{message}; got {shortened(value)}"})
        elif isinstance(value, dict):
            hidden = "preset" in value  # the paths in its `set` are the spec's own
            for name, inner in value.items():
                child = path if hidden and name == "set" else f"{path}.{name}" if path else name
                left.append((child, inner, depth + 1))
        elif isinstance(value, list):
            left += [(f"{path}.{i}", inner, depth + 1) for i, inner in enumerate(value)]
    if faults:
        raise SpecError(faults)
    return body


def _unsound(value: Any, depth: int) -> str | None:
    if isinstance(value, dict | list) and depth > MAX_DEPTH:
        return f"is nested deeper than {MAX_DEPTH} levels"
    if isinstance(value, dict) and len(value) > MAX_KEYS:
        return f"must have at most {MAX_KEYS} fields, not {len(value)}"
    if isinstance(value, int) and not -(2**63) <= value < 2**63:
        return "must be a number of at most 64 bits"
    texts = [value] if isinstance(value, str) else value if isinstance(value, dict) else ()
    odd = next(filter(None, map(odd_character, texts)), None)
    return None if odd is None else f"must be plain text on one line, without the character {odd}"


def parsed(kind: type[T], body: Any) -> T:
    """The body as this model. Raises SpecError naming every faulty field."""
    try:
        return kind.model_validate(body)
    except ValidationError as error:
        items = error.errors(include_url=False)
        raise SpecError([fault_of(item, ".".join(map(str, item["loc"])) or "body") for item in items]) from None


SpecBody = Annotated[Any, Body(), PlainValidator(lambda body: body, json_schema_input_type=AnySpec | PresetRequest)]
