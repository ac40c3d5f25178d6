"""An axis of a sweep as a ruler: value i stands at position i + ½, and what lies between is interpolated.

Positions are what a grid of equal cells is drawn in, whatever the distances of its values are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

FEW = 3
"""Values of which nothing is said of their distances."""


def is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@dataclass(frozen=True)
class Ruler:
    """`columns`: {path: its value at each place}; the first path is the axis, others move with it.

    `free`: whether places between the values exist (False: only the values themselves).
    """

    columns: Mapping[str, Sequence[Any]]
    free: bool = True

    @property
    def path(self) -> str:
        return next(iter(self.columns))

    @property
    def values(self) -> Sequence[Any]:
        return self.columns[self.path]

    @property
    def is_ordered(self) -> bool:
        """Whether the values are numbers that ascend or descend."""
        steps = list(pairwise(self.values))
        return all(map(is_number, self.values)) and (
            all(one < other for one, other in steps) or all(one > other for one, other in steps)
        )

    @property
    def is_continuous(self) -> bool:
        return self.free and len(self.values) > 1 and self.is_ordered and all(map(_are_numbers, self.columns.values()))

    def stepwise(self) -> Ruler:
        return replace(self, free=False)

    @property
    def is_spread(self) -> bool:
        """Whether several numbers are nearer to equal ratios than to equal distances."""
        return len(self.values) > FEW and self.is_ordered and _is_log(self.values)

    @property
    def ends(self) -> tuple[float, float]:
        """Positions of the outer edges of the first and last cell, as far as the interpolation gives values there."""
        return 0.0, float(len(self.values))

    def point(self, position: float) -> dict[str, Any]:
        """{path: value} there."""
        if not self.is_continuous:
            place = min(len(self.values) - 1, int(position))
            return {path: values[place] for path, values in self.columns.items()}
        return {path: interpolated(values, position - 0.5) for path, values in self.columns.items()}

    def position(self, value: float) -> float:
        """The position of a number on the first path: the inverse of `point`."""
        values = [float(one) for one in self.values]
        if values[0] > values[-1]:
            return len(values) - Ruler({self.path: values[::-1]}).position(value)
        at = max(0, min(len(values) - 2, sum(one <= value for one in values) - 1))
        low, high = values[at], values[at + 1]
        if _is_log(values):
            return at + 0.5 + math.log(value / low) / math.log(high / low)
        return at + 0.5 + (value - low) / (high - low)


def interpolated(values: Sequence[float], at: float) -> float:
    """The value between neighbours, by equal ratios where the values are such; beyond the ends as between the last two.

    At the values themselves as they are: whole numbers stay whole.
    """
    place = max(0, min(len(values) - 2, math.floor(at)))
    low, high, share = values[place], values[place + 1], at - place
    if share in (0, 1):
        return high if share else low
    return low * (high / low) ** share if _is_log(values) else low + share * (high - low)


def _is_log(values: Sequence[Any]) -> bool:
    if len(values) < 2 or min(values) <= 0:
        return False
    ratios = [abs(math.log(other / one)) for one, other in pairwise(values)]
    steps = [abs(other - one) for one, other in pairwise(values)]
    if len(values) == 2:
        return max(ratios) > math.log(2)
    return min(steps) > 0 and max(ratios) / min(ratios) < max(steps) / min(steps)


def _are_numbers(values: Sequence[Any]) -> bool:
    return all(map(is_number, values))
