"""What larger work takes: steps, measurements, stored points, lists and claims at 1, 10 and 100 times a size.

CPU time of one thread, the least of a few turns. Where the work itself is more than linear (K classes of n samples
have K × K n logits), the exponent that this gives is the goal.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence

import torch

from benchmarks import Growth, threads
from benchmarks._tables import Tables, own_tables
from benchmarks.ufm import Ours, spec
from ncore.kinds.fields import MAX_LEVELS
from ncore.metrics import Accumulator, measure

TURNS = 7
LEAST_SECONDS = 0.02
"""In a turn a call is repeated until it has taken so long."""
MARGIN = 0.1
"""What an exponent of 1, 2 … may be exceeded by; 0, where what stays is noise and caches, by twice that."""


def run(smallest: bool = False) -> list[Growth]:
    with threads(1):
        return [*of_steps(smallest), *of_metrics(smallest), *of_tables(smallest)]


def cpu_seconds(works: Sequence[Callable[[], object]], smallest: bool) -> list[list[float]]:
    """Of one call of each, in each turn. All have a turn before the next one begins, as in the ratios."""
    least = 0.0 if smallest else LEAST_SECONDS
    repeats = [_repeats(work, least) for work in works]
    taken: list[list[float]] = [[] for _ in works]
    for _ in range(1 if smallest else TURNS):
        for work, times, found in zip(works, repeats, taken, strict=True):
            began = time.thread_time()
            for _ in range(times):
                work()
            found.append(max((time.thread_time() - began) / times, 1e-12))
    return taken


def _repeats(work: Callable[[], object], least: float) -> int:
    """How many calls take `least` seconds."""
    work()
    repeats, began = 0, time.thread_time()
    while not repeats or time.thread_time() - began < least:
        work()
        repeats += 1
    return repeats


def sizes_of(first: int, smallest: bool, times: tuple[int, ...] = (1, 10, 100)) -> list[int]:
    return [first, 2 * first] if smallest else [first * factor for factor in times]


def most(power: int) -> float:
    return power + MARGIN if power else 2 * MARGIN


def grown(
    name: str,
    variable: str,
    sizes: list[int],
    work_of: Callable[[int], Callable[[], object]],
    smallest: bool,
    power: int = 1,
) -> Growth:
    """`work_of` makes the work of one size; those of all are made before the clock runs."""
    taken = cpu_seconds([work_of(size) for size in sizes], smallest)
    return growth(f"{name}, over {variable}", variable, sizes, taken, power)


def growth(name: str, variable: str, sizes: list[int], seconds: Sequence[Sequence[float]], power: int) -> Growth:
    return Growth.of_turns(
        name, variable, sizes, [[1e3 * one for one in turns] for turns in seconds], "ms", most(power)
    )


def of_steps(smallest: bool) -> Iterator[Growth]:
    """Steps of UFMs; beyond the paper's size the arithmetic is what counts."""

    def step_of(preset: str, changes: Callable[[int], dict[str, object]]) -> Callable[[int], Callable[[], object]]:
        def work_of(size: int) -> Callable[[], object]:
            run = Ours(spec(preset, **{"optimizer.learning_rate": 1e-3, **changes(size)}))
            return lambda: run.run(1 if smallest else 10)

        return work_of

    def grow(
        name: str, variable: str, first: int, preset: str, changes: Callable[[int], dict[str, object]], power: int = 1,
        times: tuple[int, ...] = (1, 10, 100),
    ) -> Growth:  # fmt: skip
        return grown(
            f"10 steps, {name}", variable, sizes_of(first, smallest, times), step_of(preset, changes), smallest, power
        )

    def deep(levels: int) -> dict[str, object]:
        return {"model.widths": [20] * levels, "regularization.weights": 0.005, "model.init_scale": 0.1}

    wide = {"model.widths": [64], "model.classes": 4}
    yield grow("plain", "n", 50, "fig1", lambda n: {"model.samples_per_class": n}, 0)
    yield grow("ReLU, M=2", "n", 50, "fig4", lambda n: {"model.samples_per_class": n})
    entropy: dict[str, object] = {"loss": "cross_entropy", "model.samples_per_class": 50}
    # X leaves the caches on the way, which takes more than it grows, once
    on = (1, 10, 100, 1000)
    yield grow("cross-entropy", "n", 50, "fig1", lambda n: {**entropy, "model.samples_per_class": n}, times=on)
    yield grow("cross-entropy", "d", 20, "fig1", lambda d: {**entropy, "model.widths": [d]}, times=on)
    yield grow(
        "cross-entropy", "K", 4, "fig1",
        lambda k: {**wide, "loss": "cross_entropy", "model.samples_per_class": 10, "model.classes": k}, 2,
    )  # fmt: skip
    yield grow("plain", "layers M", 1, "fig1", deep, times=(1, 4, MAX_LEVELS))
    yield grow("plain", "replicas", 1, "fig1", lambda seeds: {"seeds": list(range(seeds))})


def of_metrics(smallest: bool) -> Iterator[Growth]:
    """`measure` and `Accumulator` of normal features."""

    def data(n: int, d: int, k: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        generator = torch.Generator().manual_seed(0)
        weight = torch.randn(k, d, generator=generator)
        labels = torch.arange(n) % k
        return torch.randn(n, d, generator=generator) + weight[labels], labels, weight

    def measured(n: int, d: int, k: int) -> Callable[[], object]:
        features, labels, weight = data(n, d, k)
        return lambda: measure(features, labels, weight)

    def accumulated(n: int, d: int, k: int) -> Callable[[], object]:
        features, labels, weight = data(n, d, k)

        def work() -> object:
            accumulator = Accumulator(k)
            for x, y in zip(features.split(1024), labels.split(1024), strict=True):
                accumulator.update(x, y)
            return accumulator.result(weight)

        return work

    def grow(name: str, work_of: Callable[[int, int, int], Callable[[], object]], power: int) -> Iterator[Growth]:
        n, d, k = (sizes_of(first, smallest) for first in (1000, 16, 32))
        yield grown(f"{name}, d=64, K=10", "N", n, lambda size: work_of(size, 64, 10), smallest)
        yield grown(f"{name}, N=4,000, K=10", "d", d, lambda size: work_of(4000, size, 10), smallest, power)
        yield grown(f"{name}, N=16,000, d=64", "K", k, lambda size: work_of(16_000, 64, size), smallest)

    yield from grow("measure", measured, 1)
    yield from grow("Accumulator", accumulated, 2)  # one pass has to keep the scatter, d × d


def of_tables(smallest: bool) -> Iterator[Growth]:
    """What the service does most, over runs and points that are there."""
    with own_tables() as tables:
        for name, power, work_of in (
            ("storing points", 1, tables.storing),
            ("reading points", 1, tables.reading),
            ("the newest points of a stream", 0, tables.newest),
        ):
            sizes = sizes_of(10 if smallest else 200, smallest)
            yield grown(name, "points", sizes, work_of, smallest, power)
        yield from _of_runs(tables, smallest)


def _of_runs(tables: Tables, smallest: bool) -> Iterator[Growth]:
    """Lists and claims; the runs are added between two sizes."""
    works = {
        "the first page of the list": tables.listing,
        "a claim": tables.claiming,
        "a round of the reconciler": tables.reconciling,
    }
    sizes = sizes_of(10 if smallest else 1000, smallest)
    taken: dict[str, list[list[float]]] = {name: [] for name in works}
    for size in sizes:
        tables.fill(size)
        for name, seconds in zip(works, cpu_seconds(list(works.values()), smallest), strict=True):
            taken[name].append(seconds)
    for name, found in taken.items():
        yield growth(f"{name}, over runs", "runs", sizes, found, 0)
