"""MSE without activation, classes of unequal size, any depth: the directions still decouple in two cases.

Without a bias the target's singular vectors are the classes, of singular value √n_k. A free bias (λ_b = 0) takes the
all-ones vector out of the target, whose squared singular values then are the eigenvalues of diag(n_k) − n nᵀ/N. In
both the optimum shares them by von Neumann's trace inequality (our derivation; for M = 1 without a bias as in
Thrampoulidis et al. 2022). With 0 < λ_b < ∞ the target and the bias have no common singular vectors.
"""

from __future__ import annotations

import math

import numpy as np

from ncore.spec import UfmSpec
from ncore.theory.direction import Direction, choose, critical, is_unique, objective_of, scale_of
from ncore.theory.frames import GRAM_CLASSES, Matrix, frame_metrics
from ncore.theory.linear import INFIMUM, LOCAL_MINIMA, threshold_name
from ncore.theory.prediction import Prediction, Threshold, unknown

MAX_CLASSES = 512
"""Above this many classes K x K matrices take too long for an answer to a request."""


def unequal_directions(spec: UfmSpec) -> list[Direction]:
    """One direction for each squared singular value m of the target that the bias leaves: n_k, or with a bias the
    eigenvalues of diag(n_k) − n nᵀ/N from the smallest (which is 0, of the all-ones vector)."""
    total, levels = sum(spec.model.class_sizes), len(spec.model.widths)
    squares = np.linalg.eigvalsh(_scatter(spec)) if spec.model.bias else np.array(spec.model.class_sizes, dtype=float)
    if spec.model.bias:
        squares[0] = 0.0
    return [Direction(float(m), 1.0, total, scale_of(spec), levels) for m in squares]


def _scatter(spec: UfmSpec) -> Matrix:
    sizes = np.array(spec.model.class_sizes, dtype=float)
    return np.diag(sizes) - np.outer(sizes, sizes) / sizes.sum()


def predict_unequal(spec: UfmSpec) -> Prediction:
    if spec.model.bias and spec.regularization.bias:
        return unknown("Unequal classes with a regularised bias: the directions do not decouple; no closed form.")
    large = spec.model.classes > MAX_CLASSES
    if spec.model.bias and large:
        return unknown(f"Unequal classes with a bias: the closed form is worked out up to K = {MAX_CLASSES} only.")
    parts, width, levels = unequal_directions(spec), min(spec.model.widths), len(spec.model.widths)
    on = choose(parts, width)
    objective = objective_of(parts, on)
    known: dict[str, object] = {
        "regime": _regime(spec, parts, on),
        "objective": objective,
        "threshold": Threshold(
            name=threshold_name(levels), value=min(p.gamma for p in parts if p.samples), critical=critical(levels)
        ),
        "rank": len(on),
        "levels": {"objective": {"": objective}, "rank": {"": float(len(on))}},
        "global_minimum": True,
    }
    if parts[0].scale == 0:
        known |= {"regime": "unregularised", "global_minimum": None, "rank": None}
        return Prediction.model_validate({**known, "levels": {"objective": {"": objective}}, "notes": [INFIMUM]})
    notes = [LOCAL_MINIMA] if levels > 1 else []
    if large:
        too_many = f"Norms and frames of unequal classes are worked out up to K = {MAX_CLASSES} only."
        return Prediction.model_validate({**known, "notes": [*notes, too_many]})
    if not is_unique(parts, on):
        open_ = f"min(widths) = {width} leaves open which directions are on, and the Gram matrix."
        return Prediction.model_validate({**known, "notes": [*notes, open_]})
    return _with_frame(spec, parts, on, Prediction.model_validate({**known, "notes": notes}))


def _regime(spec: UfmSpec, parts: list[Direction], on: set[int]) -> str:
    if not on:
        return "zero"
    if len(on) == spec.model.classes - int(spec.model.bias):
        return "unequal_classes"
    left_out = sum(part.is_on for part in parts) > len(on)
    return "rank_deficient" if left_out or spec.model.bias else "minority_collapse"


def _with_frame(spec: UfmSpec, parts: list[Direction], on: set[int], known: Prediction) -> Prediction:
    """Adds norms, Gram matrices, bias and metrics, from the singular vectors U and V of the target."""
    chosen, levels = sorted(on), len(spec.model.widths)
    sizes = np.array(spec.model.class_sizes, dtype=float)
    vectors = np.linalg.eigh(_scatter(spec))[1] if spec.model.bias else np.eye(len(sizes))
    left = vectors[:, chosen]
    roots = np.sqrt([parts[k].samples for k in chosen])
    right = np.sqrt(sizes)[:, None] * left / roots  # V = Tᵀ U/√m of the target T = diag(√n_k) …
    if spec.model.bias:
        ones = np.sqrt(sizes / sizes.sum())
        right -= np.outer(ones, ones @ right)  # … (I − e eᵀ), e the all-ones unit vector over the samples

    def factor(decay: float) -> Matrix:
        return np.array([parts[k].factor(decay) for k in chosen])

    features, weights = factor(spec.regularization.features), [factor(decay) for decay in spec.weight_decays]
    norms: dict[str, float | list[float]] = {}
    gram: dict[str, list[list[float]]] = {}
    series = dict(known.levels)
    for j in range(levels):
        means = features[:, None] * right.T / np.sqrt(sizes)
        norms[f"h{j + 1}"] = (means**2).sum(axis=0).tolist()
        if len(sizes) <= GRAM_CLASSES:
            gram[f"h{j + 1}"] = (means.T @ means).tolist()
        passed = left * np.prod(weights[j:], axis=0)
        for name, value in (frame_metrics(means, passed) if chosen else {}).items():
            series[name] = series.get(name, {}) | {f"h{j + 1}": value}
        features = features * weights[j]
    s = np.array([parts[k].size for k in chosen])
    logits = (left * (s * roots)) @ right.T / np.sqrt(sizes)
    singular = np.linalg.svd(logits, compute_uv=False).tolist() if spec.model.bias else _padded(s, len(sizes))
    bias = (sizes / sizes.sum()).tolist() if spec.model.bias else 0.0
    norm = math.sqrt(float((sizes**2).sum())) / sizes.sum() if spec.model.bias else 0.0
    return known.model_copy(
        update={
            "feature_norm_sq": norms,
            "weight_norm_sq": ((left * weights[-1]) ** 2).sum(axis=1).tolist(),
            "bias": bias,
            "logit": None if spec.model.bias else np.diag(logits).tolist(),
            "singular_values": singular,
            "gram": gram or None,
            "weight_gram": ((left * weights[-1] ** 2) @ left.T).tolist() if gram else None,
            "logits": logits.tolist() if gram else None,
            "levels": series | {"bias_norm": {"": norm}},
            "notes": [*known.notes, *_notes(spec)],
        }
    )


def _padded(s: Matrix, classes: int) -> list[float]:
    return [*sorted(s.tolist(), reverse=True), *[0.0] * (classes - len(s))]


def _notes(spec: UfmSpec) -> list[str]:
    notes = []
    if spec.model.bias:
        notes.append("logit: with a bias and unequal classes no single number describes a class (see gram).")
    if spec.model.classes > GRAM_CLASSES:
        notes.append(f"The Gram matrix is written out up to K = {GRAM_CLASSES} only.")
    return notes
