"""Features in memory, read twice: first the class means, then what is measured around them."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from ncore.metrics.statistics import ClassMeans, ClassStatistics
from ncore.metrics.sums import ClassSums, add_by_class
from ncore.metrics.workspace import Workspace

if TYPE_CHECKING:
    from ncore.metrics.nc4 import Decisions
    from ncore.metrics.scatter import Scatter

CHUNK_NUMBERS = 2**18
"""Numbers that are turned into float64 at a time: 512 rows of 512 stay near a core."""
CHUNK_NUMBERS_GPU = 2**25


def chunk_rows(like: Tensor, numbers: int) -> int:
    """Rows of `numbers` numbers each that are taken at a time."""
    return max(16, (CHUNK_NUMBERS_GPU if like.is_cuda else CHUNK_NUMBERS) // numbers)


class Samples:
    """Features (N, d) of any float type with labels (N,) in 0 … K − 1; the mean of an empty class is NaN."""

    def __init__(self, features: Tensor, labels: Tensor, classes: int) -> None:
        self.features, self.labels, self.classes = features, labels, classes
        self.counts = torch.bincount(labels, minlength=classes)

    @cached_property
    def class_means(self) -> ClassMeans:
        total = ClassSums(self.classes, self.features)
        for rows, labels in self._chunks():
            total.add(rows, labels)
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
        means, space = self.class_means, Workspace(self.features.device)
        inverse, exact = means.inverse, means.exact_inverse
        squares, projected = inverse.new_zeros(self.classes), inverse.new_zeros(())
        for rows, labels in self._chunks(0 if decisions is None else decisions.numbers):
            rows.sub_(torch.index_select(means.high, 0, labels, out=space.take("means", rows.shape)))
            lengths = torch.linalg.vector_norm(rows, dim=1)
            add_by_class(squares, labels, lengths.square())
            # the long side last: half the time of (n, d) @ (d, r)
            products = torch.mm(inverse, rows.mT, out=space.take("products", (len(inverse), len(rows))))
            flat = (products if exact is inverse else exact @ rows.mT).view(-1)
            projected += flat @ flat
            if scatter is not None:
                scatter.add(rows)
            if decisions is not None:
                decisions.look(rows, labels, lengths, products)
        return means.statistics(self.counts, squares, projected, means.low)

    def _chunks(self, scores: int = 0) -> Iterator[tuple[Tensor, Tensor]]:
        """A float64 copy of some rows, which is overwritten by the next one, and their labels.

        Fewer rows where each has many scores, but never so few that products with a large matrix only read it.
        """
        size = chunk_rows(self.features, self.features.shape[1])
        if scores:
            size = min(size, max(256, chunk_rows(self.features, scores)))
        size = min(size, len(self.features))
        copy = self.features.new_empty(size, self.features.shape[1], dtype=torch.float64)
        for part, labels in zip(self.features.split(size), self.labels.split(size), strict=True):
            yield copy[: len(part)].copy_(part), labels
