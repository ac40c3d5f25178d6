"""The geometry over the steps as a file (.npz): the API sends it, the bundle holds it, the client reads it.

Arrays are named `SEED/LAYER/steps`, `SEED/LAYER/matrices`, `SEED/LAYER/singular_values` and `predicted/LAYER`.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from ncore.geometry import Array, Shape

PREDICTED = "predicted"
PARTS = ("steps", "matrices", "singular_values")


@dataclass(frozen=True)
class ShapeSeries:
    """One matrix of a seed's geometry at the T steps at which it is kept, in float64.

    Args:
        seed: whose it is.
        layer: a level (`h1`, or a layer's name), `W` or `W H`.
        steps: (T,), ascending.
        matrices: (T, K, K). H̄ᵀH̄ of a level's class means H̄ (d, K); W Wᵀ of the last weight W (K, d); W H̄ itself.
        singular_values: (T, r), largest first: of H̄, of W, of W H̄; r is the smaller side of that.
        predicted: (K, K), None where theory does not say it; `matrix_name` of the prediction says how sure that is.

    With targets that are not one-hot, t of them, W is (t, d): W Wᵀ is (t, t) and W H̄ (t, K).
    """

    seed: int
    layer: str
    steps: npt.NDArray[np.int64]
    matrices: Array
    singular_values: Array
    predicted: Array | None = None


def over_steps(seed: int, shapes: Mapping[int, Sequence[Shape]]) -> list[ShapeSeries]:
    """The geometry of a seed at these steps, ascending, matrix by matrix.

    Where a loop has changed what it measures, a matrix has the steps at which it has its last form.
    """
    found: dict[str, dict[int, Shape]] = {}
    for step, several in reversed(list(shapes.items())):
        for one in several:
            of_it = found.setdefault(one.name, {})
            if not of_it or has_form(one, next(iter(of_it.values()))):
                of_it[step] = one
    return [_joined(seed, name, dict(reversed(of_it.items()))) for name, of_it in found.items()]


def has_form(one: Shape, other: Shape) -> bool:
    """Whether they are matrices of one name and size."""
    sizes = (one.matrix.shape, one.singular_values.shape), (other.matrix.shape, other.singular_values.shape)
    return one.name == other.name and sizes[0] == sizes[1]


def alike(shapes: Mapping[int, Sequence[Shape]]) -> dict[int, Sequence[Shape]]:
    """The steps whose geometry has the matrices of the last one: all, unless a loop has changed what it measures."""
    last = list(shapes.values())[-1]
    return {
        step: several
        for step, several in shapes.items()
        if len(several) == len(last) and all(map(has_form, several, last))
    }


def _joined(seed: int, name: str, shapes: Mapping[int, Shape]) -> ShapeSeries:
    matrices = np.stack([one.matrix for one in shapes.values()])
    values = np.stack([one.singular_values for one in shapes.values()])
    return ShapeSeries(seed, name, np.array(list(shapes), dtype=np.int64), matrices, values)


def write_geometry(
    file: IO[bytes], series: Iterable[ShapeSeries], predicted: Mapping[str, Sequence[Sequence[float]]]
) -> None:
    """Writes the series one by one, so that one is in memory at a time, and the predicted matrices of their layers."""
    layers = dict[str, tuple[int, ...]]()
    with zipfile.ZipFile(file, "w") as archive:
        for one in series:
            layers[one.layer] = one.matrices.shape[1:]
            for part in PARTS:
                _add(archive, f"{one.seed}/{one.layer}/{part}", getattr(one, part))
        for layer, shape in layers.items():
            if np.shape(predicted.get(layer, ())) == shape:  # that of other classes is none
                _add(archive, f"{PREDICTED}/{layer}", np.array(predicted[layer], dtype=np.float64))


def _add(archive: zipfile.ZipFile, name: str, array: npt.NDArray[np.float64 | np.int64]) -> None:
    # the date of a ZipInfo is fixed: the same arrays make the same bytes
    with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w") as member:
        np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)


def read_geometry(file: str | Path | IO[bytes]) -> list[ShapeSeries]:
    """The series of a `geometry.npz`: of an experiment's bundle, or of GET /experiments/{id}/geometry.npz.

    Raises OSError, and ValueError for a file that is none.
    """
    try:
        with np.load(file, allow_pickle=False) as arrays:
            return list(_series_in(arrays))
    except (KeyError, AttributeError, TypeError, EOFError, zipfile.BadZipFile) as error:
        raise ValueError(f"{file}: is no file of a geometry ({error})") from None


def _series_in(arrays: Mapping[str, Array]) -> Iterator[ShapeSeries]:
    for name in arrays:
        front, _, part = name.rpartition("/")
        seed, _, layer = front.partition("/")
        if part != PARTS[0] or not seed.isdigit():
            continue
        predicted = arrays.get(f"{PREDICTED}/{layer}")
        steps, matrices, values = (arrays[f"{front}/{one}"] for one in PARTS)
        predicted = None if predicted is None or predicted.shape != matrices.shape[1:] else predicted
        yield ShapeSeries(int(seed), layer, steps.astype(np.int64), matrices, values, predicted)
