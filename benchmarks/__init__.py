"""Benchmarks: each module has `run(smallest=False) -> list[Row | NotRun]`; ratios are taken within one run.

`smallest` asks for the least work that goes through the whole module: its figures mean nothing, but it cannot rot.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
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
    spread: tuple[float, float] | None = None  # quartiles of the ratio over the turns

    @classmethod
    def of_turns(cls, name: str, ours: Sequence[float], reference: Sequence[float], unit: str, target: str) -> Row:
        """From what each took in turns that were taken one after the other: medians, and the quartiles of the ratio."""
        pairs = list(zip(ours, reference, strict=True))
        ratios = [a / b if target.startswith("<=") else b / a for a, b in pairs]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return cls(name, statistics.median(ours), statistics.median(reference), unit, target, (low, high))

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


def seconds_in_turns(works: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """Seconds of each work in each turn. All have a turn before the next one begins, so that other load meets all."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            seconds[name].append(time.perf_counter() - began)
    return seconds
