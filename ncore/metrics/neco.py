"""NECO, a score that separates inputs of the distribution from others by neural collapse (Ammar et al. 2024).

Under NC5 features from outside are orthogonal to the class means, in whose span those of the distribution lie. The
score is ‖P h‖/‖h‖; in place of the first principal components P has the span of the K class means, not centred, to
which they tend under NC1.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassStatistics, power_of_two


def neco(statistics: ClassStatistics, features: Tensor) -> Tensor:
    """‖P h‖/‖h‖ of features (M, d), P on the span of the class means H̄ (d, K); 0 for h = 0. Shape (M,)."""
    x = features.double()
    means = statistics.means
    means = means[:, means.isfinite().all(0)]  # a class without samples has none
    left, values, _ = torch.linalg.svd(means * power_of_two(means.abs().amax()), full_matrices=False)
    span = left * (values > max(means.shape) * torch.finfo(values.dtype).eps * values[:1])
    lengths = torch.linalg.vector_norm(x, dim=1)
    return torch.linalg.vector_norm(x @ span, dim=1) / torch.where(lengths == 0, 1.0, lengths)


def auroc(inside: Tensor, outside: Tensor) -> Tensor:
    """Share of pairs in which the score inside the distribution is the larger one, equal ones counted half.

    NaN where scores say nothing: some are NaN, or all are equal to 1e-12 (as many classes as features).
    """
    scores = torch.cat([inside, outside])
    if not bool(scores.isfinite().all()) or bool(scores.max() - scores.min() < 1e-12):
        return scores.new_full((), torch.nan)
    order = outside.sort().values
    below = torch.searchsorted(order, inside, side="left") + torch.searchsorted(order, inside, side="right")
    return below.double().mean() / (2 * len(outside))
