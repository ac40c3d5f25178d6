"""Goals that are missed, each with what was measured and why: `make bench` then still exits with 0.

A row that becomes worse than what stands here does not.
"""

from __future__ import annotations

from typing import NamedTuple


class Miss(NamedTuple):
    """The ratio (of a growth the exponent) that was measured, and what stands in the way."""

    measured: float
    reason: str


MISSES: dict[str, Miss] = {}
