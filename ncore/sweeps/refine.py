"""Refinement of an adaptive sweep: cells of its grid whose corners differ are divided, until they are small.

What is due is a function of what has come out, and of nothing else: it may be asked again at any time, by anybody.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fractions import Fraction
from itertools import pairwise, product
from typing import Any

from ncore.sweeps.axes import Range
from ncore.sweeps.plan import Plan, Point, Refine
from ncore.sweeps.summary import Summary

SMALL = Fraction(1, 100)
"""Share of an axis: cells of this size are not divided."""
AGREES = 1e-3
"""Gap below which a run counts as being at the prediction."""
Place = tuple[Fraction, ...]
"""Shares of the way along each axis: exact, so that neighbours share their corners."""
Label = str | float | None


def label_of(metric: str, summary: Summary | None, status: str) -> Label:
    """The label to compare at the corners of a cell; a failed experiment differs from all others."""
    if summary is None:
        return status
    if metric == "gap":
        gap = summary["gap"]
        return None if gap is None else float(abs(gap) > AGREES)
    found: Label = summary["reached" if metric == "verdict" else "rank"]
    return found


class Refinement:
    """The cells of the first grid of a plan with `refine`, one or two of whose axes are ranges."""

    def __init__(self, plan: Plan, refine: Refine) -> None:
        self._ranges = {path: one for path, one in plan.intervals.items() if isinstance(one, Range)}
        self._fixed = {path: values[0] for path, values in plan.axes.items() if path not in self._ranges}
        self._whole = {path for path in self._ranges if all(isinstance(v, int) for v in plan.axes[path])}
        self._refine, self._paths = refine, list(plan.axes)
        self._grid = [[Fraction(i, one.points - 1) for i in range(one.points)] for one in self._ranges.values()]

    def point(self, place: Place) -> Point:
        """The values at a place, in the order of the sweep's axes."""
        values: dict[str, Any] = dict(self._fixed)
        for (path, one), share in zip(self._ranges.items(), place, strict=True):
            value = one.at(float(share))
            values[path] = round(value) if path in self._whole else value
        return {path: values[path] for path in self._paths}

    def due(self, labels: Mapping[str, Label]) -> list[Point]:
        """Points that are to be added, by what is known: {key_of(point): label}. Empty at the end.

        Larger cells come first; no more than the budget leaves. In the last round only the sides of a cell are halved
        along which the answer changes: that places the boundary as well as four cells would, with half the runs.
        """
        room, wanted = self._refine.budget - len(labels), dict[str, Point]()
        cells = [tuple(zip(low, high, strict=True)) for low, high in self._first_cells()]
        while cells and not wanted:
            divided, places = [], list[Place]()
            for cell in cells:
                sides = self._changing_sides(cell, labels)
                if not sides or not self._is_large(cell):
                    continue
                if all(high - low <= 2 * SMALL for low, high in cell):
                    places += sides
                else:
                    divided += list(product(*(_halves(side) for side in cell)))
            cells = divided
            places += [place for cell in cells for place in product(*cell)]
            points = {key_of(point): point for point in map(self.point, places)}
            wanted = {key: point for key, point in points.items() if key not in labels}
        return list(wanted.values())[: max(0, room)]

    def _changing_sides(self, cell: Sequence[tuple[Fraction, Fraction]], labels: Mapping[str, Label]) -> list[Place]:
        """The middles of the sides of a cell whose ends differ; none where its corners are alike."""
        found = []
        for axis, (low, high) in enumerate(cell):
            across = [side if i != axis else ((low + high) / 2,) for i, side in enumerate(cell)]
            for middle in product(*across):
                ends = [(*middle[:axis], end, *middle[axis + 1 :]) for end in (low, high)]
                if len({labels.get(key_of(self.point(end))) for end in ends}) > 1:
                    found.append(middle)
        return found

    def _first_cells(self) -> list[tuple[Place, Place]]:
        sides = [list(pairwise(shares)) for shares in self._grid]
        return [(tuple(low for low, _ in cell), tuple(high for _, high in cell)) for cell in product(*sides)]

    def _is_large(self, cell: Sequence[tuple[Fraction, Fraction]]) -> bool:
        """Whether it is wider than is asked for, and there are values between its sides."""
        if all(high - low <= SMALL for low, high in cell):
            return False
        return len({key_of(self.point(place)) for place in product(*cell)}) == 2 ** len(cell)


def _halves(side: tuple[Fraction, Fraction]) -> list[tuple[Fraction, Fraction]]:
    middle = (side[0] + side[1]) / 2
    return [(side[0], middle), (middle, side[1])]


def key_of(point: Point) -> str:
    """The key that recognises a combination."""
    return repr(sorted(point.items()))
