"""NC4: the classifier decides as the nearest class mean does (Papyan, Han & Donoho 2020, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.metrics.samples import Samples, chunk_rows
from ncore.metrics.scatter import Scatter
from ncore.metrics.statistics import ClassMeans, ClassStatistics
from ncore.metrics.workspace import Workspace

EPSILON = 2.0**-24
"""Half a unit in the last place of float32, relative."""
SMALLEST = 2.0**-126
"""Least scale: below it float32 loses digits."""


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
    is a sample looked at again in float64.
    """

    def __init__(self, means: ClassMeans, weight: Tensor, bias: Tensor | None) -> None:
        self.means, self.weight, self.centred = means.high, weight, means.centred
        self.biases = weight.new_zeros(len(weight)) if bias is None else bias
        self.halves = self.centred.square().sum(1) / 2
        self.lengths = (2 * self.halves).sqrt()
        logits = weight @ (means.high[0] - means.centred[0]) + self.biases
        logits = logits - logits.mean()
        self._single_means, self._single_weight = self.centred.float(), weight.float()
        # c_l·x = Σ_i (c_l·u_i)(u_i·x), of which C⁺x has (u_i·x)/s_i already; a row of C⁺ is u_i/s_i
        inverse = means.inverse
        squares = inverse.square().sum(1)
        along = self.centred @ inverse.mT
        self._single_along = torch.where(squares > 0, along / squares, squares).float()
        self._single_projected = along.mT.float()
        self._offsets = torch.stack([logits, -self.halves]).float()[:, :, None]
        # |fl(x·y) − x·y| ≤ γ_d ‖x‖‖y‖ (Higham 2002, section 3.1), once more for x, y, offset and sum being rounded
        longest = torch.stack([weight.square().sum(1).amax().sqrt(), self.lengths.amax()])
        self._per_length = EPSILON * (2 * weight.shape[1] + 16) * longest[:, None]
        self._constant = EPSILON * 4 * torch.stack([logits.abs().amax(), self.halves.amax()])[:, None]
        self._constant += SMALLEST * weight.shape[1]
        self._space = Workspace(weight.device)
        self._differing = torch.zeros((), dtype=torch.int64, device=weight.device)
        self._unsure: list[tuple[Tensor, Tensor]] = []
        self._unsure_rows = 0

    @property
    def numbers(self) -> int:
        """Scores of a sample."""
        return 2 * len(self.weight)

    def look(self, deviations: Tensor, labels: Tensor, lengths: Tensor, projected: Tensor) -> None:
        """Counts samples of h − h̄_y (n, d) in float64, of length (n,), with C⁺(h − h̄_y) (r, n)."""
        scores = self._scores(deviations, labels, projected)
        bound = 2 * (self._per_length * (lengths + self.lengths[labels]) + self._constant)
        least = (scores.amax(1) - bound).float()
        candidate = torch.ge(scores, least[:, None], out=self._take("candidate", scores.shape))
        certain = (candidate.sum(1) == 1).all(0)
        same = candidate[0].mul_(candidate[1]).sum(0) > 0
        self._differing += (certain & ~same).sum()
        unsure = (~certain).nonzero()[:, 0]
        self._unsure.append((deviations[unsure], labels[unsure]))
        self._unsure_rows += len(unsure)
        if self._unsure_rows >= len(labels):
            self._look_again()

    def _look_again(self) -> None:
        """Decides again in float64, by logits around each class's mean: an offset of all features costs no digits."""
        deviations, labels = (torch.cat(parts) for parts in zip(*self._unsure, strict=True))
        self._unsure, self._unsure_rows = [], 0
        size = chunk_rows(deviations, self.numbers)
        for rows, of_rows in zip(deviations.split(size), labels.split(size), strict=True):
            logits = rows @ self.weight.mT + (self.means[of_rows] @ self.weight.mT + self.biases)
            near = rows @ self.centred.mT + (self.centred[of_rows] @ self.centred.mT - self.halves)
            self._differing += (logits.argmax(1) != near.argmax(1)).sum()

    def share(self, statistics: ClassStatistics) -> Tensor:
        """nc4, of all samples that were looked at; NaN without spread."""
        if self._unsure:
            self._look_again()
        usable = statistics.spread.isfinite() & self.weight.isfinite().all() & self.biases.isfinite().all()
        return torch.where(usable, self._differing.double() / statistics.samples, torch.nan)

    def _scores(self, deviations: Tensor, labels: Tensor, projected: Tensor) -> Tensor:
        """Logits and nearness (2, K, n) in float32, each less what is the same for all classes."""
        rows = self._take("rows", deviations.shape).copy_(deviations)
        rows += torch.index_select(self._single_means, 0, labels, out=self._take("means", rows.shape))
        along = self._take("along", projected.shape).copy_(projected)
        along += torch.index_select(self._single_projected, 1, labels, out=self._take("projected", along.shape))
        scores = self._take("scores", (2, len(self.weight), len(labels)))
        torch.mm(self._single_weight, rows.mT, out=scores[0])
        torch.mm(self._single_along, along, out=scores[1])
        return scores.add_(self._offsets)

    def _take(self, name: str, shape: torch.Size | tuple[int, ...]) -> Tensor:
        return self._space.take(name, shape, torch.float32)


def nc4(
    samples: Samples, weight: Tensor, bias: Tensor | None, scatter: Scatter | None = None
) -> tuple[ClassStatistics, Tensor]:
    """Share of samples whose argmax of W h + b is not the nearest class mean; W (K, d), b (K,). NaN without spread.

    It looks at every sample, and so gives the statistics, which do too, from the same pass; `scatter` takes them in.
    """
    decisions = Decisions(samples.class_means, weight, bias)
    statistics = samples.survey(decisions, scatter)
    return statistics, decisions.share(statistics)
