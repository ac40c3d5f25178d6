"""CDNV, class-distance normalized variance (Galanti, György & Hutter 2022, definition 1)."""

from __future__ import annotations

from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def cdnv(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Mean over k ≠ l of (v_k + v_l)/(2 ‖h̄_k − h̄_l‖²), v_k the mean squared distance to the class mean; NaN where two
    class means are the same. Shape (…)."""
    return statistics.pairs.variance_over_distance
