"""NC1, within-class variability collapse (Papyan, Han & Donoho 2020, eq. 5)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def nc1(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001 (one face for all)
    """(1/K) Tr(Σ_W Σ_B⁺) = (1/N) Tr(C⁺ S C⁺ᵀ): Σ_W = S/N and Σ_B⁺ = K (C Cᵀ)⁺, cut at rank K − 1. Shape (…)."""
    return torch.where(statistics.spread.isnan(), torch.nan, statistics.projected / statistics.samples)


def nc1_trace(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Tr Σ_W / Tr Σ_B with Σ_W over N samples, Σ_B over K means (Han, Papyan & Donoho 2022). Shape (…)."""
    classes = statistics.counts.shape[-1]
    return (statistics.within.sum(-1) / statistics.samples) / (statistics.spread / classes)
