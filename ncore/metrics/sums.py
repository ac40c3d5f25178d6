"""Sums that lose nothing: a number is held as the unevaluated sum of two of float64, the larger one first.

The metrics look at small differences of class means. A mean with an error of one unit in its last place would decide
them; so sums over classes are exact to some 80 bits, whatever the order of the samples and their division in batches.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ncore.metrics.chunks import chunk_rows, part_rows
from ncore.metrics.workspace import Workspace

SPLITTER = 2.0**27 + 1
"""Veltkamp's: cuts 53 bits into 26 and 26."""


def two_sum(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """a + b rounded, and what rounding took from it (Knuth)."""
    total = a + b
    part = total - a
    return total, (a - (total - part)) + (b - part)


def add_by_class(target: Tensor, labels: Tensor, values: Tensor) -> None:
    """Adds rows of values (n, …) to the rows of target (K, …) that labels (n,) name.

    On a GPU as a product with the indicator, since the order of atomic additions would change the last bits.
    """
    if target.device.type != "cpu":
        indicator = labels == torch.arange(len(target), device=labels.device)[:, None]
        target += indicator.to(values.dtype) @ values
    else:
        target.index_add_(0, labels, values)


class ClassSums:
    """Σ x over the samples of each class, (K, d), as `high` + `low`."""

    def __init__(self, classes: int, like: Tensor) -> None:
        self.high = torch.zeros(classes, like.shape[1], dtype=torch.float64, device=like.device)
        self.low = torch.zeros_like(self.high)
        self._space = Workspace(like.device)

    def add(self, features: Tensor, labels: Tensor) -> None:
        """Adds features (n, d) of any float type."""
        size = part_rows(features)
        for part, of_part in zip(features.split(size), labels.split(size), strict=True):
            self._add_part(part, of_part)

    def merge(self, other: ClassSums) -> None:
        self.high, error = two_sum(self.high, other.high.to(self.high.device))
        self.low = self.low + other.low.to(self.low.device) + error

    def of(self, classes: Tensor) -> ClassSums:
        """The sums of some classes."""
        few = ClassSums(len(classes), self.high)
        few.high, few.low = self.high[classes], self.low[classes]
        return few

    def _add_part(self, x: Tensor, labels: Tensor) -> None:
        """Sums multiples of one number of each column, which is exact, and what is left of each x, which is small."""
        if len(self.high) <= len(labels) or labels.device.type != "cpu":  # to ask which there are, a GPU is waited for
            touched = torch.arange(len(self.high), device=labels.device)
        else:
            touched, labels = torch.unique(labels, return_inverse=True)
        shift, size = _shift(x), chunk_rows(x, x.shape[1])
        sums, rests = self._space.take("sums", (2, len(touched), x.shape[1])).zero_()
        for chunk, of_chunk in zip(x.split(size), labels.split(size), strict=True):
            rest = self._space.take("rest", chunk.shape).copy_(chunk)
            high = torch.add(rest, shift, out=self._space.take("high", chunk.shape)).sub_(shift)
            add_by_class(sums, of_chunk, high)
            add_by_class(rests, of_chunk, rest.sub_(high))
        self.high[touched], error = two_sum(self.high[touched], sums)
        self.low[touched] += error.add_(rests)

    def means(self, counts: Tensor) -> tuple[Tensor, Tensor]:
        """The class means (K, d), high and low; NaN for a class without samples."""
        return quotient(self.high, self.low, counts[:, None].double())


def _shift(x: Tensor) -> Tensor:
    """For each column of x (n, d) a number (d,) so large that x + it − it is a multiple of its last bit.

    Sums of n such multiples are exact.
    """
    largest = torch.maximum(x.amax(0), -x.amin(0)).double()
    exponent = torch.frexp(largest).exponent + math.ceil(math.log2(len(x))) + 1
    return torch.exp2(exponent.clamp(-900, 1020).double()) * 1.5


def quotient(high: Tensor, low: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    """(high + low)/counts for whole numbers below 2^26, by long division with digits of 26 bits."""
    first = shortened(high / counts)
    rest = high - first * counts  # exact, since the product is
    second = shortened(rest / counts)
    total, error = two_sum(first, second)
    return two_sum(total, error + ((rest - second * counts) + low) / counts)


def shortened(number: Tensor) -> Tensor:
    """The first 26 bits of a number."""
    scaled = number * SPLITTER
    return scaled - (scaled - number)


def centred(high: Tensor, low: Tensor) -> tuple[Tensor, Tensor]:
    """Means (K, d) less their own mean; exactly zero where all are equal."""
    high, error = two_sum(high, -high[:1])
    low = low - low[:1] + error
    total = ClassSums(1, high)
    labels = torch.zeros(len(high), dtype=torch.int64, device=high.device)
    total.add(high, labels)
    total.low += low.sum(0)
    mean, rest = quotient(total.high, total.low, high.new_full((), len(high)))
    high, error = two_sum(high, -mean)
    return two_sum(high, low - rest + error)
