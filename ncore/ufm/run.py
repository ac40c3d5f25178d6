"""One experiment on a UFM: all its seeds as one batch, measured at the scheduled steps."""

from __future__ import annotations

import math
import time
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import accumulate
from typing import Any, get_args

import torch
from torch import Tensor

from ncore.geometry import kept_steps
from ncore.graphs import Capture, Repeated, capture_for
from ncore.kinds.losses import Loss
from ncore.run import Diverged, Measurement
from ncore.schedule import measuring_steps
from ncore.spec import UfmSpec
from ncore.stopping import Check, go_on
from ncore.ufm.arithmetic import SINGLE_THREADED_MULTIPLICATIONS, Arithmetic, choose_arithmetic
from ncore.ufm.batch import Batch
from ncore.ufm.measuring import UfmMeasurer
from ncore.ufm.operations import BlasOperations, Operations, TorchOperations, blas_threads
from ncore.ufm.start import make_start
from ncore.ufm.steps import (
    Program,
    Rates,
    blas_columns,
    build_layered,
    build_linear,
    build_normalized,
    build_one_layer,
)
from ncore.ufm.together import VELOCITY, loss_of

CHUNK = 64
"""Steps between two looks at the clock and at whether the numbers are still finite; on a GPU, those of a graph."""
ONE_THREAD_BELOW_MULTIPLICATIONS = 1_000_000
ROW_PANEL = 4
"""Torch's BLAS multiplies panels of rows: 12 rows, two of them zeros, take less time than 10 (397 for 501 µs)."""
ARITHMETICS: tuple[Arithmetic, ...] = get_args(Arithmetic)


class UfmRun:
    """The Run of `ncore.train` for UFMs. `replicas` are (spec, seed) of one shape: rates and class sizes may differ.

    Those that follow each other with one and the same spec object are an experiment; one whose replicas have all left
    the finite numbers is in `diverged`, and measured no more. Raises Diverged when all are there.

    `arithmetic` is for tests; left out, it is the checkpoint's, or chosen for the batch's shape.
    """

    left_out: str | None = None

    def __init__(
        self,
        replicas: Sequence[tuple[UfmSpec, int]],
        device: str,
        start: Mapping[str, Any] | None = None,
        checkpoint: Mapping[str, Tensor] | None = None,
        check: Check = go_on,
        arithmetic: Arithmetic | None = None,
        geometry: bool = False,
    ) -> None:
        self.specs = [spec for spec, _ in replicas]
        self.seeds = [seed for _, seed in replicas]
        self.spec, self.device = self.specs[0], device
        self.engine = "sample_free" if self.spec.sample_free else "full"
        self.step, self.total = 0, self.spec.optimizer.steps
        self.classes = self.spec.model.classes
        self.layers = tuple(f"h{j + 1}" for j in range(len(self.spec.model.widths)))
        schedule = self.spec.measure
        self._due = measuring_steps(self.total, schedule.points, schedule.spacing)
        shape = self.classes, self.spec.model.outputs, len(self.layers)
        self._kept = kept_steps(self._due, len(self.spec.seeds), *shape) if geometry else frozenset[int]()
        self._measured = -1  # the last step that was measured
        self._end: Diverged | None = None
        self.diverged: dict[int, Diverged] = {}
        starts = [i == 0 or spec is not self.specs[i - 1] for i, spec in enumerate(self.specs)]
        self._owners = [owner - 1 for owner in accumulate(starts)]  # the experiment of each replica
        self._alive = torch.ones(len(replicas), dtype=torch.bool)
        self._batch = (Batch.from_named(checkpoint) if checkpoint else self._begin(start, check)).place(
            device, self._dtype
        )
        self.arithmetic = arithmetic or self._arithmetic(checkpoint)
        self._velocities: dict[str, Tensor] = {}
        self._programs = self._build()
        self.repeat_by(capture_for(self._batch.columns.device))
        if checkpoint:
            self._restore(checkpoint)
        self._measurer = UfmMeasurer(self._batch, self.specs)

    @property
    def done(self) -> bool:
        return self._measured >= self.total

    def advance(self, seconds: float | None = None) -> list[Measurement]:
        """Trains until the next scheduled step has been measured, or about `seconds` have passed (then maybe []).

        With `seconds`, further scheduled steps that are reached within them are measured, and returned, together: at
        small sizes that is several times as fast.
        """
        if self._end:
            raise self._end
        until = time.perf_counter() + (float("inf") if seconds is None else seconds)
        held: list[int] = []  # indexes of the scheduled steps whose states stand in the measurer's slots
        with self._threads(), torch.no_grad():
            for i in range(bisect_right(self._due, self._measured), len(self._due)):
                if not self._reach(self._due[i], until, held):
                    break
                slot = i % self._measurer.slots
                self._measurer.take(slot)
                held.append(i)
                is_full = slot == self._measurer.slots - 1
                if is_full or seconds is None or time.perf_counter() >= until:
                    break
            return self._measure(held)

    def repeat_by(self, capture: Capture | None) -> None:
        """Has whole chunks of steps captured, and replayed from then on."""
        self._chunks = [Repeated(capture) for _ in self._programs]

    def checkpoint(self) -> dict[str, Tensor]:
        """All that is needed to go on bit for bit as if nothing had happened."""
        trained = self._batch.trained()  # without the rows of zeros that a program may have behind the outputs
        kept = {name: v[:, : trained[name].shape[1]] for name, v in self._velocities.items()}
        state = self._batch.named() | {f"{VELOCITY}{name}": v for name, v in kept.items()}
        state |= {"position": torch.tensor([self.step, self._measured]), "alive": self._alive}
        state["arithmetic"] = torch.tensor(ARITHMETICS.index(self.arithmetic))
        return {name: tensor.cpu().clone() for name, tensor in state.items()}

    def final_state(self) -> dict[str, Tensor]:
        """W_j (S, d_{j+1}, d_j), b (S, K), class means H̄₁ (S, d, K), and the samples known one by one, H (S, d, m)."""
        batch = self._batch
        level = self._measurer.first_level()
        index = batch.labels.clamp(min=0)[:, None, :].expand(-1, level.means.shape[1], -1)
        samples = level.means.gather(2, index) + (level.root if level.q is None else level.root @ level.q)
        state = {name: tensor for name, tensor in batch.trained().items() if name != "columns"}
        state |= {"class_means": level.means, "H": samples, "labels": batch.labels}
        return {name: tensor.cpu().contiguous() for name, tensor in state.items()}

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float32 if self.spec.precision == "float32" else torch.float64

    def _begin(self, start: Mapping[str, Any] | None, check: Check) -> Batch:
        per_seed = [_of_seed(start, i, len(self.specs)) for i in range(len(self.specs))]
        starts = [
            make_start(spec, seed, given, check)
            for spec, seed, given in zip(self.specs, self.seeds, per_seed, strict=True)
        ]
        return Batch.stack(starts)

    def _arithmetic(self, checkpoint: Mapping[str, Tensor] | None) -> Arithmetic:
        """The checkpoint's where it can be kept, since the other one would round differently."""
        if self._batch.columns.device.type != "cpu" or self.spec.model.normalized:
            return "torch"
        if checkpoint:  # before there was a choice it was torch
            return ARITHMETICS[int(checkpoint["arithmetic"])] if "arithmetic" in checkpoint else "torch"
        return choose_arithmetic(self._batch, self._goes_in_blocks)

    def _restore(self, checkpoint: Mapping[str, Tensor]) -> None:
        self.step, self._measured = (int(number) for number in checkpoint["position"])
        self._alive = checkpoint["alive"].clone()
        for name, velocity in self._velocities.items():
            if f"{VELOCITY}{name}" in checkpoint:
                saved = checkpoint[f"{VELOCITY}{name}"]
                rows = min(saved.shape[1], velocity.shape[1])  # either may have rows of zeros behind the classes
                velocity[:, :rows] = saved[:, :rows].reshape(velocity[:, :rows].shape)

    def _build(self) -> list[Program]:
        """One program for all replicas by torch, one for each by BLAS: in the cache for a chunk of steps."""
        trained = self._batch
        if self.arithmetic == "torch" and not self._is_small:
            trained, self._batch = trained.padded(ROW_PANEL)
        if self.arithmetic == "blas" and self._goes_in_blocks:
            self._batch = trained = trained.by_samples()
        operations: Operations = TorchOperations() if self.arithmetic == "torch" else BlasOperations(self._dtype)
        parts = [(self.specs, trained)]
        if self.arithmetic == "blas" or len(self.specs) == 1:
            parts = [([spec], trained.replica(i)) for i, spec in enumerate(self.specs)]
        rates = [Rates.of(specs, self.device, self._dtype) for specs, _ in parts]
        if any(rate.need_velocities for rate in rates):
            self._velocities = {name: torch.zeros_like(theta) for name, theta in trained.trained().items()}
        programs = []
        for i, ((specs, batch), rate) in enumerate(zip(parts, rates, strict=True)):
            whole = batch.columns.ndim == 3
            velocities = {name: v if whole else v[i] for name, v in self._velocities.items()}
            programs.append(self._program(Program(batch, rate, operations, velocities), loss_of(specs)))
        return programs

    def _program(self, program: Program, loss: Loss) -> Program:
        model = self.spec.model
        if model.normalized:
            build_normalized(program, loss, model.classes)
        elif self.spec.linear_mse and not (self.arithmetic == "blas" and self._goes_in_blocks):
            build_linear(program, model.bias, model.classifier == "etf")
        elif len(model.widths) == 1:
            build_one_layer(program, model.bias, loss, model.outputs, model.classifier == "etf")
        else:
            relu = model.activation == "relu"
            build_layered(program, model.bias, relu, loss, model.outputs, model.classifier == "etf")
        return program

    def _reach(self, due: int, until: float, held: list[int]) -> bool:
        """Trains up to the step `due`, and says whether it got there before the time `until`.

        Where all replicas diverge on the way, what is held is still measured; the next call of `advance` raises.
        """
        try:
            while self.step < due:
                self._train(min(CHUNK, due - self.step))
                if time.perf_counter() >= until and self.step < due:
                    return False
        except Diverged as error:
            if not held:
                raise
            self._end = error
            return False
        return True

    def _train(self, steps: int) -> None:
        for program, chunk in zip(self._programs, self._chunks, strict=True):
            if steps == CHUNK:
                chunk(partial(program.run, CHUNK))
            else:
                program.run(steps)
        self.step += steps
        finite = self._batch.weights[0].sum((1, 2)).isfinite().cpu()
        lost = self._alive & ~finite
        self._alive &= finite
        if bool(lost.any()):
            self._note_diverged(lost.nonzero().flatten().tolist())

    def _note_diverged(self, lost: Sequence[int]) -> None:
        """Raises Diverged where no replica is left."""
        living = {owner for owner, alive in zip(self._owners, self._alive.tolist(), strict=True) if alive}
        for i in lost:
            owner, rate = self._owners[i], self.specs[i].optimizer.learning_rate
            if owner not in living and owner not in self.diverged:
                self.diverged[owner] = Diverged(self.step, self.seeds[i], rate, also="model.init_scale")
        if not living:
            raise self.diverged[self._owners[lost[0]]]

    def _measure(self, held: Sequence[int]) -> list[Measurement]:
        """The measurements of the scheduled steps with these indexes, which stand in the measurer's slots."""
        if not held:
            return []
        slots, found = self._measurer.measure(), []
        geometry = self._measurer.geometry([i % len(slots) for i in held if self._due[i] in self._kept])
        ends = [self.diverged[owner].step if owner in self.diverged else math.inf for owner in self._owners]
        for i in held:
            slot, step = i % len(slots), self._due[i]
            values = slots[slot]
            rows = torch.stack(list(values.values()), dim=1).tolist()
            shapes = geometry.get(slot, [None] * len(rows))
            found += [
                Measurement(seed, step, dict(zip(values, row, strict=True)), owner, shape)
                for seed, row, owner, end, shape in zip(self.seeds, rows, self._owners, ends, shapes, strict=True)
                if step < end
            ]
        self._measured = self._due[held[-1]]
        return found

    @property
    def _is_small(self) -> bool:
        columns = self._batch.columns
        return columns.numel() * self.spec.model.classes < ONE_THREAD_BELOW_MULTIPLICATIONS

    @property
    def _goes_in_blocks(self) -> bool:
        """Whether a step by BLAS goes through X block by block."""
        return len(self.layers) == 1 and not self.spec.model.normalized and blas_columns(self._batch) is not None

    @contextmanager
    def _threads(self) -> Iterator[None]:
        """One thread while the products are small (more would wait for each other), the caller's number otherwise."""
        before = torch.get_num_threads()
        with ExitStack() as stack:
            if self._batch.columns.device.type == "cpu" and self._is_small:
                torch.set_num_threads(1)
                stack.callback(torch.set_num_threads, before)
            if self.arithmetic == "blas" and self._batch.largest_product > SINGLE_THREADED_MULTIPLICATIONS:
                stack.enter_context(blas_threads(1 if self._goes_in_blocks else torch.get_num_threads()))
            yield


def _of_seed(start: Mapping[str, Any] | None, i: int, seeds: int) -> dict[str, Any] | None:
    """The i-th seed's part of the given arrays: those with one more dimension hold one entry for each seed."""
    if not start:
        return None
    due = {"H": 2, "b": 1}
    unknown = set(start) - {"H", "W", "b"}
    if unknown:
        raise ValueError(f"start has {sorted(unknown)}, may have H, W and b")

    def pick(value: Any, dimensions: int, name: str) -> Any:
        value = torch.as_tensor(value)
        if value.ndim != dimensions + 1:
            return value
        if len(value) != seeds:
            raise ValueError(f"start['{name}'] holds {len(value)} entries for {seeds} seeds")
        return value[i]

    picked = {name: pick(start[name], dimensions, name) for name, dimensions in due.items() if name in start}
    if "W" in start:
        picked["W"] = [pick(w, 2, f"W_{j + 1}") for j, w in enumerate(start["W"])]
    return picked
