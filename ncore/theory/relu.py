"""MSE with a ReLU between the layers, M ≥ 2 (T&B, section 5): the orthogonal-frame solution and its value.

A non-negative orthogonal frame passes the ReLU unchanged, so the value f* of the linear model is attained on H₂ and
above. Whether anything is better is said by `deep_relu.py`: nothing for K = 2; something for M ≥ 4 and K ≥ 3; else it
is not known (for M = 2 descent found better points for K = 5 from γ ≈ 0.38 and for K = 16 from γ ≈ 0.25 on).
"""

from __future__ import annotations

from ncore.spec import UfmSpec
from ncore.theory.deep_relu import best_known, is_optimal
from ncore.theory.linear import balanced_directions, predict_linear
from ncore.theory.prediction import Prediction, is_balanced, unknown

FREE_H1 = (
    "H₁ is not unique: its class means may have any Gram matrix ‖h₁‖² S with S PSD, unit diagonal and off-diagonals "
    "≤ 0, so nc2 and nc3 of h1 need not vanish."
)
PROVEN = "Two classes: the orthogonal frame is proven to be optimal (Súkeník, Mondelli & Lampert 2023)."
OPEN = "It is not known whether anything is better than the orthogonal frame here."
LOWER = "It is not the global minimum: {structure} has a lower objective ({source}), which need not be the lowest."
NARROW = "ReLU with a width below K: no closed form is known; the best known value is an upper bound."


def predict_relu(spec: UfmSpec) -> Prediction:
    if spec.model.bias:
        return unknown(
            "ReLU features are not negative, so a centred frame is out of reach: with a bias nothing is known."
        )
    if not is_balanced(spec):
        return unknown("ReLU with unequal classes: no closed form is known.")
    levels, classes, gamma = len(spec.model.widths), spec.model.classes, balanced_directions(spec)[0].gamma
    narrow = min(spec.model.widths) < classes
    if gamma == 0:
        return unknown(NARROW) if narrow else predict_linear(spec)
    best = best_known(classes, levels, gamma, spec.model.widths)
    if narrow:
        return unknown(NARROW, better_known=best)
    linear, optimal = predict_linear(spec), is_optimal(classes, levels, gamma, spec.model.widths)
    standing: dict[str, object] = {"global_minimum": optimal, "better_known": best if optimal is False else None}
    why = PROVEN if optimal else OPEN
    if optimal is False and best is not None:
        why = LOWER.format(structure=best.structure, source=best.source)
    if linear.regime == "zero":
        zero = "Zero has a lower objective than the orthogonal frame."
        return linear.model_copy(update=standing | {"notes": [zero, why]})
    of_any_frame = {"nc1", "nc1_trace", "cdnv"}
    series = {
        name: {layer: value for layer, value in values.items() if layer != "h1" or name in of_any_frame}
        for name, values in linear.levels.items()
    }
    return linear.model_copy(
        update=standing
        | {
            "gram": {layer: gram for layer, gram in (linear.gram or {}).items() if layer != "h1"} or None,
            "levels": {name: values for name, values in series.items() if values},
            "notes": [
                "The objective is that of the orthogonal-frame solution (OF value).",
                why,
                *linear.notes,
                FREE_H1,
            ],
        }
    )
