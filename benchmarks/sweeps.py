"""Sweeps: the engine's batch beside a bare loop of its operations, how its cost falls with its size, and end to end.

`ours` of the last rows is a sweep through the whole service, rows and verdicts and all.
"""

from __future__ import annotations

import os
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from api.service import running
from api.settings import Settings
from benchmarks import Row, seconds_in_turns
from benchmarks._baselines import Autograd, Problem
from ncore.client import Client
from ncore.spec import UfmSpec, parse_spec, with_changes
from ncore.train import begin, begin_together
from ncore.ufm.run import CHUNK

PLAIN = {
    "model": {"kind": "ufm", "classes": 4, "samples_per_class": 50, "widths": [20]},
    "optimizer": {"steps": 5000},
    "measure": {"points": 20},
}
SIZES = (1, 4, 16, 64, 256)


def specs(count: int, **changes: object) -> list[UfmSpec]:
    """As many experiments that differ in their regularisers."""
    made = []
    for i in range(count):
        decays = {"regularization.weights": 0.001 + 1e-5 * i, "regularization.features": 0.002 + 1e-5 * i}
        one = parse_spec(with_changes(PLAIN, {**decays, **changes}))
        assert isinstance(one, UfmSpec)
        made.append(one)
    return made


class Bare:
    """What a step of the batch must compute, in the fewest calls of torch: W X − T, both decays, both gradients."""

    def __init__(self, together: list[UfmSpec]) -> None:
        batch = begin_together(together)._batch
        self.w, self.x, self.targets = batch.weights[0].clone(), batch.columns.clone(), batch.targets.clone()
        self._old, self._residual = torch.empty_like(self.w), torch.empty_like(self.targets)
        rate, samples = together[0].optimizer.learning_rate, sum(together[0].model.class_sizes)
        self._share = rate / samples
        self._keep_w = _column([1 - rate * spec.weight_decays[0] for spec in together]).to(self.w.device)
        self._keep_x = _column([1 - rate * spec.regularization.features for spec in together]).to(self.w.device)

    def run(self, steps: int) -> None:
        w, x, old, residual, share = self.w, self.x, self._old, self._residual, self._share
        for _ in range(steps):
            torch.baddbmm(self.targets, w, x, beta=-1.0, out=residual)
            old.copy_(w)
            w.mul_(self._keep_w).baddbmm_(residual, x.mT, alpha=-share)
            x.mul_(self._keep_x).baddbmm_(old.mT, residual, alpha=-share)


def _column(values: list[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)[:, None, None]


def engine_row(count: int, chunks: int, turns: int, device: str = "auto") -> Row:
    """A step of a batch whose λ differ, with its looks at whether the numbers are finite, against the bare loop."""
    together = specs(count, device=device)
    run, bare = begin_together(together), Bare(together)
    with torch.no_grad():
        run._train(3)
        bare.run(3)
        torch.testing.assert_close(run._batch.weights[0], bare.w, rtol=1e-12, atol=1e-14)

        def ours() -> None:
            for _ in range(chunks):
                run._train(CHUNK)

        def theirs() -> float:
            bare.run(chunks * CHUNK)
            return float(bare.w[0, 0, 0])  # waits for a GPU, as ours does after each chunk

        seconds = seconds_in_turns({"ours": ours, "bare": theirs}, turns)
    steps = chunks * CHUNK * count
    micro = {name: [second * 1e6 / steps for second in taken] for name, taken in seconds.items()}
    name = f"step, one of {count} with different λ"
    return Row.of_turns(name, micro["ours"], micro["bare"], "µs", "<= 2", "bare bmm")


def trained_seconds(together: list[UfmSpec]) -> float:
    """CPU seconds of whole runs, from their start to the last measurement."""
    began = time.process_time()
    run = begin(together[0]) if len(together) == 1 else begin_together(together)
    while not run.done:
        run.advance(1.0)
    return time.process_time() - began


def curve(sizes: tuple[int, ...], turns: int, **changes: object) -> list[Row]:
    """The engine's cost of a combination, measurements and start included, against the batch before: it falls."""
    found: dict[int, list[float]] = {size: [] for size in sizes}
    trained_seconds(specs(1, **changes))
    for _ in range(turns):
        for size in sizes:
            found[size].append(1e3 * trained_seconds(specs(size, **changes)) / size)
    return [
        Row.of_turns(f"combination, one of {size}", found[size], found[before], "ms CPU", "<= 1.05", f"one of {before}")
        for before, size in pairwise(sizes)
    ]


def autograd_step_seconds(steps: int) -> float:
    loop = Autograd(Problem(specs(1)[0]))
    loop.run(steps // 10 + 1)
    began = time.perf_counter()
    loop.run(steps)
    return (time.perf_counter() - began) / steps


def end_to_end_rows(side: int, steps: int, autograd_steps: int) -> list[Row]:
    """A sweep of side² combinations through the service, with a worker for each core; and one submitted meanwhile."""
    decays = [0.001 * 1.1**i for i in range(side)]
    axes = {"regularization.weights": decays, "regularization.features": decays}
    quick = {"optimizer.steps": 20, "measure.points": 2, "seeds": [0]}
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), port=0, workers=max(1, os.cpu_count() or 1), threads=1)
        with running(settings) as service, Client(service.url) as client:
            for _ in range(2 * settings.workers):
                client.submit("fig1", quick).wait(progress=False)  # all are warm
            began = time.perf_counter()
            made = client.sweep(with_changes(PLAIN, {"optimizer.steps": steps}), axes)
            sent = time.perf_counter()
            client.submit("fig1", quick).wait(progress=False)
            waited = time.perf_counter() - sent
            made.wait(progress=False)
            seconds = time.perf_counter() - began
            assert made.refresh().data["statuses"] == {"succeeded": side**2}
    per_step = seconds / (side**2 * steps)
    name = f"{side**2:,} combinations end to end, {steps:,} steps, 20 points"
    autograd = autograd_step_seconds(autograd_steps)
    return [
        Row.of_seconds(name, [seconds], 12.0, "s"),
        Row.of_turns("the same, a run-step", [per_step * 1e6], [autograd * 1e6], "µs", ">= 80", "autograd"),
        Row.of_seconds("a small experiment submitted meanwhile", [waited], 2.0, "s"),
    ]


def run(smallest: bool = False) -> list[Row]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        if smallest:
            few = {"optimizer.steps": 20, "measure.points": 2}
            return [engine_row(2, 1, 1), *curve((1, 2), 1, **few), *end_to_end_rows(2, 20, 2)]
        return [engine_row(234, 8, 9), *curve(SIZES, 3), *end_to_end_rows(32, 5000, 1000)]
    finally:
        torch.set_num_threads(threads)
