"""When a run is measured: the same schedules as by walking the grid, in a time that grows with the points alone."""

import math
import random
import time
from itertools import pairwise

import pytest

from ncore.schedule import measuring_steps, next_due


def walked(total: int, points: int) -> list[int]:
    """The slow obvious version: the grid is walked anew for each refinement."""

    def grid_of(size: int) -> list[int]:
        return sorted({0, total} | {round(math.exp(math.log(total) * i / (size - 2))) for i in range(size - 1)})

    points = min(points, total + 1)
    if points in (2, total + 1):
        return sorted({round(i * total / (points - 1)) for i in range(points)})
    grid = points
    while len(steps := grid_of(grid)) < points:
        grid += max(1, (points - len(steps)) // 2)
    return steps


def test_every_small_schedule_is_as_by_walking():
    for total in range(1, 40):
        for points in range(2, total + 3):
            assert measuring_steps(total, points, "log") == walked(total, points), (total, points)


def test_schedules_of_any_size_are_as_by_walking():
    draw = random.Random(0)
    for _ in range(100):
        total = int(10 ** draw.uniform(0.3, 9))
        points = draw.randint(2, min(total + 2, 150))
        assert measuring_steps(total, points, "log") == walked(total, points), (total, points)
    for _ in range(10):  # nearly as many points as steps
        total = draw.randint(100, 600)
        points = draw.randint(int(total * 0.8), total + 1)
        assert measuring_steps(total, points, "log") == walked(total, points), (total, points)


@pytest.mark.parametrize("spacing", ["log", "linear"])
@pytest.mark.parametrize("total", [99_999, 100_000, 100_001, 150_000, 10**9])
def test_as_many_points_as_a_spec_may_have(total, spacing):
    began = time.process_time()
    steps = measuring_steps(total, 100_000, spacing)
    assert time.process_time() - began < 2  # took hours
    assert (steps[0], steps[-1], len(steps)) == (0, total, min(100_000, total + 1))
    assert all(before < after for before, after in pairwise(steps))


def test_what_is_due_next():
    assert [next_due([0, 3, 9], measured) for measured in (-1, 0, 2, 3, 8, 9)] == [0, 3, 3, 9, 9, 9]
