"""Losses along a simplex ETF: M = 1, classes of one size, d ≥ K − 1, logits W H̄ = aP.

Each loss is a profile φ(a) (`Loss.profile`) of the gap a between the logit of the right class and the others. Heads:

* both free: f = min over a ≥ 0 of φ(a) + c (K−1)a/K, c = K√(nλ_Wλ_H), ‖h‖² = √(λ_W/(nλ_H)) a(K−1)/K and
  ‖w‖² = √(nλ_H/λ_W) a(K−1)/K;
* W fixed as an ETF with rows of norm s: h_k = t ŵ_k, gap x = tsK/(K−1), f = min over x of φ(x) + Nλ_H t²/2.

Label smoothing: Zhou et al. 2022, *Are all losses created equal*. Focal loss: Lin et al. 2017; its minimum in the
features is global without a bias, by the contrastive property of that paper: the loss of a sample is at least φ of the
mean gap, as it falls with p, and Σ over samples of |(w_k − w̄)·h| is what the regularisers pay for at the least; so the
bound holds sample by sample, and no convexity is needed. Fixed head: the same bound with ‖h‖ ≥ |w_k·h|/s.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from ncore.kinds.losses import Profile
from ncore.theory.roots import root

GRID = 4000
"""Gaps tried for stationary points; focal loss has at most two of them, which the grid separates."""


@dataclass(frozen=True)
class EtfMinimum:
    """The best ETF: gap `logit`, squared norms of a class mean and of a row of W, and the objective there.

    `critical` is the c from which on zero is at least as good (None for a fixed head, whose features never vanish).
    """

    logit: float
    objective: float
    feature_norm_sq: float
    weight_norm_sq: float
    critical: float | None


def free_head(profile: Profile, samples: float, decay_w: float, decay_h: float) -> EtfMinimum:
    """The best ETF with W and H free; `samples` is n, both decays positive."""
    classes = profile.classes
    c = classes * math.sqrt(samples * decay_w * decay_h)
    price = c * (classes - 1) / classes
    a = _lowest(profile, price, 0.0)
    ratio, spread = math.sqrt(decay_w / (samples * decay_h)), a * (classes - 1) / classes
    return EtfMinimum(a, profile.value(a) + price * a, ratio * spread, spread / ratio, critical_product(profile))


def fixed_head(profile: Profile, total: float, decay_h: float, row_norm: float) -> EtfMinimum:
    """The features of a fixed ETF head with rows of norm s; `total` is N. Holds for any class sizes without a bias.

    Cross-entropy: (K−1)e^{−x}/(1+(K−1)e^{−x}) sK/(K−1) = λ_H N t. MSE: t = s/(A + Nλ_H), A = s²K/(K−1).
    """
    per_gap = (profile.classes - 1) / (row_norm * profile.classes)  # t = per_gap · x
    x = _lowest(profile, 0.0, total * decay_h * per_gap**2)
    t = x * per_gap
    return EtfMinimum(x, profile.value(x) + total * decay_h * t**2 / 2, t**2, row_norm**2, None)


def critical_product(profile: Profile) -> float:
    """The least c from which on no gap beats zero: sup over a of K(φ(0) − φ(a))/((K−1)a); −φ′(0)K/(K−1) if convex."""
    scale = profile.classes / (profile.classes - 1)
    at_zero = -profile.slope(0.0) * scale
    if profile.convex:
        return max(at_zero, 0.0)
    gain = [(profile.value(0.0) - profile.value(a)) / a for a in _grid(60.0)[1:]]
    best = int(np.argmax(gain))
    low, high = (_grid(60.0)[1:][max(0, min(best + step, len(gain) - 1))] for step in (-1, 1))

    def flat(a: float) -> float:  # the derivative of the quotient, times a²
        return -profile.slope(a) * a - profile.value(0.0) + profile.value(a)

    if low < high and flat(low) > 0 > flat(high):
        a = root(flat, low, high)
        return max(at_zero, (profile.value(0.0) - profile.value(a)) / a * scale)
    return max(at_zero, gain[best] * scale)


def smoothed_gap(classes: int, c: float, smoothing: float) -> float:
    """a = log(1 + K(1−c−α)/(c+α)), 0 for c + α ≥ 1: label smoothing in closed form (c + α > 0)."""
    return math.log1p(classes * (1 - c - smoothing) / (c + smoothing)) if c + smoothing < 1 else 0.0


def _grid(end: float) -> list[float]:
    return [0.0, *np.geomspace(1e-6, end, GRID).tolist()]


def _lowest(profile: Profile, price: float, stiffness: float) -> float:
    """The a ≥ 0 of least φ(a) + price·a + stiffness·a²/2: zero, or the best root of the derivative."""

    def total(a: float) -> float:
        return profile.value(a) + price * a + stiffness * a**2 / 2

    def slope(a: float) -> float:
        return profile.slope(a) + price + stiffness * a

    if profile.convex and slope(0.0) >= 0:
        return 0.0
    grid = [0.0, 700.0] if profile.convex else _grid(700.0)
    slopes = [slope(a) for a in grid]
    pairs = zip(grid, grid[1:], slopes, slopes[1:], strict=False)
    roots = [root(slope, a, b) for a, b, s, t in pairs if s < 0 <= t]
    return min([0.0, *roots], key=total)
