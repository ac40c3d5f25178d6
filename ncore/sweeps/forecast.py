"""What theory says of the combinations of a sweep before any is run; of some of them where there are many."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from itertools import islice, product

from pydantic import BaseModel

from ncore.theory import Prediction, Threshold

GOLDEN = (math.sqrt(5) - 1) / 2
MOST_CORNERS = 64
KNOWN = {True: "yes", False: "no", None: "not known"}


class Extent(BaseModel):
    """The lowest and the highest value, and how many combinations have one."""

    low: float
    high: float
    count: int


class Boundary(BaseModel):
    """A boundary of the theory: its quantity and critical value over the combinations, and how many are at or above it.

    `ratio`: quantity over critical value, where both are positive. `meaning`: what is on one side, in words.
    """

    name: str
    symbol: str
    meaning: str
    value: Extent
    critical: Extent
    ratio: Extent | None
    above: int


class Forecast(BaseModel):
    """Of `examined` combinations: how many are in each regime, and the predicted objectives.

    `objectives` go by the name of the value in pictures, "f*" for a proven minimum only; `global_minimum` says of how
    many predictions that is proven (yes), disproven (no) or not known; `best_known`: upper bounds where there are any.
    """

    examined: int
    regimes: dict[str, int]
    objectives: dict[str, Extent]
    global_minimum: dict[str, int]
    best_known: Extent | None
    boundaries: list[Boundary]


def spread(sizes: Sequence[int], most: int) -> list[int]:
    """Numbers of at most `most` combinations of a grid of these sizes: the first, the last, the other corners, each
    value of each axis beside the first ones of the others, then some evenly all over it."""
    total, corners, edges = math.prod(sizes), [0], list[int]()
    for i, size in enumerate(sizes):
        ends = (0, size - 1) if 2 * len(corners) <= MOST_CORNERS else (0,)
        corners = [number * size + at for number, at in product(corners, ends)]
        stride = math.prod(sizes[i + 1 :])
        edges += range(0, size * stride, stride)
    step = next(step for step in range(round(GOLDEN * total), 2 * total + 1) if math.gcd(step, total) == 1)
    order = dict.fromkeys([0, total - 1, *corners, *edges, *(i * step % total for i in range(total))])
    return list(islice(order, most))


def forecast(known: Sequence[Prediction]) -> Forecast:
    """Many predictions as one."""
    objectives: dict[str, list[float]] = {}
    for one in known:
        if one.objective is not None:
            objectives.setdefault(one.objective_name, []).append(one.objective)
    best = [one.better_known.objective for one in known if one.better_known is not None]
    crossed: dict[str, list[Threshold]] = {}
    for one in known:
        for threshold in one.boundaries or filter(None, [one.threshold]):
            crossed.setdefault(threshold.name, []).append(threshold)
    return Forecast(
        examined=len(known),
        regimes=Counter(one.regime for one in known),
        objectives={name: _extent(values) for name, values in objectives.items()},
        global_minimum=Counter(KNOWN[one.global_minimum] for one in known if one.objective is not None),
        best_known=_extent(best) if best else None,
        boundaries=[_boundary(some) for some in crossed.values()],
    )


def _extent(values: Sequence[float]) -> Extent:
    return Extent(low=min(values), high=max(values), count=len(values))


def _boundary(some: Sequence[Threshold]) -> Boundary:
    ratios = [one.value / one.critical for one in some if one.value > 0 and one.critical > 0]
    return Boundary(
        name=some[0].name,
        symbol=some[0].symbol,
        meaning=some[0].meaning,
        value=_extent([one.value for one in some]),
        critical=_extent([one.critical for one in some]),
        ratio=_extent(ratios) if ratios else None,
        above=sum(one.value >= one.critical for one in some),
    )
