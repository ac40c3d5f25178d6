"""NC4: the classifier decides as the nearest class mean does (Papyan, Han & Donoho 2020, section 2)."""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.features import ClassStatistics, Samples


def nc4(samples: Samples, weight: Tensor, bias: Tensor | None) -> tuple[ClassStatistics, Tensor]:
    """Share of samples whose argmax of W h + b is not the nearest class mean; W (K, d), b (K,). NaN without spread.

    It looks at every sample, and so gives the statistics, which do too, from the same pass.
    Distances are compared by h̄_l·h − ‖h̄_l‖²/2 around the centre of the means, logits around the class's own: an
    offset of all features costs no digits.
    """
    means, c = samples.means, samples.centred
    gram = c.mT @ c
    nearest_of_mean = gram - gram.diagonal()[:, None] / 2  # column k: the scores of class k's own mean
    logits_of_mean = weight @ means + (0.0 if bias is None else bias[:, None])
    classes = samples.classes

    def differs(products: Tensor, k: int) -> Tensor:
        predicted = (products[:, :classes] + logits_of_mean[:, k]).argmax(1)
        return predicted != (products[:, classes:] + nearest_of_mean[:, k]).argmax(1)

    statistics, count = samples.survey(torch.cat([weight.mT, c], dim=1), differs)
    share = count.double() / samples.counts.sum()
    usable = statistics.spread.isfinite() & logits_of_mean.isfinite().all()
    return statistics, torch.where(usable, share, torch.nan)
