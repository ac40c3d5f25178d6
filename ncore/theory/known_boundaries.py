"""The boundaries of each model of the theory, from its spec alone and without solving for its minimum.

| name | quantity | critical | beyond it |
|---|---|---|---|
| `c` | K√(nλ_Wλ_H) | 1, with label smoothing 1 − α, focal loss `critical_product` | all zero |
| `gamma` | K(nλ_H Πλ_W)^{1/(M+1)} | γ_c | all zero |
| `lambda_b` | λ_b | γ/(γ_c − γ) | the simplex ETF opens towards the orthogonal frame |
| `n_B` | the smallest class size (cross-entropy: of two classes or more) | N²λ_Wλ_H/(1 − α)² | collapsed at and below |
| `mu` | √(λ_Wλ_H) | `zero_threshold` | all zero |
| `kappa` | κ of K = r(r−1)/2 classes | 1 | the graph solution no longer beats the orthogonal frame |
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from ncore.kinds.losses import CrossEntropy, Loss
from ncore.spec import SpecError, UfmSpec, parse_spec, with_changes
from ncore.theory.boundaries import Threshold, curve
from ncore.theory.convex_cross_entropy import collapse_threshold, zero_threshold
from ncore.theory.cross_entropy import product
from ncore.theory.deep_relu import graph_vertices, kappa
from ncore.theory.direction import critical, scale_of
from ncore.theory.etf_losses import critical_product
from ncore.theory.linear import balanced_directions, threshold_name
from ncore.theory.prediction import is_balanced


def boundaries_of(spec: UfmSpec) -> list[Threshold]:
    """Every boundary of the model that `spec` is one setting of; empty where theory knows none."""
    model = spec.model
    if model.normalized or model.classifier == "etf" or model.targets is not None or model.label_noise:
        return []
    if spec.criterion.linear_gradient:
        return _of_mse(spec)
    return _of_cross_entropy(spec) if len(model.widths) == 1 else []


def _of_mse(spec: UfmSpec) -> list[Threshold]:
    model, levels = spec.model, len(spec.model.widths)
    if not is_balanced(spec):
        return [] if levels > 1 or model.bias else [_minority(spec, min(model.class_sizes), 0.0)]
    gamma, top = balanced_directions(spec)[0].gamma, critical(levels)
    found = [Threshold(name=threshold_name(levels), value=gamma, critical=top)]
    relu = model.activation == "relu" and levels > 1
    if model.bias and gamma < top and not relu:
        found.append(Threshold(name="lambda_b", value=spec.regularization.bias, critical=gamma / (top - gamma)))
    vertices = graph_vertices(model.classes)
    if relu and levels >= 3 and vertices is not None:
        found.append(Threshold(name="kappa", value=kappa(vertices, levels), critical=1.0))
    return found


def _of_cross_entropy(spec: UfmSpec) -> list[Threshold]:
    sizes = spec.model.class_sizes
    smoothing = spec.criterion.label_smoothing if isinstance(spec.criterion, CrossEntropy) else 0.0
    if is_balanced(spec):
        return [Threshold(name="c", value=product(spec), critical=_critical(spec.criterion, spec.model.classes))]
    if not isinstance(spec.criterion, CrossEntropy):
        return []
    several = [size for size, count in Counter(sizes).items() if count > 1]
    found = [_minority(spec, min(several), smoothing)] if several else []
    if not spec.regularization.bias:
        mu = math.sqrt(spec.weight_decays[0] * spec.regularization.features)
        found.append(Threshold(name="mu", value=mu, critical=zero_threshold(sizes, spec.model.bias, smoothing)))
    return found


@lru_cache(maxsize=256)
def _critical(loss: Loss, classes: int) -> float:
    return critical_product(loss.profile(classes))


def _minority(spec: UfmSpec, size: int, smoothing: float) -> Threshold:
    per_product = collapse_threshold(size, sum(spec.model.class_sizes), smoothing) / size
    return Threshold(name="n_B", value=size, critical=scale_of(spec) ** 2 / per_product)


def boundary_curves(
    body: Mapping[str, Any], x: str, y: str, xs: Sequence[float], ys: Sequence[float]
) -> dict[str, list[tuple[float, float]]]:
    """{name: points (x, y)} of every boundary over two fields of a spec (dotted paths), y looked for between `ys`."""

    def excess_of(name: str, at_x: float, at_y: float) -> float | None:
        try:
            spec = parse_spec(with_changes(body, {x: at_x, y: at_y}))
        except SpecError:
            return None
        found = boundaries_of(spec) if isinstance(spec, UfmSpec) else []
        return next((one.excess for one in found if one.name == name), None)

    spec = parse_spec(with_changes(body, {x: xs[0], y: ys[0]}))
    names = [one.name for one in boundaries_of(spec)] if isinstance(spec, UfmSpec) else []
    curves = {name: curve(lambda a, b, name=name: excess_of(name, a, b), xs, ys) for name in names}  # type: ignore[misc]
    return {name: points for name, points in curves.items() if points}
