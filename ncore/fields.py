"""What every part of a spec is made of: strict numbers, frozen parts, and errors that name the field."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, Strict, Tag, ValidationError

MAX_LEVELS = 16


class SpecError(ValueError):
    """A spec that is refused; `errors` holds one {"field", "message"} for each fault, `field` a dotted path."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in errors))
        self.errors = errors


Int = Annotated[int, Strict()]
Real = Annotated[float, Strict()]
"""JSON's numbers, and nothing else that pydantic would read as one."""


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def number_or_list(value: Any) -> str:
    """The member of a `number or list` field that `value` is meant for, so that one fault gives one message."""
    return "list" if isinstance(value, list | tuple) else "number"


Count = Annotated[Int, Field(ge=1, le=10**8)]
Weight = Annotated[Real, Field(ge=0, le=1e6)]
Seed = Annotated[Int, Field(ge=0, lt=2**63)]
TEXT = r"^[^\x00]*$"
"""PostgreSQL cannot hold the character NUL in a text."""
Label = Annotated[str, Field(min_length=1, max_length=64, pattern=TEXT)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")]
PerClass = Annotated[
    Annotated[Count, Tag("number")] | Annotated[tuple[Count, ...], Tag("list")],
    Discriminator(number_or_list),
]
Several = Annotated[Int, Field(ge=2, le=10**8, description="of one image nothing varies within its class")]
ImagesPerClass = Annotated[
    Annotated[Several, Tag("number")] | Annotated[tuple[Several, ...], Tag("list")], Discriminator(number_or_list)
]
PerLayer = Annotated[
    Annotated[Weight, Tag("number")] | Annotated[tuple[Weight, ...], Field(min_length=1), Tag("list")],
    Discriminator(number_or_list),
]


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """pydantic's findings as {"field", "message"}: dotted paths as in the body, the value that was refused."""
    found = []
    for item in error.errors(include_url=False):
        message, path = item["msg"].removeprefix("Value error, "), _path(item["loc"])
        if item["type"] == "value_error" and ": " in message and " " not in message.split(": ")[0]:
            field, message = message.split(": ", 1)  # raised by a model's validator, which names the field itself
            path = f"{path}.{field}" if path else field
        elif item["type"] not in ("missing", "extra_forbidden"):
            message = f"{message}; got {_short(item['input'])}"
        elif item["type"] == "extra_forbidden":
            message = "unknown field"
        found.append({"field": path, "message": message})
    return found


_TAGS = {"ufm", "network", "resnet", "mlp", "convnet", "epochs", "steps", "number", "list"}
_UNIONS = {"model", "measure", "samples_per_class", "weights"}


def _path(loc: tuple[int | str, ...]) -> str:
    """Drops the tags that pydantic puts into the path for members of a union."""
    tag = [part in _TAGS and (i == 0 or loc[i - 1] in _UNIONS) for i, part in enumerate(loc)]
    return ".".join(str(part) for part, is_tag in zip(loc, tag, strict=True) if not is_tag)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
