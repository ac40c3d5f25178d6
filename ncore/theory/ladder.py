"""Where a run can come to rest above the predicted minimum: zero, and some of the directions switched on."""

from __future__ import annotations

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from ncore.spec import UfmSpec
from ncore.theory.direction import Direction
from ncore.theory.linear import balanced_directions
from ncore.theory.prediction import is_balanced
from ncore.theory.targets import solve_spec
from ncore.theory.unequal import MAX_CLASSES, unequal_directions

ALL_SUBSETS = 10
"""Up to this many unequal classes every choice of r directions is listed, above that only the best one."""


def local_minima(spec: UfmSpec) -> list[tuple[int, float]]:
    """(r, f_r), sorted, for r of the directions of an MSE model switched on: (r/K) f* + (1 − r/K)/2 without a bias.

    Each is a strict local minimum for M ≥ 2 (f_r may lie above zero's value for γ_c ≤ γ), a saddle for M = 1 but for
    the lowest. For ReLU these are the values with r classes on and the others at zero. With a bias the all-ones
    direction is counted both on and off. Empty where directions do not decouple.
    """
    if not spec.criterion.linear_gradient or spec.model.classifier == "etf" or spec.model.label_noise:
        return []
    if spec.model.targets is not None:
        return _of_targets(spec)
    if not is_balanced(spec) and spec.model.bias and (spec.regularization.bias or spec.model.classes > MAX_CLASSES):
        return []
    parts = balanced_directions(spec) if is_balanced(spec) else unequal_directions(spec)
    off, width = sum(part.at_zero for part in parts), min(spec.model.widths)
    found = [(r, off - gain) for r, gain in _gains(parts, is_balanced(spec)) if r <= width]
    return sorted(set(found))


def _of_targets(spec: UfmSpec) -> list[tuple[int, float]]:
    found = solve_spec(spec) if spec.model.classes <= MAX_CLASSES else None
    if found is None:
        return []
    parts = list(found.directions)
    off, width = sum(part.at_zero for part in parts), min(spec.model.widths)
    return sorted({(r, off - gain) for r, gain in _gains(parts, balanced=False) if r <= width})


def _gains(parts: list[Direction], balanced: bool) -> list[tuple[int, float]]:
    """(number of directions, sum of their gains) of the choices among those that have a minimum away from zero."""
    gains = sorted((part.gain for part in parts if part.rest < 1), reverse=True)
    if balanced:
        centred = parts[0].gain * (parts[0].rest < 1)
        count = (len(parts) - 1) * (parts[0].rest < 1)
        without = [(r, r * centred) for r in range(count + 1)]
        ones = [parts[-1].gain] if parts[-1].rest < 1 else []
        return without + [(r + 1, gain + more) for r, gain in without for more in ones]
    if len(gains) <= ALL_SUBSETS:
        return [(r, math.fsum(some)) for r in range(len(gains) + 1) for some in itertools.combinations(gains, r)]
    return [(r, math.fsum(gains[:r])) for r in range(len(gains) + 1)]


def value_at_zero(spec: UfmSpec) -> float | None:
    """The objective with all weights and features zero and the best bias; None where zero is out of reach, or where b
    matters to a loss other than MSE."""
    if spec.model.normalized:
        return None
    sizes = spec.model.given_sizes
    total = sum(sizes)
    if not spec.criterion.linear_gradient:
        even = len(set(sizes)) == 1 or not spec.model.bias
        return spec.criterion.profile(len(sizes)).value(0.0) if even else None
    if spec.model.targets is not None:
        return _targets_at_zero(spec, np.array(spec.model.targets), np.array(sizes, dtype=float))
    if not spec.model.bias:
        return 0.5
    return 0.5 - sum((n / total) ** 2 for n in sizes) / (2 * (1 + spec.regularization.bias))


def _targets_at_zero(spec: UfmSpec, targets: NDArray[np.float64], sizes: NDArray[np.float64]) -> float:
    """½(Σ_k π_k‖t_k‖² − ‖t̄‖²/(1 + λ_b)), the last only with a bias."""
    share = sizes / sizes.sum()
    mean = targets @ share
    gain = float(mean @ mean) / (1 + spec.regularization.bias) if spec.model.bias else 0.0
    return (float(share @ (targets**2).sum(axis=0)) - gain) / 2
