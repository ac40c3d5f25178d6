"""Cross-entropy, M = 1, classes of one size: a simplex ETF (Zhu et al. 2021, theorem 3.1 and lemma B.3, rescaled).

Written with the nuclear norm of W H₁ the problem is convex, so the minimum is global wherever the ETF fits: d ≥ K − 1.
"""

from __future__ import annotations

import math

from ncore.spec import UfmSpec
from ncore.theory.frames import GRAM_CLASSES, symmetric_gram, symmetric_metrics, symmetric_norm_sq
from ncore.theory.prediction import Prediction, Threshold, is_balanced, unknown


def predict_cross_entropy(spec: UfmSpec) -> Prediction:
    if reason := _unknown(spec):
        return unknown(reason)
    classes, n = spec.model.classes, spec.model.class_sizes[0]
    decay_w, decay_h = spec.weight_decays[0], spec.regularization.features
    if decay_w * decay_h == 0:
        return unknown(
            "A regulariser is zero: the objective's infimum 0 is not attained, the logits grow without bound.",
            regime="unregularised",
            objective=0.0,
        )
    c = classes * math.sqrt(n * decay_w * decay_h)
    alpha = math.log1p(classes * (1 - c) / c) if c < 1 else 0.0
    objective = math.log1p((classes - 1) * math.exp(-alpha)) + c * (classes - 1) * alpha / classes
    ratio = math.sqrt(decay_w / (n * decay_h))
    means, weight = (math.sqrt(ratio * alpha), 0.0), (math.sqrt(alpha / ratio), 0.0)
    rank = classes - 1 if c < 1 else 0
    gram = symmetric_gram(means, classes)
    metrics = {name: {"h1": value} for name, value in symmetric_metrics(means, weight, classes).items()}
    return Prediction(
        regime="simplex_etf" if c < 1 else "zero",
        objective=objective,
        threshold=Threshold(name="c", value=c, critical=1.0),
        feature_norm_sq={"h1": symmetric_norm_sq(means, classes)},
        weight_norm_sq=[symmetric_norm_sq(weight, classes)] * classes,
        bias=0.0,
        logit=alpha,
        singular_values=[alpha] * (classes - 1) + [0.0],
        rank=rank,
        gram=None if gram is None else {"h1": gram},
        levels={"objective": {"": objective}, "rank": {"": float(rank)}, "bias_norm": {"": 0.0}} | metrics,
        global_minimum=True,
        notes=["The bias is zero up to a constant that does not matter, whether it is there and regularised or not."]
        + ([] if gram else [f"The Gram matrix is written out up to K = {GRAM_CLASSES} only."]),
    )


def _unknown(spec: UfmSpec) -> str | None:
    if len(spec.model.widths) > 1:
        return "Cross-entropy with M ≥ 2: the simplex ETF is not always optimal, and no closed form is known."
    if not is_balanced(spec):
        return "Cross-entropy with unequal classes: no closed form is known."
    if spec.model.widths[0] < spec.model.classes - 1:
        return "Cross-entropy with d < K − 1: a simplex ETF does not fit, and no closed form is known."
    return None
