"""What training yields: the metrics of one seed at one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

Series = tuple[str, str | None]
"""A metric's name and its layer (None for what has no layer)."""


@dataclass(frozen=True)
class Measurement:
    """All metrics of one seed at one step; an undefined value is NaN."""

    seed: int
    step: int
    values: Mapping[Series, float]
