"""NC2, the class means' distance to the two frames: orthogonal (Tirer & Bruna 2022) and simplex ETF (Papyan et al.)."""

from __future__ import annotations

from torch import Tensor

from ncore.metrics.statistics import ClassStatistics


def nc2_of(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """‖H̄ᵀH̄/‖H̄ᵀH̄‖ − I/√K‖, class means not centred (T&B, section 3). Shape (…)."""
    return statistics.pairs.to_orthogonal.sqrt()


def nc2_etf(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """‖CᵀC/‖CᵀC‖ − P/√(K−1)‖ with P = I − 11ᵀ/K, class means centred. Shape (…)."""
    return statistics.pairs.to_simplex.sqrt()
