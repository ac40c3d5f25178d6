"""MSE without activation between the layers, any depth M ≥ 1.

The regularisers of all factors together are (M+1)/2 Λ ‖Z‖^{2/(M+1)} (Schatten quasi-norm) of Z = W_M ⋯ W_1 H₁ with
Λ = (λ_H Π λ_{W_j})^{1/(M+1)}, so Z shares the target's singular vectors and each direction decouples: with s its size
in units of the target, m the samples it stands for (n, or n_k) and share m/N of the data term,

    κ (1−s)²/2 + (M+1)/2 γ s^{2/(M+1)},   γ = (N/m) Λ m^{1/(M+1)},   stationary at (1−s) s^{(M−1)/(M+1)} = γ/κ.

κ = 1, but for the all-ones direction under a bias, which takes over its part: κ = λ_b/(1+λ_b) (T&B, theorems 3.1 and
3.2 for M = 1, 4.1 for M = 2; M > 2, finite λ_b and unequal classes: our derivation per direction).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ncore.spec import UfmSpec
from ncore.theory.prediction import Matrix, Prediction, Threshold, frame, frame_metrics, is_balanced, unknown


@dataclass(frozen=True)
class Direction:
    """One singular direction of the target: its κ, γ, share of the data term, and samples m."""

    kappa: float
    gamma: float
    share: float
    samples: float
    size: float  # s

    def objective(self, levels: int, on: bool = True) -> float:
        s = self.size if on else 0.0
        return self.share * self.kappa * (1 - s) * (1 + levels * s) / 2

    def gain(self, levels: int) -> float:
        return self.objective(levels, on=False) - self.objective(levels)


def critical(levels: int) -> float:
    """γ_c: from here on a direction is better off at zero. 1 for M = 1, 2^{−4/3} for M = 2."""
    return ((levels - 1) / levels) ** ((levels - 1) / (levels + 1)) / levels


def size_of(gamma: float, levels: int) -> float:
    """s: the largest root of (1−s) s^{(M−1)/(M+1)} = γ below γ_c, 0 from there on."""
    if gamma >= critical(levels):
        return 0.0
    low, high, power = (levels - 1) / levels, 1.0, (levels - 1) / (levels + 1)
    while low < (middle := (low + high) / 2) < high:  # the left side falls from γ_c to 0 on this interval
        low, high = (middle, high) if (1 - middle) * middle**power > gamma else (low, middle)
    return high


def scale(spec: UfmSpec) -> float:
    """Λ."""
    levels = len(spec.model.widths)
    return float((spec.regularization.features * math.prod(spec.weight_decays)) ** (1 / (levels + 1)))


def directions(spec: UfmSpec) -> list[Direction]:
    """The K directions: classes where they differ in size, else K − 1 centred ones and the all-ones one (last)."""
    sizes, levels, lam = spec.model.class_sizes, len(spec.model.widths), scale(spec)
    total, result = sum(sizes), []
    for k, m in enumerate(sizes):
        kappa = 1.0
        if spec.model.bias and k == len(sizes) - 1:
            kappa = spec.regularization.bias / (1 + spec.regularization.bias)
        gamma = total / m * lam * m ** (1 / (levels + 1))
        size = size_of(gamma / kappa, levels) if kappa else 0.0
        result.append(Direction(kappa, gamma, m / total, m, size))
    return result


def local_minima(spec: UfmSpec) -> list[tuple[int, float]]:
    """(r, f_r) for r directions switched on, strict local minima for M ≥ 2: (r/K) f* + (1 − r/K)/2 without a bias.

    With a bias the all-ones direction is counted both on and off; of unequal classes only the best r are listed.
    """
    levels, parts = len(spec.model.widths), directions(spec)
    off = sum(part.objective(levels, on=False) for part in parts)
    gains = sorted((part.gain(levels) for part in parts), reverse=True)
    found = {(r, off - sum(gains[:r])) for r in range(len(parts) + 1)}
    if is_balanced(spec):
        centred, ones = parts[0].gain(levels), parts[-1].gain(levels)
        found |= {(r + 1, off - r * centred - ones) for r in range(len(parts))}
    return sorted(found)


def predict_linear(spec: UfmSpec) -> Prediction:
    model, levels = spec.model, len(spec.model.widths)
    balanced = is_balanced(spec)
    if model.bias and not balanced:
        return unknown("Unequal classes with a bias: the directions do not decouple, and no closed form is known.")
    parts = directions(spec)
    width = min(model.widths)
    ranked = sorted(range(len(parts)), key=lambda k: parts[k].gain(levels), reverse=True)
    on = {k for k in ranked[:width] if parts[k].size > 0}
    wanted = sum(part.size > 0 for part in parts)
    objective = sum(part.objective(levels, on=k in on) for k, part in enumerate(parts))
    known: dict[str, object] = {
        "regime": _regime(spec, parts, on),
        "objective": objective,
        "threshold": _threshold(spec, parts),
        "rank": len(on),
        "global_minimum": True,
        "singular_values": sorted((parts[k].size if k in on else 0.0 for k in range(len(parts))), reverse=True),
    }
    if scale(spec) == 0:
        known |= {"regime": "unregularised", "singular_values": None}
        note = "A regulariser is zero: the objective is an infimum, and the norms of the factors are not determined."
        return Prediction.model_validate({**known, "notes": [note]})
    if len(on) < wanted and not _is_unique(parts, on):
        note = (
            f"min(widths) = {width} admits {len(on)} of {wanted} directions; which ones, and the Gram matrix, is open."
        )
        return Prediction.model_validate({**known, "levels": {}, "notes": [note]})
    return _with_frame(spec, parts, on, known)


def _is_unique(parts: list[Direction], on: set[int]) -> bool:
    """Whether the chosen directions differ from those left out, by κ or by class size."""
    kinds_on = {(parts[k].kappa, parts[k].samples) for k in on}
    return all((part.kappa, part.samples) not in kinds_on for k, part in enumerate(parts) if k not in on)


def _regime(spec: UfmSpec, parts: list[Direction], on: set[int]) -> str:
    if not on:
        return "zero"
    if not is_balanced(spec):
        return "unequal_classes" if len(on) == len(parts) else "minority_collapse"
    last = len(parts) - 1
    if on == set(range(last)):
        return "simplex_etf"
    if len(on) < len(parts):
        return "rank_deficient"
    return "orthogonal_frame" if parts[last].kappa == 1 else "between"


def _threshold(spec: UfmSpec, parts: list[Direction]) -> Threshold:
    levels = len(spec.model.widths)
    return Threshold(
        name="c" if levels == 1 else "gamma", value=max(part.gamma for part in parts), critical=critical(levels)
    )


def _with_frame(spec: UfmSpec, parts: list[Direction], on: set[int], known: dict[str, object]) -> Prediction:
    levels, lam, classes = len(spec.model.widths), scale(spec), spec.model.classes

    def matrix(value: list[float]) -> Matrix:
        return frame(value[0], value[-1], classes) if is_balanced(spec) else np.diag(value)

    def factor(decay: float) -> list[float]:
        """Singular values of a factor per direction: √(Λ/λ) (√m s)^{1/(M+1)}."""
        return [
            math.sqrt(lam / decay) * (math.sqrt(part.samples) * part.size) ** (1 / (levels + 1)) if k in on else 0.0
            for k, part in enumerate(parts)
        ]

    features = [
        h / math.sqrt(part.samples) for h, part in zip(factor(spec.regularization.features), parts, strict=True)
    ]
    weights = [factor(decay) for decay in spec.weight_decays]
    norms: dict[str, float | list[float]] = {}
    gram: dict[str, list[list[float]]] = {}
    series: dict[str, dict[str, float]] = {"objective": {"": float(known["objective"])}}  # type: ignore[arg-type]
    for j in range(levels):
        passed = [math.prod(row) for row in zip(*weights[j:], strict=True)]
        h = matrix(features)
        gram[f"h{j + 1}"] = (h.T @ h).tolist()
        squares = (h**2).sum(axis=0).tolist()
        norms[f"h{j + 1}"] = squares[0] if is_balanced(spec) else squares
        for name, value in frame_metrics(h, matrix(passed)).items():
            series.setdefault(name, {})[f"h{j + 1}"] = value
        features = [h * w for h, w in zip(features, weights[j], strict=True)]
    notes = []
    if levels > 1:
        notes.append(
            "Zero, and every smaller number of directions, is a strict local minimum: a small start can end there."
        )
    sizes = [part.size if k in on else 0.0 for k, part in enumerate(parts)]
    bias = (1 - sizes[-1]) / (classes * (1 + spec.regularization.bias)) if spec.model.bias else 0.0
    return Prediction.model_validate(
        {
            **known,
            "feature_norm_sq": norms,
            "weight_norm_sq": (matrix(weights[-1]) ** 2).sum(axis=1).tolist(),
            "bias": bias,
            "logit": sizes[0] if is_balanced(spec) else sizes,
            "gram": gram,
            "levels": series,
            "notes": notes,
        }
    )
