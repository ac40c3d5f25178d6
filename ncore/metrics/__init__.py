"""The metrics of neural collapse, for anybody's features.

>>> from ncore.metrics import measure
>>> measure(features, labels, weight, bias)     # {"nc1": …, "nc2_of": …, …}
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ncore.metrics.accumulator import Accumulator
from ncore.metrics.angles import angle_gap, angle_std
from ncore.metrics.arrays import as_features, as_labels, as_weight
from ncore.metrics.cdnv import cdnv
from ncore.metrics.nc1 import nc1, nc1_trace
from ncore.metrics.nc2 import nc2_etf, nc2_of
from ncore.metrics.nc3 import nc3, nc3_centered
from ncore.metrics.nc4 import nc4
from ncore.metrics.norms import norm_cv_h, norm_cv_w
from ncore.metrics.statistics import ClassStatistics, Samples, power_of_two

__all__ = ["METRICS", "WEIGHT_METRICS", "Accumulator", "level_metrics", "measure"]

METRICS: dict[str, Callable[..., Tensor]] = {
    "nc1": nc1,
    "nc1_trace": nc1_trace,
    "nc2_of": nc2_of,
    "nc2_etf": nc2_etf,
    "norm_cv_h": norm_cv_h,
    "angle_std": angle_std,
    "angle_gap": angle_gap,
    "cdnv": cdnv,
}
"""Of the features alone."""

WEIGHT_METRICS: dict[str, Callable[..., Tensor]] = {"nc3": nc3, "nc3_centered": nc3_centered, "norm_cv_w": norm_cv_w}
"""Of the features and the weight (…, K, d) that they meet."""

EXTREME = 1e-60


def level_metrics(statistics: ClassStatistics, weight: Tensor | None = None) -> dict[str, Tensor]:
    """All metrics of one level, each of the statistics' leading shape (…) in float64; undefined is NaN."""
    statistics = statistics.near_one()
    values = {name: metric(statistics) for name, metric in METRICS.items()}
    if weight is not None:
        weight = weight * power_of_two(weight.abs().amax((-2, -1), keepdim=True))
        values |= {name: metric(statistics, weight) for name, metric in WEIGHT_METRICS.items()}
    return values


def measure(features: Any, labels: Any, weight: Any = None, bias: Any = None) -> dict[str, float]:
    """All metrics of features (N, d) with labels (N,) in 0 … K − 1, computed in float64; undefined is NaN.

    `features`, `weight` (K, d) and `bias` (K,) are arrays or tensors of any float type on any device. K is the number
    of rows of `weight`, or else the largest label + 1. What needs an argument that is missing is absent: nc3,
    nc3_centered, norm_cv_w and nc4 need `weight`. A class without samples has no mean, so all that depends on the
    means is NaN. Raises ValueError naming the argument, its value and what is allowed.
    """
    x = as_features(features)
    w, b = as_weight(weight, bias, x)
    y = as_labels(labels, x, None if w is None else len(w))
    classes = len(w) if w is not None else int(y.max()) + 1
    if w is None and classes > len(x):
        return dict.fromkeys(METRICS, math.nan)  # a class is empty, and labels may be too large to count up to
    if x.dtype == torch.float64:
        factor = power_of_two(x.abs().amax())
        if not EXTREME < factor < 1 / EXTREME:  # the samples' squares would leave float64
            x, b = x * factor, None if b is None else b * factor
    samples = Samples(x, y, classes)
    if w is None:
        values = level_metrics(samples.statistics)
    else:
        statistics, share = nc4(samples, w, b)
        values = level_metrics(statistics, w) | {"nc4": share}
    return dict(zip(values, torch.stack([value.cpu() for value in values.values()]).tolist(), strict=True))
