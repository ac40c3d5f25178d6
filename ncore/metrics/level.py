"""All metrics of one level by name."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from ncore.metrics.angles import angle_gap, angle_std
from ncore.metrics.cdnv import cdnv
from ncore.metrics.nc0 import nc0
from ncore.metrics.nc1 import nc1, nc1_trace
from ncore.metrics.nc2 import nc2_etf, nc2_of
from ncore.metrics.nc3 import nc3, nc3_centered
from ncore.metrics.norms import norm_cv_h, norm_cv_w
from ncore.metrics.rank import effective_rank, rank, stable_rank
from ncore.metrics.statistics import ClassStatistics, power_of_two
from ncore.metrics.unc3 import unc3
from ncore.metrics.uniformity import uniformity_mean, uniformity_var

METRICS: dict[str, Callable[..., Tensor]] = {
    "nc1": nc1,
    "nc1_trace": nc1_trace,
    "nc2_of": nc2_of,
    "nc2_etf": nc2_etf,
    "norm_cv_h": norm_cv_h,
    "angle_std": angle_std,
    "angle_gap": angle_gap,
    "cdnv": cdnv,
    "uniformity_mean": uniformity_mean,
    "uniformity_var": uniformity_var,
    "rank": rank,
    "effective_rank": effective_rank,
    "stable_rank": stable_rank,
}
"""Metrics of the features alone."""

WEIGHT_METRICS: dict[str, Callable[..., Tensor]] = {
    "nc3": nc3,
    "nc3_centered": nc3_centered,
    "norm_cv_w": norm_cv_w,
    "nc0": nc0,
    "unc3": unc3,
}
"""Metrics of the features and the weight (…, K, d) that they meet."""


def level_metrics(statistics: ClassStatistics, weight: Tensor | None = None) -> dict[str, Tensor]:
    """All metrics of one level, each of the statistics' leading shape (…) in float64; undefined is NaN."""
    statistics = statistics.near_one()
    values = {name: metric(statistics) for name, metric in METRICS.items()}
    if weight is not None:
        scale = power_of_two(weight.abs().amax((-2, -1), keepdim=True))
        values |= {name: metric(statistics, weight * scale) for name, metric in WEIGHT_METRICS.items()}
        values["nc0"] = values["nc0"] / scale[..., 0, 0]
    return values
