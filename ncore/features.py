"""One pass over features → what the metrics of neural collapse need of them, in float64.

Letters: d features, K classes, N samples, n_k of them in class k; "…" any leading dimensions (seeds).
Accuracy: class means are taken first, deviations from them second, both in float64; the global mean is the mean of the
class means, so that Σ_B has rank K − 1 exactly, and the one direction that is not there cannot come in by rounding.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

CHUNK_ROWS = 1024
"""Rows that are turned into float64 at a time, few enough to stay in the cache."""


@dataclass(frozen=True)
class ClassStatistics:
    """Sizes n_k (…, K), means (…, d, K), Σ_{i∈k} ‖h_i − h̄_k‖² (…, K) and Tr(C⁺ S C⁺ᵀ) (…).

    C = H̄ − h̄ 1ᵀ are the centred class means and S = Σ (h_i − h̄_{y_i})(h_i − h̄_{y_i})ᵀ the within-class scatter.
    """

    counts: Tensor
    means: Tensor
    within: Tensor
    projected: Tensor

    @classmethod
    def from_root(cls, counts: Tensor, means: Tensor, root: Tensor, within: Tensor) -> ClassStatistics:
        """From any root (…, d, r) of the scatter, S = root rootᵀ: the centred samples, or a triangular factor."""
        projected = (inverse_means(means) @ root).square().sum((-2, -1))
        return cls(counts, means, within, projected)

    @classmethod
    def from_features(cls, features: Tensor, labels: Tensor, classes: int) -> ClassStatistics:
        """From samples (N, d) of any float type and labels (N,) in 0 … K − 1; the mean of an empty class is NaN."""
        return Samples(features, labels, classes).statistics

    def near_one(self) -> ClassStatistics:
        """Of the features times the power of two that brings the means near 1, so that no square leaves float64."""
        factor = power_of_two(self.means.abs().amax((-2, -1)))
        within = self.within * factor[..., None] * factor[..., None]
        return ClassStatistics(self.counts, self.means * factor[..., None, None], within, self.projected)

    @cached_property
    def samples(self) -> Tensor:
        return self.counts.sum(-1)

    @cached_property
    def centred(self) -> Tensor:
        """C (…, d, K)."""
        return centred(self.means)

    @cached_property
    def gram(self) -> Tensor:
        """CᵀC (…, K, K)."""
        return self.centred.mT @ self.centred

    @cached_property
    def squared_norms(self) -> Tensor:
        """‖h̄_k − h̄‖² (…, K)."""
        return self.gram.diagonal(dim1=-2, dim2=-1)

    @cached_property
    def spread(self) -> Tensor:
        """‖C‖² (…), with NaN where the class means do not differ at all."""
        total = self.squared_norms.sum(-1)
        return torch.where(total > 0, total, torch.nan)


def power_of_two(largest: Tensor) -> Tensor:
    """2^−e for numbers up to `largest` ≈ 2^e, in float64; 1 where it is 0 or not finite. Multiplying by it is exact."""
    exponent = torch.frexp(largest.double()).exponent.clamp(-1000, 1000).double()
    return torch.where(largest.isfinite() & (largest > 0), torch.exp2(-exponent), 1.0)


def centred(means: Tensor) -> Tensor:
    return means - means.mean(-1, keepdim=True)


def inverse_means(means: Tensor) -> Tensor:
    """C⁺ up to a rotation: rows uᵢᵀ/sᵢ (…, min(d, K−1), d) of the thin SVD of C, zero where sᵢ is zero up to rounding.

    Where the means are not finite or do not differ, all of it is NaN.
    """
    c = centred(means)
    usable = c.isfinite().all(-1).all(-1)
    u, s, _ = torch.linalg.svd(torch.where(usable[..., None, None], c, 0.0), full_matrices=False)
    rank = min(means.shape[-2], means.shape[-1] - 1)
    u, s = u[..., :rank], s[..., :rank]
    largest = s[..., :1] if rank else s.new_zeros(*s.shape[:-1], 1)
    kept = s > max(means.shape[-2:]) * torch.finfo(s.dtype).eps * largest
    rows = torch.where(kept, 1 / s, 0.0)[..., :, None] * u.mT
    return torch.where((usable & (largest[..., 0] > 0))[..., None, None], rows, torch.nan)


class Samples:
    """Features in memory, ordered by class once, so that each class is a block of rows from there on."""

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        self.classes = classes
        self.counts = torch.bincount(labels, minlength=classes)
        self.features = features if _is_ordered(labels) else features[labels.argsort()]

    @cached_property
    def means(self) -> Tensor:
        """(d, K). Sums of up to 2²⁹ numbers of 24 bits are exact in float64; wider ones are summed from a sample on,
        so that an offset of all features costs no digits."""
        means = []
        for block in self._blocks():
            first = block[:1].double() if block.dtype == torch.float64 else 0.0
            parts = [(rows - first).sum(0, dtype=torch.float64) for rows in block.split(CHUNK_ROWS)]
            nothing = self.features.new_full((self.features.shape[1],), torch.nan, dtype=torch.float64)
            means.append(first + torch.stack(parts).sum(0) / len(block) if len(block) else nothing)
        return torch.stack([mean.reshape(-1) for mean in means], dim=1)

    @cached_property
    def statistics(self) -> ClassStatistics:
        return self.survey(None, None)[0]

    def survey(
        self, columns: Tensor | None, differs: Callable[[Tensor, int], Tensor] | None
    ) -> tuple[ClassStatistics, int]:
        """The statistics, and of how many samples `differs((h − h̄_k)ᵀ columns, k)` holds, in the same pass.

        `columns` is (d, c); `differs` gets (rows, c) of class k and gives a boolean for each row.
        """
        means = self.means
        inverse = inverse_means(means).mT
        stacked = inverse if columns is None else torch.cat([inverse, columns], dim=1)
        own, rank = stacked.contiguous(), inverse.shape[1]
        wide = self.features.dtype == torch.float64
        within, projected, count = [], [], 0
        for k, block in enumerate(self._blocks()):
            squares = [block.new_zeros((2,), dtype=torch.float64)]
            drift = means.new_zeros(means.shape[0])  # the means' own rounding counts where the samples are as fine
            for rows in block.split(CHUNK_ROWS) if len(block) else ():
                deviations = rows.double() - means[:, k]
                products = deviations @ own
                squares.append(torch.stack([_square(deviations), _square(products[:, :rank])]))
                drift += deviations.sum(0) if wide else 0.0
                count += 0 if differs is None else int(differs(products[:, rank:], k).sum())
            total = torch.stack(squares).sum(0)
            if wide and len(block):
                total = total - torch.stack([_square(drift), _square(drift @ inverse)]) / len(block)
            within.append(total[0])
            projected.append(total[1])
        statistics = ClassStatistics(self.counts.double(), means, torch.stack(within), torch.stack(projected).sum())
        return statistics, count

    def _blocks(self) -> tuple[Tensor, ...]:
        return torch.split(self.features, self.counts.tolist())


def _square(matrix: Tensor) -> Tensor:
    flat = matrix.reshape(-1)
    return flat @ flat


def _is_ordered(labels: Tensor) -> bool:
    return bool((labels[1:] >= labels[:-1]).all())
