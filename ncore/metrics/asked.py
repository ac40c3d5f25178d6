"""Metrics that are taken only where what they need is given."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor

from ncore.metrics.arrays import as_features, as_number
from ncore.metrics.balance import balance
from ncore.metrics.central_path import CentralPath
from ncore.metrics.margin import MOST_CLASSES, margin
from ncore.metrics.nc5 import nc5
from ncore.metrics.statistics import ClassStatistics

Classes = Literal["all", "present"]


@dataclass(frozen=True)
class Asked:
    """The keyword arguments of `measure` and `Accumulator.result`, checked."""

    classes: Classes
    ood: Tensor | None
    weight_decay: float | None
    feature_decay: float | None
    margin: bool | None

    @classmethod
    def of(  # each is a word of its own in the signature of `measure`
        cls, classes: Any, ood: Any, weight_decay: Any, feature_decay: Any, margin: Any, like: Tensor, *, weight: bool
    ) -> Asked:
        """Raises ValueError naming the argument, its value and what is allowed."""
        if not isinstance(classes, str) or classes not in ("all", "present"):
            raise ValueError(f"classes is {classes!r}, must be 'all' or 'present'")
        if margin not in (None, True, False):
            raise ValueError(f"margin is {margin!r}, must be True, False or None")
        for name, value in (("weight_decay", weight_decay), ("margin", margin or None)):
            if value is not None and not weight:
                raise ValueError(f"{name} is given without weight")
        if feature_decay is not None and weight_decay is None:
            raise ValueError("feature_decay is given without weight_decay")
        if ood is not None:
            ood = as_features(ood, "ood").to(like.device)
            if ood.shape[1] != like.shape[1]:
                raise ValueError(f"ood has shape {tuple(ood.shape)}, must be (M, d) with d = {like.shape[1]}")
        decays = [
            None if value is None else as_number(name, value)
            for name, value in (("weight_decay", weight_decay), ("feature_decay", feature_decay))
        ]
        if decays[1] == 0:
            raise ValueError("feature_decay is 0, must be a number > 0")
        return cls("present" if classes == "present" else "all", ood, decays[0], decays[1], margin)

    @property
    def needs_scatter(self) -> bool:
        return self.weight_decay is not None

    def values(
        self,
        statistics: ClassStatistics,
        scatter: Tensor | None,
        weight: Tensor | None,
        bias: Tensor | None,
        scale: float | Tensor = 1.0,
    ) -> dict[str, Tensor]:
        """The requested metrics from statistics and within-class scatter (d, d) of features × `scale`, W (K, d), b."""
        values = {}
        if self.ood is not None:
            values["nc5"] = nc5(statistics, self.ood)
        if weight is None:
            return values
        classes, d = weight.shape
        if self.margin or (self.margin is None and d + 1 < classes <= MOST_CLASSES):
            values["margin"] = margin(weight)
        if self.weight_decay is not None and scatter is not None:
            statistics, scatter = replace(statistics, means=statistics.means / scale), scatter / scale / scale
            decay = self.weight_decay
            values |= CentralPath(statistics, scatter, weight, bias, decay, decay).losses
            if self.feature_decay is not None:
                means = statistics.means
                gram = scatter + (means * statistics.counts) @ means.mT
                values["balance"] = balance(weight, gram, self.weight_decay / self.feature_decay)
        return values


def as_floats(values: dict[str, Tensor]) -> dict[str, float]:
    return dict(zip(values, torch.stack([value.double().cpu() for value in values.values()]).tolist(), strict=True))
