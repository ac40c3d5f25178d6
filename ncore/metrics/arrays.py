"""Anybody's arrays as checked tensors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_features(features: Any) -> Tensor:
    x = _as_tensor("features", features)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"features has shape {tuple(x.shape)}, must be (N, d) with N ≥ 1 and d ≥ 1")
    if not x.is_floating_point():
        raise ValueError(f"features has type {x.dtype}, must be a float type")
    return x


def as_labels(labels: Any, features: Tensor, classes: int | None) -> Tensor:
    y = _as_tensor("labels", labels)
    if y.shape != features.shape[:1]:
        raise ValueError(f"labels has shape {tuple(y.shape)}, must be (N,) = ({len(features)},)")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"labels has type {y.dtype}, must be an integer type")
    y = y.to(features.device, torch.int64)
    low, high = int(y.min()), int(y.max())
    if low < 0 or (classes is not None and high >= classes):
        allowed = "≥ 0" if classes is None else f"in 0 … {classes - 1} (weight has {classes} rows)"
        raise ValueError(f"labels has values in {low} … {high}, must be {allowed}")
    return y


def as_weight(weight: Any, bias: Any, features: Tensor) -> tuple[Tensor | None, Tensor | None]:
    if weight is None:
        if bias is not None:
            raise ValueError("bias is given without weight")
        return None, None
    w = _as_real("weight", weight).to(features.device, torch.float64)
    if w.ndim != 2 or w.shape[1] != features.shape[1]:
        raise ValueError(f"weight has shape {tuple(w.shape)}, must be (K, d) with d = {features.shape[1]}")
    if bias is None:
        return w, None
    b = _as_real("bias", bias).to(features.device, torch.float64)
    if b.shape != w.shape[:1]:
        raise ValueError(f"bias has shape {tuple(b.shape)}, must be (K,) = ({len(w)},)")
    return w, b


def _as_real(name: str, array: Any) -> Tensor:
    tensor = _as_tensor(name, array)
    if tensor.is_complex():
        raise ValueError(f"{name} has type {tensor.dtype}, must be a real type")
    return tensor


def _as_tensor(name: str, array: Any) -> Tensor:
    """Without a copy where torch can do without; what it cannot hold (long double, foreign byte order) is converted."""
    if isinstance(array, np.ndarray):
        if array.dtype == np.longdouble:
            array = array.astype(np.float64)
        elif not array.dtype.isnative or min(array.strides, default=0) < 0:
            array = array.astype(array.dtype.newbyteorder("="), order="C")
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes to it
            return torch.as_tensor(array).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} is a {type(array).__name__} that is not an array of numbers: {error}") from None
