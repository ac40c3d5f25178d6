"""Equal, maximal angles between the centred class means (Papyan, Han & Donoho 2020, figures 3 and 4)."""

from __future__ import annotations

from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def angle_std(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Population std over k ≠ l of cos(c_k, c_l); NaN where a class mean is the global mean. Shape (…)."""
    pairs = statistics.pairs
    return (pairs.cosine_squared - pairs.cosine.square()).clamp(min=0).sqrt()


def angle_gap(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Mean over k ≠ l of |cos(c_k, c_l) + 1/(K−1)|; NaN where a class mean is the global mean. Shape (…)."""
    return statistics.pairs.cosine_absolute
