"""Points of curves: median and range over the seeds at each step, few enough to be drawn, extremes among them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

Key = tuple[str, str | None]
"""A metric and its layer; None for a metric that has none."""
Series = Mapping[str, Any]
"""{"metric", "layer", "seed", "steps", "values"} as GET …/metrics answers."""
MAX_POINTS = 120
"""Points of a curve in a picture: one for each three pixels across; each takes time to draw."""


class CurvePoint(NamedTuple):
    """One step of a curve: median, lowest and highest of the seeds whose value is defined there."""

    step: int
    value: float
    low: float
    high: float
    seeds: int


Curves = Mapping[Key, Sequence[CurvePoint]]


class Thinner:
    """Curves from steps that come one after the other, of which it keeps few: memory does not grow with their number.

    Of each of equal parts of the steps a curve keeps the one with the lowest value of any seed and the one with the
    highest, and its ends. A kept step has all its seeds, so that median and range are those of that step.
    """

    def __init__(self, steps: int, points: int = MAX_POINTS) -> None:
        """`steps` is how many will come; `points` the most that a curve keeps."""
        self._count, self._parts = max(1, steps), steps if steps <= points else max(1, (points - 2) // 2)
        self._seen = 0
        self._ends: dict[Key, list[_Step]] = {}
        self._extremes: dict[Key, dict[int, list[_Step]]] = {}

    def add(self, step: int, values: Mapping[Key, Sequence[float]]) -> None:
        """The next step, with the values of all seeds."""
        part = min(self._seen * self._parts // self._count, self._parts - 1)
        self._seen += 1
        for key, found in values.items():
            new = _Step(min(found), max(found), step, found)
            self._ends.setdefault(key, [new, new])[1] = new
            kept = self._extremes.setdefault(key, {}).setdefault(part, [new, new])
            if new.low < kept[0].low:
                kept[0] = new
            if new.high > kept[1].high:
                kept[1] = new

    def curves(self) -> dict[Key, list[CurvePoint]]:
        """What was kept of each curve, steps ascending."""
        found = {}
        for key, parts in self._extremes.items():
            kept = {one.step: one for pair in (self._ends[key], *parts.values()) for one in pair}
            found[key] = [
                CurvePoint(step, median(one.values), one.low, one.high, len(one.values))
                for step, one in sorted(kept.items())
            ]
        return found


class _Step(NamedTuple):
    low: float
    high: float
    step: int
    values: Sequence[float]


def is_chosen(one: Series, layers: Sequence[str], seeds: Sequence[int]) -> bool:
    """Whether the series is of these layers and seeds, empty for all; of no layer whatever they are."""
    return (not layers or not one["layer"] or one["layer"] in layers) and (not seeds or one["seed"] in seeds)


def curves_of(series: Iterable[Series], points: int = MAX_POINTS) -> dict[Key, list[CurvePoint]]:
    """Curves of series that are in memory; undefined values are left out."""
    by_step: dict[int, dict[Key, list[float]]] = {}
    for one in series:
        key = one["metric"], one["layer"] or None
        for step, value in zip(one["steps"], one["values"], strict=True):
            if value is not None and math.isfinite(value):
                by_step.setdefault(step, {}).setdefault(key, []).append(value)
    thinner = Thinner(len(by_step), points)
    for step in sorted(by_step):
        thinner.add(step, by_step[step])
    return thinner.curves()
