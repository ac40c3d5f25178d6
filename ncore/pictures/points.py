"""Points of curves: median and range over the seeds at each step, few enough to be drawn, extremes among them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from ncore.pictures.axes import bounded
from ncore.seeds import median_of
from ncore.series import Series

Key = tuple[str, str | None]
"""A metric and its layer; None for a metric that has none."""
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
        self._curves: dict[Key, _Kept] = {}

    def add(self, step: int, values: Mapping[Key, Sequence[float]]) -> None:
        """The next step, with the values of all seeds."""
        part = min(self._seen * self._parts // self._count, self._parts - 1)
        self._seen += 1
        for key, found in values.items():
            curve = self._curves.get(key)
            if curve is None:
                curve = self._curves[key] = _Kept()
            curve.add(part, step, found)

    def curves(self) -> dict[Key, list[CurvePoint]]:
        """The kept points of each curve, steps ascending."""
        return {key: curve.points() for key, curve in self._curves.items()}


class _Kept:
    """The kept steps of one curve, with the values of their seeds; of the part under way so far the extremes."""

    __slots__ = ("high", "high_at", "last", "low", "low_at", "part", "steps")

    def __init__(self) -> None:
        self.steps: dict[int, Sequence[float]] = {}
        self.part = -1
        self.low = self.high = 0.0
        self.low_at: tuple[int, Sequence[float]]
        self.high_at: tuple[int, Sequence[float]]
        self.last: tuple[int, Sequence[float]]

    def add(self, part: int, step: int, found: Sequence[float]) -> None:
        low, high = min(found), max(found)
        self.last = here = (step, found)
        if part != self.part:
            if self.part < 0:
                self.steps[step] = found
            else:
                self.steps.update((self.low_at, self.high_at))
            self.part, self.low, self.high, self.low_at, self.high_at = part, low, high, here, here
            return
        if low < self.low:
            self.low, self.low_at = low, here
        if high > self.high:
            self.high, self.high_at = high, here

    def points(self) -> list[CurvePoint]:
        kept = {**self.steps, **dict((self.low_at, self.high_at, self.last))}
        return [
            CurvePoint(step, bounded(median_of(found)), bounded(min(found)), bounded(max(found)), len(found))
            for step, found in sorted(kept.items())
        ]


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
