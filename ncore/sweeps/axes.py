"""One axis of a sweep: a list of values, or a range that is divided evenly or by equal ratios."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self

import orjson
from pydantic import ConfigDict, Field, PlainValidator, ValidationError, model_validator

from ncore.faults import fault_of, shortened
from ncore.kinds.fields import Int, Part, Real

MAX_COMBINATIONS = 10_000
DIGITS = 15
"""Digits of a value between the ends of a range: so 0.1 + 0.2 is 0.3."""
Spacing = Literal["linear", "log"]


class Interval(Part):
    """An interval from one number to another, divided evenly or by equal ratios."""

    model_config = ConfigDict(populate_by_name=True)
    start: Real = Field(alias="from", description="the first value", examples=[0.001])
    end: Real = Field(alias="to", description="the last value", examples=[0.1])
    spacing: Spacing = Field(default="linear", description="log: equal ratios, both ends above 0")

    @model_validator(mode="after")
    def _ends_fit(self) -> Self:
        if self.spacing == "log":
            for name, value in (("from", self.start), ("to", self.end)):
                if value <= 0:
                    raise ValueError(f"{name}: must be above 0 with log spacing; got {value:g}")
        if self.start == self.end:
            raise ValueError(f"to: must differ from `from`; got {self.end:g} for both")
        if not math.isfinite(self.end - self.start):
            raise ValueError(f"to: is too far from `from`; got {self.start:g} and {self.end:g}")
        return self

    def at(self, share: float) -> float:
        """The value at this share of the way, exact at both ends."""
        if share in (0, 1):
            return float(self.end if share else self.start)
        if self.spacing == "log":
            low, high = math.log(self.start), math.log(self.end)
            value = math.exp(low + share * (high - low))
        else:
            value = self.start + share * (self.end - self.start)
        return float(f"{value:.{DIGITS}g}")

    def share(self, value: float) -> float:
        """The share of the way at which a value lies: the inverse of `at`."""
        if self.spacing == "log":
            return math.log(value / self.start) / math.log(self.end / self.start)
        return (value - self.start) / (self.end - self.start)


class Range(Interval):
    """A number of values from one number to another: {"from": 0.001, "to": 0.1, "points": 9, "spacing": "log"}."""

    points: Annotated[Int, Field(ge=2, le=MAX_COMBINATIONS, description="values, both ends among them")]

    def values(self) -> list[float]:
        return [self.at(i / (self.points - 1)) for i in range(self.points)]


Axis = list[Any] | Range
Choice = list[Any] | Interval
Listed = Annotated[list[Any], Field(min_length=1, max_length=MAX_COMBINATIONS)]
"""A list of values, as the schema describes it."""


def axis_of(value: Any) -> Axis:
    """A list of values, no two alike, or a range. Raises ValueError in the words of pydantic's validators."""
    if isinstance(value, Range):
        return value
    if isinstance(value, Mapping):
        return _part(Range, value)
    return _listed(value, "must be a list of values or an object with from, to, points and spacing")


def choice_of(value: Any) -> Choice:
    """The choice that a sample is drawn from: a list of values, or an interval."""
    if isinstance(value, Mapping):
        return _part(Interval, value)
    return _listed(value, "must be a list of values or an object with from, to and spacing")


def _part(kind: type[Any], value: Mapping[str, Any]) -> Any:
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        item = error.errors(include_url=False)[0]
        fault = fault_of(item, ".".join(map(str, item["loc"])))
        message = fault["message"] if "; got " in fault["message"] else f"{fault['message']}; got {shortened(value)}"
        raise ValueError(f"{fault['field']}: {message}" if fault["field"] else message) from None


def _listed(value: Any, allowed: str) -> list[Any]:
    if not isinstance(value, list | tuple):
        raise ValueError(f"{allowed}; got {shortened(value)}")  # noqa: TRY004 (pydantic's rule)
    if not value:
        raise ValueError("must have at least 1 entry; got []")
    if len(value) > MAX_COMBINATIONS:
        raise ValueError(f"must have at most {MAX_COMBINATIONS} entries, not {len(value)}; got {shortened(value)}")
    return list(value)


def repeated(values: Sequence[Any]) -> Any:
    """The first value that is there twice, in a list of one; empty where none is."""
    seen: set[bytes] = set()
    for value in values:
        key = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
        if key in seen:
            return [value]
        seen.add(key)
    return []


AxisField = Annotated[Any, PlainValidator(axis_of, json_schema_input_type=Listed | Range)]
ChoiceField = Annotated[Any, PlainValidator(choice_of, json_schema_input_type=Listed | Interval)]
