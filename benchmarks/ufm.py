"""Steps and measurements of UFMs beside the strongest loop that a user would write for the same work.

Each row's reference is the fastest of several loops, on one thread or all; its name says which. All of them, and ours,
are first held against autograd on the same start.
"""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from benchmarks import Row, cpu_seconds_in_turns, threads
from benchmarks._baselines import Autograd, Numpy, NumpyInPlace, Problem, State, Vmapped
from ncore.metrics import level_metrics
from ncore.metrics.nc4 import nc4
from ncore.metrics.samples import Samples
from ncore.presets import PRESETS
from ncore.schedule import measuring_steps
from ncore.spec import UfmSpec, parse_spec, with_changes
from ncore.train import train
from ncore.ufm.run import UfmRun


@dataclass(frozen=True)
class Size:
    """What is timed: steps a turn at the paper's size and at the large one, replicas, turns, whether to compile."""

    steps: int
    large_steps: int
    replicas: int
    turns: int
    large: dict[str, Any]
    figure_steps: int
    compile: bool


LARGE = {"model.classes": 10, "model.samples_per_class": 500, "model.widths": [512]}
TINY = {"model.classes": 3, "model.samples_per_class": 5, "model.widths": [6]}
FULL = Size(2000, 20, 64, 7, LARGE, 20_000, compile=True)
SMALLEST = Size(2, 2, 2, 1, TINY, 20, compile=False)
CHECKED_STEPS = 3
SLOW = 3.0
"""A rival so many times as slow as the best at a first look is no rival."""


class Loop(Protocol):
    @property
    def state(self) -> State: ...

    def run(self, steps: int) -> None: ...


class Ours:
    """A `UfmRun`, as training drives it."""

    def __init__(self, spec: UfmSpec) -> None:
        self._run = UfmRun([(spec, seed) for seed in spec.seeds], "cpu")

    @property
    def state(self) -> State:
        parts = [self._run._batch.columns, *self._run._batch.weights]
        return parts if len(self._run.seeds) > 1 else [part[0] for part in parts]

    def run(self, steps: int) -> None:
        with self._run._threads(), torch.no_grad():
            self._run._train(steps)


def spec(preset: str = "fig1", **changes: object) -> UfmSpec:
    parsed = parse_spec(with_changes(PRESETS[preset].spec, {"seeds": [0], "model.bias": False, **changes}))
    assert isinstance(parsed, UfmSpec)
    return parsed


def rivals(setting: UfmSpec, size: Size, is_large: bool) -> dict[str, Loop]:
    """Loops for the same work; those of one replica where there are several, too: a sweep can be a loop over them."""
    problems = [Problem(setting, seed) for seed in setting.seeds]
    loops: dict[str, Loop] = {
        "autograd": Autograd(problems[0]), "numpy": Numpy(problems[0]), "numpy in place": NumpyInPlace(problems[0])
    }  # fmt: skip
    if len(problems) > 1:
        loops["vmap(grad)"] = Vmapped(problems)
    if size.compile and not is_large:
        compiled: Loop = Vmapped(problems, compiled=True) if len(problems) > 1 else Autograd(problems[0], compiled=True)
        if _works(compiled):
            loops["compiled " + ("vmap(grad)" if len(problems) > 1 else "autograd")] = compiled
    return loops


def _works(loop: Loop) -> bool:
    """Whether torch.compile can do it here: it needs a C++ compiler."""
    before = [part.detach().clone() for part in loop.state]
    try:
        loop.run(1)
        for part, was in zip(loop.state, before, strict=True):
            part.detach().copy_(was)
    except Exception as error:  # noqa: BLE001 (whatever it is, there is nothing to compare with)
        print(f"torch.compile does not work here: {type(error).__name__}", flush=True)
        return False
    return True


def check(loops: dict[str, Loop], setting: UfmSpec) -> None:
    """Raises AssertionError where a loop, after a few steps, is not where autograd is."""
    relative, absolute = (1e-9, 1e-11) if setting.precision == "float64" else (1e-3, 1e-4)
    slow = Autograd(Problem(setting, setting.seeds[0]))
    slow.run(CHECKED_STEPS)
    for loop in loops.values():
        loop.run(CHECKED_STEPS)
        if isinstance(loop, Ours) and loop._run.engine == "sample_free":  # another basis: compared by what is the same
            pairs = [(w[0] if w.ndim == 3 else w, s) for w, s in zip(loop.state[1:], slow.state[1:], strict=True)]
        else:
            pairs = [(a[0] if a.ndim == 3 else a, s) for a, s in zip(loop.state, slow.state, strict=True)]
        for ours, theirs in pairs:
            torch.testing.assert_close(ours, theirs.detach(), rtol=relative, atol=absolute)


def micros(loop: Loop, steps: int, count: int) -> float:
    """Microseconds a step and replica: by CPU time on one thread, by the clock on several."""
    clock = time.thread_time if count == 1 else time.perf_counter
    with threads(count):
        began = clock()
        loop.run(steps)
        taken = clock() - began
    features = loop.state[0]
    return taken * 1e6 / steps / (len(features) if features.ndim == 3 else 1)


def per_step(loops: dict[str, Loop], steps: int, turns: int) -> dict[str, list[float]]:
    """Microseconds of each loop in each turn, on one thread or all, whichever a first look finds better for it.

    After that look a rival that takes more than three times as long as the best has no more turns.
    """
    counts = sorted({1, torch.get_num_threads()})
    looks = {name: min((micros(loop, steps, count), count) for count in counts) for name, loop in loops.items()}
    least = min(micro for name, (micro, _) in looks.items() if name != "ours")
    kept = [name for name, (micro, _) in looks.items() if name == "ours" or micro <= SLOW * least]
    found: dict[str, list[float]] = {name: [] for name in kept}
    for _ in range(turns):
        for name in kept:
            found[name].append(micros(loops[name], steps, looks[name][1]))
    return found


def step_row(name: str, setting: UfmSpec, size: Size, target: str, is_large: bool = False) -> Row:
    """A step of ours against that of the fastest rival."""
    loops: dict[str, Loop] = {"ours": Ours(setting), **rivals(setting, size, is_large)}
    check(loops, setting)
    steps = size.large_steps if is_large else max(2, size.steps // len(setting.seeds))
    found = per_step(loops, steps, size.turns)
    ours = found.pop("ours")
    best = min(found, key=lambda rival: statistics.median(found[rival]))
    return Row.of_turns(name, ours, found[best], "µs", target, best)


def growth_row(size: Size) -> Row:
    """A step with a million samples a class against one with fifty."""
    million = spec("fig1", **{"model.samples_per_class": 10**6})
    found = per_step({"ours": Ours(million), "reference": Ours(spec())}, size.steps, size.turns)
    return Row.of_turns("step, n=10⁶", found["ours"], found["reference"], "µs", "<= 1.2", "n=50")


def measured(h: Tensor, labels: Tensor, w: Tensor) -> dict[str, float]:
    """The metrics of a UFM's level, of features (d, N) alone, as `measure` takes them but for those no UFM needs."""
    statistics, decided = nc4(Samples(h.mT.contiguous(), labels, len(w)), w, None)
    values = level_metrics(statistics, w) | {"nc4": decided}
    return {name: float(value) for name, value in values.items()}


def measurement_row(size: Size) -> Row:
    """A measurement as it is taken during training, against the same metrics of the features alone."""
    run = UfmRun([(spec(), 0)], "cpu")
    problem = Problem(spec())
    features, weight = problem.state
    measurer = run._measurer

    def ours() -> None:
        for slot in range(measurer.slots):
            measurer.take(slot)
        measurer.measure()

    def theirs() -> None:
        for _ in range(measurer.slots):
            measured(features, problem.labels, weight)

    measurer.take(0)
    first, reference = measurer.measure()[0], measured(features, problem.labels, weight)
    for name, value in reference.items():
        level = None if name == "nc0" else "h1"
        torch.testing.assert_close(float(first[name, level][0]), value, rtol=1e-9, atol=1e-12)
    with torch.no_grad():
        seconds = cpu_seconds_in_turns({"ours": ours, "reference": theirs}, size.turns)
    scaled = {name: [second * 1e3 / measurer.slots for second in taken] for name, taken in seconds.items()}
    name = "measurement, K=4 d=20 n=50"
    return Row.of_turns(name, scaled["ours"], scaled["reference"], "ms", goal(0.25, 2.57), "the same of H₁ alone")


def figure_row(size: Size) -> Row:
    """Figure 1 with its 200 measurements, against numpy in place and the metrics of H₁."""
    setting = spec("fig1", **{"optimizer.steps": size.figure_steps})
    due = measuring_steps(size.figure_steps, setting.measure.points, setting.measure.spacing)

    def theirs() -> dict[str, float]:
        loop, problem, last = NumpyInPlace(Problem(setting)), Problem(setting), 0
        for step in due:
            loop.run(step - last)
            h, w = loop.state
            values, last = measured(h, problem.labels, w), step
        return values

    *_, final = train(setting)
    for name, value in theirs().items():  # NC1 is rounding at the end, in the samples' form; NC0 is of no level
        if not name.startswith(("nc1", "cdnv", "nc0")):
            torch.testing.assert_close(final.values[name, "h1"], value, rtol=1e-6, atol=1e-9)
    turns = min(size.turns, 3)
    seconds = cpu_seconds_in_turns({"ours": lambda: list(train(setting)), "reference": theirs}, turns)
    name = f"fig1, {size.figure_steps:,} steps with its measurements"
    return Row.of_turns(name, seconds["ours"], seconds["reference"], "s", ">= 4", "numpy in place, metrics of H₁")


def run(smallest: bool = False) -> list[Row]:
    size = SMALLEST if smallest else FULL
    many = {"seeds": list(range(size.replicas))}
    deep = {"model.widths": [20] * 4, "regularization.weights": 0.005}
    entropy = {"loss": "cross_entropy"}
    return [
        figure_row(size),
        step_row("step, K=4 d=20 n=50", spec(), size, goal(4.6, 10.4)),
        step_row(f"the same, one of {size.replicas}", spec("fig1", **many), size, goal(4.6, 10.4)),
        step_row("ReLU, M=2", spec("fig4"), size, goal(24, 30.8)),
        step_row(f"ReLU, M=2, one of {size.replicas}", spec("fig4", **many), size, goal(20, 31.5)),
        step_row(f"ReLU, M=4, one of {size.replicas}", spec("fig4", **deep, **many), size, goal(45, 51.6)),
        step_row("cross-entropy", spec(**entropy), size, goal(14, 19.2)),
        step_row("large cross-entropy, float32", spec(**size.large, **entropy, precision="float32"), size,
                 goal(3300, 5946), is_large=True),
        step_row("large MSE, float64", spec(**size.large), size, ">= 12", is_large=True),
        growth_row(size),
        measurement_row(size),
    ]  # fmt: skip


def goal(ours: float, rival: float) -> str:
    """A goal in microseconds of one machine, on which the best rival took so many: the ratio is any machine's."""
    return f">= {rival / ours:.3g}"
