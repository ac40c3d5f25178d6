"""Benchmarks: each module has `run(smallest=False)`, which gives rows; ratios are taken within one run.

`smallest` asks for the least work that goes through the whole module: its figures mean nothing, but it cannot rot.
"""

from __future__ import annotations

import math
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from threadpoolctl import threadpool_limits


class NotRun(NamedTuple):
    """What could not be timed here, and why."""

    name: str
    reason: str


class Row(NamedTuple):
    """What was measured, ours and what it is held against in the same `unit`, and the bound the ratio has to keep."""

    name: str
    ours: float
    reference: float
    unit: str
    target: str  # ">= 10" is for reference/ours (how many times as fast); "<= 1.2" for ours/reference
    spread: tuple[float, float]  # quartiles of the ratio over the turns
    against: str = "the goal"
    note: str = ""

    @classmethod
    def of_turns(
        cls, name: str, ours: Sequence[float], reference: Sequence[float], unit: str, target: str, against: str
    ) -> Row:
        """From what each took in turns that were taken one after the other: medians, and the quartiles of the ratio."""
        ratios = [_ratio(target, a, b) for a, b in zip(ours, reference, strict=True)]
        low, _, high = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else ratios * 3
        return cls(name, statistics.median(ours), statistics.median(reference), unit, target, (low, high), against)

    @classmethod
    def of_goal(cls, name: str, ours: Sequence[float], goal: float, unit: str) -> Row:
        """Held against a number, which is to be kept as any other goal."""
        return cls.of_turns(name, ours, [goal] * len(ours), unit, "<= 1", "the goal")

    @classmethod
    def of_seconds(cls, name: str, ours: Sequence[float], goal: float, unit: str) -> Row:
        """The same for a time: the goal is of a machine that takes `YARDSTICK`, and on a slower one as much longer."""
        return cls.of_goal(name, ours, goal * max(1.0, yardstick() / YARDSTICK), unit)

    @property
    def ratio(self) -> float:
        return _ratio(self.target, self.ours, self.reference)

    @property
    def verdict(self) -> str:
        """Whether the ratio keeps its goal; between its quartiles that is not told apart."""
        return verdict(self.target, self.ratio, self.spread)

    @property
    def kept(self) -> bool:
        return self.verdict != MISSED


class Growth(NamedTuple):
    """What work of several sizes costs, and the exponent of the size that it may grow by at most."""

    name: str
    variable: str
    sizes: tuple[float, ...]
    values: tuple[float, ...]
    unit: str
    most: float
    spread: tuple[float, float]  # quartiles of the exponent over the turns

    @classmethod
    def of_turns(
        cls, name: str, variable: str, sizes: Sequence[float], taken: Sequence[Sequence[float]], unit: str, most: float
    ) -> Growth:
        """From what each size took in turns: the least of each, and the quartiles of the exponent."""
        last = sizes[-1] / sizes[-2]
        exponents = [math.log(b / a) / math.log(last) for a, b in zip(taken[-2], taken[-1], strict=True)]
        low, _, high = statistics.quantiles(exponents, n=4) if len(exponents) > 1 else exponents * 3
        return cls(name, variable, tuple(map(float, sizes)), tuple(map(min, taken)), unit, most, (low, high))

    @property
    def slope(self) -> float:
        """Of the last two sizes, in logarithms: 1 is linear."""
        return math.log(self.values[-1] / self.values[-2]) / math.log(self.sizes[-1] / self.sizes[-2])

    @property
    def verdict(self) -> str:
        return verdict(f"<= {self.most}", self.slope, self.spread)

    @property
    def kept(self) -> bool:
        return self.verdict != MISSED


Result = Row | Growth | NotRun

KEPT, WITHIN, MISSED = "kept", "within the spread", "missed"

YARDSTICK = 1.76
"""CPU seconds that `yardstick` took on the machine of the page of 2026-11-26, on which goals in seconds hold as they
are: it kept all of them but the one that is less than `import torch` alone."""


def yardstick() -> float:
    """CPU seconds that the start of a Python process with torch takes: how fast the machine is at the moment."""
    return cpu_seconds_of("-c", "import torch")


def cpu_seconds_of(*command: str) -> float:
    """CPU seconds of a Python process: other load on the machine counts less."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    quiet = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([sys.executable, *command], check=True, capture_output=True, env=quiet)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _ratio(target: str, ours: float, reference: float) -> float:
    return ours / reference if target.startswith("<=") else reference / ours


def shortfall(target: str, ratio: float) -> float:
    """How many times worse than the bound a ratio is: at most 1 where it is kept."""
    bound = float(target.split()[1])
    return ratio / bound if target.startswith("<=") else bound / ratio


def verdict(target: str, ratio: float, spread: Sequence[float]) -> str:
    if shortfall(target, ratio) <= 1:
        return KEPT
    return WITHIN if any(shortfall(target, end) <= 1 for end in spread) else MISSED


def seconds_in_turns(
    works: Mapping[str, Callable[[], object]], turns: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each work in each turn. All have a turn before the next one begins, so that other load meets all."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(turns):
        for name, work in works.items():
            began = clock()
            work()
            seconds[name].append(clock() - began)
    return seconds


def cpu_seconds_in_turns(works: Mapping[str, Callable[[], object]], turns: int) -> dict[str, list[float]]:
    """The same on one thread, by that thread's CPU time, to which other load on the machine adds little."""
    with threads(1):
        return seconds_in_turns(works, turns, time.thread_time)


@contextmanager
def threads(count: int) -> Iterator[None]:
    """A context in which torch, NumPy and SciPy compute with `count` threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        with threadpool_limits(limits=count, user_api="blas"):
            yield
    finally:
        torch.set_num_threads(before)
