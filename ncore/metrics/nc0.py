"""NC0: the classifier's rows sum to zero (Zhao, Cheng, Masarczyk & Lucchi 2026)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def nc0(statistics: ClassStatistics, weight: Tensor) -> Tensor:  # noqa: ARG001 (one face for all)
    """‖1ᵀA‖₂, the length of the sum of the rows of A (…, K, d); 0 is necessary for NC2 of A. Shape (…)."""
    length = weight.sum(-2).norm(dim=-1)
    return torch.where(length.isfinite(), length, torch.nan)
