"""One pass over features → what the metrics of neural collapse need of them, in float64.

Letters: d features, K classes, N samples, n_k of them in class k; "…" any leading dimensions (seeds).
Accuracy: samples are taken relative to the first one of their class before anything is summed. That difference is
exact where it matters, so neither an offset of all features nor a spread of 1e-9 of the means costs digits. The global
mean is the mean of the class means, so that Σ_B has rank K − 1 exactly and no direction comes in by rounding.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

CHUNK_NUMBERS = 2**18
"""Numbers that are turned into float64 at a time: 512 rows of 512 stay in a core's cache."""
CHUNK_NUMBERS_GPU = 2**25


@dataclass(frozen=True)
class ClassStatistics:
    """Sizes n_k (…, K), means H̄ and C (…, d, K), Σ_{i∈k} ‖h_i − h̄_k‖² (…, K) and Tr(C⁺ S C⁺ᵀ) (…).

    C = H̄ − h̄ 1ᵀ are the centred class means and S = Σ (h_i − h̄_{y_i})(h_i − h̄_{y_i})ᵀ the within-class scatter.
    """

    counts: Tensor
    means: Tensor
    centred: Tensor
    within: Tensor
    projected: Tensor

    @classmethod
    def from_root(cls, counts: Tensor, means: Tensor, root: Tensor, within: Tensor) -> ClassStatistics:
        """From any root (…, d, r) of the scatter, S = root rootᵀ: the centred samples, or a triangular factor."""
        c = centred(means)
        projected = (pseudo_inverse(c) @ root).square().sum((-2, -1))
        return cls(counts, means, c, within, projected)

    @classmethod
    def from_features(cls, features: Tensor, labels: Tensor, classes: int) -> ClassStatistics:
        """From samples (N, d) of any float type and labels (N,) in 0 … K − 1; the mean of an empty class is NaN."""
        return Samples(features, labels, classes).statistics

    def near_one(self) -> ClassStatistics:
        """Of the features times the power of two that brings the means near 1, so that no square leaves float64."""
        factor = power_of_two(self.means.abs().amax((-2, -1), keepdim=True))
        per_class = factor[..., 0]
        within = self.within * per_class * per_class
        return ClassStatistics(self.counts, self.means * factor, self.centred * factor, within, self.projected)

    @cached_property
    def samples(self) -> Tensor:
        return self.counts.sum(-1)

    @cached_property
    def frame(self) -> Tensor:
        """H̄ (…, d, K), but NaN for one class alone, which makes no frame."""
        return self.means if self.means.shape[-1] > 1 else self.means * torch.nan

    @cached_property
    def gram(self) -> Tensor:
        """CᵀC (…, K, K)."""
        return self.centred.mT @ self.centred

    @cached_property
    def squared_norms(self) -> Tensor:
        """‖h̄_k − h̄‖² (…, K)."""
        return self.gram.diagonal(dim1=-2, dim2=-1)

    @cached_property
    def cosines(self) -> Tensor:
        """cos(c_k, c_l) for k < l (each pair stands for both orders): (…, K(K−1)/2)."""
        norms, classes = self.squared_norms.sqrt(), self.means.shape[-1]
        k, l = torch.triu_indices(classes, classes, 1, device=norms.device)  # noqa: E741 (the formula's letter)
        return (self.gram / (norms[..., :, None] * norms[..., None, :]))[..., k, l]

    @cached_property
    def spread(self) -> Tensor:
        """‖C‖² (…), with NaN where the class means do not differ at all."""
        total = self.squared_norms.sum(-1)
        return torch.where(total > 0, total, torch.nan)


def power_of_two(largest: Tensor) -> Tensor:
    """2^−e for numbers up to `largest` ≈ 2^e, in float64; some power where it is 0 or not finite.

    Multiplying by it is exact.
    """
    return torch.exp2(-torch.frexp(largest.double()).exponent.clamp(-1000, 1000).double())


def centred(means: Tensor) -> Tensor:
    """C (…, d, K); exactly zero where the means are equal, which their own mean, being rounded, need not be."""
    relative = means - means[..., :1]
    return relative - relative.mean(-1, keepdim=True)


def centred_sum(anchors: Tensor, offsets: Tensor) -> Tensor:
    """C (…, d, K) of the means anchors + offsets, without the rounding of that sum."""
    return centred(anchors - anchors[..., :1] + offsets)


def pseudo_inverse(c: Tensor) -> Tensor:
    """C⁺ up to a rotation: rows uᵢᵀ/sᵢ (…, min(d, K−1), d) of the thin SVD of C, zero where sᵢ is zero up to rounding.

    Where C is not finite or zero, all of it is NaN.
    """
    # LAPACK refuses a whole batch for one NaN, so what is not finite is taken out here and put back by `zero`
    u, s, _ = torch.linalg.svd(c.nan_to_num(0.0, 0.0, 0.0), full_matrices=False)
    largest, rank = s[..., :1], min(c.shape[-2], c.shape[-1] - 1)
    zero = (c * 0.0).sum((-2, -1))[..., None] / largest
    kept = s > max(c.shape[-2:]) * torch.finfo(s.dtype).eps * largest
    factors = torch.where(kept, 1 / s, 0.0) + zero
    return factors[..., :rank, None] * u[..., :rank].mT


class Samples:
    """Features in memory, read in order of class, so that a chunk of rows is of one class and needs no index.

    h̄_k = anchors[k] + offsets[k], both (K, d): the first sample of the class and the mean deviation from it.
    """

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        self.classes = classes
        self.counts = torch.bincount(labels, minlength=classes)
        self._order = None if _is_ordered(labels) else labels.argsort(stable=True)
        self._features = features if self._order is None else features.contiguous()
        self._sizes = self.counts.tolist()
        self._anchors = self._first_samples()

    @cached_property
    def means(self) -> Tensor:
        """(d, K)."""
        return (self._anchors + self._offsets).mT

    @cached_property
    def centred(self) -> Tensor:
        """C (d, K)."""
        return centred_sum(self._anchors.mT, self._offsets.mT)

    @cached_property
    def statistics(self) -> ClassStatistics:
        return self.survey(None, None)[0]

    def survey(
        self, columns: Tensor | None, differs: Callable[[Tensor, int], Tensor] | None
    ) -> tuple[ClassStatistics, Tensor]:
        """The statistics, and of how many samples `differs((h − h̄_k)ᵀ columns, k)` holds, in the same pass.

        `columns` is (d, c); `differs` gets (rows, c) of class k and gives a boolean for each row.
        """
        inverse = pseudo_inverse(self.centred).mT
        rank = inverse.shape[1]
        stacked = (inverse if columns is None else torch.cat([inverse, columns], dim=1)).contiguous()
        within, projected = inverse.new_zeros(self.classes), inverse.new_zeros(())
        count = torch.zeros_like(self.counts[0])
        for k, rows in self._chunks():
            deviations = rows.sub_(self._anchors[k]).sub_(self._offsets[k])
            products = deviations @ stacked
            within[k] += _square(deviations)
            projected += _square(products[:, :rank])
            if differs is not None:
                count += differs(products[:, rank:], k).sum()
        return ClassStatistics(self.counts.double(), self.means, self.centred, within, projected), count

    @cached_property
    def _offsets(self) -> Tensor:
        sums = torch.zeros_like(self._anchors)
        for k, rows in self._chunks():
            sums[k] += rows.sub_(self._anchors[k]).sum(0)
        return sums / self.counts[:, None]

    def _first_samples(self) -> Tensor:
        """(K, d), NaN for a class without samples."""
        places = (self.counts.cumsum(0) - self.counts).clamp(max=len(self._features) - 1)
        first = self._features[places if self._order is None else self._order[places]].double()
        # chosen by `where`: a GPU would have to be waited for to index by a mask
        return torch.where((self.counts > 0)[:, None], first, torch.nan)

    def _chunks(self) -> Iterator[tuple[int, Tensor]]:
        """A class and a float64 copy of some of its rows, which is overwritten by the next one."""
        features = self._features
        numbers = CHUNK_NUMBERS if features.device.type == "cpu" else CHUNK_NUMBERS_GPU
        size = min(len(features), max(16, numbers // features.shape[1]))
        rows = features.new_empty(size, features.shape[1], dtype=torch.float64)
        gathered = features.new_empty(size, features.shape[1])
        end = 0
        for k, count in enumerate(self._sizes):
            start, end = end, end + count
            for first in range(start, end, size):
                last = min(first + size, end)
                chunk = features[first:last]
                if self._order is not None:
                    chunk = gathered[: last - first]
                    torch.index_select(features, 0, self._order[first:last], out=chunk)
                yield k, rows[: last - first].copy_(chunk)


def _square(matrix: Tensor) -> Tensor:
    flat = matrix.reshape(-1)
    return flat @ flat


def _is_ordered(labels: Tensor) -> bool:
    return bool((labels[1:] >= labels[:-1]).all())
