"""Predictions for cross-entropy with classes of unequal size, M = 1: the convex solution, with its certificate."""

from __future__ import annotations

import numpy as np

from ncore.kinds.losses import CrossEntropy
from ncore.spec import UfmSpec
from ncore.theory.boundaries import Threshold
from ncore.theory.convex_cross_entropy import (
    TOLERANCE,
    CrossEntropySolution,
    seli,
    solve_cross_entropy,
    zero_threshold,
)
from ncore.theory.cross_entropy import unregularised
from ncore.theory.frames import GRAM_CLASSES, frame_metrics
from ncore.theory.prediction import Prediction, unknown

MAX_SIZES = 128
"""Most different class sizes: these are solved for within a second or so."""
MAX_CLASSES = 512
SHAPE = ("nc2_of", "nc2_etf", "norm_cv_h", "norm_cv_w", "angle_std", "angle_gap")
"""Metrics that a geometry known up to a factor has."""


def predict_unequal_cross_entropy(spec: UfmSpec) -> Prediction:
    sizes, loss = spec.model.class_sizes, spec.criterion
    if not isinstance(loss, CrossEntropy):
        return unknown("Focal loss with unequal classes: no closed form is known, and the problem is not convex.")
    if len(set(sizes)) > MAX_SIZES or len(sizes) > MAX_CLASSES:
        return unknown(
            f"Cross-entropy of unequal classes is solved up to {MAX_SIZES} different sizes and K = {MAX_CLASSES} only."
        )
    decay_w, decay_h = spec.weight_decays[0], spec.regularization.features
    if decay_w * decay_h == 0:
        return unknown("A regulariser is zero: nothing is determined.") if loss.label_smoothing else unregularised(spec)
    bias = spec.regularization.bias if spec.model.bias else None
    solved = solve_cross_entropy(sizes, decay_w, decay_h, bias, loss.label_smoothing)
    if spec.model.widths[0] < solved.rank:
        return unknown(f"Cross-entropy with d below {solved.rank}, the rank of the solution: no closed form is known.")
    return _of_solution(spec, loss, solved, bias)


def _of_solution(spec: UfmSpec, loss: CrossEntropy, solved: CrossEntropySolution, bias: float | None) -> Prediction:
    sizes, mu = spec.model.class_sizes, float(np.sqrt(spec.weight_decays[0] * spec.regularization.features))
    critical = zero_threshold(sizes, spec.model.bias, loss.label_smoothing)
    rank, proven = solved.rank, solved.residual <= TOLERANCE
    levels = {
        "objective": {"": solved.objective},
        "rank": {"": float(rank)},
        "bias_norm": {"": float(np.linalg.norm(solved.bias))},
    }
    if rank:
        metrics = frame_metrics(solved.right.T, solved.left)
        levels |= {name: {"h1": value} for name, value in metrics.items()}
    notes = [f"Solved as a convex problem to a residual of {solved.residual:.1e}."]
    if not proven:
        notes.append(f"A certificate of a global minimum asks for a residual of {TOLERANCE:g}.")
    if solved.collapsed and rank:
        notes.append(f"Minority collapse: classes of {', '.join(map(str, solved.collapsed))} samples share one mean.")
    written = len(sizes) <= GRAM_CLASSES
    if not written:
        notes.append(f"The Gram matrix is written out up to K = {GRAM_CLASSES} only.")
    regime = "zero" if not rank else "minority_collapse" if solved.collapsed else "unequal_classes"
    return Prediction(
        regime=regime,
        objective=solved.objective,
        threshold=None if bias else Threshold(name="mu", value=mu, critical=critical),
        feature_norm_sq={"h1": solved.feature_norm_sq.tolist()},
        weight_norm_sq=solved.weight_norm_sq.tolist(),
        bias=solved.bias.tolist(),
        singular_values=np.linalg.svd(solved.logits, compute_uv=False).tolist(),
        rank=rank,
        gram={"h1": (solved.right @ solved.right.T).tolist()} if written else None,
        weight_gram=(solved.left @ solved.left.T).tolist() if written else None,
        logits=(solved.left @ solved.right.T).tolist() if written else None,
        levels=levels,
        global_minimum=True if proven else None,
        certificate=solved.residual,
        limits={"SELI": _seli(sizes)} if rank else {},
        notes=notes,
    )


def _seli(sizes: tuple[int, ...]) -> dict[str, dict[str, float]]:
    """The metrics of the limit λ → 0 that do not need the scale, or how W and H̄ are turned to each other."""
    gram_w, gram_h = seli(sizes)
    halves = []
    for gram in (gram_h, gram_w):
        values, vectors = np.linalg.eigh(gram)
        halves.append((vectors * np.sqrt(np.maximum(values, 0.0))).T)
    metrics = frame_metrics(halves[0], halves[1].T)
    return {name: {"h1": metrics[name]} for name in SHAPE if name in metrics}
