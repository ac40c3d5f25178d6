"""NC2, the class means' distance to the two frames: orthogonal (Tirer & Bruna 2022) and simplex ETF (Papyan et al.)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def nc2_of(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """‖H̄ᵀH̄/‖H̄ᵀH̄‖ − I/√K‖, class means not centred (T&B, section 3). Shape (…)."""
    gram = statistics.frame.mT @ statistics.frame
    classes = gram.shape[-1]
    return _distance(gram, torch.eye(classes, dtype=gram.dtype, device=gram.device) / math.sqrt(classes))


def nc2_etf(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """‖CᵀC/‖CᵀC‖ − P/√(K−1)‖ with P = I − 11ᵀ/K, class means centred. Shape (…)."""
    gram = statistics.gram
    classes = gram.shape[-1]
    projection = torch.eye(classes, dtype=gram.dtype, device=gram.device) - 1 / classes
    return _distance(gram, projection / math.sqrt(max(classes - 1, 1)))


def _distance(gram: Tensor, frame: Tensor) -> Tensor:
    """‖G/‖G‖ − F‖; NaN where G is zero, since 0/0 is."""
    return torch.linalg.matrix_norm(gram / torch.linalg.matrix_norm(gram)[..., None, None] - frame)
