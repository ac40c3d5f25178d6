"""One experiment on a UFM: all its seeds as one batch, measured at the scheduled steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

from ncore.run import Diverged, Measurement
from ncore.schedule import measuring_steps, next_due
from ncore.spec import UfmSpec
from ncore.stopping import Check, go_on
from ncore.ufm.measuring import Gauge
from ncore.ufm.start import make_start, stack
from ncore.ufm.steps import Program, Rates, layered_program, linear_program

CHUNK = 64
"""Steps between two looks at the clock and at whether the numbers are still finite."""
ONE_THREAD_BELOW_MULTIPLICATIONS = 1_000_000
ROW_PANEL = 4
"""BLAS multiplies panels of rows: 12 rows, two of them zeros, take less time than 10 (397 for 501 µs a step)."""


class UfmRun:
    """The Run of `ncore.train` for UFMs. `replicas` are (spec, seed) of one shape: rates and class sizes may differ."""

    left_out: str | None = None

    def __init__(
        self,
        replicas: Sequence[tuple[UfmSpec, int]],
        device: str,
        start: Mapping[str, Any] | None = None,
        checkpoint: Mapping[str, Tensor] | None = None,
        check: Check = go_on,
    ) -> None:
        self.specs = [spec for spec, _ in replicas]
        self.seeds = [seed for _, seed in replicas]
        self.spec, self.device = self.specs[0], device
        self.engine = "sample_free" if self.spec.sample_free else "full"
        self.step, self.total = 0, self.spec.optimizer.steps
        schedule = self.spec.measure
        self._due = measuring_steps(self.total, schedule.points, schedule.spacing)
        self._measured = -1  # the last step that was measured
        self._batch = self._load(checkpoint) if checkpoint else self._begin(start, check)
        self._alive = torch.ones(len(replicas), dtype=torch.bool)
        self._program = self._build()
        if checkpoint:
            self._restore(checkpoint)
        self._gauge = Gauge(self._batch, self.specs)

    @property
    def done(self) -> bool:
        return self._measured >= self.total

    def advance(self, seconds: float | None = None) -> list[Measurement]:
        """Trains until the next scheduled step has been measured, or about `seconds` have passed (then maybe [])."""
        until = time.perf_counter() + (float("inf") if seconds is None else seconds)
        with _threads_for(self._batch), torch.no_grad():
            due = next_due(self._due, self._measured)
            while self.step < due:
                self._train(min(CHUNK, due - self.step))
                if time.perf_counter() >= until and self.step < due:
                    return []
            return self._measure()

    def checkpoint(self) -> dict[str, Tensor]:
        """All that is needed to go on bit for bit as if nothing had happened."""
        state = {name: tensor.cpu().clone() for name, tensor in self._batch.items()}
        state |= {f"velocity.{name}": v.cpu().clone() for name, v in self._program.velocities.items()}
        return state | {"position": torch.tensor([self.step, self._measured]), "alive": self._alive.clone()}

    def final_state(self) -> dict[str, Tensor]:
        """W_j (S, d_{j+1}, d_j), b (S, K), class means H̄₁ (S, d, K), and the samples known one by one, H (S, d, m)."""
        batch, classes = self._batch, self.spec.model.classes
        level = self._gauge.level(batch["columns"].double())
        index = batch["labels"].clamp(min=0)[:, None, :].expand(-1, level.means.shape[1], -1)
        samples = level.means.gather(2, index) + (level.root if level.q is None else level.root @ level.q)
        state = {name: batch[name] for name in batch if name.startswith("W_")} | {"b": batch["b"]}
        state |= {"class_means": level.means[:, :, :classes], "H": samples, "labels": batch["labels"]}
        return {name: tensor.cpu().contiguous() for name, tensor in state.items()}

    def _begin(self, start: Mapping[str, Any] | None, check: Check) -> dict[str, Tensor]:
        per_seed = [_of_seed(start, i, len(self.specs)) for i in range(len(self.specs))]
        starts = [
            make_start(spec, seed, given, check)
            for spec, seed, given in zip(self.specs, self.seeds, per_seed, strict=True)
        ]
        return self._place(stack(starts))

    def _place(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Trained tensors and targets in the training precision; what only the gauge reads stays in float64."""
        dtype = torch.float32 if self.spec.precision == "float32" else torch.float64
        kept = ("labels", "q", "gram")
        return {k: v.to(self.device) if k in kept else v.to(self.device, dtype) for k, v in batch.items()}

    def _load(self, checkpoint: Mapping[str, Tensor]) -> dict[str, Tensor]:
        extra = ("position", "alive")
        return self._place(
            {k: v.clone() for k, v in checkpoint.items() if k not in extra and not k.startswith("velocity.")}
        )

    def _restore(self, checkpoint: Mapping[str, Tensor]) -> None:
        self.step, self._measured = (int(number) for number in checkpoint["position"])
        self._alive = checkpoint["alive"].clone()
        for name, velocity in self._program.velocities.items():
            velocity.copy_(checkpoint[f"velocity.{name}"])

    def _build(self) -> Program:
        x, model = self._batch["columns"], self.spec.model
        rates = Rates.of(self.specs, self.device, x.dtype)
        if self.spec.linear_mse:
            trained = self._batch if _is_small(self._batch) else self._pad_classes()
            return linear_program(trained, rates, model.bias)
        return layered_program(self._batch, rates, model.bias, model.activation == "relu", self.spec.loss)

    def _pad_classes(self) -> dict[str, Tensor]:
        """The batch with rows of zeros, which stay zero, up to full panels; the batch itself becomes views of it."""
        padded, classes = dict(self._batch), self.spec.model.classes
        for name in (f"W_{len(self.spec.model.widths)}", "targets", "b"):
            tensor = self._batch[name]
            padded[name] = tensor.new_zeros(len(tensor), -(-classes // ROW_PANEL) * ROW_PANEL, *tensor.shape[2:])
            padded[name][:, :classes] = tensor
            self._batch[name] = padded[name][:, :classes]
        return padded

    def _train(self, steps: int) -> None:
        self._program.run(steps)
        self.step += steps
        finite = self._batch["W_1"].sum((1, 2)).isfinite().cpu()
        lost = self._alive & ~finite
        self._alive &= finite
        if not bool(self._alive.any()):
            seed = self.seeds[int(lost.nonzero()[0])]
            raise Diverged(self.step, seed, self.spec.optimizer.learning_rate, also="model.init_scale")

    def _measure(self) -> list[Measurement]:
        values = self._gauge.measure()
        self._measured = self.step
        rows = torch.stack(list(values.values()), dim=1).tolist()
        return [
            Measurement(seed, self.step, dict(zip(values, row, strict=True)))
            for seed, row in zip(self.seeds, rows, strict=True)
        ]


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


@contextmanager
def _threads_for(batch: Mapping[str, Tensor]) -> Iterator[None]:
    """One thread while the products are small (more would wait for each other), the caller's number otherwise."""
    before = torch.get_num_threads()
    if batch["columns"].device.type == "cpu" and _is_small(batch):
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _is_small(batch: Mapping[str, Tensor]) -> bool:
    return batch["columns"].numel() * batch["b"].shape[1] < ONE_THREAD_BELOW_MULTIPLICATIONS
