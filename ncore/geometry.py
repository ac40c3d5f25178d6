"""The geometry of a run at a step: Gram matrices of class means, of W and of W H̄, and their singular values.

Kept at some of the measured steps, packed into bytes; of a UFM also found from its saved state at the end.
"""

from __future__ import annotations

import io
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import orjson
from pydantic import BaseModel

from ncore.spec import UfmSpec

Array = npt.NDArray[np.float64]
MOST_CLASSES = 100
"""Larger matrices are too many numbers for an answer and too small squares for a picture."""
MOST_KEPT_STEPS, MOST_KEPT_BYTES = 50, 1 << 23
"""Of an experiment, all seeds together; where so many bytes do not hold so many steps, fewer are kept."""
HEADER_BYTES = 80
"""About what names, types and places of one matrix take, beside its numbers."""
MOST_HEADER, MOST_BYTES = 1 << 24, 1 << 28
"""Most bytes of a file's header, and of a tensor that is read; samples beyond are left out."""
WEIGHT, PRODUCT = "W", "W H"
"""The names of W Wᵀ and of W H̄ beside those of the levels."""
ROUNDING = 2.0**-44
"""Eigenvalues of a Gram matrix below this share of the largest are rounding."""
KINDS = {"F64": "<f8", "F32": "<f4", "I64": "<i8"}


@dataclass(frozen=True)
class Shape:
    """A matrix of the geometry at a step, in float64, and singular values, largest first; maybe of several runs (S, …).

    The name of a level: H̄ᵀH̄ (K × K) and the singular values of H̄. `W`: W Wᵀ and those of W. `W H`: itself, W H̄.
    """

    name: str
    matrix: Array
    singular_values: Array


class Matrix(BaseModel):
    """A Gram matrix (K × K; W H itself), its entries over the norms of row and column (of W H over the largest of all),
    and the predicted matrix: null where theory does not say it. `singular_values`: of the class means H̄, of W, of W H̄;
    largest first."""

    name: str
    gram: list[list[float]]
    cosines: list[list[float | None]]
    predicted: list[list[float]] | None
    singular_values: list[float]


class SingularValues(BaseModel):
    """Of the class means H̄ of a level, of W or of W H̄: at each step, largest first. `predicted`: null where theory does
    not say them."""

    name: str
    values: list[list[float]]
    predicted: list[float] | None


def shapes_of(means: Mapping[str, Array], weight: Array | None, last: str | None) -> list[Shape]:
    """The geometry of class means (…, d, K) by level, and of `weight` (…, K, d), which meets the level `last`.

    `W H` is left out where the means of that level are not given, `W` where there is no weight.
    """
    found = [Shape(level, np.swapaxes(one, -1, -2) @ one, _singular_values(one)) for level, one in means.items()]
    if weight is None:
        return found
    found.append(Shape(WEIGHT, weight @ np.swapaxes(weight, -1, -2), _singular_values(weight)))
    if last is not None and last in means:
        product = weight @ means[last]
        found.append(Shape(PRODUCT, product, _singular_values(product)))
    return found


def _singular_values(matrix: Array) -> Array:
    return np.asarray(np.linalg.svd(matrix, compute_uv=False))


def shown(shapes: Sequence[Shape], predicted: Mapping[str, list[list[float]]]) -> list[Matrix]:
    """As the API answers; `predicted`: matrices by name (`Prediction.matrices`)."""
    return [
        Matrix(
            name=one.name,
            gram=one.matrix.tolist(),
            cosines=cosines_of(one.name, one.matrix),
            predicted=_fitting(predicted, one),
            singular_values=one.singular_values.tolist(),
        )
        for one in shapes
    ]


def spectra(shapes: Sequence[Sequence[Shape]], predicted: Mapping[str, list[list[float]]]) -> list[SingularValues]:
    """The singular values of the geometry at several steps; `predicted`: matrices by name (`Prediction.matrices`)."""
    found = []
    for over_steps in zip(*shapes, strict=True):
        name, gram = over_steps[0].name, _fitting(predicted, over_steps[-1])
        known = None if gram is None else factor_values(name, np.array(gram)).tolist()
        values = [one.singular_values.tolist() for one in over_steps]
        found.append(SingularValues(name=name, values=values, predicted=known))
    return found


def _fitting(predicted: Mapping[str, list[list[float]]], shape: Shape) -> list[list[float]] | None:
    """The predicted matrix of this name: the model beside an experiment from outside may have other classes."""
    found = predicted.get(shape.name)
    return found if found is not None and np.shape(found) == shape.matrix.shape else None


def factor_values(name: str, matrix: Array) -> Array:
    """The singular values (K,), largest first, of what the matrix is made of: of H̄ or W; of W H̄ its own."""
    values = np.linalg.svd(matrix, compute_uv=False)
    if name == PRODUCT:
        return np.asarray(values)
    return np.sqrt(np.where(values > ROUNDING * values[0], values, 0))


def cosines_of(name: str, matrix: Array) -> list[list[float | None]]:
    """Entries over the norms of row and column; those of W H̄, which is no Gram matrix, over the largest of all."""
    if name == PRODUCT:
        cosines = matrix / max(np.abs(matrix).max(), math.ulp(0))
    else:
        norms = np.sqrt(np.diag(matrix))
        with np.errstate(divide="ignore", invalid="ignore"):
            cosines = matrix / np.outer(norms, norms)
    return [[value if math.isfinite(value) else None for value in row] for row in cosines.tolist()]


def kept_steps(measured: Sequence[int], seeds: int, classes: int, outputs: int, levels: int) -> frozenset[int]:
    """At which of the measured steps of each seed the geometry is kept: the first, the last and some between.

    None for more than MOST_CLASSES; fewer than MOST_KEPT_STEPS where they would take more than MOST_KEPT_BYTES.
    """
    if max(classes, outputs) > MOST_CLASSES:
        return frozenset()
    numbers = levels * classes * (classes + 1) + outputs * (outputs + classes + 2)
    room = MOST_KEPT_BYTES // (seeds * (8 * numbers + HEADER_BYTES * 2 * (levels + 2)))
    most, last = min(room, MOST_KEPT_STEPS, len(measured)), len(measured) - 1
    places = {last * i // (most - 1) for i in range(most)} if most > 1 else {last} if most else set[int]()
    return frozenset(measured[place] for place in places)


def packed(means: Mapping[str, Array], weights: Array, last: str) -> list[bytes | None]:
    """The geometry of each of several runs, of class means (S, d, K) by level and weights (S, K, d), as bytes of
    safetensors, which `unpacked` reads; None where not all is finite.

    Written here, all at once, since it is done between the steps of runs that take a tenth of a second.
    """
    finite = np.all([np.isfinite(one).all(axis=(1, 2)) for one in (*means.values(), weights)], axis=0)
    if not finite.all():
        means = {level: np.where(finite[:, None, None], one, 0) for level, one in means.items()}
        weights = np.where(finite[:, None, None], weights, 0)
    arrays = _arrays_of(shapes_of(means, weights, last))
    head = _header({name: one.shape[1:] for name, one in arrays.items()})
    return [
        b"".join((head, *(one[run].tobytes() for one in arrays.values()))) if is_finite else None
        for run, is_finite in enumerate(finite)
    ]


def packed_shapes(shapes: Sequence[Shape]) -> bytes:
    """The geometry of one run as `unpacked` reads it."""
    arrays = _arrays_of(shapes)
    head = _header({name: one.shape for name, one in arrays.items()})
    return b"".join((head, *(one.tobytes() for one in arrays.values())))


def _arrays_of(shapes: Sequence[Shape]) -> dict[str, Array]:
    """Under names that say their order, too."""
    arrays = dict[str, Array]()
    for i, shape in enumerate(shapes):
        arrays |= {f"{i} {shape.name}": shape.matrix, str(i): shape.singular_values}
    return arrays


def _header(shapes: Mapping[str, tuple[int, ...]]) -> bytes:
    """What stands before the numbers of tensors in float64, one behind the other."""
    header, end = dict[str, Any](), 0
    for name, shape in shapes.items():
        begin, end = end, end + 8 * math.prod(shape)
        header[name] = {"dtype": "F64", "shape": shape, "data_offsets": [begin, end]}
    described = orjson.dumps(header)
    return len(described).to_bytes(8, "little") + described


def unpacked(data: bytes) -> list[Shape]:
    """What `packed` has packed."""
    arrays = _arrays(io.BytesIO(data))
    names = sorted((name.partition(" ") for name in arrays if " " in name), key=lambda parts: int(parts[0]))
    return [Shape(name, arrays[f"{place} {name}"], arrays[place]) for place, _, name in names]


def shapes_at_end(spec: UfmSpec, state: Mapping[str, Array], place: int) -> list[Shape]:
    """The geometry of the seed at `place` in a final state.

    The class means of levels behind a ReLU are those of all samples; they are left out where the state does not hold
    each sample.
    """
    levels = len(spec.model.widths)
    return shapes_of(class_means(spec, state, place), state[f"W_{levels}"][place], f"h{levels}")


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


def state_of(spec: UfmSpec, path: Path) -> dict[str, Array]:
    """What `shapes_at_end` needs of a saved state; samples beyond MOST_BYTES are left out.

    Raises ValueError for a file that is none.
    """
    names = {"class_means", "labels", *(f"W_{j + 1}" for j in range(len(spec.model.widths)))}
    is_deep_relu = spec.model.activation == "relu" and len(spec.model.widths) > 1
    found = arrays_in(path, {*names, "H"} if is_deep_relu else names)
    if "H" not in found:
        found["H"] = np.zeros((found["class_means"].shape[0], 0, 0))
    return found


def arrays_in(path: Path, names: Collection[str]) -> dict[str, Array]:
    """Tensors of a file of safetensors, without torch."""
    with path.open("rb") as file:
        return _arrays(file, names)


def _arrays(file: BinaryIO, names: Collection[str] | None = None) -> dict[str, Array]:
    """Eight bytes of length, a header of JSON, the numbers; all tensors unless named."""
    found: dict[str, Any] = {}
    size = int.from_bytes(file.read(8), "little")
    if size > MOST_HEADER:
        raise ValueError(f"header: must have at most {MOST_HEADER} bytes; got {size}")
    header = orjson.loads(file.read(size))
    begin = 8 + size
    for name, one in header.items():
        if (names is None or name in names) and one["dtype"] in KINDS:
            first, last = one["data_offsets"]
            if last - first > MOST_BYTES:
                continue
            file.seek(begin + first)
            data = file.read(last - first)
            found[name] = np.frombuffer(data, KINDS[one["dtype"]]).reshape(one["shape"])
    return found
