"""Estimates of memory and of the right device, from a spec alone."""

from __future__ import annotations

from ncore.network.estimate import network_bytes
from ncore.spec import MeasureSteps, NetworkSpec, UfmSpec
from ncore.ufm.estimate import (
    EXPLICIT,
    GPU_STEP_FLOPS,
    MAX_DRAWN_NUMBERS,
    NUMBER_BYTES,
    trained_numbers,
    ufm_step_flops,
)

CACHED_NUMBERS = 2**17
"""Trained numbers of a batch that stay in a core's cache: with more of them a step is no cheaper (`make bench`)."""
GPU_NUMBERS = 2**25
"""The same on a GPU, limited by memory. That it gains up to there is an assumption: none has been timed."""
BATCH_BYTES = 2**30
"""Estimated memory of several experiments that are trained together; one alone may need more."""


def memory_bytes(spec: UfmSpec | NetworkSpec) -> int:
    """Peak memory of the tensors: of all seeds at once, of a network, whose seeds are trained one by one, of one."""
    if isinstance(spec, NetworkSpec):
        return network_bytes(spec)
    model, seeds = spec.model, len(spec.seeds)
    classes, widths, samples = model.classes, model.widths, sum(model.class_sizes)
    weights = sum(rows * columns for rows, columns in zip((*widths[1:], model.outputs), widths, strict=True))
    if spec.sample_free:
        known = min(widths[0] * samples, max(MAX_DRAWN_NUMBERS, EXPLICIT * classes * widths[0]))
        numbers = 4 * (classes + widths[0]) * (widths[0] + classes) + 3 * known + 2 * classes * widths[0] ** 2
    else:
        numbers = samples * (4 * sum(widths) + 5 * classes)
    return NUMBER_BYTES * seeds * (numbers + 4 * weights)


def measurements(spec: UfmSpec | NetworkSpec) -> int:
    """How many measurements (rows) it will store."""
    if isinstance(spec.measure, MeasureSteps):
        return len(spec.seeds) * spec.measure.points
    epochs = spec.optimizer.epochs if isinstance(spec, NetworkSpec) else 0
    return len(spec.seeds) * (epochs // spec.measure.every_epochs + 2)


def wants_gpu(spec: UfmSpec | NetworkSpec) -> bool:
    """Whether a GPU worker should have it: asked for by name, or left open and large enough to gain from one."""
    if spec.device != "auto":
        return spec.device != "cpu"
    if isinstance(spec, NetworkSpec):
        return spec.model.wants_gpu
    return ufm_step_flops(spec) > GPU_STEP_FLOPS


def most_together(spec: UfmSpec, on_gpu: bool = False) -> int:
    """How many experiments like this one make the fastest batch; at least 1."""
    numbers = (GPU_NUMBERS if on_gpu else CACHED_NUMBERS) // (trained_numbers(spec) * len(spec.seeds))
    return max(1, min(numbers, BATCH_BYTES // memory_bytes(spec)))
