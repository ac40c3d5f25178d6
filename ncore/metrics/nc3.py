"""NC3, self-duality: the weight that the features meet against the class means (Papyan et al. 2020, eq. 6)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def nc3(statistics: ClassStatistics, weight: Tensor) -> Tensor:
    """‖A/‖A‖ − H̄ᵀ/‖H̄‖‖, class means not centred (Tirer & Bruna 2022); A (…, K, d). Shape (…)."""
    return _distance(weight, statistics.frame)


def nc3_centered(statistics: ClassStatistics, weight: Tensor) -> Tensor:
    """‖A/‖A‖ − Cᵀ/‖C‖‖, class means centred (Papyan et al. 2020). Shape (…)."""
    return _distance(weight, statistics.centred)


def _distance(weight: Tensor, means: Tensor) -> Tensor:
    unit_weight = weight / torch.linalg.matrix_norm(weight)[..., None, None]
    unit_means = means / torch.linalg.matrix_norm(means)[..., None, None]
    return torch.linalg.matrix_norm(unit_weight - unit_means.mT)
