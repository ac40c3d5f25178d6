"""Anybody's arrays as checked tensors."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def as_features(features: Any) -> Tensor:
    x = torch.as_tensor(features).detach()
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"features has shape {tuple(x.shape)}, must be (N, d) with N ≥ 1 and d ≥ 1")
    if not x.is_floating_point():
        raise ValueError(f"features has type {x.dtype}, must be a float type")
    return x


def as_labels(labels: Any, features: Tensor, classes: int | None) -> Tensor:
    y = torch.as_tensor(labels).detach()
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
    w = torch.as_tensor(weight).detach().to(features.device, torch.float64)
    if w.ndim != 2 or w.shape[1] != features.shape[1]:
        raise ValueError(f"weight has shape {tuple(w.shape)}, must be (K, d) with d = {features.shape[1]}")
    if bias is None:
        return w, None
    b = torch.as_tensor(bias).detach().to(features.device, torch.float64)
    if b.shape != w.shape[:1]:
        raise ValueError(f"bias has shape {tuple(b.shape)}, must be (K,) = ({len(w)},)")
    return w, b
