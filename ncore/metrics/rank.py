"""Rank: how many directions the class means use, not centred (ETF: K − 1, orthogonal frame: K)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ncore.metrics.statistics import ClassStatistics

RANK_TOLERANCE = 1e-3
"""A singular value counts as zero below this share of the largest one."""


def rank(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001 (one face for all)
    """Number of singular values of H̄ above 1/1000 of the largest. Shape (…)."""
    s = statistics.singular_values
    return torch.where(s[..., 0] > 0, _above(s), torch.nan)


def effective_rank(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """exp of the entropy −Σ p_i log p_i with p_i = σ_i/Σσ of H̄'s singular values (Roy & Vetterli 2007). Shape (…)."""
    return _effective(statistics.singular_values)


def stable_rank(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """‖H̄‖²/σ₁² (Rudelson & Vershynin 2007). Shape (…)."""
    return _stable(statistics.singular_values)


def ranks_before(means: Tensor) -> dict[str, Tensor]:
    """The three of class means (…, d, K) before an activation, their names with _before behind."""
    s = singular_values(means)
    return {"rank_before": _above(s), "effective_rank_before": _effective(s), "stable_rank_before": _stable(s)}


def _effective(s: Tensor) -> Tensor:
    shares = s / s.sum(-1, keepdim=True)
    return torch.special.entr(shares).sum(-1).exp()


def _stable(s: Tensor) -> Tensor:
    return (s / s[..., :1]).square().sum(-1)


def numerical_rank(matrix: Tensor) -> Tensor:
    """Number of singular values above `RANK_TOLERANCE` times the largest, float64 of shape (…) for a matrix (…, m, n).

    0 for a zero matrix, NaN for one that is not finite.
    """
    return _above(singular_values(matrix))


def singular_values(matrix: Tensor) -> Tensor:
    """Descending (…, min(m, n)) of a matrix (…, m, n); NaN where it is not finite."""
    finite = matrix.isfinite().all(-1).all(-1)[..., None]
    # LAPACK refuses a whole batch for one NaN
    usable = torch.where(finite[..., None], matrix, 0.0)
    if usable.shape[-2] < usable.shape[-1]:
        usable = usable.mT
    if usable.shape[-2] > 2 * usable.shape[-1]:
        usable = torch.linalg.qr(usable, mode="r")[1]
    return torch.where(finite, torch.linalg.svdvals(usable), torch.nan)


def _above(singular: Tensor) -> Tensor:
    largest = singular[..., :1]
    number = ((singular > RANK_TOLERANCE * largest) & (singular > 0)).sum(-1).double()
    return torch.where(largest[..., 0].isnan(), torch.nan, number)
