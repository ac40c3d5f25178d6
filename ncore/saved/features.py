"""Features, labels, weight and bias of one file of any form."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ncore.saved import archives, tables, tensors
from ncore.saved.contents import ZIP, Contents, UnreadableError, listed
from ncore.saved.names import ROLES, Found, found_in

FORMS: dict[str, Callable[[Path, int], Contents]] = {
    ".npz": archives.npz,
    ".npy": archives.single,
    ".pt": tensors.pt,
    ".pth": tensors.pt,
    ".safetensors": tensors.safetensors,
    ".csv": tables.csv,
    ".parquet": tables.parquet,
}
"""How a file is read, by the end of its name."""
MOST_CLASSES = 2**31
"""A label beyond is a hash or an overflow, not the number of a class."""
HEADER = slice(8, 9)
"""Where the header of safetensors begins."""


@dataclass(frozen=True)
class SavedFeatures:
    """`layers`: features (N, d) by layer, None where they have no name; `labels` (N,), `weight` (K, d), `bias` (K,).

    Arrays or tensors, as the file has them. `name` is the file's, for messages.
    """

    name: str
    layers: dict[str | None, Any]
    labels: Any
    weight: Any = None
    bias: Any = None

    def measure(self, classes: Literal["all", "present"] = "all") -> dict[tuple[str, str | None], float]:
        """{(metric, layer): value}, as `ncore.measure` gives them; weight and bias belong to the last layer as wide.

        Raises UnreadableError naming the file, the layer and what is allowed.
        """
        from ncore.metrics import measure

        found: dict[tuple[str, str | None], float] = {}
        top = self._top()
        for layer, x in self.layers.items():
            ends = (self.weight, self.bias) if layer == top else (None, None)
            try:
                values = measure(x, self.labels, *ends, classes=classes)
            except ValueError as error:
                raise UnreadableError(f"{self.name}: {'' if layer is None else f'{layer}: '}{error}") from None
            found |= {(metric, layer): value for metric, value in values.items()}
        largest = int(self.labels.max())
        if largest >= MOST_CLASSES and classes == "all":
            message = f'labels has values up to {largest}, must be below 2^31 (any value with classes="present")'
            raise UnreadableError(f"{self.name}: {message}")
        if bool((self.labels == self.labels[0]).all()):
            raise UnreadableError(f"{self.name}: labels: all are {int(self.labels[0])}, must be of two or more classes")
        return found

    @property
    def shape(self) -> dict[str, int]:
        """Samples N and classes K."""
        classes = len(self.weight) if self.weight is not None else int(self.labels.max()) + 1
        return {"samples": len(self.labels), "classes": classes}

    def _top(self) -> str | None:
        """The layer that meets the classifier."""
        width = self.weight.shape[-1] if getattr(self.weight, "ndim", 0) == 2 else None
        fitting = [layer for layer, x in self.layers.items() if x.shape[-1:] == (width,)]
        return (fitting or list(self.layers))[-1]


def read(
    path: str | Path,
    *,
    labels: str | Path | None = None,
    weight: str | Path | None = None,
    bias: str | Path | None = None,
    keys: Mapping[str, str] | None = None,
    limit_bytes: int | None = None,
) -> SavedFeatures:
    """The features of a `.npz`, `.npy`, `.pt`, `.safetensors`, `.csv` or `.parquet` file.

    `labels`, `weight`, `bias`: files of one array each, for what is not in this one. `keys`: {role: name in the file}
    where the names are none of ours. `limit_bytes` of memory for its arrays, default: this machine's. No pickle is
    ever read. Raises UnreadableError naming file and key, and OSError.
    """
    path, limit = Path(path), machine_bytes() if limit_bytes is None else limit_bytes
    given = {"labels": labels, "weight": weight, "bias": bias}
    beside = {role: _single(Path(file), role, limit) for role, file in given.items() if file is not None}
    return _features(path.name, lambda: _opened(path, limit), keys or {}, beside)


def read_bytes(body: bytes, keys: Mapping[str, str] | None = None, *, limit_bytes: int) -> SavedFeatures:
    """The same as `read`, from the bytes of a `.npz` or `.safetensors` file."""

    def opened() -> Contents:
        if body.startswith(ZIP):
            return archives.npz(io.BytesIO(body), limit_bytes)
        if body[HEADER] == b"{":
            return tensors.safetensors(body, limit_bytes)
        raise UnreadableError("must be a .npz or .safetensors file")

    return _features("body", opened, keys or {}, {})


def machine_bytes() -> int:
    """Memory of this machine."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _features(
    name: str, opened: Callable[[], Contents], keys: Mapping[str, str], beside: Mapping[str, Any]
) -> SavedFeatures:
    try:
        contents = opened()
        found = found_in(contents.names, keys)
        _required("features", next(iter(found.features.values()), None), contents.names)
        if "labels" not in beside:
            _required("labels", found.labels, contents.names)
        layers = {layer: _matrix(key, contents.read(key)) for layer, key in found.features.items()}
        ends = {role: beside.get(role, _of_role(role, found, contents)) for role in ("labels", "weight", "bias")}
        return SavedFeatures(name, layers, _classes(ends["labels"]), ends["weight"], ends["bias"])
    except UnreadableError as error:
        raise UnreadableError(f"{name}: {error}") from None


def _opened(path: Path, limit_bytes: int) -> Contents:
    form = FORMS.get(path.suffix.lower())
    if form is None:
        raise UnreadableError(f"must end in {', '.join(FORMS)}")
    if not path.stat().st_size:
        raise UnreadableError("is empty")
    return form(path, limit_bytes)


def _single(path: Path, role: str, limit_bytes: int) -> Any:
    """The array of a file that has nothing else, or has it under a name of this role."""
    try:
        contents = _opened(path, limit_bytes)
        names = contents.names
        name = names[0] if len(names) == 1 else _required(role, getattr(found_in(names, {}), role), names)
        return contents.read(name)
    except UnreadableError as error:
        raise UnreadableError(f"{path.name}: {error}") from None


def _required(role: str, name: str | None, names: tuple[str, ...]) -> str:
    if name is None:
        raise UnreadableError(f"{role}: is not there (as {', '.join(ROLES[role])}); it has {listed(names)}")
    return name


def _of_role(role: str, found: Found, contents: Contents) -> Any:
    name = getattr(found, role)
    return None if name is None else contents.read(name)


def _matrix(name: str, array: Any) -> Any:
    shape = getattr(array, "shape", None)
    if shape is None or len(shape) != 2 or 0 in shape:
        held = f"shape {tuple(shape)}" if shape is not None else f"a {type(array).__name__}"
        raise UnreadableError(f"{name}: must be (N, d) with N ≥ 1 and d ≥ 1; it has {held}")
    return array


def _classes(labels: Any) -> Any:
    """Labels (N,) of an integer type: a column is a list, and whole numbers of a float type are whole numbers."""
    import numpy as np

    y = labels if hasattr(labels, "ndim") else np.asarray(labels)
    y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
    kind = str(y.dtype).removeprefix("torch.")
    if kind.startswith(("float", "bfloat")) and not bool(((y % 1) != 0).any()) and len(y):
        return y.astype(np.int64) if isinstance(y, np.ndarray) else y.long()
    return y
