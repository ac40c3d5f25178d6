"""The geometry of a UFM at its end: Gram matrices of class means, of W and of W H̄, from its saved state."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel

from ncore.spec import UfmSpec

Array = npt.NDArray[np.float64]
MOST_CLASSES = 100
"""Larger matrices are too many numbers for an answer and too small squares for a picture."""
MOST_HEADER, MOST_BYTES = 1 << 24, 1 << 28
"""Most bytes of a file's header, and of a tensor that is read; samples beyond are left out."""
KINDS = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}


class Matrix(BaseModel):
    """A Gram matrix (K × K), its entries over the norms of row and column, and the predicted ones: null where theory
    does not say them."""

    name: str
    gram: list[list[float]]
    cosines: list[list[float | None]]
    predicted: list[list[float]] | None


def geometry_of(
    spec: UfmSpec, state: Mapping[str, Array], place: int, predicted: Mapping[str, list[list[float]]]
) -> list[Matrix]:
    """The matrices of the seed at `place`: H̄_jᵀH̄_j of each level, W Wᵀ of the last weight, and W H̄ of the last level.

    The class means of levels behind a ReLU are those of all samples; they are left out where the state does not hold
    each sample. `predicted`: H̄_jᵀH̄_j by level.
    """
    found = []
    weights = [state[f"W_{j + 1}"][place] for j in range(len(spec.model.widths))]
    levels = class_means(spec, state, place)
    for level, means in levels.items():
        found.append(_matrix(level, means.T @ means, predicted.get(level)))
    found.append(_matrix("W", weights[-1] @ weights[-1].T, None))
    last = f"h{len(weights)}"
    if last in levels:
        found.append(_matrix("W H", weights[-1] @ levels[last], None, is_gram=False))
    return found


def class_means(spec: UfmSpec, state: Mapping[str, Array], place: int) -> dict[str, Array]:
    """(d_j, K) by level."""
    widths, is_relu = spec.model.widths, spec.model.activation == "relu"
    means, found = state["class_means"][place], {"h1": state["class_means"][place]}
    samples, labels = state["H"][place], state["labels"][place]
    is_whole = samples.shape[1] == sum(spec.model.class_sizes)
    for j in range(1, len(widths)):
        weight = state[f"W_{j}"][place]
        if not is_relu:
            means = weight @ means
        elif is_whole:
            samples = np.maximum(weight @ samples, 0)
            means = np.stack([samples[:, labels == k].mean(axis=1) for k in range(spec.model.classes)], axis=1)
        else:
            return found
        found[f"h{j + 1}"] = means
    return found


def _matrix(name: str, gram: Array, predicted: list[list[float]] | None, is_gram: bool = True) -> Matrix:
    if is_gram:
        norms = np.sqrt(np.diag(gram))
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = gram / np.outer(norms, norms)
    else:
        cosines = gram / max(np.abs(gram).max(), math.ulp(0))
    shown = [[value if math.isfinite(value) else None for value in row] for row in cosines.tolist()]
    return Matrix(name=name, gram=gram.tolist(), cosines=shown, predicted=predicted)


def state_of(spec: UfmSpec, path: Path) -> dict[str, Array]:
    """The part of a saved state that `geometry_of` needs; samples beyond MOST_BYTES are left out.

    Raises ValueError for a file that is none.
    """
    names = {"class_means", "labels", *(f"W_{j + 1}" for j in range(len(spec.model.widths)))}
    is_deep_relu = spec.model.activation == "relu" and len(spec.model.widths) > 1
    found = arrays_in(path, {*names, "H"} if is_deep_relu else names)
    if "H" not in found:
        found["H"] = np.zeros((found["class_means"].shape[0], 0, 0))
    return found


def arrays_in(path: Path, names: Collection[str]) -> dict[str, Array]:
    """Tensors of a file of safetensors, without torch: eight bytes of length, a header of JSON, the numbers."""
    found: dict[str, Any] = {}
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        if size > MOST_HEADER:
            raise ValueError(f"header: must have at most {MOST_HEADER} bytes; got {size}")
        header = orjson.loads(file.read(size))
        begin = 8 + size
        for name, one in header.items():
            if name in names and one["dtype"] in KINDS:
                first, last = one["data_offsets"]
                if last - first > MOST_BYTES:
                    continue
                file.seek(begin + first)
                data = file.read(last - first)
                found[name] = np.frombuffer(data, KINDS[one["dtype"]]).reshape(one["shape"])
    return found
