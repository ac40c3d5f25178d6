"""Balance of two layers that follow each other: zero at every minimum of a linear UFM (Tirer & Bruna 2022)."""

from __future__ import annotations

import torch
from torch import Tensor


def balance(upper: Tensor, lower_gram: Tensor, ratio: float | Tensor) -> Tensor:
    """‖(λ_{j+1}/λ_j) W_{j+1}ᵀW_{j+1} − W_jW_jᵀ‖ / ‖W_jW_jᵀ‖. Shape (…).

    `upper` is W_{j+1} (…, m, d), `lower_gram` W_jW_jᵀ (…, d, d), of features H Hᵀ, and `ratio` λ_{j+1}/λ_j, of the
    decay of the weight to that of the features in the same objective. NaN for a lower layer of zeros.
    """
    norm = torch.linalg.matrix_norm
    return norm(ratio * (upper.mT @ upper) - lower_gram) / norm(lower_gram)
