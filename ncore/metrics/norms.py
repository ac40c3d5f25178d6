"""Equal norms: the coefficient of variation over the classes (Papyan, Han & Donoho 2020, figure 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def norm_cv_h(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Population std / mean over k of ‖h̄_k − h̄‖. Shape (…)."""
    return _variation(statistics.squared_norms.sqrt())


def norm_cv_w(statistics: ClassStatistics, weight: Tensor) -> Tensor:  # noqa: ARG001
    """Population std / mean over k of ‖a_k‖, the rows of A (…, K, d). Shape (…)."""
    return _variation(weight.square().sum(-1).sqrt())


def _variation(norms: Tensor) -> Tensor:
    variation = norms.std(-1, correction=0) / norms.mean(-1)
    return variation if norms.shape[-1] > 1 else variation * torch.nan
