"""`measure` and `Accumulator` on features like a network's, against one float32 product XᵀX of their size (one thread).

What is timed is asserted in the same run against a slow reference: plain tensor algebra in float64, its matrices full.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from benchmarks import Row, cpu_seconds_in_turns
from ncore.metrics import Accumulator, measure


class Case(NamedTuple):
    """Samples, classes, features; the bounds of `measure`, of it without a weight (no nc4), and of `Accumulator`."""

    samples: int
    classes: int
    width: int
    measured: float
    unweighted: float
    accumulated: float


CASES = (
    Case(60_000, 10, 512, 0.45, 0.45, 1.5),
    Case(60_000, 100, 512, 1.0, 1.0, 1.5),
    # nc4 alone is two float32 products of N × K × d, each K/d = 20 times XᵀX
    Case(200_000, 10_000, 512, 60, 10, 10),
)
BATCH = 1024
SMALLEST_CASES = (Case(300, 10, 16, 1, 1, 1), Case(300, 30, 8, 1, 1, 1))


def run(smallest: bool = False) -> list[Row]:
    return [row for case in (SMALLEST_CASES if smallest else CASES) for row in of_case(case)]


def of_case(case: Case) -> Iterator[Row]:
    features, labels, weight, bias = data(case)
    expected = reference(features, labels, weight, bias)

    def accumulate() -> dict[str, float]:
        accumulator = Accumulator(case.classes)
        for x, y in zip(features.split(BATCH), labels.split(BATCH), strict=True):
            accumulator.update(x, y)
        return accumulator.result(weight)

    works: dict[str, tuple[Callable[[], dict[str, float]], float]] = {
        "measure": (lambda: measure(features, labels, weight, bias), case.measured),
        "measure without weight": (lambda: measure(features, labels), case.unweighted),
        f"Accumulator, batches of {BATCH}": (accumulate, case.accumulated),
    }
    product = "one XᵀX in float32"
    for work, (call, bound) in works.items():
        results: list[dict[str, float]] = []
        is_long = case.classes > 1000
        turns = 1 if is_long and work == "measure" else 3 if is_long else 5
        timed: dict[str, Callable[[], object]] = {
            product: lambda: features.mT @ features,
            work: lambda call=call, results=results: results.append(call()),  # type: ignore[misc]
        }
        found = cpu_seconds_in_turns(timed, turns)
        compare(expected, results[-1])
        name = f"{work}, {case.samples:,} × {case.width}, K = {case.classes:,}"
        yield Row.of_turns(name, found[work], found[product], "s", f"<= {bound}", product)


def data(case: Case) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """A sample of every class, many classes of few."""
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(0, case.classes, (case.samples,), generator=generator)
    labels[: case.classes] = torch.arange(case.classes)
    means = torch.randn(case.classes, case.width, generator=generator)
    features = torch.randn(case.samples, case.width, generator=generator) + means[labels]
    weight = torch.randn(case.classes, case.width, generator=generator)
    return features, labels, weight, torch.zeros(case.classes)


def compare(expected: dict[str, float], found: dict[str, float]) -> None:
    for name in expected.keys() & found.keys():
        if not math.isclose(expected[name], found[name], rel_tol=1e-9):
            raise AssertionError(f"{name} is {found[name]}, the slow reference has {expected[name]}")


def reference(features: Tensor, labels: Tensor, weight: Tensor, bias: Tensor, rows: int = 500) -> dict[str, float]:
    """As the definitions read, in float64; what is K × K or N × K a few rows at a time."""
    x, w, b = features.double(), weight.double(), bias.double()
    classes = len(w)
    counts = torch.bincount(labels, minlength=classes).double()
    means = torch.zeros_like(w).index_add_(0, labels, x) / counts[:, None]
    c = means - means.mean(0)
    deviations = x - means[labels]
    squares = torch.zeros(classes, dtype=torch.float64).index_add_(0, labels, deviations.square().sum(1)) / counts
    inverse = torch.linalg.pinv(c.mT @ c) if classes > c.shape[1] else torch.linalg.pinv(c.mT, rtol=1e-10)
    within = deviations.mT @ deviations
    trace = (within * inverse).sum() if classes > c.shape[1] else (inverse @ within * inverse).sum()
    norms, gram_norm = c.norm(dim=1), (c.mT @ c).norm()
    simplex, gap, ratios = (torch.zeros((), dtype=torch.float64) for _ in range(3))
    differing = torch.zeros((), dtype=torch.int64)
    for k in torch.arange(classes).split(rows):
        gram, itself = c[k] @ c.mT, torch.nn.functional.one_hot(k, classes).double()
        simplex += (gram / gram_norm - (itself - 1 / classes) / math.sqrt(classes - 1)).square().sum()
        cosines = gram / norms[k, None] / norms
        gap += ((cosines + 1 / (classes - 1)).abs() * (1 - itself)).sum()
        squared = (norms[k, None].square() + norms.square() - 2 * gram).masked_fill_(itself.bool(), torch.inf)
        ratios += ((squares[k, None] + squares) / (2 * squared)).sum()
    for part in x.split(rows):
        nearest = (part @ means.mT - means.square().sum(1) / 2).argmax(1)
        differing += ((part @ w.mT + b).argmax(1) != nearest).sum()
    pairs = classes * (classes - 1)
    values = {
        "nc1": trace / len(x),
        "nc1_trace": deviations.square().sum() / len(x) / (c.square().sum() / classes),
        "nc2_etf": simplex.sqrt(),
        "angle_gap": gap / pairs,
        "cdnv": ratios / pairs,
        "norm_cv_h": norms.std(correction=0) / norms.mean(),
        "nc3_centered": (w / w.norm() - c / c.norm()).norm(),
        "nc4": differing.double() / len(x),
    }
    return {name: float(value) for name, value in values.items()}
