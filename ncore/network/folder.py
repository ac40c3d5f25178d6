"""Images in folders, one folder for each class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from ncore.kinds.data_sets import Data
from ncore.network.sources import DataError, Parts, Stored, directory_of
from ncore.stopping import Check

IMAGE_ENDINGS = (".bmp", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
PARTS = {
    "train": "train",
    "training": "train",
    "test": "test",
    "testing": "test",
    "val": "val",
    "valid": "val",
    "validation": "val",
}
"""Folders that are a part of a data set, by their name in small letters."""
NO_CLASSES = ("__macosx", "__pycache__", "@eadir", "$recycle.bin", "lost+found", "system volume information")
"""Names that systems leave in folders and that are no classes; those that begin with a dot are none either."""


def folder(data: Data, base: Path | None, check: Check) -> Parts:
    """PATH/CLASS/image or PATH/train/CLASS/image with PATH/test or PATH/val beside it; parts in any letter case.

    Nothing outside the directory of data sets is read.
    """
    base = directory_of(data, base)
    path = Path(data.path or "")
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"data.path: must be a path below the data directory without '..'; got {data.path!r}")
    root = inside(base / path, base)
    try:
        there = root.is_dir()
    except (OSError, ValueError) as error:
        raise DataError(f"data.path: {data.path!r} cannot be looked for: {error}") from error
    if not there:
        raise DataError(f"data.path: {data.path!r} is not a directory in {base} (NCORE_DATA_DIR)")
    parts = _parts_of(root, base)
    asked = data.classes if isinstance(data.classes, tuple) else None
    train, names = _listed(parts["train"], base, data.image_size, check, asked)
    held_out = parts.get("test") or parts.get("val")
    if held_out is None:
        return train, None, len(names)
    test, test_names = _listed(held_out, base, data.image_size, check, asked)
    if test_names != names:
        lone = ", ".join(sorted(set(names) ^ set(test_names)))
        both = f"{parts['train'].name} and {held_out.name}"
        raise DataError(f"data.path: {data.path!r} must have the same classes in {both}; only one has {lone}")
    return train, test, len(names)


def imagenet_subset(data: Data, base: Path | None, check: Check) -> Parts:
    """PATH/train/CLASS/images and PATH/val/CLASS/images, of which only the folders of `data.classes` are read."""
    try:
        return folder(data, base, check)
    except DataError as error:
        raise DataError(f"{error}; {data.name!r} wants {IMAGENET_LAYOUT} there, CLASS as in data.classes") from error


IMAGENET_LAYOUT = "train/CLASS/*.JPEG and val/CLASS/*.JPEG"
TINY_IMAGENET = "tiny-imagenet-200"
TINY_IMAGENET_LAYOUT = "train/CLASS/images/*.JPEG, val/images/*.JPEG and val/val_annotations.txt"


def tiny_imagenet(data: Data, base: Path | None, check: Check) -> Parts:
    """Tiny ImageNet as it is unpacked; its validation images are for testing, as its test images have no labels."""
    base = directory_of(data, base)
    root = base / TINY_IMAGENET
    annotations = root / "val" / "val_annotations.txt"
    if not ((root / "train").is_dir() and annotations.is_file()):
        raise DataError(
            f"data: {data.name!r} is not in {base} (NCORE_DATA_DIR) and is not downloaded: unpack {TINY_IMAGENET}.zip "
            f"there, so that {root} has {TINY_IMAGENET_LAYOUT}"
        )
    train, names = _listed(root / "train", base, data.image_size, check)
    files, labels = [], []
    for number, line in enumerate(annotations.read_text().splitlines(), 1):
        file, _, rest = line.partition("\t")
        name = rest.partition("\t")[0]
        if name not in names:
            where = annotations.relative_to(base)
            raise DataError(f"data: {data.name!r} is damaged: line {number} of {where} has the class {name!r}")
        files.append(root / "val" / "images" / file)
        labels.append(names.index(name))
    return train, stored(files, labels, names, base, data.image_size), len(names)


def stored(files: Sequence[Path], labels: Sequence[int], names: Sequence[str], base: Path, size: int) -> Stored:
    """Image files that are decoded when they are asked for."""

    def read(index: Tensor, check: Check) -> Tensor:
        return _decoded([files[i] for i in index.tolist()], base, size, check)

    return Stored(torch.tensor(labels), read, tuple(names))


def inside(path: Path, base: Path) -> Path:
    """The path without links. Raises DataError where it leads out of the directory of data sets, or in circles."""
    try:
        found = path.resolve()
    except (OSError, RuntimeError, ValueError) as error:
        raise DataError(f"data.path: {path.name!r} cannot be followed: {error}") from error
    if not found.is_relative_to(base):
        raise DataError(f"data.path: {path.name!r} leads out of the data directory")
    return found


def _parts_of(root: Path, base: Path) -> dict[str, Path]:
    """The folders of classes by the part they are of; without parts `root` itself is for training.

    Raises DataError where it is not clear which folders are parts and which are classes.
    """
    where, found = f"data.path: {_path(root, base)}", dict[str, Path]()
    folders = _folders(root)
    for entry in folders:
        part = PARTS.get(entry.name.casefold())
        if part is None or not _folders(entry) or _images(entry):
            continue  # a class may be called so: a train is also a vehicle
        if part in found:
            raise DataError(f"{where} has both {found[part].name} and {entry.name}; keep one of them")
        found[part] = entry
    if not found:
        if folders and all(entry.name.casefold() in PARTS for entry in folders):
            raise DataError(f"{where} has {_names(folders)}, but in them no folder for each class")
        return {"train": root}
    parts, beside = [*found.values()], [entry for entry in folders if entry not in found.values()]
    if beside:
        raise DataError(
            f"{where} has the parts {_names(parts)}, and beside them {_names(beside)}: move these elsewhere"
        )
    if "train" not in found:
        raise DataError(f"{where} has {_names(parts)}, but no train beside it")
    if "test" in found and "val" in found:
        both = f"{found['test'].name} and {found['val'].name}"
        raise DataError(f"{where} has both {both}, but one part is measured beside training: move one elsewhere")
    return found


def _names(folders: Sequence[Path]) -> str:
    return ", ".join(sorted(entry.name for entry in folders))


def _listed(
    root: Path, base: Path, size: int, check: Check, asked: Sequence[int | str] | None = None
) -> tuple[Stored, list[str]]:
    """The images of the classes that are folders of `root`, and the classes' names; only those that are `asked` for by
    name or number are looked into."""
    inside(root, base)
    where, folders = f"data.path: {_path(root, base)}", _folders(root)
    if not folders:
        have = "images, but" if _images(root) else "neither images nor"
        raise DataError(f"{where} has {have} folders: of each class its images must be in a folder of its own")
    files: list[Path] = []
    labels: list[int] = []
    for label, entry in enumerate(folders):
        if asked is not None and label not in asked and entry.name not in asked:
            continue
        found = _images_below(entry, base, check)
        if not found:
            kinds = ", ".join(IMAGE_ENDINGS)
            raise DataError(f"{where} holds no images by class: there are none ({kinds}) in {entry.name!r}")
        files += found
        labels += [label] * len(found)
    if len(folders) == 1:
        only = folders[0]
        lower = f"; the classes may be one level lower, in {_path(only, base)}" if _folders(only) else ""
        raise DataError(f"{where} has one class, {only.name!r}, must have at least two{lower}")
    names = [entry.name for entry in folders]
    return stored(files, labels, names, base, size), names


def _images_below(root: Path, base: Path, check: Check) -> list[Path]:
    """The images in a class's folder and the folders in it, in the order of their paths."""
    by_folder, seen, to_see = dict[str, list[Path]](), set[Path](), [root]
    while to_see:
        check()
        entry = to_see.pop()
        real = inside(entry, base)
        if real in seen:  # a link to where we have been
            continue
        seen.add(real)
        below = _folders(entry)
        _no_parts_among(below, entry, root, base)
        by_folder[str(entry)] = _images(entry)
        to_see += below
    return [file for name in sorted(by_folder) for file in by_folder[name]]


def _no_parts_among(below: Sequence[Path], entry: Path, root: Path, base: Path) -> None:
    """Raises DataError where a class holds parts of a data set: they would be trained on all alike."""
    parts = {PARTS[folder.name.casefold()]: folder for folder in below if folder.name.casefold() in PARTS}
    if len(parts) > 1 or any(_folders(part) and not _images(part) for part in parts.values()):
        where = f"data.path: {_path(root.parent, base)} has the class {root.name!r}, in which {_path(entry, base)} has"
        advice = "give the path of the folder that has the parts, and in each part a folder for each class"
        raise DataError(f"{where} the parts {_names([*parts.values()])}: {advice}")


def _folders(directory: Path) -> list[Path]:
    """The folders in it that may be classes, sorted by name."""
    return [entry for entry in _entries(directory) if entry.is_dir() and entry.name.casefold() not in NO_CLASSES]


def _images(directory: Path) -> list[Path]:
    """The images in it, sorted by name."""
    return [entry for entry in _entries(directory) if entry.suffix.lower() in IMAGE_ENDINGS and not entry.is_dir()]


def _entries(directory: Path) -> list[Path]:
    """The entries of a folder that are not hidden, sorted by name."""
    try:
        entries = sorted(directory.iterdir(), key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"data.path: {directory.name!r} cannot be looked into: {error}") from error
    return [entry for entry in entries if not entry.name.startswith(".")]


def _path(path: Path, base: Path) -> str:
    """The path as `data.path` would have it."""
    return repr(str(path.relative_to(base)))


def _decoded(files: Sequence[Path], base: Path, size: int, check: Check) -> Tensor:
    """uint8 images (n, 3, size, size)."""
    from PIL import Image

    from ncore.network.decoding import as_rgb

    images = torch.empty(len(files), size, size, 3, dtype=torch.uint8)
    for i, file in enumerate(files):
        check()
        path = inside(file, base)
        try:
            with Image.open(path) as image:
                scaled = as_rgb(image).resize((size, size), Image.Resampling.BILINEAR)
                images[i] = torch.from_numpy(np.array(scaled))
        except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
            raise DataError(f"data.path: {file.relative_to(base)} cannot be read: {error}") from error
    return images.permute(0, 3, 1, 2)
