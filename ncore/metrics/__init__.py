"""The metrics of neural collapse, for anybody's features.

>>> from ncore.metrics import measure
>>> measure(features, labels, weight, bias)     # {"nc1": …, "nc2_of": …, …}
"""

from __future__ import annotations

from ncore.metrics.accumulator import Accumulator
from ncore.metrics.level import METRICS, WEIGHT_METRICS, level_metrics
from ncore.metrics.measuring import measure

__all__ = [
    "METRICS",
    "WEIGHT_METRICS",
    "Accumulator",
    "level_metrics",
    "measure",
]
