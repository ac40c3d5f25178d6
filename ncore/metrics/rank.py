"""Rank, the number of directions that a matrix uses."""

from __future__ import annotations

import torch
from torch import Tensor

RANK_TOLERANCE = 1e-3
"""A singular value counts as zero below this share of the largest one."""


def numerical_rank(matrix: Tensor) -> Tensor:
    """Number of singular values above `RANK_TOLERANCE` times the largest, float64 of shape (…) for a matrix (…, m, n).

    0 for a zero matrix, NaN for one that is not finite.
    """
    finite = matrix.isfinite().all(-1).all(-1)
    # LAPACK refuses a whole batch for one NaN
    singular = torch.linalg.svdvals(torch.where(finite[..., None, None], matrix, 0.0))
    rank = ((singular > RANK_TOLERANCE * singular[..., :1]) & (singular > 0)).sum(-1)
    return torch.where(finite, rank.double(), torch.nan)
