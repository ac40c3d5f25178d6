"""C⁺ of the centred class means, up to a rotation of its rows."""

from __future__ import annotations

import torch
from torch import Tensor


def pseudo_inverse(c: Tensor) -> Tensor:
    """C⁺ up to a rotation: rows uᵢᵀ/sᵢ (…, min(d, K−1), d) of the thin SVD of C, zero where sᵢ is zero up to rounding.

    Where C is not finite or zero, all of it is NaN.
    """
    d, classes = c.shape[-2:]
    # LAPACK refuses a whole batch for one NaN, so what is not finite is taken out here and put back by `zero`
    finite = c.nan_to_num(0.0, 0.0, 0.0)
    if classes > 2 * d:  # a triangle has the same left singular vectors
        finite = torch.linalg.qr(finite.mT, mode="r")[1].mT
    u, s, _ = torch.linalg.svd(finite, full_matrices=False)
    largest, rank = s[..., :1], min(d, classes - 1)
    zero = (c * 0.0).sum((-2, -1))[..., None] / largest
    kept = s > max(d, classes) * torch.finfo(s.dtype).eps * largest
    factors = torch.where(kept, 1 / s, 0.0) + zero
    return factors[..., :rank, None] * u[..., :rank].mT
