"""Where theory changes its answer: each boundary is a quantity and the value at which it is crossed.

A picture of a sweep over two fields asks for `curve`: the crossings of one boundary, column by column. It needs no more
than a function from two field values to the boundary's excess, so a new boundary needs nothing but its quantity.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Boundary:
    """`value` is the quantity `name` of one setting; the answer changes where it equals `critical`."""

    name: str
    value: float
    critical: float

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
    from scipy.optimize import brentq

    def known(y: float) -> float:
        value = excess(y)
        return math.nan if value is None else value

    return float(brentq(known, low, high, xtol=1e-300, rtol=1e-12))


def curve(
    excess: Callable[[float, float], float | None], xs: Sequence[float], ys: Sequence[float]
) -> list[tuple[float, float]]:
    """Points (x, y) of the boundary over the columns `xs`, looked for between neighbours of `ys`."""
    return [(x, y) for x in xs for y in crossings(lambda y, x=x: excess(x, y), ys)]  # type: ignore[misc]


def zero(gamma: float, critical: float, name: str) -> Boundary:
    """c = 1, γ = γ_c: beyond it everything is zero."""
    return Boundary(name, gamma, critical)


def bias_boundary(decay_b: float, gamma: float, critical: float) -> Boundary | None:
    """λ_b = γ/(γ_c − γ), c/(1 − c) for M = 1: an exact simplex ETF below, towards the orthogonal frame above."""
    return Boundary("bias", decay_b, gamma / (critical - gamma)) if gamma < critical else None


def collapse_boundary(size: int, total: int, decay_w: float, decay_h: float, smoothing: float = 0.0) -> Boundary:
    """n_B = N²λ_Wλ_H (over (1 − α)² with label smoothing): classes of this size collapse at and below it."""
    return Boundary("minority", size, total**2 * decay_w * decay_h / (1 - smoothing) ** 2)


def graph_boundary(kappa: float) -> Boundary:
    """κ = 1: below it the strongly-regular-graph solution beats the orthogonal frame."""
    return Boundary("kappa", kappa, 1.0)


def smoothing_boundary(c: float, smoothing: float) -> Boundary:
    """c + α = 1: beyond it everything is zero."""
    return Boundary("c + alpha", c + smoothing, 1.0)
