"""The parts that an MSE objective of the last layer splits into (Han, Papyan & Donoho 2022), for classes of any size.

With Ĥ = [H; 1], A = ĤĤᵀ/N + λI and the ridge solution Ŵ_LS = (YĤᵀ/N)A⁻¹ = [w, β]:
LNC1 = ½[tr w(Σ_W + λI)wᵀ + λ‖β‖²], LNC23 = ½Σ_k π_k‖w h̄_k + β − e_k‖², L⊥ = ½ tr(Ŵ − Ŵ_LS)A(Ŵ − Ŵ_LS)ᵀ. Their sum is
1/(2N)‖WH + b1ᵀ − Y‖² + λ/2(‖W‖² + ‖b‖²), exactly (derived: A⁻¹ is the minimiser's own, so cross terms vanish).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class CentralPath(NamedTuple):
    lnc1: float
    lnc23: float
    lnc_perp: float


def central_path(
    features: Array, labels: NDArray[np.intp], weight: Array, bias: Array | None, decay: float
) -> CentralPath:
    """The three parts for features (N x d), labels (N), W (K x d), b (K) or None for a layer without one."""
    total, classes = len(labels), len(weight)
    target = np.eye(classes)[labels]
    extended = features if bias is None else np.hstack([features, np.ones((total, 1))])
    given = weight if bias is None else np.hstack([weight, bias[:, None]])
    gram = extended.T @ extended / total + decay * np.eye(extended.shape[1])
    ridge = np.linalg.solve(gram, extended.T @ target / total).T
    counts = np.bincount(labels, minlength=classes)
    present = counts > 0
    means = np.zeros((classes, extended.shape[1]))
    np.add.at(means, labels, extended)
    means[present] /= counts[present, None]
    within = (extended - means[labels]) @ ridge.T  # the constant column has no part in it
    fitted = means @ ridge.T - np.eye(classes)
    away = given - ridge
    return CentralPath(
        lnc1=float(((within**2).sum() / total + decay * (ridge**2).sum()) / 2),
        lnc23=float(counts @ (fitted**2).sum(axis=1)) / total / 2,
        lnc_perp=float(np.trace(away @ gram @ away.T)) / 2,
    )
