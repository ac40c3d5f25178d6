"""`measure`, the metrics of features that are in memory."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from ncore.metrics.arrays import as_features, as_labels, as_weight
from ncore.metrics.asked import Asked, Classes, as_floats
from ncore.metrics.level import METRICS, level_metrics
from ncore.metrics.nc4 import Decisions
from ncore.metrics.samples import Samples
from ncore.metrics.scatter import Scatter
from ncore.metrics.statistics import power_of_two

EXTREME = 1e-60


def measure(
    features: Any,
    labels: Any,
    weight: Any = None,
    bias: Any = None,
    *,
    classes: Classes = "all",
    ood: Any = None,
    weight_decay: float | None = None,
    feature_decay: float | None = None,
    margin: bool | None = None,
) -> dict[str, float]:
    """All metrics of features (N, d) with labels (N,) in 0 … K − 1, computed in float64; undefined is NaN.

    `features`, `weight` (K, d) and `bias` (K,) are arrays, tables or tensors of any float type on any device. K is the
    number of rows of `weight`, or else the largest label + 1. What needs an argument that is missing is absent:

    - nc3, nc3_centered, norm_cv_w, nc4, nc0 and unc3 need `weight`; so does margin, which comes where d + 1 < K ≤ 32,
      always with margin=True and never with False;
    - nc5 needs `ood`, features (M, d) from outside the distribution;
    - lnc1, lnc23 and lnc_perp need `weight_decay`, that of weight and bias in the objective; balance needs
      `feature_decay`, that of the features, too.

    A class without samples has no mean, so all that depends on the means is NaN: a class that is missing is more often
    a mistake than meant. With classes="present" it is as if there were no others, neither among the labels nor among
    the rows of weight and bias, and `absent_classes` says how many were left out.

    Raises ValueError naming the argument, its value and what is allowed.
    """
    x = as_features(features)
    w, b = as_weight(weight, bias, x)
    y = as_labels(labels, x, None if w is None else len(w))
    asked = Asked.of(classes, ood, weight_decay, feature_decay, margin, x, weight=w is not None)
    number = len(w) if w is not None else int(y.max()) + 1
    values: dict[str, Tensor] = {}
    if asked.classes == "present":
        present, y = torch.unique(y, return_inverse=True)
        values["absent_classes"] = torch.tensor(number - len(present))
        number, w, b = len(present), _rows(w, present), _rows(b, present)
    elif w is None and number > len(x):
        # a class is empty, and labels may be too large to count up to
        return dict.fromkeys([*METRICS, *(["nc5"] if asked.ood is not None else [])], math.nan)
    return as_floats(_measured(x, y, number, w, b, asked) | values)


def _measured(
    x: Tensor, y: Tensor, classes: int, w: Tensor | None, b: Tensor | None, asked: Asked
) -> dict[str, Tensor]:
    factor = torch.ones((), dtype=torch.float64, device=x.device)
    if x.dtype == torch.float64:
        largest = power_of_two(x.abs().amax())
        if not EXTREME < largest < 1 / EXTREME:  # the samples' squares would leave float64
            x, factor = x * largest, largest
    samples = Samples(x, y, classes)
    scatter = Scatter(x.shape[1], x.device) if asked.needs_scatter else None
    decisions = None
    if w is not None:
        decisions = Decisions(samples.class_means, w, None if b is None else b * factor, x.dtype)
    statistics = samples.survey(decisions, scatter)
    values = level_metrics(statistics, w)
    if decisions is not None:
        values["nc4"] = decisions.share(statistics)
    return values | asked.values(statistics, None if scatter is None else scatter.matrix(), w, b, factor)


def _rows(tensor: Tensor | None, chosen: Tensor) -> Tensor | None:
    return None if tensor is None else tensor[chosen.to(tensor.device)]
