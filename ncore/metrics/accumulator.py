"""The metrics in one pass over batches, for features that do not fit into memory."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ncore.metrics.arrays import as_features, as_labels, as_weight
from ncore.metrics.statistics import CHUNK_NUMBERS, CHUNK_NUMBERS_GPU, ClassStatistics, centred_sum, pseudo_inverse


class Accumulator:
    """`update(features, labels)` for every batch, then `result(weight)`.

    Sums are of deviations from each class's mean in the first rows that have it (its anchor), in float64, so that
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
        if self._anchors is not None and x.shape[1] != self._anchors.shape[1]:
            raise ValueError(f"features has d = {x.shape[1]}, earlier batches had {self._anchors.shape[1]}")
        numbers = CHUNK_NUMBERS if x.device.type == "cpu" else CHUNK_NUMBERS_GPU
        rows = max(16, numbers // max(x.shape[1], self.classes))
        for part, of_part in zip(x.split(rows), y.split(rows), strict=True):
            self.add(part, of_part)

    def add(self, x: Tensor, y: Tensor) -> None:
        """As `update`, of tensors that are known to be right: nothing is read back, so that no GPU is waited for."""
        if self._anchors is None:
            self._begin(x)
        assert self._anchors is not None  # noqa: S101 (for the type checker: _begin has just set it)
        x = x.double()
        # sums over each class as products with its indicator: on a GPU the order of atomic additions would change bits
        of_class = (y == self._class_column).double()
        counts = of_class.sum(1)
        new = (self.counts == 0) & (counts > 0)
        self._anchors = torch.where(new[:, None], of_class @ x / counts[:, None], self._anchors)
        deviations = x - self._anchors[y]
        self.counts += counts.long()
        self._sums += of_class @ deviations
        self._squares += of_class @ deviations.square().sum(1)
        self._scatter.addmm_(deviations.mT, deviations)

    def deviations(self, x: Tensor, y: Tensor) -> Tensor:
        """h − h̄_y (n, d) in float64 of features (n, d) with labels (n,), around the means of all batches so far."""
        if self._anchors is None:
            raise ValueError("no features have been given to update() yet")
        return (x.double() - self._anchors[y]).sub_((self._sums / self.counts[:, None])[y])

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
        self._class_column = torch.arange(self.classes, device=x.device)[:, None]
