"""The one door to training: `train(spec)` yields measurements; `begin(spec)` gives the run itself to those who
store, show progress, stop and go on (the worker, the command line)."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from ncore.outcome import Ended, Outcome, as_final
from ncore.presets import Spec, as_spec, trainable
from ncore.provenance import provenance
from ncore.run import DeviceError, Diverged, Measurement, Run
from ncore.spec import NetworkSpec, UfmSpec
from ncore.stopping import Check, Stopped, go_on, interruptible
from ncore.sweeps.summary import summary_of
from ncore.theory import predict
from ncore.ufm.run import UfmRun
from ncore.verdict import verdicts

LIVE_SECONDS = 0.1
"""Time after which `train` yields what it has."""

__all__ = ["DeviceError", "Diverged", "Run", "Stopped", "begin", "begin_together", "outcome", "pick_device", "train"]


def begin(
    spec: Spec | Mapping[str, Any] | str,
    start: Mapping[str, Any] | None = None,
    checkpoint: Mapping[str, Tensor] | None = None,
    data_dir: str | None = None,
    check: Check | None = None,
    geometry: bool = False,
) -> Run:
    """The run of `spec` (or of a dict or a preset's name), at its start or where `checkpoint` was taken.

    `start` (UFM only): {"H": (d_1, N), "W": [W_1, …], "b": (K,)}, each optional; an array with one more dimension
    in front holds one entry for each seed. `data_dir` (networks) defaults to the environment's NCORE_DATA_DIR.
    `check` is called several times a second until the run stands; what it raises (for instance `Stopped`) ends the
    start at once, whatever it is at: a download, images that are decoded, features that are drawn. With `geometry`
    measurements have it at the steps of `ncore.geometry.kept_steps`.
    Raises DeviceError, ValueError for a start that does not fit, and for networks what `ncore.network.data` raises.
    """
    spec = trainable(as_spec(spec))
    if check is not None:
        return interruptible(lambda check: _begin(spec, start, checkpoint, data_dir, check, geometry), check)
    return _begin(spec, start, checkpoint, data_dir, go_on, geometry)


def begin_together(
    specs: Sequence[UfmSpec],
    checkpoint: Mapping[str, Tensor] | None = None,
    check: Check = go_on,
    geometry: bool = False,
) -> UfmRun:
    """One run of several experiments whose `ncore.ufm.together.kin` is the same; at their start, or where the
    checkpoint that was `joined` from theirs was taken.

    An experiment's numbers are those of its own run but for rounding: the products of many replicas are one call of
    torch, where a run of its own may call BLAS (`ncore.ufm.operations`), and sums are padded to the longest.
    Raises DeviceError.
    """
    own = [spec.model_copy() for spec in specs]  # objects of their own, whoever gave one twice
    replicas = [(spec, seed) for spec in own for seed in spec.seeds]
    device = pick_device(specs[0].device)
    return interruptible(
        lambda check: UfmRun(replicas, device, checkpoint=checkpoint, check=check, geometry=geometry), check
    )


def _begin(
    spec: UfmSpec | NetworkSpec,
    start: Mapping[str, Any] | None,
    checkpoint: Mapping[str, Tensor] | None,
    data_dir: str | None,
    check: Check,
    geometry: bool,
) -> Run:
    device = pick_device(spec.device)
    if isinstance(spec, UfmSpec):
        replicas = [(spec, seed) for seed in spec.seeds]
        return UfmRun(replicas, device, start, checkpoint, check, geometry=geometry)
    if start:
        raise ValueError("start: only a UFM can begin from given arrays")
    if spec.precision == "tf32" and device == "cpu":
        raise DeviceError("precision: 'tf32' is a GPU's way to multiply, and this is the CPU; use float32")
    found = torch.cuda.device_count()
    if device != "cpu" and 1 < spec.devices > found:
        raise DeviceError(f"devices: {spec.devices} were asked for, but only {found} CUDA devices are to be seen here")
    from ncore.network.device import out_of_memory_explained
    from ncore.network.run import NetworkRun

    with out_of_memory_explained(device):
        return NetworkRun(spec, device, checkpoint, data_dir or os.environ.get("NCORE_DATA_DIR"), check, geometry)


def train(
    spec: Spec | Mapping[str, Any] | str,
    start: Mapping[str, Any] | None = None,
    checkpoint: Mapping[str, Tensor] | None = None,
) -> Iterator[Measurement]:
    """Trains `spec` (or a dict or a preset's name) and yields the measurements of all seeds in the order of steps.

    Arguments as for `begin`. Raises Diverged when no seed is finite any more.
    """
    run = begin(spec, start, checkpoint)
    while not run.done:
        yield from run.advance(LIVE_SECONDS)


def outcome(spec: UfmSpec | NetworkSpec, run: Run, final: Sequence[Measurement]) -> Ended:
    """The `result` of a finished run; `final` holds the last measurement of each seed.

    Its `summary` (ncore.sweeps.summary) is what tables of sweeps read; the service keeps it in a column of its own.
    """
    prediction = predict(spec)
    result: Outcome = {
        "final": as_final(final),
        "verdict": verdicts(spec, list(final), run.classes, prediction),
        "engine": run.engine,
        "device": run.device,
        "versions": provenance(run.device),
    }
    return {**result, "summary": summary_of(prediction, result["final"], result["verdict"])}


def pick_device(asked: str) -> str:
    """`auto` is the first GPU where there is one. Raises DeviceError for a GPU that is not here."""
    if asked == "auto":
        return "cuda:0" if torch.cuda.is_available() else "cpu"
    if asked == "cpu":
        return asked
    found = torch.cuda.device_count()
    index = int(asked.partition(":")[2] or 0)
    if index >= found:
        raise DeviceError(
            f"device: {asked!r} was asked for, but only {found} CUDA devices are to be seen here; use auto or cpu"
        )
    return f"cuda:{index}"


class _CallableModule(ModuleType):
    """This module can be called like its function: once it is imported, Python binds `ncore.train` to the module, and
    `from ncore import train` has to give something that trains whatever was imported before."""

    def __call__(self, *args: Any, **options: Any) -> Iterator[Measurement]:
        return train(*args, **options)


sys.modules[__name__].__class__ = _CallableModule
