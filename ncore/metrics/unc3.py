"""UNC3, self-duality also where K > d + 1: one angle between weight and mean for all classes (Wu & Papyan 2024)."""

from __future__ import annotations

from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def unc3(statistics: ClassStatistics, weight: Tensor) -> Tensor:
    """Population variance over k of cos(a_k, h̄_k − h̄), a_k the rows of A (…, K, d); 0 at self-duality. Shape (…)."""
    products = (weight * statistics.centred.mT).sum(-1)
    cosines = products / weight.norm(dim=-1) / statistics.directed_norms
    return cosines.var(-1, correction=0)
