"""Uniformity: how evenly the directions of the class means spread, also where K > d + 1 (Liu et al. 2023, GNC2)."""

from __future__ import annotations

import math

from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def uniformity_mean(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Mean over k ≠ l of log(1/‖m̂_k − m̂_l‖) with m̂_k = c_k/‖c_k‖; −½ log(2K/(K−1)) at a simplex ETF. Shape (…)."""
    classes = statistics.counts.shape[-1]
    return statistics.pairs.log - math.log(2 * classes / max(classes - 1, 1)) / 2


def uniformity_var(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Population variance over k ≠ l of the same; 0 at a simplex ETF. Shape (…)."""
    return (statistics.pairs.log_squared - statistics.pairs.log.square()).clamp(min=0)
