"""Where theory changes its answer: each boundary is a quantity and the value at which it is crossed.

A picture of a sweep over two fields asks for `curve`: the crossings of one boundary, column by column. It needs no more
than a function from two field values to the boundary's excess, so a new boundary needs nothing but its quantity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from pydantic import BaseModel, ConfigDict, computed_field

from ncore.theory.roots import root

SIDES = {
    "c": ("c", "at it and above all features are zero"),
    "gamma": ("γ", "at it and above all features are zero"),
    "lambda_b": ("λ_b", "above it the simplex ETF opens towards the orthogonal frame"),
    "n_B": ("n_B", "at it and below the smallest classes collapse"),
    "mu": ("μ", "at it and above all features are zero"),
    "kappa": ("κ", "below it a graph solution beats the orthogonal frame"),
}
"""{name of a quantity: its symbol, and what is on one side of its critical value}."""


class Threshold(BaseModel):
    """A quantity and the value at which the answer of theory changes.

    c (M = 1) and gamma (M ≥ 2): at `critical` and above all features are zero; where classes differ in size `value` is
    that of the largest class, beyond it the smaller ones are at zero already. The others: see `boundaries_of`.
    `meaning`: what is on one side of the critical value, in words.
    """

    model_config = ConfigDict(frozen=True)
    name: str
    value: float
    critical: float

    @computed_field  # type: ignore[prop-decorator] # as pydantic documents it
    @property
    def symbol(self) -> str:
        return SIDES.get(self.name, (self.name, ""))[0]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def meaning(self) -> str:
        return SIDES.get(self.name, ("", ""))[1]

    @property
    def excess(self) -> float:
        """Negative on one side, positive on the other; a logarithm where both are positive, so that scales compare."""
        if self.value > 0 and self.critical > 0:
            return math.log(self.value / self.critical)
        return self.value - self.critical


def crossings(excess: Callable[[float], float | None], grid: Sequence[float]) -> list[float]:
    """Where `excess` changes sign between points of `grid` (ascending); None and infinite values are passed over."""
    values = [excess(y) for y in grid]
    found: list[float] = []
    for low, high, one, other in zip(grid, grid[1:], values, values[1:], strict=False):
        if one is None or other is None or not (math.isfinite(one) and math.isfinite(other)):
            continue
        if one == 0:
            found.append(low)
        elif one * other < 0:
            found.append(_root(excess, low, high))
    if grid and values[-1] == 0:
        found.append(grid[-1])
    return found


def _root(excess: Callable[[float], float | None], low: float, high: float) -> float:
    def known(y: float) -> float:
        value = excess(y)
        return math.nan if value is None else value

    return root(known, low, high)


def curve(
    excess: Callable[[float, float], float | None], xs: Sequence[float], ys: Sequence[float]
) -> list[tuple[float, float]]:
    """Points (x, y) of the boundary over the columns `xs`, looked for between neighbours of `ys`."""
    return [(x, y) for x in xs for y in crossings(lambda y, x=x: excess(x, y), ys)]  # type: ignore[misc]
