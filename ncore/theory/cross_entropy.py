"""Cross-entropy, M = 1 (Zhu et al. 2021, theorem 3.1 and lemma B.3, in our normalisation): a simplex ETF."""

from __future__ import annotations

import math

from ncore.spec import UfmSpec
from ncore.theory.prediction import Prediction, Threshold, frame, frame_metrics, is_balanced, unknown


def predict_cross_entropy(spec: UfmSpec) -> Prediction:
    model = spec.model
    if len(model.widths) > 1:
        return unknown("Cross-entropy with M ≥ 2: the simplex ETF is not always optimal, and no closed form is known.")
    if not is_balanced(spec):
        return unknown("Cross-entropy with unequal classes: no closed form is known.")
    if model.widths[0] < model.classes - 1:
        return unknown("Cross-entropy with d < K − 1: a simplex ETF does not fit, and no closed form is known.")
    classes, n = model.classes, model.class_sizes[0]
    decay_w, decay_h = spec.weight_decays[0], spec.regularization.features
    if decay_w * decay_h == 0:
        return unknown(
            "A regulariser is zero: the objective's infimum 0 is not attained, the logits grow without bound.",
            regime="unregularised",
            objective=0.0,
        )
    c = classes * math.sqrt(n * decay_w * decay_h)
    on = c < 1
    alpha = math.log1p(classes * (1 - c) / c) if on else 0.0
    objective = math.log1p((classes - 1) * math.exp(-alpha)) + c * (classes - 1) * alpha / classes
    ratio = math.sqrt(decay_w / (n * decay_h))
    h, w = frame(math.sqrt(ratio * alpha), 0.0, classes), frame(math.sqrt(alpha / ratio), 0.0, classes)
    shrink = alpha * (classes - 1) / classes
    return Prediction(
        regime="simplex_etf" if on else "zero",
        objective=objective,
        threshold=Threshold(name="c", value=c, critical=1.0),
        feature_norm_sq={"h1": ratio * shrink},
        weight_norm_sq=[shrink / ratio] * classes,
        bias=0.0,
        logit=alpha,
        singular_values=[alpha] * (classes - 1) + [0.0],
        rank=classes - 1 if on else 0,
        gram={"h1": (h.T @ h).tolist()},
        levels={"objective": {"": objective}}
        | {name: {"h1": value} for name, value in (frame_metrics(h, w) if on else {}).items()},
        global_minimum=True,
        notes=["The bias is zero up to a constant that does not matter, whether it is there and regularised or not."],
    )
