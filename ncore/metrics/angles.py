"""Equal, maximal angles between the centred class means (Papyan, Han & Donoho 2020, figures 3 and 4)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.features import ClassStatistics


def angle_std(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Population std over k ≠ l of cos(c_k, c_l). Shape (…)."""
    cosines = _cosines(statistics)
    return (cosines - cosines.mean(-1, keepdim=True)).square().mean(-1).sqrt()


def angle_gap(statistics: ClassStatistics, weight: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Mean over k ≠ l of |cos(c_k, c_l) + 1/(K−1)|. Shape (…)."""
    return (_cosines(statistics) + 1 / max(statistics.counts.shape[-1] - 1, 1)).abs().mean(-1)


def _cosines(statistics: ClassStatistics) -> Tensor:
    """cos(c_k, c_l) for k < l (each pair stands for both orders): (…, K(K−1)/2)."""
    norms = statistics.squared_norms.sqrt()
    classes = norms.shape[-1]
    k, l = torch.triu_indices(classes, classes, 1, device=norms.device)  # noqa: E741 (the formula's letter)
    return statistics.gram[..., k, l] / (norms[..., k] * norms[..., l])
