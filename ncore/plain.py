"""Values as users have them (numpy, torch, ranges, sets, specs) turned into what JSON can hold."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import Enum
from os import PathLike, fspath
from typing import Any

from pydantic import BaseModel

PLAIN = (str, int, bool, type(None))


class NotPlain(ValueError):  # noqa: N818 (says what is the case)
    """A value that JSON cannot hold: `field` is its dotted path, `message` says what it is."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}" if field else message)
        self.field, self.message = field, message


def plain(value: Any, field: str = "") -> Any:
    """`value` as JSON holds it: numbers of numpy and torch as numbers, arrays, ranges and sets as lists, a spec as an
    object. Numbers keep their exact value. Raises NotPlain for NaN, infinities and what is neither, naming its path.
    """
    if type(value) in PLAIN:
        return value
    if isinstance(value, Mapping):
        return {_key(key, field): plain(one, _below(field, key)) for key, one in value.items()}
    if isinstance(value, float):
        return _finite(float(value), field)
    unpacked = _unpacked(value)
    if unpacked is not value:
        return plain(unpacked, field)
    if isinstance(value, Iterable) and not isinstance(value, (bytes, bytearray, memoryview)):
        return [plain(one, _below(field, i)) for i, one in enumerate(_in_order(value))]
    if hasattr(value, "__float__"):  # a fraction, a decimal
        return _finite(float(value), field)
    raise NotPlain(field, f"must be a number, a text, a list or an object; got {type(value).__name__}")


def _unpacked(value: Any) -> Any:
    """The content of a wrapper: a pydantic model, an enum, a path, an array or number of numpy, torch, pandas, or
    polars, a subclass of str or int; `value` itself where it is none."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, PathLike):
        return fspath(value)
    for method in ("tolist", "to_list"):
        if hasattr(value, method):
            return getattr(value, method)()
    for base in (str, int):
        if isinstance(value, base):
            return base(value)
    return value


def _finite(value: float, field: str) -> float:
    if not math.isfinite(value):
        raise NotPlain(field, f"must be a finite number; got {value}")
    return value


def _key(key: object, field: str) -> str:
    if not isinstance(key, str):
        raise NotPlain(field, f"must have texts as keys; got {key!r}")
    return str(key)


def _below(field: str, key: object) -> str:
    return f"{field}.{key}" if field else str(key)


def _in_order(values: Iterable[Any]) -> Iterable[Any]:
    """A set has no order: its values ascending, so that the same set always makes the same spec."""
    if isinstance(values, (set, frozenset)):
        return sorted(values, key=lambda one: (isinstance(one, str), one))
    return values
