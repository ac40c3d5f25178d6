"""The series of the metrics at collapsed features whose frame is known."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Matrix = NDArray[np.float64]
Symmetric = tuple[float, float]
"""(x, y) stands for the K x K matrix x P + y J: its values on the centred and the all-ones directions."""
ROUNDING = 1e-12
NEAR = 1e-6
"""Class means whose cosine is nearer to 1 are one: nothing is said of the logarithm of their distance."""
GRAM_CLASSES = 64
"""A Gram matrix is written out up to this many classes (K² numbers)."""


def symmetric_norm_sq(value: Symmetric, classes: int) -> float:
    """The squared norm of a row (or column) of x P + y J."""
    return (value[0] ** 2 * (classes - 1) + value[1] ** 2) / classes


def symmetric_gram(means: Symmetric, classes: int) -> list[list[float]] | None:
    """H̄ᵀH̄ for H̄ = U (x P + y J); None above GRAM_CLASSES."""
    return symmetric_matrix((means[0] ** 2, means[1] ** 2), classes)


def symmetric_matrix(value: Symmetric, classes: int) -> list[list[float]] | None:
    """x P + y J, written out; None above GRAM_CLASSES."""
    if classes > GRAM_CLASSES:
        return None
    x, y = value
    diagonal, other = (x * (classes - 1) + y) / classes, (y - x) / classes
    return [[diagonal if k == j else other for j in range(classes)] for k in range(classes)]


def symmetric_metrics(means: Symmetric, weight: Symmetric, classes: int) -> dict[str, float]:
    """The metrics of H̄ = U means, A = weight Uᵀ, U an isometry; none where all means are zero.

    Only P and J occur, so every norm is a sum over two eigenvalues, of multiplicity K − 1 and 1.
    """
    if means[0] == 0:
        return {}
    zero = dict.fromkeys(
        ("nc1", "nc1_trace", "cdnv", "nc2_etf", "norm_cv_h", "norm_cv_w", "angle_std", "angle_gap", "uniformity_var",
         "unc3"), 0.0,
    )  # fmt: skip
    singular = np.array([means[0]] * (classes - 1) + [abs(means[1])])
    return (
        zero
        | _ranks(singular)
        | {
            "uniformity_mean": -math.log(2 * classes / (classes - 1)) / 2,
            "nc2_of": _frame_distance((means[0] ** 2, means[1] ** 2), (1.0, 1.0), classes),
            "nc3": _frame_distance(weight, means, classes),
            "nc3_centered": _frame_distance(weight, (means[0], 0.0), classes),
        }
    )


def _frame_distance(one: Symmetric, other: Symmetric, classes: int) -> float:
    a, b = (math.hypot(math.sqrt(classes - 1) * x, y) for x, y in (one, other))
    centred, ones = one[0] / a - other[0] / b, one[1] / a - other[1] / b
    return _rounded(math.hypot(math.sqrt(classes - 1) * centred, ones))


def frame_metrics(means: Matrix, weight: Matrix) -> dict[str, float]:
    """The metrics of collapsed features H̄ = U `means` (r x K), A = `weight` Uᵀ (K x r); undefined ones are absent."""
    classes = means.shape[1]
    c = means - means.mean(axis=1, keepdims=True)
    if not (c**2).sum() > ROUNDING**2 * (means**2).sum():
        return {}
    eye = np.eye(classes)
    lengths = np.linalg.norm(c, axis=0)
    directions = c / np.where(lengths > ROUNDING * lengths.max(), lengths, math.nan)  # none for a mean at the centre
    cosines = (directions.T @ directions)[eye == 0]
    apart = np.linalg.matrix_rank(c) == classes - 1  # else nc1 and cdnv divide by what tends to zero
    logs = -np.log(np.maximum(2 - 2 * cosines, ROUNDING**2)) / 2 if cosines.max() < 1 - NEAR else np.array([math.nan])
    lengths_w = np.linalg.norm(weight, axis=1)
    aligned = (weight.T * directions).sum(axis=0) / np.where(lengths_w > 0, lengths_w, math.nan)
    values = {
        "nc1": 0.0 if apart else math.nan,
        "nc1_trace": 0.0,
        "cdnv": 0.0 if apart else math.nan,
        "nc2_of": _distance(means.T @ means, eye),
        "nc2_etf": _distance(c.T @ c, eye - 1 / classes),
        "nc3": _distance(weight, means.T),
        "nc3_centered": _distance(weight, c.T),
        "norm_cv_h": float(lengths.std() / lengths.mean()),
        "norm_cv_w": _variation(lengths_w),
        "unc3": float(aligned.var()),
        "uniformity_mean": float(logs.mean()),
        "uniformity_var": float(logs.var()),
        "angle_std": float(cosines.std()),
        "angle_gap": float(np.abs(cosines + 1 / (classes - 1)).mean()),
    }
    values |= _ranks(np.linalg.svd(means, compute_uv=False).astype(np.float64))
    return {name: _rounded(value) for name, value in values.items() if math.isfinite(value)}


def _ranks(singular: Matrix) -> dict[str, float]:
    """Effective and stable rank of means with these singular values."""
    shares = singular[singular > 0] / singular.sum()
    entropy = -float((shares * np.log(shares)).sum())
    return {"effective_rank": math.exp(entropy), "stable_rank": float(((singular / singular.max()) ** 2).sum())}


def _variation(lengths: Matrix) -> float:
    return float(lengths.std() / lengths.mean()) if lengths.any() else math.nan


def _distance(one: Matrix, other: Matrix) -> float:
    return float(np.linalg.norm(one / np.linalg.norm(one) - other / np.linalg.norm(other)))


def _rounded(value: float) -> float:
    return 0.0 if abs(value) < ROUNDING else value
