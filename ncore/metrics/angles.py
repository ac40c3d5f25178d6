"""Equal, maximal angles between the centred class means (Papyan, Han & Donoho 2020, figures 3 and 4)."""

from __future__ import annotations

from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def angle_std(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Population std over k ≠ l of cos(c_k, c_l). Shape (…)."""
    cosines = statistics.cosines
    return (cosines - cosines.mean(-1, keepdim=True)).square().mean(-1).sqrt()


def angle_gap(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Mean over k ≠ l of |cos(c_k, c_l) + 1/(K−1)|. Shape (…)."""
    return (statistics.cosines + 1 / max(statistics.counts.shape[-1] - 1, 1)).abs().mean(-1)
