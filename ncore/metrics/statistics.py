"""Statistics of features that the metrics need: sizes, means and scatter of the classes, in float64.

Letters: d features, K classes, N samples, n_k of them in class k; "…" any leading dimensions (seeds).
The global mean is the mean of the class means, so that Σ_B has rank K − 1 exactly: no direction comes in by rounding.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from ncore.metrics import sums
from ncore.metrics.graded import graded_inverse, is_graded
from ncore.metrics.pairs import PairMeans, pair_means
from ncore.metrics.pseudo_inverse import pseudo_inverse
from ncore.metrics.rank import singular_values

ROUNDING = 2.0**-49
"""A difference of means below this share of the features' size is the rounding of the features themselves."""


@dataclass(frozen=True)
class ClassStatistics:
    """Sizes n_k (…, K), means H̄ and C (…, d, K), Σ_{i∈k} ‖h_i − h̄_k‖² (…, K) and Tr(C⁺ S C⁺ᵀ) (…).

    C = H̄ − h̄ 1ᵀ are the centred class means and S = Σ (h_i − h̄_{y_i})(h_i − h̄_{y_i})ᵀ the within-class scatter.
    Where the means are known to more digits than float64 has, `low` (…, d, K) is what C lacks.
    Differences of means up to `floor` (…) in length are rounding, and what depends on their direction is NaN.
    """

    counts: Tensor
    means: Tensor
    centred: Tensor
    within: Tensor
    projected: Tensor
    low: Tensor | None = None
    floor: Tensor | None = None

    @classmethod
    def from_root(cls, counts: Tensor, means: Tensor, root: Tensor, within: Tensor) -> ClassStatistics:
        """Statistics from a root (…, d, r) of the scatter, S = root rootᵀ: centred samples, or a triangular factor."""
        c = centred(means)
        projected = (pseudo_inverse(c) @ root).square().sum((-2, -1))
        return cls(counts, means, c, within, projected)

    def near_one(self) -> ClassStatistics:
        """Statistics of the features times the power of two that brings the means near 1: no square leaves float64."""
        factor = power_of_two(self.means.abs().amax((-2, -1), keepdim=True))
        per_class = factor[..., 0]
        return replace(
            self,
            means=self.means * factor,
            centred=self.centred * factor,
            within=self.within * per_class * per_class,
            low=None if self.low is None else self.low * factor,
            floor=None if self.floor is None else self.floor * per_class[..., 0],
        )

    @cached_property
    def samples(self) -> Tensor:
        return self.counts.sum(-1)

    @cached_property
    def frame(self) -> Tensor:
        """H̄ (…, d, K), but NaN for one class alone, which makes no frame."""
        return self.means if self.means.shape[-1] > 1 else self.means * torch.nan

    @cached_property
    def squared_norms(self) -> Tensor:
        """‖h̄_k − h̄‖² (…, K)."""
        return self.centred.square().sum(-2)

    @cached_property
    def directed_norms(self) -> Tensor:
        """‖h̄_k − h̄‖ (…, K), NaN where its direction is rounding."""
        norms = self.squared_norms.sqrt()
        floor = norms.new_zeros(()) if self.floor is None else self.floor[..., None]
        return torch.where(norms > floor, norms, torch.nan)

    @cached_property
    def spread(self) -> Tensor:
        """‖C‖² (…), with NaN where the class means do not differ at all."""
        total = self.squared_norms.sum(-1)
        return torch.where(total > 0, total, torch.nan)

    @cached_property
    def pairs(self) -> PairMeans:
        """The means over pairs of classes, all of them from one pass over the pairs."""
        return pair_means(self)

    @cached_property
    def singular_values(self) -> Tensor:
        """Singular values of H̄, descending (…, min(d, K))."""
        return singular_values(self.frame)


def power_of_two(largest: Tensor) -> Tensor:
    """2^−e for numbers up to `largest` ≈ 2^e, in float64; some power where it is 0 or not finite.

    Multiplying by it is exact.
    """
    return torch.exp2(-torch.frexp(largest.double()).exponent.clamp(-1000, 1000).double())


def centred(means: Tensor) -> Tensor:
    """C (…, d, K); exactly zero where the means are equal, which their own mean, being rounded, need not be."""
    relative = means - means[..., :1]
    return relative - relative.mean(-1, keepdim=True)


@dataclass(frozen=True)
class ClassMeans:
    """Class means (K, d), and less their own mean, each as a float64 number and what it lacks."""

    high: Tensor
    low: Tensor
    centred: Tensor
    centred_low: Tensor

    @classmethod
    def of(cls, total: sums.ClassSums, counts: Tensor) -> ClassMeans:
        high, low = total.means(counts)
        return cls(high, low, *sums.centred(high, low))

    @cached_property
    def inverse(self) -> Tensor:
        """C⁺ up to a rotation (r, d), rows uᵢᵀ/sᵢ."""
        return pseudo_inverse(self.centred.mT)

    @cached_property
    def exact_inverse(self) -> Tensor:
        """C⁺ up to a rotation (r, d), with ten digits in every direction; the same as `inverse` where that has them."""
        if is_graded(self.centred, self.inverse):
            return graded_inverse(self.centred, self.centred_low)
        return self.inverse

    def statistics(self, counts: Tensor, squares: Tensor, projected: Tensor, shifts: Tensor) -> ClassStatistics:
        """Statistics from Σ‖h − p_k‖² (K,) and Σ‖C⁺(h − p_k)‖² by `exact_inverse`, with p_k = h̄_k − `shifts` (K, d)."""
        counts = counts.double()
        moved = shifts * counts.sqrt()[:, None]
        within = (squares - moved.square().sum(1)).clamp(min=0)
        projected = (projected - (moved @ self.exact_inverse.mT).square().sum()).clamp(min=0)
        scale = self.centred.square().sum(1).amax() + (within / counts).amax()
        floor = ROUNDING * scale.sqrt()
        if self.exact_inverse is not self.inverse:
            shortest = 1 / torch.linalg.matrix_norm(self.exact_inverse, ord=2)
            projected = torch.where(shortest > floor, projected, torch.nan)
        return ClassStatistics(counts, self.high.mT, self.centred.mT, within, projected, self.centred_low.mT, floor)
