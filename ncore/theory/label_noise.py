"""Label noise at full collapse: features sit at the mean of the label they were given, metrics use the true one.

A share p of every class is flipped evenly to the others. With the given labels' centred means at a simplex (an ETF, or
an orthogonal frame centred) the true classes' means shrink by ρ = 1 − pK/(K−1), so nc1_trace = ρ^{−2} − 1 and
nc1 = (K−1)/K of that, for MSE and cross-entropy alike (derived).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class NoisyCollapse(NamedTuple):
    nc1: float
    nc1_trace: float


def noisy_collapse(classes: int, share: float) -> NoisyCollapse:
    """nc1 and nc1_trace by the true labels; p = (K−1)/K, where the means meet, has none (ValueError)."""
    shrink = 1 - share * classes / (classes - 1)
    if shrink == 0:
        raise ValueError(f"A share of {share} = (K − 1)/K leaves all true class means equal: nc1 is not defined.")
    trace = shrink**-2 - 1
    return NoisyCollapse((classes - 1) / classes * trace, trace)


def noisy_collapse_of_counts(counts: Array) -> NoisyCollapse:
    """The same where flips are not quite even: `counts`[k, j] samples of true class k were given label j."""
    sizes = counts.sum(axis=1, keepdims=True)
    classes = len(counts)
    simplex = np.eye(classes) - 1 / classes
    means = (counts / sizes) @ simplex
    spread = counts.sum() / classes  # samples a class, on average
    second = simplex.T @ (counts.sum(axis=0)[:, None] * simplex) / counts.sum()
    within = second - means.T @ (means * sizes) / counts.sum()
    centred = means - means.mean(axis=0)
    between = centred.T @ centred / classes
    assert spread > 0  # noqa: S101
    return NoisyCollapse(
        float(np.trace(within @ np.linalg.pinv(between, rcond=1e-12))) / classes,
        float(np.trace(within) / np.trace(between)),
    )
