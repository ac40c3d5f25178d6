"""Roots by bisection: the last digit, no start-up cost, and functions here take a microsecond."""

from __future__ import annotations

from collections.abc import Callable


def root(function: Callable[[float], float], low: float, high: float) -> float:
    """Where `function` changes sign between `low` and `high`, to the last digit; its signs there must differ."""
    rising = function(low) < 0
    while True:
        middle = (low + high) / 2
        if not low < middle < high:
            return middle
        if (function(middle) < 0) == rising:
            low = middle
        else:
            high = middle
