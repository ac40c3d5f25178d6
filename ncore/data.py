"""The named data sets as tensors on the device: uint8 images (N, C, S, S), ordered by class, and their labels."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ncore.spec import Data

RESIZED_AT_A_TIME = 4096
SYNTHETIC_CLASSES = 10
SYNTHETIC_SAMPLES = 100
PADDING = 4
"""Augmentation shifts an image by up to so many pixels, as cropping from a padded one does."""


class DataError(ValueError):
    """The data set cannot be had as the spec asks for it."""


@dataclass(frozen=True)
class Images:
    images: Tensor
    labels: Tensor

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class DataSet:
    """`mean` and `scale` (C, 1, 1) standardise the channels over the training images; `flips`: a mirror image is one
    of the same class."""

    train: Images
    test: Images | None
    classes: int
    mean: Tensor
    scale: Tensor
    flips: bool

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    def standardise(self, images: Tensor) -> Tensor:
        return (images.to(self.mean.dtype) - self.mean) * self.scale


@dataclass(frozen=True)
class _Raw:
    """As read: uint8 images (N, C, h, w) and labels."""

    images: Tensor
    labels: Tensor


_Source = Callable[[Data, Path | None], tuple[_Raw, _Raw | None, int]]


def load(data: Data, data_dir: str | None, device: str, dtype: torch.dtype = torch.float32) -> DataSet:
    """The data set on the device. With `samples_per_class` the first n_k images of each class, in the test set too
    (where there are as many). `random_labels` deals the training labels anew, the same for all seeds.

    Raises DataError naming the directory, the file or the class that is at fault.
    """
    base = Path(data_dir).resolve() if data_dir else None
    train, test, classes = SOURCES[data.name](data, base)
    sizes = _class_sizes(data, classes)
    train = _first_of_each_class(train, classes, sizes, strict=True)
    if len(train.labels) < 2:
        raise DataError(f"data: {data.name!r} has {len(train.labels)} training images, must have at least 2")
    if data.random_labels:
        train = _deal_labels(train)
    placed = _place(train, data.image_size, device)
    values = placed.images.double()
    mean, std = values.mean((0, 2, 3)), values.std((0, 2, 3), correction=0)
    scale = torch.where(std > 0, 1 / std, 1.0)
    return DataSet(
        train=placed,
        test=_place(_first_of_each_class(test, classes, sizes, strict=False), data.image_size, device)
        if test
        else None,
        classes=classes,
        mean=mean.to(dtype)[:, None, None],
        scale=scale.to(dtype)[:, None, None],
        flips=data.name in ("cifar10", "folder"),
    )


def augment(images: Tensor, shifts: Tensor, flipped: Tensor | None) -> Tensor:
    """Standardised images (n, C, S, S), each moved by its `shifts` (n, 2) in −PADDING … PADDING, zeros coming in, and
    mirrored where `flipped` (n,)."""
    size = images.shape[-1]
    pixels = torch.arange(size, device=images.device)
    rows, columns = (pixels + PADDING + shifts[:, axis, None] for axis in (0, 1))
    if flipped is not None:
        columns = torch.where(flipped[:, None], columns.flip(1), columns)
    padded = functional.pad(images, (PADDING,) * 4).permute(0, 2, 3, 1)
    which = torch.arange(len(images), device=images.device)
    return padded[which[:, None, None], rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def _class_sizes(data: Data, classes: int) -> tuple[int, ...] | None:
    n = data.samples_per_class
    if isinstance(n, tuple) and len(n) != classes:
        raise DataError(f"data.samples_per_class: has {len(n)} entries, {data.name!r} has {classes} classes")
    return (n,) * classes if isinstance(n, int) else n


def _first_of_each_class(raw: _Raw, classes: int, sizes: tuple[int, ...] | None, *, strict: bool) -> _Raw:
    """Ordered by class; of each class the first `sizes` images, all without it."""
    found = torch.bincount(raw.labels, minlength=classes).tolist()
    for k, available in enumerate(found):
        if strict and available < (sizes[k] if sizes else 1):
            asked = f", data.samples_per_class asks for {sizes[k]}" if sizes else ", must have at least 1"
            raise DataError(f"data: class {k} has {available} training images{asked}")
    blocks = raw.labels.argsort(stable=True).split(found)
    order = torch.cat([block[: sizes[k]] if sizes else block for k, block in enumerate(blocks)])
    return _Raw(raw.images[order], raw.labels[order])


def _deal_labels(raw: _Raw) -> _Raw:
    """Class sizes stay, the images of a class are any; both are ordered by the new labels."""
    order = torch.randperm(len(raw.labels), generator=torch.Generator().manual_seed(0))
    return _Raw(raw.images[order], raw.labels)


def _place(raw: _Raw, size: int, device: str) -> Images:
    resized = raw.images
    if resized.shape[-2:] != (size, size):
        resized = torch.cat([_resize(part, size) for part in raw.images.split(RESIZED_AT_A_TIME)])
    return Images(resized.to(device).contiguous(memory_format=torch.channels_last), raw.labels.to(device))


def _resize(images: Tensor, size: int) -> Tensor:
    scaled = functional.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def _directory(name: str, base: Path | None) -> Path:
    if base is None:
        raise DataError(f"data: {name!r} needs a directory of data sets; set NCORE_DATA_DIR")
    if not base.is_dir():
        raise DataError(f"data: the directory of data sets {base} does not exist (NCORE_DATA_DIR)")
    return base


def _torchvision(data: Data, base: Path | None) -> tuple[_Raw, _Raw, int]:
    """MNIST, Fashion-MNIST and CIFAR-10 where torchvision keeps them, downloaded if they are not there."""
    from torchvision import datasets

    source = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST, "cifar10": datasets.CIFAR10}[data.name]
    root = _directory(data.name, base)

    def read(*, train: bool) -> _Raw:
        try:
            found = source(root, train=train, download=False)
        except RuntimeError:  # not there
            try:
                found = source(root, train=train, download=True)
            except (RuntimeError, OSError) as error:
                raise DataError(f"data: {data.name!r} is not in {root} and cannot be downloaded: {error}") from error
        except (OSError, ValueError, AssertionError, EOFError, IndexError, KeyError, pickle.UnpicklingError) as error:
            raise DataError(f"data: the files of {data.name!r} in {root} are damaged: {error!r}") from error
        images = torch.as_tensor(found.data)
        images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
        labels = torch.as_tensor(found.targets)
        if len(images) != len(labels):
            raise DataError(f"data: {data.name!r} in {root} has {len(images)} images and {len(labels)} labels")
        return _Raw(images, labels)

    return read(train=True), read(train=False), 10


def _digits(data: Data, base: Path | None) -> tuple[_Raw, _Raw, int]:  # noqa: ARG001
    """scikit-learn's 1,797 digits of 8 × 8 pixels; every fifth of a class is for testing."""
    from sklearn.datasets import load_digits

    found = load_digits()
    images = torch.as_tensor(found.images / 16 * 255).round().to(torch.uint8)[:, None]
    labels = torch.as_tensor(found.target)
    within = torch.zeros_like(labels)
    for k in range(10):
        within[labels == k] = torch.arange(int((labels == k).sum()))
    held_out = within % 5 == 4
    return _Raw(images[~held_out], labels[~held_out]), _Raw(images[held_out], labels[held_out]), 10


def _synthetic(data: Data, base: Path | None) -> tuple[_Raw, _Raw, int]:  # noqa: ARG001
    """A pattern for each class under noise; the same images for every run of the same spec."""
    n = data.samples_per_class
    classes = data.classes or (len(n) if isinstance(n, tuple) else SYNTHETIC_CLASSES)
    sizes = n if isinstance(n, tuple) else (n or SYNTHETIC_SAMPLES,) * classes
    if len(sizes) != classes:
        raise DataError(f"data.samples_per_class: has {len(sizes)} entries, data.classes is {classes}")
    draw = torch.Generator().manual_seed(0)
    patterns = torch.randn(len(sizes), 3, data.image_size, data.image_size, generator=draw)
    labels = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))

    def sample() -> _Raw:
        noise = torch.randn(len(labels), *patterns.shape[1:], generator=draw)
        return _Raw((128 + 32 * (patterns[labels] + noise)).clamp(0, 255).to(torch.uint8), labels)

    return sample(), sample(), len(sizes)


def _folder(data: Data, base: Path | None) -> tuple[_Raw, _Raw | None, int]:
    """DIR/CLASS/image or DIR/train/CLASS/image with DIR/test beside it; nothing outside the data directory is read."""
    base = _directory(data.name, base)
    path = Path(data.path or "")
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"data.path: must be a path below the data directory without '..'; got {data.path!r}")
    folder = (base / path).resolve()
    _inside(folder, base)
    if not folder.is_dir():
        raise DataError(f"data.path: {data.path!r} is not a directory in {base}")
    parts = [folder / "train", folder / "test"] if (folder / "train").is_dir() else [folder]
    train, names = _read_folder(parts[0], base, data.image_size)
    if len(parts) == 1 or not parts[1].is_dir():
        return train, None, len(names)
    test, test_names = _read_folder(parts[1], base, data.image_size)
    if test_names != names:
        raise DataError(f"data.path: {data.path!r} has other classes in test than in train")
    return train, test, len(names)


def _inside(path: Path, base: Path) -> Path:
    resolved = path.resolve()
    if not resolved.is_relative_to(base):
        raise DataError(f"data.path: {path.name!r} leads out of the data directory")
    return resolved


def _read_folder(root: Path, base: Path, size: int) -> tuple[_Raw, list[str]]:
    import numpy as np
    from PIL import Image
    from torchvision.datasets import ImageFolder

    try:
        found = ImageFolder(str(_inside(root, base)))
    except (OSError, ValueError) as error:
        raise DataError(f"data.path: {root.relative_to(base)} holds no images by class: {error}") from error
    images = torch.empty(len(found.samples), size, size, 3, dtype=torch.uint8)
    for i, (file, _) in enumerate(found.samples):
        path = _inside(Path(file), base)
        try:
            with Image.open(path) as image:
                scaled = image.convert("RGB").resize((size, size), Image.Resampling.BILINEAR)
                images[i] = torch.from_numpy(np.array(scaled))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"data.path: {Path(file).relative_to(base)} cannot be read: {error}") from error
    return _Raw(images.permute(0, 3, 1, 2), torch.tensor(found.targets)), found.classes


SOURCES: dict[str, _Source] = {
    "mnist": _torchvision,
    "fashion_mnist": _torchvision,
    "cifar10": _torchvision,
    "digits": _digits,
    "folder": _folder,
    "synthetic": _synthetic,
}
