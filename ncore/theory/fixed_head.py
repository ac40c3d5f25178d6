"""Predictions for a UFM whose classifier is fixed as a simplex ETF (`etf_losses.fixed_head`), M = 1."""

from __future__ import annotations

import math

from ncore.spec import UfmSpec
from ncore.theory.cross_entropy import NO_BIAS_MATTERS, focal_notes, of_etf, unregularised
from ncore.theory.etf_losses import fixed_head
from ncore.theory.prediction import Prediction, is_balanced, unknown

ANY_SIZES = "Without a bias each sample stands alone, so class sizes do not matter."


def predict_fixed_head(spec: UfmSpec) -> Prediction:
    if len(spec.model.widths) > 1:
        return unknown("A fixed classifier over more than one level: no closed form is known.")
    if spec.model.bias and not is_balanced(spec):
        return unknown("A fixed classifier with a bias and unequal classes: no closed form is known.")
    decay, mse = spec.regularization.features, spec.criterion.linear_gradient
    if decay == 0 and not mse:
        return unregularised(spec)
    kappa = spec.regularization.bias / (1 + spec.regularization.bias) if spec.model.bias else 1.0
    profile = spec.criterion.profile(spec.model.classes, kappa)
    found = fixed_head(profile, sum(spec.model.class_sizes), decay, spec.model.row_norm)
    bias = (1 - kappa) / spec.model.classes if mse and spec.model.bias else 0.0
    notes = focal_notes(spec)
    if not spec.model.bias:
        notes.append(ANY_SIZES)
    elif not mse:
        notes.append(NO_BIAS_MATTERS)
    known = of_etf(spec, found, notes)
    return known.model_copy(
        update={
            "bias": bias,
            "levels": known.levels | {"bias_norm": {"": bias * math.sqrt(spec.model.classes)}},
            "global_minimum": True if profile.convex or not spec.model.bias else None,
        }
    )
