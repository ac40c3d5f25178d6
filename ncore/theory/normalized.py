"""Cross-entropy with features and rows of W of norm one, logits τ w·h, no regulariser, classes of one size.

d ≥ K − 1: simplex ETF, the global minimum (Yaras et al. 2022). d = 2: regular K-gon. d + 2 ≤ K ≤ 2d: the best known is
K − d simplices in orthogonal subspaces (not proven). Everything else is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from ncore.theory.packing import Block, pack


@dataclass(frozen=True)
class NormalizedMinimum:
    """`structure` is simplex_etf, k_gon or orthogonal_simplices (of `sizes` classes each, largest first)."""

    structure: str
    objective: float
    sizes: tuple[int, ...]
    proven: bool


def normalized_minimum(classes: int, width: int, temperature: float) -> NormalizedMinimum | None:
    """The minimum, or the best known, for K ≥ 2 classes in d dimensions; None where nothing is known."""
    if width >= classes - 1:
        return NormalizedMinimum("simplex_etf", etf_value(classes, temperature), (classes,), proven=True)
    if width == 2:
        return NormalizedMinimum("k_gon", polygon_value(classes, temperature), (), proven=False)
    if classes > 2 * width:
        return None
    blocks = [
        Block(str(m), m, simplex_value(m, classes, temperature), (m - 1,))
        for m in range(2, classes - width + 2 + width)
    ]
    found = pack([block for block in blocks if block.classes <= width + 1], classes, (width,))
    if found is None:
        return None
    sizes = sorted((int(name) for name, count in found.blocks.items() for _ in range(count)), reverse=True)
    return NormalizedMinimum("orthogonal_simplices", found.value, tuple(sizes), proven=False)


def etf_value(classes: int, temperature: float) -> float:
    """log(1 + (K−1)e^{−τK/(K−1)})."""
    return math.log1p((classes - 1) * math.exp(-temperature * classes / (classes - 1)))


def polygon_value(classes: int, temperature: float) -> float:
    """log Σ_j e^{−τ(1−cos 2πj/K)}."""
    angles = (1 - math.cos(2 * math.pi * j / classes) for j in range(classes))
    return math.log(math.fsum(math.exp(-temperature * angle) for angle in angles))


def simplex_value(size: int, classes: int, temperature: float) -> float:
    """What a simplex of m of the K classes adds: (m/K) log(1 + (m−1)e^{−τm/(m−1)} + (K−m)e^{−τ})."""
    inside = (size - 1) * math.exp(-temperature * size / (size - 1))
    return size / classes * math.log1p(inside + (classes - size) * math.exp(-temperature))
