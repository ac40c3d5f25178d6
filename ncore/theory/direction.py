"""MSE of a linear model along one singular direction of the target.

The regularisers of all factors together are, at their least, (M+1)/2 Λ Σ σ^{2/(M+1)} over the singular values σ of
Z = W_M ⋯ W_1 H₁ (a Schatten quasi-norm), Λ = (λ_H Π λ_{W_j})^{1/(M+1)}. Where Z shares the target's singular vectors,
each direction stands alone. Along one whose target has singular value √m, with s = σ/√m,

    κ m/N (1−s)²/2 + (M+1)/2 Λ (√m s)^{2/(M+1)},   stationary at (1−s) s^{(M−1)/(M+1)} = γ/κ,   γ = N Λ m^{−M/(M+1)}.

κ = 1, but for the all-ones direction under a bias, which takes over its part: κ = λ_b/(1+λ_b).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from ncore.spec import UfmSpec


@dataclass(frozen=True)
class Direction:
    """`samples` is m (n, or n_k where classes differ), `total` is N, `scale` is Λ, `levels` is M."""

    samples: float
    kappa: float
    total: int
    scale: float
    levels: int

    @property
    def gamma(self) -> float:
        """γ without κ; c for M = 1."""
        return self.total * self.scale * self.samples ** (-self.levels / (self.levels + 1))

    @cached_property
    def rest(self) -> float:
        """1 − s at the local minimum away from zero; 1 where there is none."""
        return rest_of(self.gamma / self.kappa, self.levels) if self.kappa > 0 and self.samples > 0 else 1.0

    @property
    def is_on(self) -> bool:
        """Whether s > 0 beats zero."""
        return self.kappa > 0 and self.samples > 0 and self.gamma / self.kappa < critical(self.levels)

    @property
    def size(self) -> float:
        """s at the local minimum away from zero."""
        return 1 - self.rest

    @property
    def at_zero(self) -> float:
        """The direction's term of the objective at s = 0."""
        return self.samples / self.total * self.kappa / 2

    @property
    def value(self) -> float:
        """The direction's term at its local minimum: κ m/N (1−s)(1+Ms)/2."""
        return self.at_zero * self.rest * (1 + self.levels * self.size)

    @property
    def gain(self) -> float:
        """The gain of s over zero; negative between γ_c and the end of the root."""
        return self.at_zero - self.value

    def factor(self, decay: float) -> float:
        """The singular value in the factor that `decay` regularises: √(Λ/λ) (√m s)^{1/(M+1)}."""
        return math.sqrt(self.scale / decay) * (math.sqrt(self.samples) * self.size) ** (1 / (self.levels + 1))


def scale_of(spec: UfmSpec) -> float:
    """Λ."""
    return float((spec.regularization.features * math.prod(spec.weight_decays)) ** (1 / (len(spec.model.widths) + 1)))


def critical(levels: int) -> float:
    """γ_c: from here on a direction is better off at zero. 1 for M = 1, 2^{−4/3} for M = 2."""
    return ((levels - 1) / levels) ** ((levels - 1) / (levels + 1)) / levels


def rest_of(gamma: float, levels: int) -> float:
    """t = 1 − s for the largest root s of (1−s) s^{(M−1)/(M+1)} = γ; 1 where there is no root.

    Newton from t = 0 climbs to the root, as the left side is concave; t itself keeps its digits when it is tiny.
    """
    power = (levels - 1) / (levels + 1)
    top = 1 / (1 + power)
    if gamma >= top * (1 - top) ** power:
        return 1.0
    t = 0.0
    for _ in range(200):
        slope = (1 - t - power * t) * (1 - t) ** (power - 1)
        after = t + (gamma - t * (1 - t) ** power) / slope
        if not t < after < top:
            break
        t = after
    return t


def choose(parts: list[Direction], width: int) -> set[int]:
    """Positions in `parts` of the directions that are on at the global minimum: the best that the width admits."""
    ranked = sorted((k for k, part in enumerate(parts) if part.is_on), key=lambda k: parts[k].gain, reverse=True)
    return set(ranked[:width])


def objective_of(parts: list[Direction], on: set[int]) -> float:
    return math.fsum(part.value if k in on else part.at_zero for k, part in enumerate(parts))


def is_unique(parts: list[Direction], on: set[int]) -> bool:
    """Whether the directions that only the width leaves out are truly worse than those that are on."""
    left_out = [part for k, part in enumerate(parts) if part.is_on and k not in on]
    worst = min((parts[k].gain for k in on), default=math.inf)
    return all(part.gain < worst * (1 - 1e-12) for part in left_out)
