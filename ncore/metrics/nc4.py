"""NC4: the classifier decides as the nearest class mean does (Papyan, Han & Donoho 2020, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.metrics.chunks import chunk_rows
from ncore.metrics.samples import Samples
from ncore.metrics.scatter import Scatter
from ncore.metrics.statistics import ClassMeans, ClassStatistics
from ncore.metrics.workspace import Workspace

EPSILON = 2.0**-24
"""Half a unit in the last place of float32, relative."""
SMALLEST = 2.0**-126
"""Least scale: below it float32 loses digits."""
SPARE = 1e-6
"""Of a sample's length, for directions so short among the means that their rounding hides them."""
MOST_CLASSES = 1024
"""Up to this many classes the means' distances from each other are taken, all at once."""


def nearness(c: Tensor) -> Tensor:
    """c_l·c_k − ‖c_l‖²/2 (…, K, K) for the mean of class k in column k: largest in row l where h̄_l is nearest.

    C (…, d, K) are centred class means; for a sample add c_l·(h − h̄_k).
    """
    gram = c.mT @ c
    return gram - gram.diagonal(dim1=-2, dim2=-1)[..., :, None] / 2


class Decisions:
    """Decisions of the classifier W (K, d), b (K,), and of the nearest class mean, for samples.

    Distances are compared by c_l·h − ‖c_l‖²/2 around the centre of the means: an offset of all features costs no
    digits. First in float32, whose error is bounded; only where the two largest scores are closer than that bound
    is a sample looked at again in float64. A sample that is, in the span of the means, closer to its own class mean
    than half the way to any other needs no comparison: no other can be nearer.
    """

    def __init__(self, means: ClassMeans, weight: Tensor, bias: Tensor | None, dtype: torch.dtype) -> None:
        self.means, self.weight, self.centred = means.high, weight, means.centred
        self.biases = weight.new_zeros(len(weight)) if bias is None else bias
        self.halves = self.centred.square().sum(1) / 2
        # the centre, as a number of the features' type or float32, so that a feature less it is rounded only once
        self._origin = (means.high[0] - means.centred[0]).to(torch.promote_types(dtype, torch.float32))
        lengths = (2 * self.halves).sqrt()
        moved = torch.maximum(torch.linalg.vector_norm(means.high - self._origin, dim=1), lengths)
        logits = weight @ self._origin.double() + self.biases
        logits = logits - logits.mean()
        self._single_weight = weight.float()
        # c_l·x = Σ_i (c_l·u_i)(u_i·x), of which C⁺x has (u_i·x)/s_i already; a row of C⁺ is u_i/s_i
        inverse = means.inverse
        squares = inverse.square().sum(1)
        along = self.centred @ inverse.mT
        self._squared_singular = torch.where(squares > 0, 1 / squares, squares)
        self._single_along = (along * self._squared_singular).float()
        self._single_projected = along.mT.float()
        self._reach = _reach(self.centred)
        self._offsets = torch.stack([logits, -self.halves]).float()[:, :, None]
        # |fl(x·y) − x·y| ≤ γ_d ‖x‖‖y‖ (Higham 2002, section 3.1), once more for x, y, offset and sum being rounded
        longest = torch.stack([weight.square().sum(1).amax().sqrt(), moved.amax()])
        self._per_length = 2 * EPSILON * (2 * weight.shape[1] + 16) * longest
        constant = EPSILON * 4 * torch.stack([logits.abs().amax(), self.halves.amax()])
        self._of_class = torch.outer(self._per_length, moved) + 2 * (constant + SMALLEST * weight.shape[1])[:, None]
        self._space = Workspace(weight.device)
        self._differing = torch.zeros((), dtype=torch.int64, device=weight.device)
        self._unsure: list[tuple[Tensor, Tensor]] = []
        self._unsure_rows = 0

    @property
    def numbers(self) -> int:
        """Scores of a sample."""
        return 2 * len(self.weight)

    def look(self, x: Tensor, labels: Tensor, lengths: Tensor, projected: Tensor) -> None:
        """Counts samples h (n, d) of `dtype`, given ‖h − h̄_y‖ (n,) and C⁺(h − h̄_y) (r, n)."""
        # below the largest score by at most this, another one may be it
        bounds = torch.addr(torch.index_select(self._of_class, 1, labels), self._per_length, lengths)
        decided = self._candidates(self._logits(x), bounds[0])
        same, number = decided.gather(0, labels[None])[0], decided.sum(0)
        other = self._compared(lengths, labels, projected)
        if isinstance(other, slice) or len(other):
            near = self._nearest(projected[:, other], labels[other], bounds[1, other])
            number[other] *= near.sum(0)
            same[other] = near.mul_(decided[:, other]).sum(0)
        certain = number == 1
        self._differing += (certain & (same == 0)).sum()
        unsure = (~certain).nonzero()[:, 0]
        if len(unsure):
            self._unsure.append((x[unsure], labels[unsure]))
            self._unsure_rows += len(unsure)
            if self._unsure_rows >= len(labels):
                self._look_again()

    def _logits(self, x: Tensor) -> Tensor:
        """(K, n), less what is the same for all classes."""
        scores = self._take("logits", (len(self.weight), len(x)))
        size = chunk_rows(x, x.shape[1])
        for first in range(0, len(x), size):
            chunk = slice(first, first + size)
            rows = torch.sub(x[chunk], self._origin, out=self._take("rows", x[chunk].shape))
            torch.mm(self._single_weight, rows.mT, out=scores[:, chunk])
        return scores.add_(self._offsets[0])

    def _compared(self, lengths: Tensor, labels: Tensor, projected: Tensor) -> Tensor | slice:
        """Which samples have to be compared with other means than their own."""
        if lengths.device.type != "cpu" or self._reach is None:  # a GPU is not waited for
            return slice(None)
        within = (self._squared_singular @ projected.square()).sqrt_() + SPARE * lengths
        return (~(within < self._reach[labels])).nonzero()[:, 0]

    def _candidates(self, scores: Tensor, bounds: Tensor) -> Tensor:
        """1 for each class that may have the largest score, else 0; of scores (K, n), which are overwritten."""
        return torch.ge(scores, (scores.amax(0) - bounds).float(), out=scores)

    def _nearest(self, projected: Tensor, labels: Tensor, bounds: Tensor) -> Tensor:
        """The candidates (K, n) for the nearest mean."""
        along = self._take("along", projected.shape).copy_(projected)
        along += torch.index_select(self._single_projected, 1, labels, out=self._take("projected", along.shape))
        near = torch.mm(self._single_along, along, out=self._take("near", (len(self.weight), len(labels))))
        return self._candidates(near.add_(self._offsets[1]), bounds)

    def _look_again(self) -> None:
        """In float64, with the logits around each class's own mean, so that no offset of all features costs digits."""
        samples, labels = (torch.cat(parts) for parts in zip(*self._unsure, strict=True))
        self._unsure, self._unsure_rows = [], 0
        size = chunk_rows(samples, self.numbers)
        for part, of_rows in zip(samples.split(size), labels.split(size), strict=True):
            rows = part.double() - self.means[of_rows]
            logits = rows @ self.weight.mT + (self.means[of_rows] @ self.weight.mT + self.biases)
            near = rows @ self.centred.mT + (self.centred[of_rows] @ self.centred.mT - self.halves)
            self._differing += (logits.argmax(1) != near.argmax(1)).sum()

    def share(self, statistics: ClassStatistics) -> Tensor:
        """nc4, of all samples that were looked at; NaN without spread."""
        if self._unsure:
            self._look_again()
        usable = statistics.spread.isfinite() & self.weight.isfinite().all() & self.biases.isfinite().all()
        return torch.where(usable, self._differing.double() / statistics.samples, torch.nan)

    def _take(self, name: str, shape: torch.Size | tuple[int, ...]) -> Tensor:
        return self._space.take(name, shape, torch.float32)


def _reach(centred: Tensor) -> Tensor | None:
    """Half the distance (K,) of each mean to the next one, 0 where that is short; None of very many classes."""
    if len(centred) > MOST_CLASSES:
        return None
    apart = torch.cdist(centred, centred, compute_mode="donot_use_mm_for_euclid_dist")
    apart.fill_diagonal_(torch.inf)
    half = apart.amin(1) / 2
    return torch.where(half > 100 * SPARE * centred.norm(dim=1).amax(), half, 0.0)


def nc4(
    samples: Samples, weight: Tensor, bias: Tensor | None, scatter: Scatter | None = None
) -> tuple[ClassStatistics, Tensor]:
    """Share of samples whose argmax of W h + b is not the nearest class mean; W (K, d), b (K,). NaN without spread.

    It looks at every sample, and so gives the statistics, which do too, from the same pass; `scatter` takes them in.
    """
    decisions = Decisions(samples.class_means, weight, bias, samples.features.dtype)
    statistics = samples.survey(decisions, scatter)
    return statistics, decisions.share(statistics)
