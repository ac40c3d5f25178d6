"""Data sets as tensors on the device: uint8 images (N, C, S, S), ordered by class, and their labels (N,)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from ncore.kinds.data_sets import Data
from ncore.kinds.fields import resolved
from ncore.network.sources import DataError, Parts, Stored
from ncore.stopping import Check, go_on

__all__ = ["DataError", "DataSet", "Images", "augment", "load"]

CHUNK_IMAGES, CHUNK_PIXELS = 4096, 2**22
"""Images that are read, resized or made floats at a time: fewer where they are large."""
LEAST_CLASSES = 2
LEAST_OF_A_CLASS = 2
"""Images of a class: with one image nothing varies within the class, and nc1 says nothing."""
LUMA = (0.299, 0.587, 0.114)
PADDING = 4
"""Pixels by which augmentation shifts an image at most, as a random crop from a padded one does."""


@dataclass(frozen=True)
class Images:
    """Images with their true labels, and with those that were `given` to them where that are others."""

    images: Tensor
    labels: Tensor
    given: Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def taught(self) -> Tensor:
        """The labels that a loss is taken with."""
        return self.labels if self.given is None else self.given

    @property
    def labellings(self) -> dict[str, Tensor]:
        """The labels by which there is something to measure, by what stands behind the metrics' names then."""
        return {"": self.labels} if self.given is None else {"": self.labels, "_given": self.given}


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
    ood: Images | None = None

    @property
    def channels(self) -> int:
        return self.train.images.shape[1]

    def standardise(self, images: Tensor) -> Tensor:
        return (images.to(self.mean.dtype) - self.mean) * self.scale


def load(
    data: Data, data_dir: str | None, device: str, dtype: torch.dtype = torch.float32, check: Check = go_on
) -> DataSet:
    """The data set on the device. With `samples_per_class` the first n_k images of each class, in the test set too
    (where there are as many). `random_labels` and `label_noise` deal training labels, the same for all seeds.

    Raises DataError naming the directory, the file or the class that is at fault, and what `check` raises.
    """
    base = Path(data_dir).resolve() if data_dir else None
    train, test, classes = _parts(data, base, check)
    if classes < LEAST_CLASSES:
        raise DataError(f"data: {data.name!r} has {classes} class, must have at least {LEAST_CLASSES}")
    sizes = _class_sizes(data, classes)
    _check_classes(data, train, classes, sizes)
    order = _first_of_each_class(train.labels, classes, sizes)
    labels = train.labels[order]
    if data.random_labels:  # class sizes stay, the images of a class are any
        order = order[torch.randperm(len(order), generator=torch.Generator().manual_seed(0))]
    given = noisy_labels(labels, data.label_noise, classes).to(device) if data.label_noise else None
    placed = Images(_place(train, order, data.image_size, device, check), labels.to(device), given)
    mean, std = _channel_statistics(placed.images, check)
    return DataSet(
        train=placed,
        test=_test_part(test, classes, _test_sizes(data, classes), data.image_size, device, check) if test else None,
        classes=classes,
        mean=mean.to(dtype)[:, None, None],
        scale=torch.where(std > 0, 1 / std, 1.0).to(dtype)[:, None, None],
        flips=data.source.flips,
        ood=None if data.ood is None else _outside(data, base, placed.images.shape[1], device, check),
    )


def noisy_labels(labels: Tensor, share: float, classes: int) -> Tensor:
    """Labels (N,) of which round(`share` n_k) of each class k, drawn by chance, are dealt to k + 1, k + 2, … in turn:
    as many as a UFM's `label_noise` deals."""
    given, draw = labels.clone(), torch.Generator().manual_seed(0)
    for k in range(classes):
        of_class = (labels == k).nonzero()[:, 0]
        flipped = of_class[torch.randperm(len(of_class), generator=draw)][: round(share * len(of_class))]
        given[flipped] = (k + 1 + torch.arange(len(flipped)) % (classes - 1)) % classes
    return given


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


def _outside(data: Data, base: Path | None, channels: int, device: str, check: Check) -> Images:
    """The images of `data.ood`, with as many channels as the data set has."""
    assert data.ood is not None  # noqa: S101 (for the type checker)
    ood = Data(**data.ood.model_dump(), image_size=data.image_size)
    try:
        train, test, classes = _parts(ood, base, check)
        found, sizes = test or train, _class_sizes(ood, classes)
    except DataError as error:
        raise DataError(f"data.ood{str(error).removeprefix('data')}") from error
    order = _first_of_each_class(found.labels, classes, sizes)
    images = _place(found, order, ood.image_size, device, check)
    return Images(_in_channels(images, channels), found.labels[order].to(device))


def _in_channels(images: Tensor, channels: int) -> Tensor:
    """Grey as equal colours, colours as grey by their luma (ITU-R BT.601)."""
    if images.shape[1] == channels:
        return images
    if channels == 1:
        weights = torch.tensor(LUMA, device=images.device)[:, None, None]
        images = (images * weights).sum(1, keepdim=True).round_().to(torch.uint8)
    else:
        images = images.expand(-1, channels, -1, -1)
    return images.contiguous(memory_format=torch.channels_last)


def _parts(data: Data, base: Path | None, check: Check) -> Parts:
    """The parts of the data set with the classes that are asked for, numbered anew."""
    train, test, classes = resolved(data.source.load)(data, base, check)
    if isinstance(data.classes, tuple):
        chosen = _chosen(data, data.classes, train.names, classes)
        train, test = (part and _of(part, chosen, classes) for part in (train, test))
        classes = len(chosen)
    return train, test, classes


def _chosen(data: Data, asked: tuple[int | str, ...], names: tuple[str, ...], classes: int) -> list[int]:
    """The indices of the classes that `data.classes` lists."""
    have = f"{data.name!r} has " + (", ".join(names) if names else f"classes 0 to {classes - 1}")
    chosen = []
    for one in asked:
        index = one if isinstance(one, int) else names.index(one) if one in names else classes
        if index >= classes:
            raise DataError(f"data.classes: {have}; got {one!r}")
        chosen.append(index)
    if len(set(chosen)) < len(chosen):
        raise DataError("data.classes: must not repeat, as a name and an index do")
    return chosen


def _of(stored: Stored, chosen: Sequence[int], classes: int) -> Stored:
    """The images of the chosen ones of all classes, which are numbered anew."""
    new = torch.full((classes,), -1)
    new[list(chosen)] = torch.arange(len(chosen))
    labels = new[stored.labels]
    kept = (labels >= 0).nonzero()[:, 0]
    names = tuple(stored.names[k] for k in chosen) if stored.names else ()
    return Stored(labels[kept], lambda index, check: stored.read(kept[index], check), names)


def _class_sizes(data: Data, classes: int) -> tuple[int, ...] | None:
    """Training images of each class."""
    sizes = data.train_sizes(classes)
    if sizes is not None and len(sizes) != classes:
        raise DataError(f"data.samples_per_class: has {len(sizes)} entries, {data.name!r} has {classes} classes")
    if sizes is not None and min(sizes) < LEAST_OF_A_CLASS:
        raise DataError(f"data.imbalance.ratio: leaves {min(sizes)} images of a class, must leave {LEAST_OF_A_CLASS}")
    return sizes


def _test_sizes(data: Data, classes: int) -> tuple[int, ...] | None:
    """Test images of each class: as many as of the largest one where the training set is uneven by `imbalance`."""
    n = data.samples_per_class
    return (n,) * classes if isinstance(n, int) else n


def _check_classes(data: Data, train: Stored, classes: int, sizes: tuple[int, ...] | None) -> None:
    """Raises DataError naming the class that lacks most images."""
    found = torch.bincount(train.labels, minlength=classes).tolist()
    wanted = sizes or (LEAST_OF_A_CLASS,) * classes
    lacking = [(n - has, -k) for k, (has, n) in enumerate(zip(found, wanted, strict=True)) if has < n]
    if not lacking:
        return
    k = -max(lacking)[1]
    of = f"class {train.names[k]!r} of the folder {data.path!r}" if train.names else f"class {k} of {data.name!r}"
    count = f"{of} has {found[k]} training image{'' if found[k] == 1 else 's'}"
    if sizes and found[k] >= LEAST_OF_A_CLASS:
        raise DataError(f"data.samples_per_class: {count}, so it must be at most {found[k]} there; got {sizes[k]}")
    raise DataError(f"data: {count}, must have at least {LEAST_OF_A_CLASS}")


def _first_of_each_class(labels: Tensor, classes: int, sizes: tuple[int, ...] | None) -> Tensor:
    """Indices ordered by class; of each class the first `sizes` images, all without it."""
    found = torch.bincount(labels, minlength=classes).tolist()
    blocks = labels.argsort(stable=True).split(found)
    return torch.cat([block[: sizes[k]] if sizes else block for k, block in enumerate(blocks)])


def _test_part(
    stored: Stored, classes: int, sizes: tuple[int, ...] | None, size: int, device: str, check: Check
) -> Images:
    order = _first_of_each_class(stored.labels, classes, sizes)
    return Images(_place(stored, order, size, device, check), stored.labels[order].to(device))


def _place(stored: Stored, order: Tensor, size: int, device: str, check: Check) -> Tensor:
    """The images of `order`, read and resized a chunk at a time, so that only they are ever decoded."""
    chunks = []
    for part in order.split(_chunk(size)):
        check()
        chunks.append(_resize(stored.read(part, check), size))
    return torch.cat(chunks).to(device).contiguous(memory_format=torch.channels_last)


def _chunk(size: int) -> int:
    return max(1, min(CHUNK_IMAGES, CHUNK_PIXELS // size**2))


def _resize(images: Tensor, size: int) -> Tensor:
    if images.shape[-2:] == (size, size):
        return images
    scaled = functional.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return scaled.round_().clamp_(0, 255).to(torch.uint8)


def _channel_statistics(images: Tensor, check: Check) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation (C,) of uint8 images, from sums of integers, which float64 holds exactly."""
    total, squares = (torch.zeros(images.shape[1], dtype=torch.float64, device=images.device) for _ in range(2))
    for part in images.split(_chunk(images.shape[-1])):
        check()
        values = part.double()
        total += values.sum((0, 2, 3))
        squares += values.square_().sum((0, 2, 3))
    pixels = images[:, 0].numel()
    mean = total / pixels
    return mean, (squares / pixels - mean.square()).clamp(min=0).sqrt()
