"""Readers of data sets in their published files: all labels, and uint8 images (N, C, h, w) where they are asked for."""

from __future__ import annotations

import math
import pickle
import struct
import zlib
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ncore.kinds.data_sets import SYNTHETIC_SAMPLES, Data
from ncore.network.download import Archive, md5_of, provide
from ncore.stopping import Check

IDX_OF_BYTES = 8
"""The type of unsigned bytes in the head of MNIST's files, http://yann.lecun.com/exdb/mnist."""

DRAWN_IMAGES = 16
"""Synthetic images that are drawn at once: a multiple of 16 numbers, so that the pieces are the bits of the whole."""


class DataError(ValueError):
    """A data set that cannot be had as the spec asks for it."""


@dataclass(frozen=True)
class Stored:
    """Labels (N,), `read(index, check)` for the images of some of them, and the classes' names where they have any."""

    labels: Tensor
    read: Callable[[Tensor, Check], Tensor]
    names: tuple[str, ...] = ()


Parts = tuple[Stored, Stored | None, int]
"""The parts of a data set: for training, for testing, and the number of classes."""


def in_memory(images: Tensor, labels: Tensor) -> Stored:
    return Stored(labels, lambda index, _: images[index])


def directory_of(data: Data, base: Path | None) -> Path:
    """The directory of the data sets. Raises DataError where it is not set or not there."""
    if base is None:
        raise DataError(f"data: {data.name!r} needs a directory of data sets; set NCORE_DATA_DIR")
    if not base.is_dir():
        raise DataError(f"data: the directory of data sets {base} does not exist (NCORE_DATA_DIR)")
    return base


class _Published(ABC):
    """A data set in the files that its authors published, downloaded where they are not there.

    A file of the published size must have the published checksum; smaller ones in the same form are taken as they are.
    """

    classes: int
    checksums: dict[str, str]
    """Checksums of files, named from the directory of the data sets, where one is published."""
    files: dict[str, int]
    """How many images, or labels, the published ones hold."""
    archives: tuple[Archive, ...]

    @abstractmethod
    def count(self, file: Path) -> int:
        """Images, or labels, in a file. Raises ValueError where it is not of the form."""

    @abstractmethod
    def read(self, root: Path, *, train: bool) -> tuple[Any, Any]:
        """Images (N, h, w) or (N, C, h, w) and labels (N,), as arrays or tensors of integers."""

    def __call__(self, data: Data, base: Path | None, check: Check) -> Parts:
        root = directory_of(data, base)
        there = [root / name for name in self.files if (root / name).is_file()]
        self._look_through(data.name, root, there, check)
        if len(there) < len(self.files):
            try:
                provide(self.archives, root, check)
            except OSError as error:
                missing = f"data: {data.name!r} is not in {root} (NCORE_DATA_DIR) and cannot be downloaded"
                raise DataError(f"{missing}: {error}; it wants {', '.join(self.files)} there") from error
        parts = []
        for train in (True, False):
            check()
            parts.append(self._checked(data.name, root, *self.read(root, train=train), train=train))
        return parts[0], parts[1], self.classes

    def _look_through(self, name: str, root: Path, files: list[Path], check: Check) -> None:
        """Raises DataError for a file that is there and is not what it should be."""
        for file in files:
            check()
            fault, key = None, str(file.relative_to(root))
            if key in self.checksums and md5_of(file, check) == self.checksums[key]:
                continue
            try:
                if self.count(file) >= self.files[key] and key in self.checksums:
                    fault = "its checksum is not the published one"
            except (ValueError, TypeError, KeyError, EOFError, OSError) as error:
                fault = str(error) or type(error).__name__
            if fault:
                where = f"data: {name!r} in {file.parent} is damaged"
                raise DataError(f"{where}: {file.name} ({fault}); remove it or put it right")

    def _checked(self, name: str, root: Path, images: Any, labels: Any, *, train: bool) -> Stored:
        images, labels = torch.as_tensor(images), torch.as_tensor(labels).long()
        part = "training" if train else "test"
        if len(images) != len(labels):
            raise DataError(f"data: {name!r} in {root} has {len(images)} {part} images, but {len(labels)} labels")
        if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < self.classes:
            wrong = int(labels[(labels < 0) | (labels >= self.classes)][0])
            raise DataError(f"data: {name!r} in {root} has the {part} label {wrong}, must be 0 to {self.classes - 1}")
        return in_memory(images[:, None] if images.ndim == 3 else images, labels)


class _Idx(_Published):
    """MNIST and what is kept like it."""

    classes = 10

    def __init__(self, torchvision_name: str) -> None:
        from torchvision import datasets

        source = getattr(datasets, torchvision_name)
        raw = f"{torchvision_name}/raw"
        self.checksums: dict[str, str] = {}
        self.files = {f"{raw}/{Path(name).stem}": 60_000 if "train" in name else 10_000 for name, _ in source.resources}
        self.archives = tuple(
            Archive(tuple(f"{mirror}{name}" for mirror in source.mirrors), name, md5, (f"{raw}/{Path(name).stem}",))
            for name, md5 in source.resources
        )

    def count(self, file: Path) -> int:
        dimensions = 3 if "images" in file.name else 1
        with file.open("rb") as opened:
            head = opened.read(4 + 4 * dimensions)
        if len(head) < 4 + 4 * dimensions or head[:4] != bytes((0, 0, IDX_OF_BYTES, dimensions)):
            raise ValueError("it does not begin like an IDX file")
        shape = struct.unpack(f">{dimensions}I", head[4:])
        expected, found = len(head) + math.prod(shape), file.stat().st_size
        if found != expected:
            raise ValueError(f"it has {found} bytes, and must have {expected} by its head")
        return int(shape[0])

    def read(self, root: Path, *, train: bool) -> tuple[Any, Any]:
        images, labels = (root / name for name in self.files if ("train" in name) == train)
        shape = np.fromfile(images, ">u4", 4)[1:]
        return np.fromfile(images, np.uint8, offset=16).reshape(shape), np.fromfile(labels, np.uint8, offset=8)


class _Arrays(pickle.Unpickler):
    """Reads pickled dictionaries, lists, texts and NumPy arrays, and nothing that could run code."""

    _ALLOWED = ("_reconstruct", "_frombuffer", "ndarray", "dtype", "encode")

    def find_class(self, module: str, name: str) -> Any:
        if module.split(".", maxsplit=1)[0] not in ("numpy", "_codecs") or name not in self._ALLOWED:
            raise pickle.UnpicklingError(f"it refers to {module}.{name}")
        return super().find_class(module, name)


class _Batches(_Published):
    """CIFAR-10 and CIFAR-100: pickled batches of rows of 3 × 32 × 32 bytes."""

    def __init__(self, torchvision_name: str, classes: int) -> None:
        from torchvision import datasets

        source = getattr(datasets, torchvision_name)
        self.classes, folder = classes, source.base_folder
        self._train = [f"{folder}/{name}" for name, _ in source.train_list]
        self.checksums = {f"{folder}/{name}": md5 for name, md5 in source.train_list + source.test_list}
        self.files = {name: 50_000 // len(self._train) if name in self._train else 10_000 for name in self.checksums}
        self.archives = (Archive((source.url,), source.filename, source.tgz_md5, tuple(self.files)),)

    def count(self, file: Path) -> int:
        return len(self._batch(file)[1])

    @staticmethod
    def _batch(file: Path) -> tuple[Any, Any]:
        try:
            with file.open("rb") as opened:
                batch = _Arrays(opened, encoding="latin1").load()
            labels = batch["labels"] if "labels" in batch else batch["fine_labels"]
            return np.asarray(batch["data"], np.uint8).reshape(len(labels), 3, 32, 32), np.asarray(labels)
        except (pickle.UnpicklingError, EOFError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ValueError(f"its checksum is not the published one, and it is no batch: {error}") from error

    def read(self, root: Path, *, train: bool) -> tuple[Any, Any]:
        batches = [self._batch(root / name) for name in self.files if (name in self._train) == train]
        images, labels = zip(*batches, strict=True)
        return np.concatenate(images), np.concatenate(labels)


class _Svhn(_Published):
    """Street View House Numbers: MATLAB files of X (32, 32, 3, N) and y (N, 1), in which 10 stands for the digit 0."""

    classes = 10

    def __init__(self) -> None:
        from torchvision.datasets import SVHN

        lists = [SVHN.split_list[part] for part in ("train", "test")]
        self.checksums = {name: md5 for _, name, md5 in lists}
        self.files = dict(zip(self.checksums, (73_257, 26_032), strict=True))
        self.archives = tuple(Archive((url,), name, md5, (name,)) for url, name, md5 in lists)

    def count(self, file: Path) -> int:
        return len(self._contents(file)[1])

    @staticmethod
    def _contents(file: Path) -> tuple[Any, Any]:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError

        try:
            found = loadmat(file, variable_names=("X", "y"))
            labels = found["y"].astype(np.int64).ravel()
            return found["X"].astype(np.uint8).reshape(32, 32, 3, -1).transpose(3, 2, 0, 1), labels % 10
        # SciPy raises NotImplementedError for MATLAB 7.3, which is HDF5
        except (MatReadError, LookupError, TypeError, ValueError, NotImplementedError, zlib.error) as error:
            raise ValueError(f"it is no MATLAB file of X and y: {error}") from error

    def read(self, root: Path, *, train: bool) -> tuple[Any, Any]:
        images, labels = self._contents(root / [*self.files][0 if train else 1])
        return np.ascontiguousarray(images), labels


class _Stl10(_Published):
    """STL-10: bytes of 3 × 96 × 96, column by column, and labels from 1."""

    classes = 10

    def __init__(self) -> None:
        from torchvision.datasets import STL10

        published = {name: md5 for name, md5 in STL10.train_list + STL10.test_list if "unlabeled" not in name}
        self.checksums = {f"{STL10.base_folder}/{name}": md5 for name, md5 in published.items()}
        self.files = {name: 5000 if "train" in name else 8000 for name in self.checksums}
        self.archives = (Archive((STL10.url,), STL10.filename, STL10.tgz_md5, tuple(self.files)),)

    def count(self, file: Path) -> int:
        of_one = 3 * 96 * 96 if file.stem.endswith("_X") else 1
        count, rest = divmod(file.stat().st_size, of_one)
        if rest:
            raise ValueError(f"it has {file.stat().st_size} bytes, and an image has {of_one}")
        return count

    def read(self, root: Path, *, train: bool) -> tuple[Any, Any]:
        images, labels = (root / name for name in self.files if ("train" in name) == train)
        found = np.fromfile(images, np.uint8).reshape(-1, 3, 96, 96).transpose(0, 1, 3, 2)
        return np.ascontiguousarray(found), np.fromfile(labels, np.uint8).astype(np.int64) - 1


def mnist(data: Data, base: Path | None, check: Check) -> Parts:
    return _Idx("MNIST")(data, base, check)


def fashion_mnist(data: Data, base: Path | None, check: Check) -> Parts:
    return _Idx("FashionMNIST")(data, base, check)


def cifar10(data: Data, base: Path | None, check: Check) -> Parts:
    return _Batches("CIFAR10", 10)(data, base, check)


def cifar100(data: Data, base: Path | None, check: Check) -> Parts:
    """CIFAR-100 by its 100 fine labels."""
    return _Batches("CIFAR100", 100)(data, base, check)


def kmnist(data: Data, base: Path | None, check: Check) -> Parts:
    return _Idx("KMNIST")(data, base, check)


def svhn(data: Data, base: Path | None, check: Check) -> Parts:
    """The cropped digits, without the extra ones."""
    return _Svhn()(data, base, check)


def stl10(data: Data, base: Path | None, check: Check) -> Parts:
    """The labelled images."""
    return _Stl10()(data, base, check)


def digits(data: Data, base: Path | None, check: Check) -> Parts:  # noqa: ARG001
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


def synthetic(data: Data, base: Path | None, check: Check) -> Parts:  # noqa: ARG001
    """A pattern for each class under noise; the same images for every run of the same spec."""
    n = data.samples_per_class
    classes = data.class_count
    sizes = n if isinstance(n, tuple) else (n or SYNTHETIC_SAMPLES,) * classes
    if len(sizes) != classes:
        raise DataError(f"data.samples_per_class: has {len(sizes)} entries, data.classes is {classes}")
    draw = torch.Generator().manual_seed(0)
    patterns = torch.randn(len(sizes), 3, data.image_size, data.image_size, generator=draw)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))

    def sample() -> Stored:
        images = torch.empty(len(labels), *patterns.shape[1:], dtype=torch.uint8)
        for k, block in enumerate(images.split(sizes)):
            for part in block.split(DRAWN_IMAGES):
                check()
                noise = torch.randn(part.shape, generator=draw)
                part.copy_((128 + 32 * (patterns[k] + noise)).clamp(0, 255))
        return in_memory(images, labels)

    return sample(), sample(), len(sizes)
