"""CDNV, class-distance normalized variance (Galanti, György & Hutter 2022, definition 1)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.features import ClassStatistics


def cdnv(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Mean over k ≠ l of (v_k + v_l)/(2 ‖h̄_k − h̄_l‖²), v_k the mean squared distance to the class mean. Shape (…).

    NaN where two class means are the same.
    """
    variance = statistics.within / statistics.counts
    classes = variance.shape[-1]
    k, l = torch.triu_indices(classes, classes, 1, device=variance.device)  # noqa: E741 (the formula's letter)
    distance = (statistics.centred[..., k] - statistics.centred[..., l]).square().sum(-2)
    ratio = (variance[..., k] + variance[..., l]) / (2 * distance)
    return torch.where(distance > 0, ratio, torch.nan).mean(-1)
