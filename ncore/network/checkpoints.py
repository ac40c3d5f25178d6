"""Checkpoints of a network that was trained elsewhere, each measured by a Probe over one of our data sets."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ncore.kinds.data_sets import DATA_SETS, Data
from ncore.network.data import DataSet, load
from ncore.network.estimate import evaluated_at_a_time
from ncore.probe import Probe

HOLDERS = ("state_dict", "model_state_dict", "model", "net", "network")
"""Where training loops keep the weights within a checkpoint."""
WRAPPERS = ("module.", "_orig_mod.", "model.")
"""Prefixes that DistributedDataParallel, torch.compile and Lightning put before every name."""


def measured(
    factory: str,
    files: Sequence[Path],
    data: str,
    image_size: int = 32,
    layers: Sequence[str] | None = None,
    classifier: str | None = None,
) -> Iterator[tuple[int | None, Path, dict[tuple[str, str | None], float]]]:
    """(step, file, {(metric, layer): value}) of each checkpoint, in the order of the steps in their names.

    `factory` is `package.module:function`, called without arguments; `data` a data set's name, or `folder:PATH`. Files
    hold a state dict, alone or within a dict, and are read without running code. Raises ValueError naming the argument.
    """
    model = _made(factory)
    images = _images(data, image_size)
    probe = Probe(model, layers, classifier, images.classes)
    for step, file in _in_order(files):
        _take_weights(model, file)
        try:
            values = probe(_batches(images, image_size))
        except RuntimeError as error:
            raise ValueError(f"--data: the model does not take its images: {_short(error)}") from None
        yield step, file, values


def _made(factory: str) -> nn.Module:
    module, _, name = factory.partition(":")
    try:
        found = getattr(import_module(module), name) if name else None
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"--model: {factory!r} is not found: {error}") from None
    if not callable(found):
        raise ValueError(f"--model: must be package.module:function; got {factory!r}")  # noqa: TRY004
    made = found()
    if not isinstance(made, nn.Module):
        raise ValueError(f"--model: {factory} must give a torch module; it gave a {type(made).__name__}")  # noqa: TRY004
    return made


def _images(data: str, image_size: int) -> DataSet:
    """The data set by its name; a folder may be anywhere."""
    name, _, path = data.partition(":")
    base = os.environ.get("NCORE_DATA_DIR")
    if name not in DATA_SETS or (path and not DATA_SETS[name].has_path):
        raise ValueError(f"--data: must be {', '.join(DATA_SETS)}, with folder:PATH; got {data!r}")
    asked: dict[str, Any] = {"name": name, "image_size": image_size}
    if path:
        base, asked["path"] = str(Path(path).absolute().parent), Path(path).absolute().name
    return load(Data.model_validate(asked), base, "cpu")


def _batches(data: DataSet, image_size: int) -> Iterator[tuple[Tensor, Tensor]]:
    size = evaluated_at_a_time(image_size)
    for images, labels in zip(data.train.images.split(size), data.train.labels.split(size), strict=True):
        yield data.standardise(images), labels


def _in_order(files: Sequence[Path]) -> list[tuple[int | None, Path]]:
    steps = [(int(found[-1]) if (found := re.findall(r"\d+", file.stem)) else None, file) for file in files]
    return sorted(steps, key=lambda one: (one[0] is not None, one[0] or 0, one[1].name))


def _take_weights(model: nn.Module, file: Path) -> None:
    """Raises ValueError naming the file where it holds no weights of this model."""
    try:
        held = torch.load(file, map_location="cpu", weights_only=True)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 (torch has many for a file that is none of its own)
        raise ValueError(f"{file.name}: is no checkpoint of tensors alone: {_short(error)}") from None
    for name in HOLDERS:
        if isinstance(held, Mapping) and isinstance(held.get(name), Mapping):
            held = held[name]
            break
    if not isinstance(held, Mapping) or not all(isinstance(value, Tensor) for value in held.values()):
        raise ValueError(f"{file.name}: must hold a state dict, alone or as one of {', '.join(HOLDERS)}")
    wanted, weights = model.state_dict().keys(), dict(held)
    for wrapper in WRAPPERS:
        if not wanted & weights.keys() and all(name.startswith(wrapper) for name in weights):
            weights = {name.removeprefix(wrapper): value for name, value in weights.items()}
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(f"{file.name}: does not fit the model: {_short(error)}") from None


def _short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 300 else f"{text[:299]}…"
