"""When a run is measured."""

from __future__ import annotations

import math


def measuring_steps(total: int, points: int, spacing: str) -> list[int]:
    """The steps at which a run of `total` steps is measured: 0, `total` and `points` in all where there are as many.

    Log spacing is even in log(step); where rounding merges steps it is refined until `points` differ.
    """
    points = min(points, total + 1)
    if spacing == "linear" or points in (2, total + 1):
        return sorted({round(i * total / (points - 1)) for i in range(points)})
    grid = points
    while len(steps := _log_grid(total, grid)) < points:
        grid += max(1, (points - len(steps)) // 2)
    return steps


def _log_grid(total: int, grid: int) -> list[int]:
    return sorted({0, total} | {round(math.exp(math.log(total) * i / (grid - 2))) for i in range(grid - 1)})
