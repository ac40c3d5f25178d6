"""Margin: how far each class's weight is from the hull of the others, where K > d + 1 (Jiang et al. 2024)."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

MOST_CLASSES = 32
"""Most classes that are compared unasked: the work grows as K³."""


def margin(weight: Tensor) -> Tensor:
    """min_k dist(w_k, conv{w_l, l ≠ k}) of the rows of W (K, d); 0 where a row lies in the hull of the others.

    For each class one problem of non-negative least squares: x ≥ 0 that minimises ‖Vx‖² + (1ᵀx − 1)² with columns
    w_l − w_k is a multiple of the shares of the nearest point (Lawson & Hanson 1974, chapter 23).
    """
    rows = weight.double().cpu().numpy()
    largest = float(np.abs(rows).max(initial=0.0))
    if len(rows) < 2 or not math.isfinite(largest):
        return weight.new_full((), math.nan, dtype=torch.float64)
    scale = largest or 1.0
    nearest = min(_distance(np.delete(rows, k, axis=0) / scale - rows[k] / scale) for k in range(len(rows)))
    return torch.tensor(nearest * scale, dtype=torch.float64)


def _distance(points: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> float:
    """The distance from the origin to the hull of points (n, d)."""
    from scipy.optimize import nnls

    matrix = np.vstack([points.T, np.ones(len(points))])
    target = np.zeros(len(matrix))
    target[-1] = 1.0
    shares = nnls(matrix, target)[0]
    return float(np.linalg.norm(points.T @ (shares / shares.sum())))
