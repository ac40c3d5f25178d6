"""The metrics in one pass over batches, for features that do not fit into memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ncore.features import ClassStatistics, centred_sum, pseudo_inverse
from ncore.metrics.arrays import as_features, as_labels, as_weight


class Accumulator:
    """`update(features, labels)` for every batch, then `result(weight)`.

    Sums are of deviations from each class's mean in the first batch that has it (its anchor), in float64, so that
    neither an offset nor near-collapse costs digits. One pass cannot give nc4, which needs the means beforehand.
    """

    def __init__(self, classes: int) -> None:
        if classes < 1:
            raise ValueError(f"classes is {classes}, must be ≥ 1")
        self.classes = classes
        self._anchors: Tensor | None = None

    def update(self, features: Any, labels: Any) -> None:
        """Takes in features (n, d) with labels (n,) in 0 … K − 1. Raises ValueError as `measure` does."""
        x = as_features(features)
        y = as_labels(labels, x, self.classes)
        if self._anchors is None:
            self._begin(x)
        assert self._anchors is not None  # noqa: S101 (for the type checker: _begin has just set it)
        if x.shape[1] != self._anchors.shape[1]:
            raise ValueError(f"features has d = {x.shape[1]}, earlier batches had {self._anchors.shape[1]}")
        for k in y.unique().tolist():
            rows = x[y == k].double()
            if int(self.counts[k]) == 0:
                self._anchors[k] = rows.mean(0)
            deviations = rows - self._anchors[k]
            self.counts[k] += len(rows)
            self._sums[k] += deviations.sum(0)
            self._squares[k] += deviations.square().sum()
            self._scatter += deviations.mT @ deviations

    def statistics(self) -> ClassStatistics:
        """What all batches together are. Raises ValueError before the first one."""
        if self._anchors is None:
            raise ValueError("no features have been given to update() yet")
        counts = self.counts.double()
        shifts = self._sums / counts[:, None]  # from the anchor to the mean
        means = (self._anchors + shifts).mT
        moved = torch.nan_to_num(shifts) * counts.sqrt()[:, None]
        scatter = self._scatter - moved.mT @ moved
        c = centred_sum(self._anchors.mT, shifts.mT)
        inverse = pseudo_inverse(c)
        projected = ((inverse @ scatter) * inverse).sum().clamp(min=0)
        within = (self._squares - moved.square().sum(1)).clamp(min=0)
        return ClassStatistics(counts, means, c, within, projected)

    def result(self, weight: Any = None) -> dict[str, float]:
        """As `measure`, without nc4; `weight` is (K, d)."""
        from ncore.metrics import level_metrics

        statistics = self.statistics()
        w, _ = as_weight(weight, None, statistics.means.mT)
        return {name: float(value) for name, value in level_metrics(statistics, w).items()}

    def _begin(self, x: Tensor) -> None:
        d = x.shape[1]
        self._anchors = x.new_zeros(self.classes, d, dtype=torch.float64)
        self._sums = torch.zeros_like(self._anchors)
        self._squares = self._anchors.new_zeros(self.classes)
        self._scatter = self._anchors.new_zeros(d, d)
        self.counts = torch.zeros(self.classes, dtype=torch.int64, device=x.device)
