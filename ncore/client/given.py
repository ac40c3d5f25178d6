"""Checks of what a logger is given (names, steps, numbers, a config), turned into what is stored."""

from __future__ import annotations

import math
import operator
from collections.abc import Collection, Mapping
from typing import Any, SupportsIndex

from pydantic import TypeAdapter, ValidationError

from ncore.faults import fault_of, shortened
from ncore.kinds.external import LAYER, MAX_LAYERS, MAX_METRICS, MAX_STEP, METRIC
from ncore.plain import NotPlain, plain
from ncore.rows import MAX_COLUMNS
from ncore.series import key_of
from ncore.text import escaped

MAX_FIELDS = 200
MAX_DEPTH = 8


def name_of(key: Any) -> str:
    """The name that a metric, or (metric, layer), is stored under. Raises ValueError."""
    metric, layer = key if isinstance(key, tuple) and len(key) == 2 else (key, None)
    _check(METRIC, metric, "metric")
    if layer is not None:
        _check(LAYER, layer, "layer")
    return key_of(metric, layer)


def _check(rule: TypeAdapter[str], text: Any, field: str) -> None:
    try:
        rule.validate_python(text, strict=True)
    except ValidationError as error:
        found = fault_of(error.errors(include_url=False)[0], field)
        raise ValueError(f"{found['field']}: {found['message']}") from None


def check_mapping(values: Any) -> None:
    if not isinstance(values, Mapping):
        raise TypeError(f"values: must be {{(metric, layer): value}} or {{metric: value}}; got {shortened(values)}")


def check_counts(
    found: Collection[tuple[str, str | None]], metrics: Collection[str] = (), layers: Collection[str] = ()
) -> tuple[set[str], set[str]]:
    """The metrics and layers of an experiment with those that are `found` in a row. Raises ValueError for too many."""
    all_metrics = {*metrics, *(metric for metric, _ in found)}
    all_layers = {*layers, *(layer for _, layer in found if layer is not None)}
    for what, count, most in (
        ("metrics", len(all_metrics), MAX_METRICS),
        ("layers", len(all_layers), MAX_LAYERS),
        ("values", len(found), MAX_COLUMNS),
    ):
        if count > most:
            raise ValueError(f"{what}: must be at most {most}, not {count}")
    return all_metrics, all_layers


def step_of(step: SupportsIndex) -> int:
    try:
        number = operator.index(step)
    except TypeError:
        raise TypeError(f"step: must be a whole number; got {shortened(step)}") from None
    if not 0 <= number <= MAX_STEP:
        raise ValueError(f"step: must be from 0 to {MAX_STEP}; got {number}")
    return number


def number_of(value: Any, name: str) -> float:
    """A number of Python, numpy, torch or anybody else; NaN for None. Raises TypeError."""
    if value is None:
        return math.nan
    try:
        if isinstance(value, str | bytes):
            raise TypeError  # noqa: TRY301 (float would read it)
        return float(value.item() if hasattr(value, "item") else value)  # a tensor with a gradient warns else
    except (TypeError, ValueError, RuntimeError, OverflowError):
        raise TypeError(f"{name}: must be a number; got {shortened(value)}") from None


def as_json(value: Any, path: str, depth: int = 0) -> Any:
    """`value` as JSON has it; what it does not have (a function, NaN, an object) as text on one line.

    Raises ValueError for an object of too many fields.
    """
    if isinstance(value, Mapping) and depth < MAX_DEPTH:
        if len(value) > MAX_FIELDS:
            raise ValueError(f"{path}: must have at most {MAX_FIELDS} fields, not {len(value)}")
        return {escaped(str(key)): as_json(one, f"{path}.{key}", depth + 1) for key, one in value.items()}
    if isinstance(value, list | tuple) and depth < MAX_DEPTH:
        return [as_json(one, f"{path}.{i}", depth + 1) for i, one in enumerate(value)]
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, float) and math.isfinite(value):
        return float(value)
    if isinstance(value, int) and abs(value) < 2**63:
        return int(value)
    if not isinstance(value, float | int | str | Mapping | list | tuple):
        try:
            found = plain(value)
        except NotPlain:
            found = repr(value)
        if depth < MAX_DEPTH:
            return as_json(found, path, depth + 1)
    return escaped(str(value))
