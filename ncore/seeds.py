"""The values of several seeds as one: mean and median, also of numbers whose sum is larger than any that there is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence


def mean_of(values: Sequence[float]) -> float:
    """Raises StatisticsError for no values."""
    try:
        return statistics.fmean(values)
    except OverflowError:
        half = math.fsum(value / (2 * len(values)) for value in values)
        return max(min(values), min(max(values), 2 * half))  # rounding may lead out of what there is


def median_of(values: Sequence[float]) -> float:
    """Raises StatisticsError for no values."""
    middle = statistics.median(values)
    return middle if math.isfinite(middle) else statistics.median_low(values) / 2 + statistics.median_high(values) / 2
