"""Cross-entropy of a deep linear model (M ≥ 2), classes of one size: candidates, no theorem.

min CE(Z̄) + ((M+1)/2) c̃ Σ σ_i(Z̄)^{2/(M+1)}, c̃ = (n λ_H Πλ_W)^{1/(M+1)}. Known stationary structures: orthogonal
simplices of m_j classes (one: simplex ETF; all of two: antipodal pairs), and the regular K-gon in the plane. The ETF is
best of them only for K = 3, and for K = 4, M = 2 below c̃ = .01176; never for K ≥ 6, M = 2, nor for K ≥ 4, M ≥ 3
(Garrod & Keating). Which one a run reaches is chance.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from ncore.spec import UfmSpec
from ncore.theory.cross_entropy import unregularised
from ncore.theory.direction import scale_of
from ncore.theory.packing import Block, pack
from ncore.theory.prediction import BetterKnown, Prediction, is_balanced, unknown
from ncore.theory.roots import root

GRID = np.geomspace(1e-4, 700.0, 1500)
"""Logits at which a candidate's derivative is looked at for a change of sign."""
MAX_CLASSES = 128


@dataclass(frozen=True)
class Candidate:
    """A structure by name, its objective and rank; `sizes` of its simplices, largest first."""

    structure: str
    objective: float
    rank: int
    sizes: tuple[int, ...] = ()


def candidates(classes: int, levels: int, scale: float, width: int | None = None) -> list[Candidate]:
    """Minima away from zero that fit into the least width, and zero, best first; `scale` is c̃ > 0."""
    width = classes if width is None else width
    found = [Candidate("zero", math.log(classes), 0)]
    if width >= classes - 1:
        found.append(_of_sizes((classes,), classes, levels, scale))
    if classes % 2 == 0 and classes > 2 and width >= classes // 2:
        found.append(_of_sizes((2,) * (classes // 2), classes, levels, scale))
    if classes > 3 and width >= 2:
        found.append(Candidate("k_gon", polygon_value(classes, levels, scale), 2))
    if 3 < classes <= MAX_CLASSES:
        blocks = [Block(str(m), m, simplex_value(m, classes, levels, scale), (m - 1,)) for m in range(2, classes + 1)]
        best = pack(blocks, classes, (width,))
        if best is not None:
            sizes = sorted((int(name) for name, count in best.blocks.items() for _ in range(count)), reverse=True)
            found.append(_of_sizes(tuple(sizes), classes, levels, scale))
    away = [one for one in set(found) if one.rank == 0 or one.objective < found[0].objective]
    return sorted(away, key=lambda one: one.objective)


def _of_sizes(sizes: tuple[int, ...], classes: int, levels: int, scale: float) -> Candidate:
    name = "orthogonal_simplices"
    if len(sizes) == 1:
        name = "simplex_etf"
    elif set(sizes) == {2}:
        name = "antipodal_pairs"
    value = math.fsum(simplex_value(m, classes, levels, scale) for m in sizes)
    return Candidate(name, value, classes - len(sizes), sizes)


def simplex_value(size: int, classes: int, levels: int, scale: float) -> float:
    """The least that a simplex of m of the K classes adds, over its gap a ≥ 0:

    (m/K) log(1 + (m−1)e^{−a} + (K−m)e^{−a(m−1)/m}) + ((M+1)/2) c̃ (m−1) a^{2/(M+1)}.
    """
    power, reach = 2 / (levels + 1), (size - 1) / size
    price = (levels + 1) / 2 * scale * (size - 1)

    def value(a: float) -> float:
        inside = (size - 1) * math.exp(-a) + (classes - size) * math.exp(-a * reach)
        return size / classes * math.log1p(inside) + price * a**power

    def slope(a: float) -> float:
        near, far = (size - 1) * math.exp(-a), (classes - size) * math.exp(-a * reach)
        return -size / classes * (near + reach * far) / (1 + near + far) + price * power * a ** (power - 1)

    return _least(value, slope)


def polygon_value(classes: int, levels: int, scale: float) -> float:
    """The least of log Σ_j e^{−a(1−cos 2πj/K)} + (M+1) c̃ (aK/2)^{2/(M+1)} over a ≥ 0."""
    power = 2 / (levels + 1)
    angles = 1 - np.cos(2 * np.pi * np.arange(classes) / classes)
    price = (levels + 1) * scale * (classes / 2) ** power

    def value(a: float) -> float:
        return math.log(float(np.exp(-a * angles).sum())) + price * a**power

    def slope(a: float) -> float:
        terms = np.exp(-a * angles)
        return -float((terms * angles).sum() / terms.sum()) + price * power * a ** (power - 1)

    return _least(value, slope)


def _least(value: Callable[[float], float], slope: Callable[[float], float]) -> float:
    """The lowest of zero and the local minima: where the slope turns from negative to positive."""
    slopes = [slope(a) for a in GRID]
    pairs = zip(GRID, GRID[1:], slopes, slopes[1:], strict=False)
    return min([value(0.0), *(value(root(slope, a, b)) for a, b, s, t in pairs if s < 0 <= t)])


def spec_candidates(spec: UfmSpec) -> list[Candidate]:
    """The candidates for a spec, best first; none where there are none to name."""
    levels = len(spec.model.widths)
    plain = is_balanced(spec) and spec.loss == "cross_entropy" and spec.model.activation == "identity" and levels > 1
    scale = scale_of(spec) * spec.model.class_sizes[0] ** (1 / (levels + 1))
    return candidates(spec.model.classes, levels, scale, min(spec.model.widths)) if plain and scale > 0 else []


def predict_deep_cross_entropy(spec: UfmSpec) -> Prediction:
    """The best candidate as the best known value; nothing is proven, so nothing is predicted."""
    if spec.model.activation == "relu":
        return unknown("Cross-entropy with ReLU between the layers: no closed form is known.")
    if not is_balanced(spec) or spec.loss != "cross_entropy":
        return unknown(
            "Cross-entropy with M ≥ 2: the simplex ETF is not always optimal, and candidates are known only for plain "
            "cross-entropy with classes of one size."
        )
    if scale_of(spec) == 0:
        return unregularised(spec)
    found = spec_candidates(spec)
    listed = ", ".join(f"{one.structure} {one.objective:.6g}" for one in found)
    note = f"Cross-entropy with M ≥ 2: no theorem says what is best. Known candidates, best first: {listed}."
    source = "Garrod & Keating; stationary structures, best of those known"
    best = BetterKnown(objective=found[0].objective, structure=found[0].structure, source=source)
    return unknown(note, better_known=best)
