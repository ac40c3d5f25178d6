"""Four outputs of a 3-tap convolution from six products: y = A [(G w) ∘ (B x)] (Toom–Cook)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

OUTPUTS, TAPS, INPUTS = 4, 3, 6
POINTS = (0.0, 0.75, -0.75, 1.5, -1.5)
"""Beside ∞. Half the rounding of the usual 0, ±1, ±2, and binary fractions too."""


def toom_cook() -> tuple[Tensor, Tensor, Tensor]:
    """A (4, 6), G (6, 3) and B (6, 6) at `POINTS` and ∞, in float64."""
    a = torch.tensor(POINTS, dtype=torch.float64)
    infinity = torch.tensor([[0.0], [0.0], [0.0], [1.0]], dtype=torch.float64)
    differences = (a[:, None] - a + torch.eye(len(a))).prod(1, keepdim=True)
    g = torch.cat([a[:, None] ** torch.arange(TAPS) / differences, torch.tensor([[0.0, 0.0, 1.0]])])
    others = [POINTS[:i] + POINTS[i + 1 :] for i in range(len(POINTS))]
    b = torch.stack([functional.pad(_polynomial(roots), (0, 1)) for roots in others] + [_polynomial(POINTS)])
    return torch.cat([a ** torch.arange(OUTPUTS)[:, None], infinity], dim=1), g, b


def _polynomial(roots: tuple[float, ...]) -> Tensor:
    """Coefficients of ∏ (x − root), the constant first."""
    coefficients = torch.ones(1, dtype=torch.float64)
    for root in roots:
        coefficients = functional.pad(coefficients, (1, 0)) - root * functional.pad(coefficients, (0, 1))
    return coefficients
