"""Steps and measurements of UFMs against the usual loop: torch autograd and optim.SGD."""

from __future__ import annotations

import torch

from benchmarks import Row, best_seconds
from ncore.metrics import measure
from ncore.presets import PRESETS
from ncore.schedule import measuring_steps
from ncore.spec import UfmSpec, parse_spec, with_changes
from ncore.train import train
from ncore.ufm.run import UfmRun, _threads_for
from ncore.ufm.start import make_start

LARGE = {"model.classes": 10, "model.samples_per_class": 500, "model.widths": [512]}


def spec(**changes: object) -> UfmSpec:
    parsed = parse_spec(with_changes(PRESETS["fig1"].spec, {"seeds": [0], **changes}))
    assert isinstance(parsed, UfmSpec)
    return parsed


def usual_loop(setting: UfmSpec, steps: int, measured: frozenset[int] = frozenset()) -> None:
    """The plain UFM by autograd and SGD, with the metrics of `ncore.metrics.measure` at the steps `measured`."""
    full = spec(**{"model": setting.model.model_dump(), "optimizer.form": "full"})
    start = make_start(full, 0)
    h, w = start.columns.requires_grad_(), start.weights[0].requires_grad_()
    sgd = torch.optim.SGD([h, w], lr=setting.optimizer.learning_rate)
    decay_w, decay_h, samples = setting.weight_decays[0], setting.regularization.features, h.shape[1]
    for step in range(steps + 1):
        if step in measured:
            with torch.no_grad():
                measure(h.T, start.labels, w)
        if step == steps:
            break
        sgd.zero_grad()
        data = (w @ h - start.targets).square().sum() / (2 * samples)
        (data + decay_w / 2 * w.square().sum() + decay_h / 2 * h.square().sum()).backward()
        sgd.step()


def step_us(setting: UfmSpec, steps: int) -> float:
    """Microseconds a step and seed."""
    run = UfmRun([(setting, seed) for seed in setting.seeds], "cpu")
    with _threads_for(run._batch):
        return best_seconds(lambda: run._program.run(steps)) / steps / len(setting.seeds) * 1e6


def usual_us(setting: UfmSpec, steps: int) -> float:
    """The faster of one thread and all of them."""
    threads, times = torch.get_num_threads(), []
    for count in {1, threads}:
        torch.set_num_threads(count)
        times.append(best_seconds(lambda: usual_loop(setting, steps), 3) / steps * 1e6)
    torch.set_num_threads(threads)
    return min(times)


def run() -> list[Row]:
    usual, usual_large = usual_us(spec(), 1000), usual_us(spec(**LARGE), 10)
    one = step_us(spec(), 5000)
    many = step_us(spec(seeds=list(range(64))), 500)
    large = step_us(spec(**LARGE), 200)
    million = step_us(spec(**{"model.samples_per_class": 10**6}), 5000)
    full_large = spec(**LARGE, **{"optimizer.form": "full"})
    full_run = UfmRun([(full_large, 0)], "cpu")
    free_run = UfmRun([(spec(**LARGE), 0)], "cpu")
    measuring = best_seconds(free_run._gauge.measure) * 1e6
    full_measuring = best_seconds(full_run._gauge.measure) * 1e6
    full_step = step_us(full_large, 20)
    figure = spec(**{"optimizer.steps": 20_000})
    due = frozenset(measuring_steps(20_000, 200, "log"))
    ours = best_seconds(lambda: list(train(figure)), 2)
    theirs = best_seconds(lambda: usual_loop(figure, 20_000, due), 1)
    return [
        Row("fig1, 20,000 steps with 200 measurements", ours, theirs, "s", ">= 10"),
        Row("step, K=4 d=20 n=50, float64", one, usual, "µs", ">= 20"),
        Row("step of one of 64 seeds", many, usual, "µs", ">= 150"),
        Row("step, n=10⁶ against n=50", million, one, "µs", "<= 1.2"),
        Row("step, K=10 d=512 n=500, float64", large, usual_large, "µs", ">= 50"),
        Row("measurement there, in steps of the full form", measuring, full_step, "µs", "<= 4"),
        Row("measurement in the full form, in its steps", full_measuring, full_step, "µs", "<= 4"),
    ]
