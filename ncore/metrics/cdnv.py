"""CDNV, class-distance normalized variance (Galanti, György & Hutter 2022, definition 1)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def cdnv(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Mean over k ≠ l of (v_k + v_l)/(2 ‖h̄_k − h̄_l‖²), v_k the mean squared distance to the class mean. Shape (…).

    NaN where two class means are the same. Distances are taken directly: by the Gram matrix close means would cancel.
    """
    variance, points = statistics.within / statistics.counts, statistics.centred.mT
    squared = torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist").square()
    squared.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
    classes = variance.shape[-1]
    # the pairs (k, l) and (l, k) share v_k and v_l alike, so that the sum is that of v_k/‖h̄_k − h̄_l‖²
    ratios = variance[..., None] / torch.where(squared > 0, squared, torch.nan)
    return ratios.sum((-2, -1)) / (classes * (classes - 1) or math.nan)
