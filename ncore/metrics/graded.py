"""C⁺ where some directions of the class means are millions of times shorter than others.

A singular value decomposition in float64 gets a singular value s right to 2^-52 of the largest, so one of 1e-8 of it
only to eight digits. Elimination with complete pivoting, in pairs of float64, gives X = L D U with well-conditioned
L and U, and all digits of every entry of D, however small (Demmel, Gu, Eisenstat, Slapničar, Veselić & Drmač 1999).
"""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.metrics.sums import shortened, two_sum

ZERO = 2.0**-80
"""A pivot below this share of the first one is zero up to what pairs of float64 hold."""
GRADED = 1e-6
"""Singular values down to this share of the largest one have ten digits by the ordinary way."""
MOST_WORK = 2**29
"""Numbers to touch, some seconds: beyond, the ordinary result stands where it has ten digits, else none."""


def is_graded(centred: Tensor, inverse: Tensor) -> bool:
    """Whether C⁺ (r, d), rows uᵢᵀ/sᵢ, of centred means (K, d) wants digits."""
    lengths = torch.linalg.vector_norm(inverse, dim=1)
    if not len(lengths) or not bool(lengths.isfinite().all()):
        return False
    rank = min(int((centred != 0).any(0).sum()), len(centred) - 1)
    kept = lengths[lengths > 0]
    return len(kept) < rank or bool(kept.amax() * GRADED > kept.amin())


def graded_inverse(high: Tensor, low: Tensor) -> Tensor:
    """C⁺ up to a rotation (r, d) of centred means (K, d), cut only at what is zero; NaN where it is too much work."""
    active = (high != 0).any(0)
    x, rest = high[:, active], low[:, active]
    if min(x.shape) * x.numel() > MOST_WORK:
        return torch.full_like(high[:1], torch.nan)
    columns, pivots, rows = _eliminated(x, rest)
    q, right = torch.linalg.qr(rows.mT)  # Xᵀ = (q right) D (left ᵀ …)
    left = torch.linalg.qr(columns, mode="r")[1]
    solved = torch.linalg.solve_triangular(right, q.mT, upper=True) / pivots[:, None]
    inverse = high.new_zeros(len(pivots), high.shape[1])
    inverse[:, active] = torch.linalg.solve_triangular(left.mT, solved, upper=False)
    return inverse


def _eliminated(x: Tensor, low: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """L (K, r), D (r,) and U (r, d) of X = x + low."""
    columns, pivots, rows = [], list[Tensor](), []
    for _ in range(min(len(x) - 1, x.shape[1])):
        k, j = divmod(int(x.abs().argmax()), x.shape[1])
        pivot, pivot_low = x[k, j], low[k, j]
        if pivots and bool(pivot.abs() <= ZERO * pivots[0].abs()):
            break
        column, column_low = _divided(x[:, j], low[:, j], pivot, pivot_low)
        row, row_low = x[k], low[k]
        columns.append(column)
        pivots.append(pivot)
        rows.append(row / pivot)
        product, error = _product(column[:, None], row[None, :])
        error = error + (column[:, None] * row_low + column_low[:, None] * row)
        x, lost = two_sum(x, -product)
        x, low = two_sum(x, low - error + lost)
        x[k], low[k], x[:, j], low[:, j] = 0.0, 0.0, 0.0, 0.0
    return torch.stack(columns, 1), torch.stack(pivots), torch.stack(rows)


def _divided(x: Tensor, low: Tensor, by: Tensor, by_low: Tensor) -> tuple[Tensor, Tensor]:
    share = x / by
    product, error = _product(share, by)
    return share, ((x - product) - error + low - share * by_low) / by


def _product(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a·b rounded, and what rounding took from it (Dekker)."""
    total = a * b
    a_high, b_high = shortened(a), shortened(b)
    a_low, b_low = a - a_high, b - b_high
    return total, ((a_high * b_high - total) + a_high * b_low + a_low * b_high) + a_low * b_low
