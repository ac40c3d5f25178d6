"""Features in memory, read twice: first the class means, then what is measured around them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ncore.metrics.chunks import chunk_rows, part_rows
from ncore.metrics.statistics import ClassMeans, ClassStatistics
from ncore.metrics.sums import ClassSums, add_by_class
from ncore.metrics.workspace import Workspace

if TYPE_CHECKING:
    from ncore.metrics.nc4 import Decisions
    from ncore.metrics.scatter import Scatter


class Samples:
    """Features (N, d) of any float type with labels (N,) in 0 … K − 1; the mean of an empty class is NaN."""

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        self.features, self.labels, self.classes = features, labels, classes
        self.counts = torch.bincount(labels, minlength=classes)

    @cached_property
    def class_means(self) -> ClassMeans:
        total = ClassSums(self.classes, self.features)
        total.add(self.features, self.labels)
        return ClassMeans.of(total, self.counts)

    @property
    def means(self) -> Tensor:
        """(d, K)."""
        return self.class_means.high.mT

    @cached_property
    def statistics(self) -> ClassStatistics:
        return self.survey(None)

    def survey(self, decisions: Decisions | None, scatter: Scatter | None = None) -> ClassStatistics:
        """The statistics; in the same pass `decisions` looks at every sample, and `scatter` takes h − h̄_y in."""
        means = self.class_means
        squares, projected = means.high.new_zeros(self.classes), means.high.new_zeros(())
        around = _Around(means, scatter)
        for x, labels in self._parts(0 if decisions is None else decisions.numbers):
            lengths, products = around.take(x, labels)
            add_by_class(squares, labels, lengths.square())
            flat = products.view(-1)
            projected += flat @ flat
            if decisions is not None:
                decisions.look(x, labels, lengths, products)
        return means.statistics(self.counts, squares, projected if around.exact is None else around.exact, means.low)

    def _parts(self, scores: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Features and labels of some rows: fewer where each has many scores, but not so few that to begin costs."""
        size = part_rows(self.features)
        if scores:
            size = min(size, max(256, chunk_rows(self.features, scores)))
        return zip(self.features.split(size), self.labels.split(size), strict=True)


class _Around:
    """Samples around their class means, in float64 a chunk at a time."""

    def __init__(self, means: ClassMeans, scatter: Scatter | None) -> None:
        self.means, self.scatter = means, scatter
        self.space = Workspace(means.high.device)
        self.exact = None if means.exact_inverse is means.inverse else means.high.new_zeros(())
        """Σ‖C⁺(h − h̄_y)‖² by `exact_inverse`, where it is not the same as `inverse`."""

    def take(self, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """‖h − h̄_y‖ (n,) and C⁺(h − h̄_y) (r, n), overwritten by the next ones, of features (n, d)."""
        inverse, size = self.means.inverse, chunk_rows(x, x.shape[1])
        lengths = self.space.take("lengths", labels.shape)
        products = self.space.take("products", (len(inverse), len(x)))
        for first in range(0, len(x), size):
            chunk = slice(first, first + size)
            rows = self.space.take("rows", x[chunk].shape).copy_(x[chunk])
            rows -= torch.index_select(self.means.high, 0, labels[chunk], out=self.space.take("means", rows.shape))
            torch.linalg.vector_norm(rows, dim=1, out=lengths[chunk])
            # the long side last: half the time of (n, d) @ (d, r)
            torch.mm(inverse, rows.mT, out=products[:, chunk])
            if self.exact is not None:
                self.exact += (self.means.exact_inverse @ rows.mT).square().sum()
            if self.scatter is not None:
                self.scatter.add(rows)
        return lengths, products
