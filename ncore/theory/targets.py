"""MSE of a linear model of any depth towards any targets (regression, label encodings).

min 1/(2N)‖W_M⋯W_1H + b1ᵀ − Y‖² + norms, Y any t × N. Without a bias, and with a free one (b = Ȳ, Y centred), the
directions of Y decouple: m_i = σ_i² in `Direction`, so f* = Σ σ_i²/(2N)·[(1−x)(1+Mx) or 1] and
W_MW_Mᵀ = U diag((Λ/λ_{W_M})(σ_ix_i)^{2/(M+1)})Uᵀ (derived; Andriopoulos et al. 2024 for M = 1). One-hot is a special
case.
With 0 < λ_b < ∞ they still do if Ȳ is orthogonal to the columns of Y − Ȳ1ᵀ: Ȳ then is one more direction, of κ < 1.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncore.spec import UfmSpec
from ncore.theory.boundaries import Threshold
from ncore.theory.direction import Direction, choose, critical, is_unique, objective_of, scale_of
from ncore.theory.frames import GRAM_CLASSES, frame_metrics
from ncore.theory.linear import INFIMUM, LOCAL_MINIMA, threshold_name
from ncore.theory.prediction import Prediction, unknown

Array = NDArray[np.float64]
MAX_CLASSES = 512
ROUNDING = 1e-12
"""Singular values below this share of the largest are zero."""


@dataclass(frozen=True)
class TargetSolution:
    """The minimiser along the singular directions of the targets.

    `directions` (σ = √samples, largest first) belong to the columns of `left` (t x r) and `right` (K x r): the target
    columns times √n_k are left · diag(σ) · rightᵀ. `active` are those that are not zero; `unique` says that the width
    leaves no choice among them. `bias` (t).
    """

    objective: float
    directions: tuple[Direction, ...]
    left: Array
    right: Array
    active: frozenset[int]
    unique: bool
    bias: Array

    def factor(self, decay: float) -> Array:
        """The singular values of the factor that `decay` holds down, 0 where a direction is at zero (r)."""
        return np.array([d.factor(decay) if i in self.active else 0.0 for i, d in enumerate(self.directions)])

    @property
    def strength(self) -> Array:
        """x_i (r)."""
        return np.array([d.size if i in self.active else 0.0 for i, d in enumerate(self.directions)])


def solve_targets(
    targets: Array,
    sizes: Sequence[int],
    decays_w: Sequence[float],
    decay_h: float,
    decay_b: float | None = None,
    width: int | None = None,
) -> TargetSolution | None:
    """The minimiser for target columns (t x K), n_k samples each; decay_b None: no bias, 0: a free one.

    `width` is the least of the widths. None where the directions do not decouple (see above).
    """
    n, levels = np.asarray(sizes, dtype=float), len(decays_w)
    total = float(n.sum())
    scale = (decay_h * math.prod(decays_w)) ** (1 / (levels + 1))
    mean = targets @ n / total if decay_b is not None else np.zeros(len(targets))
    centred = (targets - mean[:, None]) * np.sqrt(n)
    u, sigma, vt = np.linalg.svd(centred, full_matrices=False)
    size = float(max(np.abs(targets * np.sqrt(n)).max(), 1e-300))
    kept = sigma > ROUNDING * size * max(targets.shape)
    left, right, sigma = u[:, kept], vt[kept].T, sigma[kept]
    kappas = np.ones(len(sigma))
    length = float(np.linalg.norm(mean))
    if decay_b and length > 0:
        along = mean / length
        if np.abs(left.T @ along).max(initial=0.0) > 1e-9:
            return None
        left = np.column_stack([left, along])
        right = np.column_stack([right, np.sqrt(n / total)])
        sigma = np.append(sigma, length * math.sqrt(total))
        kappas = np.append(kappas, decay_b / (1 + decay_b))
    order = np.argsort(-sigma, kind="stable")
    parts = [Direction(float(sigma[i] ** 2), float(kappas[i]), total, scale, levels) for i in order]  # type: ignore[arg-type]
    on = choose(parts, width if width is not None else len(parts))
    ones = sum(float(parts[j].size) for j, i in enumerate(order) if j in on and kappas[i] < 1)
    bias = mean * (1 - ones) / (1 + (decay_b or 0.0))
    return TargetSolution(
        objective=objective_of(parts, on),
        directions=tuple(parts),
        left=left[:, order],
        right=right[:, order],
        active=frozenset(on),
        unique=is_unique(parts, on),
        bias=bias,
    )


def solve_spec(spec: UfmSpec) -> TargetSolution | None:
    """The solution for a spec with targets; None where the directions do not decouple."""
    bias = spec.regularization.bias if spec.model.bias else None
    targets, regularization = np.array(spec.model.targets, dtype=float), spec.regularization
    width = min(spec.model.widths)
    return solve_targets(targets, spec.model.class_sizes, spec.weight_decays, regularization.features, bias, width)


def predict_targets(spec: UfmSpec) -> Prediction:
    if spec.model.activation == "relu" and len(spec.model.widths) > 1:
        return unknown("Given targets with ReLU between the layers: no closed form is known.")
    if spec.model.classes > MAX_CLASSES:
        return unknown(f"Given targets are worked out up to {MAX_CLASSES} columns only.")
    found = solve_spec(spec)
    if found is None:
        return unknown("Given targets whose mean is not orthogonal to them, with a regularised bias: no closed form.")
    levels, on = len(spec.model.widths), found.active
    base: dict[str, dict[str, float]] = {"objective": {"": found.objective}}
    if scale_of(spec) == 0:
        return Prediction(regime="unregularised", objective=found.objective, levels=base, notes=[INFIMUM])
    wanted = [part for part in found.directions if part.kappa > 0]
    regime = "zero" if not on else "given_targets" if len(on) == len(wanted) else "rank_deficient"
    least = min((part.gamma / part.kappa for part in wanted), default=0.0)
    known = Prediction(
        regime=regime,
        objective=found.objective,
        threshold=Threshold(name=threshold_name(levels), value=least, critical=critical(levels)),
        singular_values=sorted(found.strength.tolist(), reverse=True),
        rank=len(on),
        levels=base | {"rank": {"": float(len(on))}},
        global_minimum=True,
        notes=[LOCAL_MINIMA] if levels > 1 else [],
    )
    if not found.unique:
        open_ = f"min(widths) = {min(spec.model.widths)} leaves open which directions are on, and the Gram matrix."
        return known.model_copy(update={"notes": [*known.notes, open_]})
    return _with_frame(spec, found, known)


def _with_frame(spec: UfmSpec, found: TargetSolution, known: Prediction) -> Prediction:
    """Adds norms, Gram matrices, bias and metrics; class k's weight is t_kᵀ A, A itself for one-hot targets."""
    chosen = sorted(found.active)
    left, right = found.left[:, chosen], found.right[:, chosen]
    sizes = np.array(spec.model.class_sizes, dtype=float)
    features = found.factor(spec.regularization.features)[chosen]
    weights = [found.factor(decay)[chosen] for decay in spec.weight_decays]
    targets = np.array(spec.model.targets, dtype=float)
    norms: dict[str, float | list[float]] = {}
    gram: dict[str, list[list[float]]] = {}
    series = dict(known.levels) | {"bias_norm": {"": float(np.linalg.norm(found.bias))}}
    for j in range(len(weights)):
        means = features[:, None] * right.T / np.sqrt(sizes)
        norms[f"h{j + 1}"] = (means**2).sum(axis=0).tolist()
        if len(sizes) <= GRAM_CLASSES:
            gram[f"h{j + 1}"] = (means.T @ means).tolist()
        passed = targets.T @ (left * np.prod(weights[j:], axis=0))
        for name, value in (frame_metrics(means, passed) if chosen else {}).items():
            series[name] = series.get(name, {}) | {f"h{j + 1}": value}
        features = features * weights[j]
    return known.model_copy(
        update={
            "feature_norm_sq": norms,
            "weight_norm_sq": ((left * weights[-1]) ** 2).sum(axis=1).tolist(),
            "bias": found.bias.tolist() if spec.model.bias else 0.0,
            "gram": gram or None,
            "weight_gram": ((left * weights[-1] ** 2) @ left.T).tolist() if gram else None,
            "logits": ((left * features) @ right.T / np.sqrt(sizes)).tolist() if gram else None,
            "levels": series,
        }
    )
