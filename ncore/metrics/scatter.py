"""Scatter: the sum of x xᵀ over rows, of which only one half is computed."""

from __future__ import annotations

import torch
from torch import Tensor


class Scatter:
    """Σ x xᵀ (d, d) in float64 of rows given in parts."""

    def __init__(self, d: int, device: torch.device) -> None:
        self._sum = torch.zeros(d, d, dtype=torch.float64, device=device)

    def add(self, rows: Tensor) -> None:
        """Adds float64 rows (n, d), contiguous."""
        if self._sum.is_cuda:
            self._sum.addmm_(rows.mT, rows)
            return
        from scipy.linalg.blas import dsyrk

        # of the transposed sum, as BLAS counts rows and columns, the lower half: the upper one of ours
        dsyrk(1.0, rows.numpy().T, beta=1.0, c=self._sum.numpy().T, lower=True, overwrite_c=True)

    def matrix(self) -> Tensor:
        return self._sum.triu() + self._sum.triu(1).mT

    def merge(self, other: Scatter, correction: Tensor) -> None:
        """Adds another one and a symmetric matrix (d, d)."""
        self._sum += other._sum.to(self._sum.device) + correction
