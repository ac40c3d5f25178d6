"""Benchmarks: each module has `run() -> list[Row | NotRun]`; ratios are taken within one run on one machine."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple


class NotRun(NamedTuple):
    """What could not be timed here, and why."""

    name: str
    reason: str


class Row(NamedTuple):
    """What was timed, ours and the reference in the same `unit`, and the bound the ratio has to keep."""

    name: str
    ours: float
    reference: float
    unit: str
    target: str  # ">= 10" is for reference/ours (how many times as fast); "<= 1.2" for ours/reference

    @property
    def ratio(self) -> float:
        return self.ours / self.reference if self.target.startswith("<=") else self.reference / self.ours

    @property
    def kept(self) -> bool:
        bound = float(self.target.split()[1])
        return self.ratio <= bound if self.target.startswith("<=") else self.ratio >= bound


def best_seconds(work: Callable[[], object], repeats: int = 5) -> float:
    """Seconds of the fastest of several calls."""
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return min(times)
