"""Anybody's arrays as checked tensors."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from torch import Tensor


def as_features(features: Any, name: str = "features") -> Tensor:
    """(N, d) of a float type. Raises ValueError naming the argument, what it is and what is allowed."""
    x = _as_tensor(name, features)
    if x.ndim != 2 or 0 in x.shape:
        raise ValueError(f"{name} has shape {tuple(x.shape)}, must be (N, d) with N ≥ 1 and d ≥ 1")
    if not x.is_floating_point():
        raise ValueError(f"{name} has type {x.dtype}, must be a float type")
    # the types of 8 bits have no arithmetic
    return x.float() if x.dtype.itemsize == 1 else x


def as_labels(labels: Any, features: Tensor, classes: int | None, of_classes: str = "weight has {} rows") -> Tensor:
    """(N,) in 0 … classes − 1 as int64 on the features' device."""
    y = _as_tensor("labels", labels)
    if y.shape != features.shape[:1]:
        raise ValueError(f"labels has shape {tuple(y.shape)}, must be (N,) = ({len(features)},)")
    if y.is_floating_point() or y.is_complex() or y.dtype == torch.bool:
        raise ValueError(f"labels has type {y.dtype}, must be an integer type")
    unsigned = y.dtype == torch.uint64
    y = y.to(torch.int64).to(features.device)
    low, high = int(y.min()), int(y.max())
    if unsigned and low < 0:
        raise ValueError(f"labels has values up to {low + 2**64}, must be below 2^63")
    if low < 0 or (classes is not None and high >= classes):
        allowed = "≥ 0" if classes is None else f"in 0 … {classes - 1} ({of_classes.format(classes)})"
        raise ValueError(f"labels has values in {low} … {high}, must be {allowed}")
    return y


def as_weight(weight: Any, bias: Any, features: Tensor) -> tuple[Tensor | None, Tensor | None]:
    """W (K, d) and b (K,) in float64 on the features' device, None where they are not given."""
    if weight is None:
        if bias is not None:
            raise ValueError("bias is given without weight")
        return None, None
    w = _as_real("weight", weight).to(features.device, torch.float64)
    if w.ndim != 2 or w.shape[1] != features.shape[1] or not len(w):
        raise ValueError(f"weight has shape {tuple(w.shape)}, must be (K, d) with d = {features.shape[1]} and K ≥ 1")
    if bias is None:
        return w, None
    b = _as_real("bias", bias).to(features.device, torch.float64)
    if b.shape != w.shape[:1]:
        raise ValueError(f"bias has shape {tuple(b.shape)}, must be (K,) = ({len(w)},)")
    return w, b


def as_number(name: str, number: Any) -> float:
    """A finite number ≥ 0."""
    try:
        value = float(number)
    except (TypeError, ValueError, OverflowError, RuntimeError):
        raise ValueError(f"{name} is {_short(number)}, must be a number ≥ 0") from None
    if isinstance(number, (bool, str, bytes)) or not 0 <= value < float("inf"):
        raise ValueError(f"{name} is {_short(number)}, must be a number ≥ 0")
    return value


def _as_real(name: str, array: Any) -> Tensor:
    tensor = _as_tensor(name, array)
    if tensor.is_complex() or tensor.dtype == torch.bool:
        raise ValueError(f"{name} has type {tensor.dtype}, must be a real type")
    return tensor


def _as_tensor(name: str, array: Any) -> Tensor:
    """A dense tensor, without a copy where torch can do without.

    Containers are read by position, not by an index of theirs; Python's numbers keep their 53 bits.
    """
    try:
        if isinstance(array, Tensor):
            return _dense(name, array)
        if isinstance(array, (list, tuple)) and array and all(isinstance(row, Tensor) for row in array):
            return torch.stack([_dense(name, row) for row in array])
        return _of_numpy(name, array, _as_numpy(array))
    except _Refused as refused:
        raise ValueError(str(refused)) from None
    except Exception as error:  # noqa: BLE001 (each library of arrays raises its own)
        what = " ".join(str(error).split())
        raise ValueError(f"{name} is a {type(array).__name__} that is not an array of numbers: {what[:200]}") from None


class _Refused(Exception):  # noqa: N818 (it is a message on its way)
    """A fault of an argument, in full."""


def _dense(name: str, tensor: Tensor) -> Tensor:
    if tensor.is_meta:
        raise _Refused(f"{name} is a tensor on the meta device, which has no numbers")
    if tensor.is_nested:
        raise _Refused(f"{name} is a nested tensor, must be one of a single shape")
    if tensor.is_quantized:
        tensor = tensor.dequantize()
    if tensor.layout is not torch.strided:
        tensor = tensor.to_dense()
    return tensor.detach().resolve_conj().resolve_neg()


def _as_numpy(array: Any) -> np.ndarray[Any, Any]:
    if isinstance(array, np.ndarray):
        return array
    for method in ("to_numpy", "toarray"):  # tables and columns; sparse matrices of SciPy
        if callable(getattr(array, method, None)):
            return np.asarray(getattr(array, method)())
    return np.asarray(array)


def _of_numpy(name: str, given: Any, array: np.ndarray[Any, Any]) -> Tensor:
    if isinstance(array, np.ma.MaskedArray):
        if np.ma.is_masked(array):
            raise _Refused(f"{name} is a masked array with {np.ma.count_masked(array)} masked values, must have none")
        array = array.data
    if array.dtype.kind not in "fiubc":
        raise _Refused(f"{name} is a {type(given).__name__} of type {array.dtype}, must be an array of numbers")
    if array.dtype == np.longdouble:
        array = array.astype(np.float64)
    elif not array.dtype.isnative or min(array.strides, default=0) < 0:
        array = array.astype(array.dtype.newbyteorder("="), order="C")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")  # nothing here writes to it
        return torch.from_numpy(np.ascontiguousarray(array) if array.ndim and not _usable(array) else array)


def _usable(array: np.ndarray[Any, Any]) -> bool:
    """Whether torch can look at it as it lies: strides are whole numbers of items."""
    return all(stride % array.itemsize == 0 for stride in array.strides)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "…"
