"""The named data sets as they are kept: labels at once, and the uint8 images (N, C, h, w) that are asked for."""

from __future__ import annotations

import hashlib
import math
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ncore.network.estimate import CLASSES, SYNTHETIC_SAMPLES
from ncore.spec import Data

SILENT_SECONDS = 20.0
"""A host that says nothing for so long while a data set is fetched is taken for gone."""
IDX_OF_BYTES = 8
"""The type of unsigned bytes in the head of MNIST's files, http://yann.lecun.com/exdb/mnist."""


class DataError(ValueError):
    """The data set cannot be had as the spec asks for it."""


@dataclass(frozen=True)
class Stored:
    """Labels (N,), `read(index)` for the images of some of them, and the classes' names where they have any."""

    labels: Tensor
    read: Callable[[Tensor], Tensor]
    names: tuple[str, ...] = ()


_Source = Callable[[Data, Path | None], tuple[Stored, Stored | None, int]]


def in_memory(images: Tensor, labels: Tensor) -> Stored:
    return Stored(labels, lambda index: images[index])


def _directory(name: str, base: Path | None) -> Path:
    if base is None:
        raise DataError(f"data: {name!r} needs a directory of data sets; set NCORE_DATA_DIR")
    if not base.is_dir():
        raise DataError(f"data: the directory of data sets {base} does not exist (NCORE_DATA_DIR)")
    return base


def _torchvision(data: Data, base: Path | None) -> tuple[Stored, Stored, int]:
    """MNIST, Fashion-MNIST and CIFAR-10 where torchvision keeps them, downloaded if they are not there."""
    from torchvision import datasets

    source = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}[data.name]
    root = _directory(data.name, base)
    check = _check_batches if data.name == "cifar10" else _check_idx
    check(source, data.name, root)

    def read(*, train: bool) -> Stored:
        try:
            with _sockets_wait(SILENT_SECONDS):
                found = source(root, train=train, download=not _is_there(source, root))
        except (RuntimeError, OSError) as error:
            missing = f"data: {data.name!r} is not in {root} (NCORE_DATA_DIR) and cannot be downloaded"
            raise DataError(f"{missing}: {error}") from error
        images, labels = torch.as_tensor(found.data), torch.as_tensor(found.targets)
        part = "training" if train else "test"
        if len(images) != len(labels):
            raise DataError(f"data: {data.name!r} in {root} has {len(images)} {part} images, but {len(labels)} labels")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < 10:
            wrong = int(labels[(labels < 0) | (labels > 9)][0])
            raise DataError(f"data: {data.name!r} in {root} has the {part} label {wrong}, must be 0 to 9")
        return in_memory(images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2), labels)

    return read(train=True), read(train=False), 10


@contextmanager
def _sockets_wait(seconds: float) -> Iterator[None]:
    """Connections that are opened here give up after so long without a byte; torchvision's would wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _files(source: Any, root: Path) -> list[Path]:
    """What torchvision's class reads."""
    if hasattr(source, "base_folder"):
        return [root / source.base_folder / name for name, _ in source.train_list + source.test_list]
    raw = root / source.__name__ / "raw"
    return [raw / Path(url).stem for url, _ in source.resources]


def _is_there(source: Any, root: Path) -> bool:
    return all(file.is_file() for file in _files(source, root))


def _check_idx(source: Any, name: str, root: Path) -> None:
    """Raises DataError for a file that is there and does not hold what its head says."""
    for file in _files(source, root):
        fault = _fault_of_idx(file, 3 if "images" in file.name else 1) if file.is_file() else None
        if fault:
            raise _damaged(name, file, fault)


def _fault_of_idx(file: Path, dimensions: int) -> str | None:
    """What is wrong with a file that should hold bytes in so many dimensions; None where nothing is."""
    with file.open("rb") as opened:
        head = opened.read(4 + 4 * dimensions)
    if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, IDX_OF_BYTES, dimensions)):
        return "it does not begin like an IDX file"
    expected = len(head) + math.prod(struct.unpack(f">{dimensions}I", head[4:]))
    found = file.stat().st_size
    return None if found == expected else f"it has {found} bytes, and must have {expected} by its head"


def _check_batches(source: Any, name: str, root: Path) -> None:
    """Raises DataError for a batch of CIFAR that is there with another checksum than the published one."""
    published = dict(source.train_list + source.test_list)
    for file in _files(source, root):
        if file.is_file() and hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest() != published[file.name]:
            raise _damaged(name, file, "its checksum is not the published one")


def _damaged(name: str, file: Path, why: str) -> DataError:
    return DataError(f"data: {name!r} in {file.parent} is damaged: {file.name} ({why}); remove it or put it right")


def _digits(data: Data, base: Path | None) -> tuple[Stored, Stored, int]:  # noqa: ARG001
    """scikit-learn's 1,797 digits of 8 × 8 pixels; every fifth of a class is for testing."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.as_tensor(found.images / 16 * 255).round().to(torch.uint8)[:, None]
    labels = torch.as_tensor(found.target)
    within = torch.zeros_like(labels)
    for k in range(10):
        within[labels == k] = torch.arange(int((labels == k).sum()))
    held_out = within % 5 == 4
    train, test = (in_memory(images[part], labels[part]) for part in (~held_out, held_out))
    return train, test, 10


def _synthetic(data: Data, base: Path | None) -> tuple[Stored, Stored, int]:  # noqa: ARG001
    """A pattern for each class under noise; the same images for every run of the same spec."""
    n = data.samples_per_class
    classes = data.classes or (len(n) if isinstance(n, tuple) else CLASSES)
    sizes = n if isinstance(n, tuple) else (n or SYNTHETIC_SAMPLES,) * classes
    if len(sizes) != classes:
        raise DataError(f"data.samples_per_class: has {len(sizes)} entries, data.classes is {classes}")
    draw = torch.Generator().manual_seed(0)
    patterns = torch.randn(len(sizes), 3, data.image_size, data.image_size, generator=draw)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))

    def sample() -> Stored:
        images = torch.empty(len(labels), *patterns.shape[1:], dtype=torch.uint8)
        for k, block in enumerate(images.split(sizes)):
            noise = torch.randn(block.shape, generator=draw)
            block.copy_((128 + 32 * (patterns[k] + noise)).clamp(0, 255))
        return in_memory(images, labels)

    return sample(), sample(), len(sizes)


def _folder(data: Data, base: Path | None) -> tuple[Stored, Stored | None, int]:
    """DIR/CLASS/image or DIR/train/CLASS/image with DIR/test beside it; nothing outside the data directory is read."""
    base = _directory(data.name, base)
    path = Path(data.path or "")
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"data.path: must be a path below the data directory without '..'; got {data.path!r}")
    folder = (base / path).resolve()
    _inside(folder, base)
    if not folder.is_dir():
        raise DataError(f"data.path: {data.path!r} is not a directory in {base} (NCORE_DATA_DIR)")
    parts = [folder / "train", folder / "test"] if (folder / "train").is_dir() else [folder]
    train, names = _list_folder(parts[0], base, data.image_size)
    if len(parts) == 1 or not parts[1].is_dir():
        return train, None, len(names)
    test, test_names = _list_folder(parts[1], base, data.image_size)
    if test_names != names:
        lone = ", ".join(sorted(set(names) ^ set(test_names)))
        raise DataError(f"data.path: {data.path!r} must have the same classes in train and test; only one has {lone}")
    return train, test, len(names)


def _inside(path: Path, base: Path) -> Path:
    resolved = path.resolve()
    if not resolved.is_relative_to(base):
        raise DataError(f"data.path: {path.name!r} leads out of the data directory")
    return resolved


def _list_folder(root: Path, base: Path, size: int) -> tuple[Stored, list[str]]:
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(_inside(root, base)))
    except (OSError, ValueError) as error:
        raise DataError(f"data.path: {root.relative_to(base)} holds no images by class: {error}") from error
    files = [Path(file) for file, _ in found.samples]

    def read(index: Tensor) -> Tensor:
        return _decode([files[i] for i in index.tolist()], base, size)

    return Stored(torch.tensor(found.targets), read, tuple(found.classes)), found.classes


def _decode(files: Sequence[Path], base: Path, size: int) -> Tensor:
    import numpy as np
    from PIL import Image

    images = torch.empty(len(files), size, size, 3, dtype=torch.uint8)
    for i, file in enumerate(files):
        path = _inside(file, base)
        try:
            with Image.open(path) as image:
                scaled = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
                images[i] = torch.from_numpy(np.array(scaled))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"data.path: {file.relative_to(base)} cannot be read: {error}") from error
    return images.permute(0, 3, 1, 2)


SOURCES: dict[str, _Source] = {
    "mnist": _torchvision,
    "fashion_mnist": _torchvision,
    "cifar10": _torchvision,
    "digits": _digits,
    "folder": _folder,
    "synthetic": _synthetic,
}
