"""The central path (Han, Papyan & Donoho 2022): the MSE objective as the sum of three losses.

With Ĥ = [H; 1], A = ĤĤᵀ/N + λI, Ŵ_LS = (YĤᵀ/N)A⁻¹ = [w, β] the best classifier for these features, π_k = n_k/N and λ
the weight decay of W and b: lnc1 + lnc23 + lnc_perp = 1/(2N)‖W H + b1ᵀ − Y‖² + λ/2 (‖W‖² + ‖b‖²). Without a bias Ĥ = H.
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics

BLOCK = 512
"""Classes at a time."""


class CentralPath:
    """The common part of the three, from statistics with the scatter S (d, d), W (K, d), b (K,) or None, and λ ≥ 0."""

    def __init__(
        self, statistics: ClassStatistics, scatter: Tensor, weight: Tensor, bias: Tensor | None, decay: float
    ) -> None:
        self.decay = decay
        self.within = scatter / statistics.samples
        self.shares = statistics.counts / statistics.samples
        self.has_bias = bias is not None
        means = statistics.means.mT
        self.means = torch.cat([means, torch.ones_like(means[:, :1])], dim=1) if self.has_bias else means
        self.weight = weight if bias is None else torch.cat([weight, bias[:, None]], dim=1)

    @cached_property
    def second_moment(self) -> Tensor:
        """A."""
        moment = self.means.mT @ (self.means * self.shares[:, None])
        d = len(self.within)
        moment[:d, :d] += self.within
        moment.diagonal().add_(self.decay)
        return moment

    @cached_property
    def best(self) -> Tensor:
        """Ŵ_LS, the shortest one where λ = 0 leaves a choice."""
        if not bool(self.second_moment.isfinite().all()):
            return torch.full_like(self.weight, torch.nan)
        inverse = torch.linalg.pinv(self.second_moment, hermitian=True)
        return (self.means * self.shares[:, None]) @ inverse


def lnc1(path: CentralPath) -> Tensor:
    """½ [tr w(Σ_W + λI)wᵀ + λ‖β‖²]: the within-class part of the loss at the best classifier, given λ."""
    w = path.best[:, : len(path.within)]
    return ((w @ path.within * w).sum() + path.decay * path.best.square().sum()) / 2


def lnc23(path: CentralPath) -> Tensor:
    """½ Σ_k π_k ‖w h̄_k + β − e_k‖²: how far the class means are from a self-dual frame, given λ."""
    total = path.best.new_zeros(())
    for first in range(0, len(path.means), BLOCK):
        rows = slice(first, first + BLOCK)
        outputs = path.means[rows] @ path.best.mT  # (classes, K)
        outputs.diagonal(first).sub_(1)
        total += (outputs.square().sum(1) * path.shares[rows]).sum() / 2
    return total


def lnc_perp(path: CentralPath) -> Tensor:
    """½ tr (Ŵ − Ŵ_LS) A (Ŵ − Ŵ_LS)ᵀ with Ŵ = [W, b]: how far the classifier is from the best one, given λ."""
    away = path.weight - path.best
    return ((away @ path.second_moment) * away).sum() / 2
