"""Cross-entropy (with label smoothing) and focal loss, M = 1, classes of one size: a simplex ETF.

Cross-entropy: Zhu et al. 2021, theorem 3.1 and lemma B.3, rescaled; written with the nuclear norm of W H₁ the problem
is convex, so the minimum is global wherever the ETF fits: d ≥ K − 1. Label smoothing, focal loss: `etf_losses.py`.
"""

from __future__ import annotations

import math

from ncore.kinds.losses import CrossEntropy
from ncore.spec import UfmSpec
from ncore.theory.boundaries import Threshold
from ncore.theory.etf_losses import EtfMinimum, free_head
from ncore.theory.frames import GRAM_CLASSES, Symmetric, symmetric_gram, symmetric_matrix, symmetric_metrics
from ncore.theory.prediction import Prediction, unknown

NO_BIAS_MATTERS = "The bias is zero up to a constant that does not matter, whether it is there and regularised or not."
OF_FOCAL = (
    "Focal loss: a global minimum under the conditions of Zhou et al. 2022 (contrastive property, d ≥ K − 1), which "
    "hold without a bias."
)
FOCAL_WITH_BIAS = "Focal loss is not convex: with a bias it is not known whether the simplex ETF is the global minimum."


def product(spec: UfmSpec) -> float:
    """c = K√(nλ_Wλ_H), n the samples of a class."""
    n = spec.model.class_sizes[0]
    return spec.model.classes * math.sqrt(n * spec.weight_decays[0] * spec.regularization.features)


def predict_cross_entropy(spec: UfmSpec) -> Prediction:
    classes, n = spec.model.classes, spec.model.class_sizes[0]
    if spec.model.widths[0] < classes - 1:
        return unknown("Cross-entropy with d < K − 1: a simplex ETF does not fit, and no closed form is known.")
    profile = spec.criterion.profile(classes)
    if product(spec) == 0:
        return unregularised(spec)
    found = free_head(profile, n, spec.weight_decays[0], spec.regularization.features)
    assert found.critical is not None  # noqa: S101 (only a fixed head has none)
    known = of_etf(spec, found, [NO_BIAS_MATTERS, *focal_notes(spec)])
    return known.model_copy(
        update={
            "threshold": Threshold(name="c", value=product(spec), critical=found.critical),
            "singular_values": [found.logit] * (classes - 1) + [0.0],
            "global_minimum": True if profile.convex or not spec.model.bias else None,
        }
    )


def unregularised(spec: UfmSpec) -> Prediction:
    """The infimum with a regulariser of zero: 0, or with label smoothing the smoothed labels' entropy."""
    smoothing = spec.criterion.label_smoothing if isinstance(spec.criterion, CrossEntropy) else 0.0
    classes = spec.model.classes
    if not smoothing:
        note = "A regulariser is zero: the objective's infimum 0 is not attained, the logits grow without bound."
        return unknown(note, regime="unregularised", objective=0.0)
    gap = math.log1p(classes * (1 - smoothing) / smoothing)
    note = "A regulariser is zero: the objective is an infimum, and the norms of the factors are not determined."
    objective = spec.criterion.profile(classes).value(gap)
    return unknown(note, regime="unregularised", objective=objective, logit=gap)


def focal_notes(spec: UfmSpec) -> list[str]:
    if spec.criterion.profile(spec.model.classes).convex:
        return []
    return [FOCAL_WITH_BIAS if spec.model.bias else OF_FOCAL]


def of_etf(spec: UfmSpec, found: EtfMinimum, notes: list[str]) -> Prediction:
    """The prediction for a simplex ETF of class means and rows of W, its norms given, with a bias of zero."""
    classes, on = spec.model.classes, found.logit > 0
    spread = math.sqrt(classes / (classes - 1))
    means: Symmetric = (math.sqrt(found.feature_norm_sq) * spread, 0.0)
    weight: Symmetric = (math.sqrt(found.weight_norm_sq) * spread, 0.0)
    gram = symmetric_gram(means, classes)
    metrics = {name: {"h1": value} for name, value in symmetric_metrics(means, weight, classes).items()}
    rank = classes - 1 if on else 0
    too_large = [] if gram else [f"The Gram matrix is written out up to K = {GRAM_CLASSES} only."]
    return Prediction(
        regime="simplex_etf" if on else "zero",
        objective=found.objective,
        feature_norm_sq={"h1": found.feature_norm_sq},
        weight_norm_sq=[found.weight_norm_sq] * classes,
        bias=0.0,
        logit=found.logit,
        rank=rank,
        gram=None if gram is None else {"h1": gram},
        weight_gram=symmetric_gram(weight, classes),
        logits=symmetric_matrix((weight[0] * means[0], 0.0), classes),
        levels={"objective": {"": found.objective}, "rank": {"": float(rank)}, "bias_norm": {"": 0.0}} | metrics,
        global_minimum=True,
        notes=[*notes, *too_large],
    )
