"""Cross-entropy with features and rows of W of norm one, logits τ w·h, no regulariser, classes of one size.

d ≥ K − 1: simplex ETF, the global minimum (Yaras et al. 2022). d = 2: regular K-gon. d + 2 ≤ K ≤ 2d: the best known is
K − d simplices in orthogonal subspaces (not proven). Everything else is not known.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ncore.spec import UfmSpec
from ncore.theory.frames import GRAM_CLASSES, frame_metrics
from ncore.theory.packing import Block, pack
from ncore.theory.prediction import BetterKnown, Prediction, is_balanced, unknown


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
    """The term of a simplex of m of the K classes: (m/K) log(1 + (m−1)e^{−τm/(m−1)} + (K−m)e^{−τ})."""
    inside = (size - 1) * math.exp(-temperature * size / (size - 1))
    return size / classes * math.log1p(inside + (classes - size) * math.exp(-temperature))


def predict_normalized(spec: UfmSpec) -> Prediction:
    """The prediction for a normalised model, which has nothing but the frame to learn."""
    classes, width = spec.model.classes, spec.model.widths[0]
    temperature = spec.model.logit_scale
    if not is_balanced(spec):
        return unknown("Normalised features with unequal classes: no closed form is known.")
    if spec.loss != "cross_entropy":
        return unknown("Normalised features with label smoothing: no closed form is known.")
    found = normalized_minimum(classes, width, temperature)
    if found is None:
        return unknown("Normalised features with d < K − 1, d ≠ 2 and K > 2d: no closed form is known.")
    if found.structure == "orthogonal_simplices":
        sizes = ", ".join(map(str, found.sizes))
        known = BetterKnown(objective=found.objective, structure=f"{found.structure} ({sizes})", source="best known")
        note = "K − d simplices in orthogonal subspaces are the best known; nothing is proven for d + 1 < K ≤ 2d."
        return unknown(note, better_known=known)
    means = _means(found.structure, classes)
    rank = len(means)
    metrics = frame_metrics(means, means.T)
    gram = (means.T @ means).tolist() if classes <= GRAM_CLASSES else None
    return Prediction(
        regime=found.structure,
        objective=found.objective,
        feature_norm_sq={"h1": 1.0},
        weight_norm_sq=[1.0] * classes,
        bias=0.0,
        logit=temperature * classes / (classes - 1) if found.structure == "simplex_etf" else None,
        rank=rank,
        gram=None if gram is None else {"h1": gram},
        weight_gram=gram,
        logits=gram,
        levels={"objective": {"": found.objective}, "rank": {"": float(rank)}, "bias_norm": {"": 0.0}}
        | {name: {"h1": value} for name, value in metrics.items()},
        global_minimum=True if found.proven else None,
        notes=[]
        if found.proven
        else ["The regular K-gon is the lowest value that descent finds; a proof is known only for τ → ∞."],
    )


def _means(structure: str, classes: int) -> NDArray[np.float64]:
    """Unit class means (r x K) in the structure's own dimensions; of a K-gon in the order of the circle."""
    if structure == "k_gon":
        angles = 2 * np.pi * np.arange(classes) / classes
        return np.stack([np.cos(angles), np.sin(angles)])
    vectors = np.linalg.eigh(np.eye(classes) - 1 / classes)[1][:, 1:]
    return math.sqrt(classes / (classes - 1)) * vectors.T
