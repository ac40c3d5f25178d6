"""MSE without activation between the layers, classes of one size, any depth M ≥ 1, width and bias.

T&B, theorems 3.1 (no bias) and 3.2 (λ_b = 0) for M = 1, 4.1 for M = 2; depth beyond that, widths below K and a finite
λ_b are our derivation per singular direction (`direction.py`). That the best choice of directions is the global
minimum: without a bias, and for λ_b = 0 (where a part of Z along the all-ones vector is paid for and gains nothing),
von Neumann's trace inequality. For 0 < λ_b < ∞ take a critical point Z/√n = U S Vᵀ of thin rank r with D > 0 the
derivative of the regulariser. Both factors' gradients vanish, so Uᵀ = (S+D)Vᵀ + ((1−κ)/κ) D v eᵀ, where e is the
all-ones unit vector and v = Vᵀe; UᵀU = I then asks v_i v_j times a positive number to be zero for all i ≠ j, and
the remaining v_i is 0 or ±1: every critical point is a choice of decoupled directions.
"""

from __future__ import annotations

import math

from ncore.spec import UfmSpec
from ncore.theory.direction import Direction, choose, critical, is_unique, objective_of, scale_of
from ncore.theory.frames import (
    GRAM_CLASSES,
    Symmetric,
    symmetric_gram,
    symmetric_matrix,
    symmetric_metrics,
    symmetric_norm_sq,
)
from ncore.theory.prediction import Prediction, Threshold

INFIMUM = (
    "A regulariser is zero: the objective is an infimum (reached only if all are), and the norms of the factors are "
    "not determined."
)
LOCAL_MINIMA = "Zero, and every smaller number of directions, is a strict local minimum: a small start can end there."


def balanced_directions(spec: UfmSpec) -> list[Direction]:
    """The K directions: K − 1 centred ones, and the all-ones one last."""
    n, total, levels = spec.model.class_sizes[0], sum(spec.model.class_sizes), len(spec.model.widths)
    kappa = spec.regularization.bias / (1 + spec.regularization.bias) if spec.model.bias else 1.0
    centred = Direction(n, 1.0, total, scale_of(spec), levels)
    return [centred] * (spec.model.classes - 1) + [Direction(n, kappa, total, scale_of(spec), levels)]


def predict_linear(spec: UfmSpec) -> Prediction:
    parts, width, levels = balanced_directions(spec), min(spec.model.widths), len(spec.model.widths)
    on = choose(parts, width)
    sizes = [part.size if k in on else 0.0 for k, part in enumerate(parts)]
    objective = objective_of(parts, on)
    known: dict[str, object] = {
        "regime": _regime(parts, on),
        "objective": objective,
        "threshold": Threshold(name=threshold_name(levels), value=parts[0].gamma, critical=critical(levels)),
        "rank": len(on),
        "singular_values": sorted(sizes, reverse=True),
        "levels": {"objective": {"": objective}, "rank": {"": float(len(on))}},
        "global_minimum": True,
    }
    if parts[0].scale == 0:
        known |= {"regime": "unregularised", "global_minimum": None, "singular_values": None, "rank": None}
        return Prediction.model_validate({**known, "levels": {"objective": {"": objective}}, "notes": [INFIMUM]})
    notes = ([LOCAL_MINIMA] if levels > 1 else []) + _of_bias(spec, parts[0])
    if not is_unique(parts, on):
        wanted = sum(part.is_on for part in parts)
        open_ = f"min(widths) = {width} admits {len(on)} of {wanted} directions; which, and the Gram matrix, is open."
        return Prediction.model_validate({**known, "notes": [*notes, open_]})
    return _with_frame(spec, parts, on, Prediction.model_validate({**known, "notes": notes}))


def threshold_name(levels: int) -> str:
    return "c" if levels == 1 else "gamma"


def _regime(parts: list[Direction], on: set[int]) -> str:
    last = len(parts) - 1
    if not on:
        return "zero"
    if on == set(range(last)) and parts[last].kappa < 1:
        return "simplex_etf"
    if len(on) < len(parts):
        return "rank_deficient"
    return "orthogonal_frame" if parts[last].kappa == 1 else "between"


def _of_bias(spec: UfmSpec, centred: Direction) -> list[str]:
    """Where the all-ones direction comes in: κ = γ/γ_c, that is λ_b = γ/(γ_c − γ); c/(1 − c) for M = 1."""
    reach = critical(centred.levels) - centred.gamma
    if not spec.model.bias or reach <= 0 or min(spec.model.widths) < spec.model.classes:
        return []
    return [f"A simplex ETF for λ_b ≤ {centred.gamma / reach:.6g}, above that between it and the orthogonal frame."]


def _with_frame(spec: UfmSpec, parts: list[Direction], on: set[int], known: Prediction) -> Prediction:
    """Adds norms, Gram matrices, bias and metrics: each factor is x P + y J between orthonormal frames."""
    classes, ends = spec.model.classes, (0, len(parts) - 1)

    def factor(decay: float) -> Symmetric:
        x, y = (parts[k].factor(decay) if k in on else 0.0 for k in ends)
        return x, y

    root = math.sqrt(parts[0].samples)
    weights = [factor(decay) for decay in spec.weight_decays]
    x, y = factor(spec.regularization.features)
    features: Symmetric = (x / root, y / root)
    centred, ones = (parts[k].size if k in on else 0.0 for k in ends)
    bias = (1 - ones) / (classes * (1 + spec.regularization.bias)) if spec.model.bias else 0.0
    norms: dict[str, float | list[float]] = {}
    gram: dict[str, list[list[float]]] = {}
    series = dict(known.levels) | {"bias_norm": {"": bias * math.sqrt(classes)}}
    for j, weight in enumerate(weights):
        layer = f"h{j + 1}"
        passed = (math.prod(w[0] for w in weights[j:]), math.prod(w[1] for w in weights[j:]))
        norms[layer] = symmetric_norm_sq(features, classes)
        written = symmetric_gram(features, classes)
        if written is not None:
            gram[layer] = written
        for name, value in symmetric_metrics(features, passed, classes).items():
            series[name] = series.get(name, {}) | {layer: value}
        features = (features[0] * weight[0], features[1] * weight[1])
    too_large = [] if gram else [f"The Gram matrix is written out up to K = {GRAM_CLASSES} only."]
    return known.model_copy(
        update={
            "feature_norm_sq": norms,
            "weight_norm_sq": [symmetric_norm_sq(weights[-1], classes)] * classes,
            "bias": bias,
            "logit": centred,
            "gram": gram or None,
            "weight_gram": symmetric_gram(weights[-1], classes),
            "logits": symmetric_matrix(features, classes),
            "levels": series,
            "notes": [*known.notes, *too_large],
        }
    )
