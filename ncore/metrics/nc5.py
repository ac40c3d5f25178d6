"""NC5, features from outside the distribution are orthogonal to the class means (Ammar et al. 2024)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.metrics.chunks import chunk_rows
from ncore.metrics.statistics import ClassStatistics, power_of_two


def nc5(statistics: ClassStatistics, ood: Tensor) -> Tensor:
    """Mean over k of |cos(h̄_k, g)|, means not centred, g the mean of out-of-distribution features (M, d). Shape (…)."""
    scale = power_of_two(ood.abs().amax())
    total = sum(part.double().mul_(scale).sum(0) for part in ood.split(chunk_rows(ood, ood.shape[1])))
    products = statistics.means.mT @ total
    return (products / statistics.means.norm(dim=-2) / torch.linalg.vector_norm(total)).abs().mean(-1)
