"""Means over the pairs of classes, in one pass by tiles, so that no K × K matrix is in memory at once."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING

import torch
from torch import Tensor

if TYPE_CHECKING:
    from ncore.metrics.statistics import ClassStatistics

TILE = 512
"""Classes on a side of a tile."""
DIRECT = 128
"""Up to this many classes distances are computed directly; above, by products, and directly for close pairs only."""
CLOSE = 0.02
"""A pair is close where ‖c_k − c_l‖² is below this share of ‖c_k‖² + ‖c_l‖²: products would cancel."""
TWINS = 1e-6
"""The threshold on ‖c_k − c_l‖, as CLOSE, below which the digits beyond float64 count too."""


@dataclass
class PairMeans:
    """Each (…): first sums, then means over k ≠ l, but for the two frames' distances, squared sums over all (k, l).

    Cosines are of (c_k, c_l) and less their value at a simplex ETF, −1/(K−1). Logarithms are log(1/‖m̂_k − m̂_l‖) with
    m̂_k = c_k/‖c_k‖, and less their value there, −½ log(2K/(K−1)). So near collapse no digits cancel.
    """

    to_orthogonal: Tensor
    to_simplex: Tensor
    cosine: Tensor
    cosine_squared: Tensor
    cosine_absolute: Tensor
    variance_over_distance: Tensor
    log: Tensor
    log_squared: Tensor


OVER_ALL = ("to_orthogonal", "to_simplex")


def pair_means(statistics: ClassStatistics) -> PairMeans:
    pairs = _Pairs(statistics)
    names = [field.name for field in fields(PairMeans)]
    total: dict[str, Tensor] = {}
    for rows, columns in _tiles(pairs.classes):
        times = 1 if rows == columns else 2  # (l, k) is (k, l)
        for name, value in zip(names, pairs.tile(rows, columns), strict=True):
            total[name] = total[name] + times * value if name in total else times * value
    number = pairs.classes * (pairs.classes - 1) or math.nan
    return PairMeans(**{name: value if name in OVER_ALL else value / number for name, value in total.items()})


def _tiles(classes: int) -> Iterator[tuple[slice, slice]]:
    """The tiles on and above the diagonal."""
    for first in range(0, classes, TILE):
        for second in range(first, classes, TILE):
            yield slice(first, first + TILE), slice(second, second + TILE)


class _Pairs:
    """The statistics that a tile needs."""

    def __init__(self, statistics: ClassStatistics) -> None:
        self.c = statistics.centred.mT
        self.low = None if statistics.low is None else statistics.low.mT
        self.classes = self.c.shape[-2]
        self.squares = statistics.squared_norms
        self.norms = statistics.directed_norms
        self.variances = statistics.within / statistics.counts
        self.floor = self.squares.new_zeros(()) if statistics.floor is None else statistics.floor[..., None, None]
        frame = statistics.frame
        centre = frame.mean(-1, keepdim=True)
        # h̄_k·h̄_l = c_k·c_l + a_k + a_l
        self.offsets = (statistics.centred + centre / 2).mul(centre).sum(-2)
        self.gram_norm, self.frame_norm = _gram_norm(statistics.centred), _gram_norm(frame)

    def tile(self, rows: slice, columns: slice) -> tuple[Tensor, ...]:
        """The sums over k in rows and l in columns, in the order of PairMeans."""
        gram = self.c[..., rows, :] @ self.c[..., columns, :].mT
        squared = self._squared_distances(gram, rows, columns)
        cosines = gram / self.norms[..., rows, None] / self.norms[..., None, columns] + 1 / max(self.classes - 1, 1)
        logs = self._logs(squared, cosines, rows, columns)
        root = math.sqrt(max(self.classes - 1, 1))
        orthogonal = (gram + (self.offsets[..., rows, None] + self.offsets[..., None, columns])).div_(self.frame_norm)
        simplex = gram.div_(self.gram_norm).add_(1 / (self.classes * root))
        if rows == columns:
            orthogonal.diagonal(dim1=-2, dim2=-1).sub_(1 / math.sqrt(self.classes))
            simplex.diagonal(dim1=-2, dim2=-1).sub_(1 / root)
            cosines.diagonal(dim1=-2, dim2=-1).zero_()
            logs.diagonal(dim1=-2, dim2=-1).zero_()
        ratios = (self.variances[..., rows, None] + self.variances[..., None, columns]).div_(squared.mul_(2))
        return (
            _square(orthogonal),
            _square(simplex),
            cosines.sum((-2, -1)),
            _square(cosines),
            cosines.abs_().sum((-2, -1)),
            ratios.sum((-2, -1)),
            logs.sum((-2, -1)),
            _square(logs),
        )

    def _squared_distances(self, gram: Tensor, rows: slice, columns: slice) -> Tensor:
        """‖c_k − c_l‖²: infinite for k = l, NaN where it is rounding."""
        total = self.squares[..., rows, None] + self.squares[..., None, columns]
        squared = _direct(self.c[..., rows, :], self.c[..., columns, :]) if self.classes <= DIRECT else total - 2 * gram
        if rows == columns:
            squared.diagonal(dim1=-2, dim2=-1).fill_(torch.inf)
        if self.classes > DIRECT:
            close = squared < CLOSE * total
            if int(close.sum()) > close.numel() // 16:
                squared.copy_(torch.where(close, _direct(self.c[..., rows, :], self.c[..., columns, :]), squared))
            else:
                self._recheck(squared, close, rows, columns)
        if self.low is not None:
            self._recheck(squared, squared < TWINS**2 * total, rows, columns)
        return torch.where(squared > self.floor**2, squared, torch.nan)

    def _recheck(self, squared: Tensor, pairs: Tensor, rows: slice, columns: slice) -> None:
        """Takes the distances of some pairs directly."""
        for where in pairs.nonzero().split(TILE):
            *leading, k, l = where.unbind(1)  # noqa: E741 (the formula's letter)
            difference = self._difference((*leading, k + rows.start), (*leading, l + columns.start))
            squared[(*leading, k, l)] = difference.square().sum(-1)

    def _logs(self, squared: Tensor, cosines: Tensor, rows: slice, columns: slice) -> Tensor:
        """log(1/‖m̂_k − m̂_l‖), less its value at a simplex ETF, from the cosines less theirs."""
        at_etf = 2 * self.classes / max(self.classes - 1, 1)
        chords = at_etf - 2 * cosines  # ‖m̂_k − m̂_l‖²
        if chords.device.type == "cpu" or self.classes > DIRECT:
            for where in (chords < CLOSE).nonzero().split(TILE):
                *leading, k, l = where.unbind(1)  # noqa: E741 (the formula's letter)
                chords[(*leading, k, l)] = self._chord((*leading, k + rows.start), (*leading, l + columns.start))
        else:  # all of a few, lest a GPU is waited for: how many are close is read from it
            sizes = (torch.arange(size, device=chords.device) for size in chords.shape)
            *leading, k, l = (index.flatten() for index in torch.meshgrid(*sizes, indexing="ij"))  # noqa: E741
            chords = torch.where(chords < CLOSE, self._chord((*leading, k), (*leading, l)).view_as(chords), chords)
        chords = torch.where(squared.isfinite() & (chords > 0), chords, torch.nan)
        return chords.div_(at_etf).log_().mul_(-0.5)

    def _chord(self, k: tuple[Tensor, ...], l: tuple[Tensor, ...]) -> Tensor:  # noqa: E741
        """‖m̂_k − m̂_l‖² of pairs in almost one direction, from c_k − c_l so that nothing cancels."""
        difference = self._difference(k, l)
        longer = (difference * (self.c[k] + self.c[l])).sum(-1) / (self.norms[k] + self.norms[l])
        return ((difference - self.c[l] * (longer / self.norms[l])[:, None]) / self.norms[k][:, None]).square().sum(-1)

    def _difference(self, k: tuple[Tensor, ...], l: tuple[Tensor, ...]) -> Tensor:  # noqa: E741
        """c_k − c_l, with the digits beyond float64 where they are known."""
        difference = self.c[k] - self.c[l]
        return difference if self.low is None else difference + (self.low[k] - self.low[l])


def _direct(one: Tensor, other: Tensor) -> Tensor:
    return torch.cdist(one, other, compute_mode="donot_use_mm_for_euclid_dist").square()


def _gram_norm(matrix: Tensor) -> Tensor:
    """‖XᵀX‖ (…, 1, 1) of X (…, d, K), from the smaller of XᵀX and XXᵀ."""
    small = matrix.mT @ matrix if matrix.shape[-1] <= matrix.shape[-2] else matrix @ matrix.mT
    return torch.linalg.matrix_norm(small)[..., None, None]


def _square(matrix: Tensor) -> Tensor:
    return matrix.square().sum((-2, -1))
