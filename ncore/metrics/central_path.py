"""The central path (Han, Papyan & Donoho 2022): the MSE objective as the sum of three losses.

With Ĥ = [H; 1], A = ĤĤᵀ/N + λI, Ŵ_LS = (YĤᵀ/N)A⁻¹ = [w, β] the best classifier for these features, π_k = n_k/N and λ
the weight decay of W and b: lnc1 + lnc23 + lnc_perp = 1/(2N)‖W H + b1ᵀ − Y‖² + λ/2 (‖W‖² + ‖b‖²). Without a bias Ĥ = H;
where b decays by a λ_b of its own, that stands in its place of λI and with ‖b‖² (derived).
"""

from __future__ import annotations

from functools import cached_property

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics

BLOCK = 512
"""Classes at a time."""


class CentralPath:
    """What the three have in common, of statistics with the scatter S (…, d, d), W (…, K, d), b (…, K) or None, and
    λ ≥ 0 of each (…). `regular`: every λ of W is positive, which saves the pseudo-inverse; what is batched must be."""

    def __init__(
        self,
        statistics: ClassStatistics,
        scatter: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        decay: float | Tensor,
        bias_decay: float | Tensor,
        *,
        regular: bool = False,
    ) -> None:
        self.regular = regular
        self.within = scatter / statistics.samples[..., None, None]
        self.shares = statistics.counts / statistics.samples[..., None]
        means = statistics.means.mT
        rates = torch.as_tensor(decay, dtype=torch.float64, device=weight.device)[..., None].expand(
            means[..., 0, :].shape
        )
        self.means, self.weight, self.decays = means, weight, rates
        if bias is not None:
            of_bias = torch.as_tensor(bias_decay, dtype=torch.float64, device=weight.device)[..., None]
            self.decays = torch.cat([rates, of_bias.expand(rates[..., :1].shape)], dim=-1)
            self.means = torch.cat([means, torch.ones_like(means[..., :1])], dim=-1)
            self.weight = torch.cat([weight, bias[..., None]], dim=-1)

    @cached_property
    def second_moment(self) -> Tensor:
        """A."""
        moment = self.means.mT @ (self.means * self.shares[..., None])
        d = self.within.shape[-1]
        moment[..., :d, :d] += self.within
        moment.diagonal(dim1=-2, dim2=-1).add_(self.decays)
        return moment

    @cached_property
    def best(self) -> Tensor:
        """Ŵ_LS, the shortest one where λ = 0 leaves a choice."""
        products = self.means * self.shares[..., None]
        if self.regular:
            return torch.cholesky_solve(products.mT, torch.linalg.cholesky_ex(self.second_moment).L).mT
        if not bool(self.second_moment.isfinite().all()):
            return torch.full_like(self.weight, torch.nan)
        return products @ torch.linalg.pinv(self.second_moment, hermitian=True)

    @property
    def losses(self) -> dict[str, Tensor]:
        """The three by name."""
        return {"lnc1": lnc1(self), "lnc23": lnc23(self), "lnc_perp": lnc_perp(self)}


def lnc1(path: CentralPath) -> Tensor:
    """½ [tr w(Σ_W + λI)wᵀ + λ‖β‖²]: the within-class part of the loss at the best classifier, given λ."""
    w = path.best[..., : path.within.shape[-1]]
    return ((w @ path.within * w).sum((-2, -1)) + (path.decays[..., None, :] * path.best.square()).sum((-2, -1))) / 2


def lnc23(path: CentralPath) -> Tensor:
    """½ Σ_k π_k ‖w h̄_k + β − e_k‖²: how far the class means are from a self-dual frame, given λ."""
    total = path.best.new_zeros(path.best.shape[:-2])
    for first in range(0, path.means.shape[-2], BLOCK):
        rows = slice(first, first + BLOCK)
        outputs = path.means[..., rows, :] @ path.best.mT  # (…, classes, K)
        outputs.diagonal(first, dim1=-2, dim2=-1).sub_(1)
        total += (outputs.square().sum(-1) * path.shares[..., rows]).sum(-1) / 2
    return total


def lnc_perp(path: CentralPath) -> Tensor:
    """½ tr (Ŵ − Ŵ_LS) A (Ŵ − Ŵ_LS)ᵀ with Ŵ = [W, b]: how far the classifier is from the best one, given λ."""
    away = path.weight - path.best
    return ((away @ path.second_moment) * away).sum((-2, -1)) / 2
