"""On a GPU: steps of UFMs and networks with CUDA graphs, without them, and beside the loops that a user would write.

Without a GPU nothing of it is run, but for the smallest size, which goes through all of it on the CPU.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from benchmarks import NotRun, Result, Row, seconds_in_turns
from benchmarks._baselines import Autograd, Problem
from benchmarks.network import CLASSES, MODELS, UsualLoop, started
from benchmarks.sweeps import engine_row
from benchmarks.ufm import LARGE, TINY, spec
from ncore.network.estimate import images as image_counts
from ncore.presets import PRESETS
from ncore.spec import NetworkSpec, UfmSpec, parse_spec
from ncore.ufm.run import CHUNK, UfmRun

NO_GPU = NotRun("all of it", "torch sees no GPU here")
WITHOUT = "the same without graphs"


@dataclass(frozen=True)
class Size:
    """Chunks of a UFM's steps and steps of a network in a turn, experiments in a batch, a network's batch, turns."""

    chunks: int
    steps: int
    experiments: int
    batch: int
    turns: int
    large: dict[str, Any]


FULL = Size(chunks=20, steps=20, experiments=1024, batch=128, turns=7, large=LARGE)
SMALLEST = Size(chunks=3, steps=1, experiments=2, batch=10, turns=1, large=TINY)


def waited_for(device: str, work: Callable[[], object]) -> Callable[[], None]:
    """The work, and waiting until the GPU has done it."""

    def done() -> None:
        work()
        if device != "cpu":
            torch.cuda.synchronize(device)

    return done


def ufm_rows(name: str, setting: UfmSpec, device: str, size: Size) -> list[Row]:
    """A step of all seeds, with graphs and without; against autograd where there is one seed."""
    runs = [UfmRun([(setting, seed) for seed in setting.seeds], device) for _ in range(2)]
    runs[1].repeat_by(None)

    def steps(run: UfmRun) -> Callable[[], None]:
        def work() -> None:
            with run._threads(), torch.no_grad():
                for _ in range(size.chunks):
                    run._train(CHUNK)

        return waited_for(device, work)

    works = {"graphs": steps(runs[0]), "plain": steps(runs[1])}
    if len(setting.seeds) == 1:
        loop = Autograd(Problem(setting, setting.seeds[0], device))
        works["autograd"] = waited_for(device, lambda: loop.run(size.chunks * CHUNK))
    found = timed(works, size.turns, 1e6 / (size.chunks * CHUNK))
    relative, absolute = (1e-9, 1e-11) if setting.precision == "float64" else (1e-3, 1e-4)
    for one, other in zip(*(run._batch.trained().values() for run in runs), strict=True):
        torch.testing.assert_close(one, other, rtol=relative, atol=absolute)
    rows = [Row.of_turns(name, found["graphs"], found["plain"], "µs", ">= 1", WITHOUT)]
    if "autograd" in found:
        rows.append(Row.of_turns(f"{name}, by autograd", found["graphs"], found["autograd"], "µs", ">= 1", "autograd"))
    return rows


def timed(works: Mapping[str, Callable[[], None]], turns: int, scale: float) -> dict[str, list[float]]:
    """Scaled seconds of each work in each turn, after one turn in which all is warmed up and captured."""
    for work in works.values():
        work()
    return {name: [scale * second for second in found] for name, found in seconds_in_turns(works, turns).items()}


def network_rows(name: str, device: str, size: Size) -> list[Row]:
    """A step of a network with graphs, without, and of the usual loop; products in TF32, as is usual there."""
    model, per_class = MODELS[name], 2 * size.batch // CLASSES * size.steps + 1
    precision = "float32" if device == "cpu" else "tf32"
    runs = [started(model, size.batch, per_class, device, precision) for _ in range(2)]
    runs[1]._capture = None
    runs[1].begin_seed(0)
    usual = UsualLoop(model, runs[0]._data, size.batch, device)
    scale = 1e3 / size.steps
    works = {
        "graphs": waited_for(device, lambda: runs[0]._train(runs[0].step + size.steps, math.inf)),
        "plain": waited_for(device, lambda: runs[1]._train(runs[1].step + size.steps, math.inf)),
        "usual": waited_for(device, lambda: usual.steps(size.steps)),
    }
    found = timed(works, size.turns, scale)
    against = {"plain": WITHOUT, "usual": "DataLoader and torchvision"}
    titles = {"plain": f"training, {name}", "usual": f"training, {name}, beside the usual loop"}
    return [Row.of_turns(titles[one], found["graphs"], found[one], "ms/step", ">= 1", against[one]) for one in against]


def figure_row(device: str, size: Size) -> Row:
    """An epoch of figure 5's network with one measurement, from some steps, beside the same of the usual loop.

    On as many synthetic images as MNIST has, since it need not be there.
    """
    setting = parse_spec(PRESETS["fig5-mse"].spec)
    assert isinstance(setting, NetworkSpec)
    (images, _), batch, model = image_counts(setting.data), size.batch, PRESETS["fig5-mse"].spec["model"]
    run = started(model, batch, 2 * batch // CLASSES * size.steps + 1, device)
    usual = UsualLoop(model, run._data, batch, device)
    epoch, few = images / batch, len(run._data.train)

    works = {
        "steps": waited_for(device, lambda: run._train(run.step + size.steps, math.inf)),
        "measurement": waited_for(device, lambda: run._measure(math.inf)),
        "usual": waited_for(device, lambda: usual.steps(size.steps)),
    }
    found = timed(works, size.turns, 1.0)
    ours = [
        steps * epoch / size.steps + measurement * images / few
        for steps, measurement in zip(found["steps"], found["measurement"], strict=True)
    ]
    theirs = [steps * epoch / size.steps for steps in found["usual"]]
    name = f"an epoch of fig5-mse, from {size.steps} steps, measured once"
    return Row.of_turns(name, ours, theirs, "s", ">= 1", "DataLoader and torchvision")


def run(smallest: bool = False) -> Sequence[Result]:
    if not torch.cuda.is_available() and not smallest:
        return [NO_GPU]
    device, size = "cuda:0" if torch.cuda.is_available() else "cpu", SMALLEST if smallest else FULL
    large = spec(**size.large, loss="cross_entropy", precision="float32")
    return [
        *ufm_rows("step, K=4 d=20 n=50", spec(), device, size),
        *ufm_rows("ReLU, M=2, 64 seeds", spec("fig4", seeds=list(range(64))), device, size),
        *ufm_rows("large cross-entropy, float32", large, device, size),
        engine_row(size.experiments, size.chunks, size.turns, device),
        *network_rows("imagenet stem", device, size),
        *network_rows("cifar stem", device, size),
        figure_row(device, size),
    ]
