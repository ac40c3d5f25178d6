"""Supervised contrastive loss over a full batch: at its minimum the features are a simplex ETF (Graf et al. 2021)."""

from __future__ import annotations

import math


def contrastive_minimum(classes: int, samples: int, radius: float) -> float:
    """Loss per sample at its least: log((n−1) + n(K−1)e^{−Kρ²/(K−1)}); n ≥ 2 samples a class, features of norm ρ.

    The loss of a sample is −1/(n−1) Σ over its class of log(e^{h·h'}/Σ over all others of e^{h·h''}); a temperature τ
    is ρ² ← ρ²/τ. Needs d ≥ K − 1.
    """
    return math.log(samples - 1 + samples * (classes - 1) * math.exp(-classes * radius**2 / (classes - 1)))
