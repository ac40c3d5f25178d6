"""MSE with a ReLU between the layers, M ≥ 2 (T&B, section 5): the orthogonal-frame solution and its value.

A non-negative orthogonal frame passes the ReLU unchanged, so the value f* of the linear model is attained on H₂ and
above. Whether anything is better depends on K, γ and M. For M = 2 descent found better points for K = 5 from γ ≈ 0.38
and for K = 16 from γ ≈ 0.25 on, none for K ≤ 4. For M ≥ 3 the orthogonal frame is in general not optimal when K > 2
(Súkeník, Lampert & Mondelli 2024), for K = 2 it is (Súkeník, Mondelli & Lampert 2023, under their conditions).
"""

from __future__ import annotations

from ncore.spec import UfmSpec
from ncore.theory.linear import predict_linear
from ncore.theory.prediction import Prediction, is_balanced, unknown

SAFE_CLASSES = 4
TESTED_CLASSES, SAFE_GAMMA = 16, 0.12
"""Up to so many classes better solutions were seen only from γ ≈ 0.25 on; half of that counts as well below."""

FREE_H1 = (
    "H₁ is not unique: its class means may have any Gram matrix ‖h₁‖² S with S PSD, unit diagonal and off-diagonals "
    "≤ 0, so nc2 and nc3 of h1 need not vanish."
)
LOW_RANK = (
    "With more than two levels a solution of lower rank can be better (Súkeník et al. 2024, for K > 2), so it is not "
    "known whether this is the global minimum."
)
OTHERS = (
    "For this K and γ it is not known whether anything is better: for K ≥ 5 and larger γ there is (K = 5 from "
    "γ ≈ 0.38, K = 16 from γ ≈ 0.25 at the latest)."
)


def predict_relu(spec: UfmSpec) -> Prediction:
    if spec.model.bias:
        return unknown(
            "ReLU features are not negative, so a centred frame is out of reach: with a bias nothing is known."
        )
    if not is_balanced(spec):
        return unknown("ReLU with unequal classes: no closed form is known.")
    if min(spec.model.widths) < spec.model.classes:
        return unknown("ReLU with a width below K: no closed form is known.")
    linear = predict_linear(spec)
    if linear.regime == "unregularised":
        return linear
    if linear.regime == "zero":
        note = "Zero has a lower objective than the orthogonal frame; whether anything is better still is not known."
        return linear.model_copy(update={"global_minimum": None, "notes": [note]})
    safe, why = _is_safe(linear, spec)
    free = {"nc2_of", "nc2_etf", "nc3", "nc3_centered", "norm_cv_h", "norm_cv_w", "angle_std", "angle_gap"}
    series = {
        name: {layer: value for layer, value in values.items() if layer != "h1" or name not in free}
        for name, values in linear.levels.items()
    }
    return linear.model_copy(
        update={
            "gram": {layer: gram for layer, gram in (linear.gram or {}).items() if layer != "h1"} or None,
            "levels": {name: values for name, values in series.items() if values},
            "global_minimum": True if safe else None,
            "notes": [
                "The objective is that of the orthogonal-frame solution (OF value).",
                *why,
                *linear.notes,
                FREE_H1,
            ],
        }
    )


def _is_safe(linear: Prediction, spec: UfmSpec) -> tuple[bool, list[str]]:
    """Whether nothing better than the orthogonal frame is to be feared, and if so, why."""
    assert linear.threshold is not None  # noqa: S101 (a balanced model without bias always has one)
    gamma, classes = linear.threshold.value, spec.model.classes
    if len(spec.model.widths) > 2:
        return False, [LOW_RANK]
    safe = classes <= SAFE_CLASSES or (classes <= TESTED_CLASSES and gamma <= SAFE_GAMMA)
    return safe, [] if safe else [OTHERS]
