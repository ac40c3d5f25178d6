"""The steps at which a run is measured."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

MARGIN = 1e-6
"""Relative distance from the place where neighbours lie one step apart beyond which rounding errors decide nothing."""


def measuring_steps(total: int, points: int, spacing: str) -> list[int]:
    """The steps at which a run of `total` steps is measured: 0, `total` and `points` in all where there are as many.

    Log spacing is even in log(step); where rounding merges steps it is refined until `points` differ. O(points).
    """
    points = min(points, total + 1)
    if spacing == "linear" or points in (2, total + 1):
        return sorted({round(i * total / (points - 1)) for i in range(points)})
    grid = _LogGrid(total, points)
    while (lacking := points - grid.count()) > 0:
        grid = _LogGrid(total, grid.points + max(1, lacking // 2))
    return grid.steps()


def next_due(steps: Sequence[int], measured: int) -> int:
    """The first of the sorted `steps` after step `measured`; the last one where none is left."""
    return steps[min(bisect_right(steps, measured), len(steps) - 1)]


@dataclass(frozen=True)
class _LogGrid:
    """Step 0 and `points` − 1 steps from 1 to `total`, even in log(step) and rounded, so that small ones coincide.

    Up to the place where neighbours lie one step apart every whole step is hit; beyond it no two coincide. So the
    different ones are counted without walking the grid, but for the few neighbours around that place.
    """

    total: int
    points: int

    @property
    def _last(self) -> int:
        return self.points - 2

    def _step(self, i: int) -> int:
        return round(math.exp(math.log(self.total) * i / self._last))

    def _crossing(self) -> tuple[int, int]:
        """Indices before and after the place where neighbours lie one step apart."""
        gap = math.log(self.total) / self._last
        place, margin = -math.log(math.expm1(gap)) / gap, MARGIN / gap + 2
        first, end = math.floor(place - margin), math.ceil(place + margin)
        return min(max(first, 0), self._last), min(max(end, 0), self._last)

    def count(self) -> int:
        """How many steps differ: 0, all up to the one before the place, those around it, and all after it."""
        first, end = self._crossing()
        met = {self._step(i) for i in range(first, end + 1)}
        return 1 + self._step(first) + (len(met) - 1) + self._last - end

    def steps(self) -> list[int]:
        first, _ = self._crossing()
        return sorted({*range(self._step(first) + 1), *map(self._step, range(first, self._last + 1))})
