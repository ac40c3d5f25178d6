"""The metrics in one pass over batches, for features that do not fit into memory."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from ncore.metrics.arrays import as_features, as_labels, as_weight
from ncore.metrics.asked import Asked, Classes, as_floats
from ncore.metrics.chunks import chunk_rows
from ncore.metrics.level import level_metrics
from ncore.metrics.scatter import Scatter
from ncore.metrics.statistics import ClassMeans, ClassStatistics
from ncore.metrics.sums import ClassSums, add_by_class
from ncore.metrics.workspace import Workspace


class Accumulator:
    """`update(features, labels)` for every batch, then `result(weight)`.

    Sums over classes lose no digits, and scatter is taken around the first sample of each class (its anchor), in
    float64: so neither an offset nor near-collapse costs digits, nor the order of batches. One pass cannot give nc4,
    which needs the means beforehand.
    """

    counts: Tensor
    _anchors: Tensor
    _squares: Tensor
    _sums: ClassSums
    _scatter: Scatter
    _space: Workspace

    def __init__(self, classes: int) -> None:
        try:
            self.classes = operator.index(classes)
        except TypeError:
            raise ValueError(f"classes is {classes!r}, must be a whole number ≥ 1") from None
        if isinstance(classes, bool) or self.classes < 1:
            raise ValueError(f"classes is {classes!r}, must be a whole number ≥ 1")
        self.counts = torch.zeros(self.classes, dtype=torch.int64)
        self._begun = False
        self._has_all = False
        self._known: ClassMeans | None = None

    def update(self, features: Any, labels: Any) -> None:
        """Takes in features (n, d) with labels (n,) in 0 … K − 1. Raises ValueError as `measure` does."""
        x = as_features(features)
        y = as_labels(labels, x, self.classes, "the accumulator has {} classes")
        if self._begun:
            if x.shape[1] != self._anchors.shape[1]:
                raise ValueError(f"features has d = {x.shape[1]}, earlier batches had {self._anchors.shape[1]}")
            x, y = x.to(self._anchors.device), y.to(self._anchors.device)
        self.add(x, y)

    def add(self, x: Tensor, y: Tensor) -> None:
        """As `update`, of tensors that are known to be right."""
        if not self._begun:
            self._begin(x)
        self._known = None
        self._sums.add(x, y)
        size = chunk_rows(x, x.shape[1])
        for part, labels in zip(x.split(size), y.split(size), strict=True):
            self._add_chunk(part, labels)

    def _add_chunk(self, x: Tensor, y: Tensor) -> None:
        rows = self._space.take("rows", x.shape).copy_(x)
        points = torch.index_select(self._anchors, 0, y, out=self._space.take("points", x.shape))
        self._anchor(rows, y, points)
        torch.sub(rows, points, out=points)
        self._scatter.add(points)
        add_by_class(self._squares, y, torch.linalg.vector_norm(points, dim=1).square())
        self.counts.index_add_(0, y, torch.ones_like(y))  # bincount would wait for a GPU

    def _anchor(self, rows: Tensor, y: Tensor, points: Tensor) -> None:
        """Takes the first sample of each class that is new as its anchor, in `points` too."""
        if self._has_all:
            return
        new = (self.counts == 0)[y]
        if new.device.type == "cpu" and not bool(new.any()):  # a GPU is not waited for
            self._has_all = bool(self.counts.all())
            return
        places = torch.arange(len(y), device=y.device)
        first = torch.full_like(self.counts, len(y)).scatter_reduce_(0, y, places, "amin")
        points.copy_(torch.where(new[:, None], rows[first[y]], points))
        self._anchors[y] = points  # all rows of one class write the same

    def deviations(self, x: Tensor, y: Tensor) -> Tensor:
        """h − h̄_y (n, d) in float64 of features (n, d) with labels (n,), around the means of all batches so far."""
        return x.double() - self.class_means.high[y]

    def statistics(self) -> ClassStatistics:
        """Statistics of all batches together. Raises ValueError before the first one."""
        means = self.class_means
        inverse = means.exact_inverse
        # around the anchors the trace of C⁺ S C⁺ᵀ, less what the way from them to the means adds to it
        projected = ((inverse @ self._scatter.matrix()) * inverse).sum()
        return means.statistics(self.counts, self._squares, projected, self._shifts())

    @property
    def class_means(self) -> ClassMeans:
        """Class means of all batches so far. Raises ValueError before the first one."""
        if not self._begun:
            raise ValueError("no features have been given to update() yet")
        if self._known is None:
            self._known = ClassMeans.of(self._sums, self.counts)
        return self._known

    def result(
        self,
        weight: Any = None,
        bias: Any = None,
        *,
        classes: Classes = "all",
        ood: Any = None,
        weight_decay: float | None = None,
        feature_decay: float | None = None,
        margin: bool | None = None,
    ) -> dict[str, float]:
        """The metrics of `measure`, without nc4; `weight` is (K, d), `bias` (K,)."""
        like = self.class_means.high
        w, b = as_weight(weight, bias, like)
        if w is not None and len(w) != self.classes:
            raise ValueError(f"weight has shape {tuple(w.shape)}, must be ({self.classes}, {like.shape[1]})")
        asked = Asked.of(classes, ood, weight_decay, feature_decay, margin, like, weight=w is not None)
        if asked.classes == "all":
            return as_floats(self._values(w, b, asked))
        present = (self.counts > 0).nonzero()[:, 0]
        few = self._of(present)
        w, b = None if w is None else w[present], None if b is None else b[present]
        absent = torch.tensor(self.classes - len(present))
        return as_floats(few._values(w, b, asked) | {"absent_classes": absent})  # noqa: SLF001 (its own kind)

    def _values(self, w: Tensor | None, b: Tensor | None, asked: Asked) -> dict[str, Tensor]:
        statistics = self.statistics()
        scatter = self.scatter() if asked.needs_scatter else None
        return level_metrics(statistics, w) | asked.values(statistics, scatter, w, b)

    def _of(self, classes: Tensor) -> Accumulator:
        """One that has seen the same samples, all of which are of these classes."""
        few = Accumulator(len(classes))
        few._begin(self._anchors)
        few.counts, few._anchors, few._squares = self.counts[classes], self._anchors[classes], self._squares[classes]
        few._sums, few._scatter = self._sums.of(classes), self._scatter
        return few

    def scatter(self) -> Tensor:
        """Σ (h − h̄_y)(h − h̄_y)ᵀ (d, d) of all batches."""
        moved = self._shifts() * self.counts.double().sqrt()[:, None]
        return self._scatter.matrix() - moved.mT @ moved

    def _shifts(self) -> Tensor:
        """The shifts from the anchors to the class means (K, d)."""
        return self.class_means.high - self._anchors + self.class_means.low

    def merge(self, other: Accumulator) -> None:
        """Takes in what another accumulator of as many classes has taken in, as though its batches had come here.

        The order of merging matters to 1e-12 at most. Raises ValueError where the number of classes or d differs.
        """
        if not isinstance(other, Accumulator):
            raise ValueError(f"other is a {type(other).__name__}, must be an Accumulator")  # noqa: TRY004
        if other.classes != self.classes:
            raise ValueError(f"other has {other.classes} classes, must have {self.classes}")
        if not other._begun:
            return
        if not self._begun:
            self._begin(other._anchors)
        if other._anchors.shape != self._anchors.shape:
            raise ValueError(f"other has d = {other._anchors.shape[1]}, must have d = {self._anchors.shape[1]}")
        self._known = None
        device = self._anchors.device
        counts, theirs = other.counts.to(device), other._anchors.to(device)
        self._anchors = torch.where((self.counts == 0)[:, None], theirs, self._anchors)
        # Σ(x − a)(x − a)ᵀ around their anchors and around these differ by what each is off the means, n m mᵀ
        means = other.class_means
        high, low = means.high.to(device), means.low.to(device)
        roots = counts.double().sqrt()[:, None]
        from_theirs, from_ours = (
            torch.where(counts[:, None] > 0, (high - anchors + low) * roots, 0.0) for anchors in (theirs, self._anchors)
        )
        self._scatter.merge(other._scatter, from_ours.mT @ from_ours - from_theirs.mT @ from_theirs)
        self._squares += other._squares.to(device) + from_ours.square().sum(1) - from_theirs.square().sum(1)
        self._sums.merge(other._sums)
        self.counts = self.counts + counts

    def _begin(self, x: Tensor) -> None:
        self._begun = True
        d = x.shape[1]
        self._anchors = x.new_zeros(self.classes, d, dtype=torch.float64)
        self._squares = self._anchors.new_zeros(self.classes)
        self._sums = ClassSums(self.classes, self._anchors)
        self._scatter = Scatter(d, x.device)
        self._space = Workspace(x.device)
        self.counts = torch.zeros(self.classes, dtype=torch.int64, device=x.device)
