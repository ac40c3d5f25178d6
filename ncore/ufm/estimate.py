"""Estimates for a UFM: numbers drawn, floating-point operations of a step."""

from __future__ import annotations

from ncore.spec import UfmSpec

NUMBER_BYTES = 8
MAX_DRAWN_NUMBERS = 2**23
"""Above this many entries of H₁ only EXPLICIT samples per class are drawn one by one, the rest as mean and scatter."""
EXPLICIT = 1000
GPU_STEP_FLOPS = 3e7
"""A step of this many operations takes two cores about a millisecond (22 GFLOP/s in float64 at K=10 d=512 n=500, `make
bench`). That a GPU gains from there on is an assumption: none has been timed."""


def ufm_step_flops(spec: UfmSpec) -> float:
    """Floating-point operations of one gradient step of all seeds: three products a weight, H_1 … H_M against W."""
    return 6.0 * _weights(spec) * _columns(spec) * len(spec.seeds)


def trained_numbers(spec: UfmSpec) -> int:
    """How many numbers gradient descent changes in one seed, without the bias."""
    return _weights(spec) + spec.model.widths[0] * _columns(spec)


def _weights(spec: UfmSpec) -> int:
    model = spec.model
    return sum(rows * width for rows, width in zip((*model.widths[1:], model.outputs), model.widths, strict=True))


def _columns(spec: UfmSpec) -> int:
    model = spec.model
    return model.classes + model.widths[0] if spec.sample_free else sum(model.class_sizes)
