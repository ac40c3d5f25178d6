"""MSE with a ReLU between the layers, M ≥ 2 (T&B, section 5): the orthogonal-frame solution and its value.

A non-negative orthogonal frame passes the ReLU unchanged, so the value f* of the linear model is attained on H₂ and
above. Whether anything is better depends on K and γ (found by descent: K = 5 from γ ≈ 0.38, K = 16 from γ ≈ 0.25 on).
"""

from __future__ import annotations

from ncore.spec import UfmSpec
from ncore.theory.linear import predict_linear
from ncore.theory.prediction import Prediction, is_balanced, unknown

SAFE_CLASSES = 4
TESTED_CLASSES, SAFE_GAMMA = 16, 0.12
"""Up to so many classes better solutions were seen only from γ ≈ 0.25 on; half of that counts as well below."""


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
    assert linear.threshold is not None  # noqa: S101 (a balanced model without bias always has one)
    gamma, classes, levels = linear.threshold.value, spec.model.classes, len(spec.model.widths)
    safe = levels == 2 and (classes <= SAFE_CLASSES or (classes <= TESTED_CLASSES and gamma <= SAFE_GAMMA))
    notes = ["The objective is that of the orthogonal-frame solution (OF value)."]
    if not safe:
        notes.append(
            "For this K, γ and depth it is not known whether anything is better: for K ≥ 5 and larger γ there is."
        )
    notes.append(
        "H₁ is not unique: its class means may have any Gram matrix ‖h₁‖² S with S PSD, unit diagonal and "
        "off-diagonals ≤ 0, so nc2 and nc3 of h1 need not vanish."
    )
    free = {"nc2_of", "nc2_etf", "nc3", "nc3_centered"}
    series = {
        name: {layer: value for layer, value in values.items() if layer != "h1" or name not in free}
        for name, values in linear.levels.items()
    }
    return linear.model_copy(
        update={
            "gram": {layer: gram for layer, gram in (linear.gram or {}).items() if layer != "h1"} or None,
            "levels": series,
            "global_minimum": True if safe else None,
            "notes": notes,
        }
    )
