"""Points of the unit cube: independent, or Sobol's sequence, which leaves no gaps."""

from __future__ import annotations

import warnings
from typing import Literal

Method = Literal["random", "sobol"]


def shares_of(method: Method, points: int, dimensions: int, seed: int) -> list[list[float]]:
    """Points as columns, a list of shares in [0, 1) for each dimension; the same for the same seed."""
    import numpy as np  # both take long to import, and few sweeps are samples

    if method == "random":
        return [list(map(float, column)) for column in np.random.default_rng(seed).random((points, dimensions)).T]
    from scipy.stats import qmc

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # any number of points may be asked for, not only powers of two
        drawn = qmc.Sobol(dimensions, rng=np.random.default_rng(seed)).random(points)
    return [list(map(float, column)) for column in drawn.T]
