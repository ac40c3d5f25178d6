"""The prediction as users get it, and the metrics that follow from a predicted frame."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from ncore.spec import UfmSpec

Matrix = NDArray[np.float64]
ROUNDING = 1e-12


class Threshold(BaseModel):
    """`name` is c (M = 1) or gamma (M ≥ 2); at `critical` and above all features are zero."""

    model_config = ConfigDict(frozen=True)
    name: str
    value: float
    critical: float


class Prediction(BaseModel):
    """The predicted minimiser. Norms are squared; per class where classes differ, else one number for all.

    `logit`: W H̄ of a class minus that of another, without the bias. `singular_values`: of W H̄ in units of its target,
    largest first (K of them). `gram`: H̄_jᵀH̄_j (K x K) where it is unique. `levels`: what the series of the metrics
    tend to, {metric: {layer: value}}.
    """

    model_config = ConfigDict(frozen=True)
    regime: str
    objective: float | None = None
    threshold: Threshold | None = None
    feature_norm_sq: dict[str, float | list[float]] | None = None
    weight_norm_sq: list[float] | None = None
    bias: float | None = None
    logit: float | list[float] | None = None
    singular_values: list[float] | None = None
    rank: int | None = None
    gram: dict[str, list[list[float]]] | None = None
    levels: dict[str, dict[str, float]] = {}
    global_minimum: bool | None = None
    notes: list[str] = []


def unknown(note: str, **known: object) -> Prediction:
    return Prediction.model_validate({"regime": "not_known", "notes": [note], **known})


def is_balanced(spec: UfmSpec) -> bool:
    return len(set(spec.model.class_sizes)) == 1


def frame(centred: float, ones: float, classes: int) -> Matrix:
    """centred P + ones J: the symmetric matrix with these values on the centred and the all-ones directions."""
    j = np.full((classes, classes), 1 / classes)
    return centred * (np.eye(classes) - j) + ones * j


def frame_metrics(means: Matrix, weight: Matrix) -> dict[str, float]:
    """The metrics of collapsed features H̄ = U `means`, A = `weight` Uᵀ (both K x K symmetric, U an isometry)."""
    classes = len(means)
    c = means - means.mean(axis=1, keepdims=True)
    p = np.eye(classes) - 1 / classes
    values = {
        "nc1": 0.0,
        "nc1_trace": 0.0,
        "cdnv": 0.0,
        "nc2_of": _distance(means.T @ means, np.eye(classes)),
        "nc2_etf": _distance(c.T @ c, p),
        "nc3": _distance(weight, means.T),
        "nc3_centered": _distance(weight, c.T),
    }
    rounded = {name: 0.0 if value < ROUNDING else value for name, value in values.items()}
    return {name: value for name, value in rounded.items() if np.isfinite(value)}


def _distance(one: Matrix, other: Matrix) -> float:
    with np.errstate(invalid="ignore", divide="ignore"):
        return float(np.linalg.norm(one / np.linalg.norm(one) - other / np.linalg.norm(other)))
