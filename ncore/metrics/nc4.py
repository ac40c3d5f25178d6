"""NC4: the classifier decides as the nearest class mean does (Papyan, Han & Donoho 2020, section 2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics, Samples


@dataclass(frozen=True)
class Decisions:
    """What classifier and nearest class mean decide for a sample, from its deviation from its class's mean.

    Distances are compared by h̄_l·h − ‖h̄_l‖²/2 around the centre of the means, logits around the class's own: an
    offset of all features costs no digits. `columns` is (d, 2K); `logits` and `nearness` (K, K) have in row k the
    scores of class k's own mean.
    """

    columns: Tensor
    logits: Tensor
    nearness: Tensor

    @classmethod
    def of(cls, means: Tensor, c: Tensor, weight: Tensor, bias: Tensor | None) -> Decisions:
        """Of H̄ and C (d, K), W (K, d) and b (K,)."""
        gram = c.mT @ c
        logits = weight @ means + (0.0 if bias is None else bias[:, None])
        return cls(torch.cat([weight.mT, c], dim=1), logits.mT, (gram - gram.diagonal()[:, None] / 2).mT)

    def differ(self, products: Tensor, k: int | Tensor) -> Tensor:
        """Whether the two differ (rows,), of (h − h̄_k)ᵀ `columns` (rows, 2K) of class k, or of classes k (rows,)."""
        classes = len(self.logits)
        predicted = (products[:, :classes] + self.logits[k]).argmax(1)
        return predicted != (products[:, classes:] + self.nearness[k]).argmax(1)

    def share(self, count: Tensor, statistics: ClassStatistics) -> Tensor:
        """nc4, where `count` samples of all differ; NaN without spread."""
        usable = statistics.spread.isfinite() & self.logits.isfinite().all()
        return torch.where(usable, count.double() / statistics.samples, torch.nan)


def nc4(samples: Samples, weight: Tensor, bias: Tensor | None) -> tuple[ClassStatistics, Tensor]:
    """Share of samples whose argmax of W h + b is not the nearest class mean; W (K, d), b (K,). NaN without spread.

    It looks at every sample, and so gives the statistics, which do too, from the same pass.
    """
    decisions = Decisions.of(samples.means, samples.centred, weight, bias)
    statistics, count = samples.survey(decisions.columns, decisions.differ)
    return statistics, decisions.share(count, statistics)
