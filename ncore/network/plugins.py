"""Models and data sets of packages that the operator installed, found by their entry points: never code from a spec."""

from __future__ import annotations

from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncore.faults import SpecError
from ncore.kinds.data_sets import Data
from ncore.network.sources import DataError, Parts, Stored, in_memory
from ncore.stopping import Check


def loaded(group: str, name: str, field: str) -> Callable[..., Any]:
    """The function that an installed package offers under this name, or as this `package.module:function`.

    Raises SpecError at `field` naming what there is.
    """
    offered = {one.name: one for one in entry_points(group=group)}
    found = offered.get(name) or next((one for one in offered.values() if one.value == name), None)
    if found is None:
        names = ", ".join(f"{one.name} ({one.value})" for one in offered.values()) or "none"
        message = f"no installed package offers {name!r} by an entry point {group}; offered: {names}"
        raise SpecError([{"field": field, "message": message}])
    try:
        function: Callable[..., Any] = found.load()
    except Exception as error:  # noqa: BLE001 (it is another's code)
        raise SpecError([{"field": field, "message": f"{name} cannot be imported: {error}"}]) from None
    return function


def images(data: Data, base: Path | None, check: Check) -> Parts:
    """The data set of `data.plugin`: its function, called with `data.options`, gives (images, labels) for training, or
    a pair of such pairs, for training and testing.

    Pairs are tuples, images uint8 (N, C, S, S), arrays or tensors, labels whole numbers (N,) from 0. Raises DataError.
    """
    del base
    assert data.plugin is not None  # noqa: S101 (for the type checker: the spec says so)
    try:
        function = loaded("ncore.datasets", data.plugin, "data.plugin")
    except SpecError as error:
        raise DataError(str(error)) from None
    check()
    try:
        given = function(**data.options)
    except Exception as error:  # noqa: BLE001 (it is another's code)
        raise DataError(f"data.options: {data.plugin} gives no images: {type(error).__name__}: {error}") from None
    check()
    if not isinstance(given, (tuple, list)) or len(given) != 2:
        raise DataError(f"data.plugin: {data.plugin} must give (images, labels), or two such pairs")
    pairs = given if isinstance(given[0], tuple) else (given, None)
    train = _stored(data.plugin, pairs[0])
    test = None if pairs[1] is None else _stored(data.plugin, pairs[1])
    return train, test, 1 + max(int(part.labels.max()) for part in (train, test) if part is not None)


def _stored(name: str, pair: Any) -> Stored:
    if not isinstance(pair, (tuple, list)) or len(pair) != 2:
        raise DataError(f"data.plugin: {name} must give (images, labels), or two such pairs")
    pictures, labels = (_tensor(name, one) for one in pair)
    if pictures.ndim != 4 or pictures.dtype != torch.uint8 or pictures.shape[2] != pictures.shape[3]:
        held = f"{tuple(pictures.shape)} of {pictures.dtype}"
        raise DataError(f"data.plugin: {name} must give images (N, C, S, S) of uint8; it gave {held}")
    if labels.shape != pictures.shape[:1] or labels.is_floating_point() or not len(labels) or int(labels.min()) < 0:
        held = f"{tuple(labels.shape)} of {labels.dtype}"
        raise DataError(f"data.plugin: {name} must give labels (N,), whole numbers from 0; it gave {held}")
    return in_memory(pictures, labels.long())


def _tensor(name: str, given: Any) -> Tensor:
    try:
        return torch.as_tensor(given)
    except (TypeError, ValueError, RuntimeError):
        raise DataError(f"data.plugin: {name} must give arrays of numbers; it gave a {type(given).__name__}") from None
