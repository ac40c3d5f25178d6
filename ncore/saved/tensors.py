"""Tensors of torch: `.pt` (only tensors, never code) and `.safetensors`."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ncore.saved.contents import ZIP, Contents, UnreadableError, check_size

IN_ORDER = ("features", "labels", "weight", "bias")
MAX_DEPTH = 4


def pt(source: Path, limit_bytes: int) -> Contents:
    """A dict (of dicts) of tensors; one tensor is the features, several are IN_ORDER."""
    import torch

    _check_records(source)
    try:
        held = torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 (torch has many for a file that is none of its own)
        text = str(error)
        if "weights_only" in text or "Unsupported" in text or "unsupported" in text:
            raise UnreadableError(
                "holds more than tensors (a pickle with code), which is never read; save a dict of tensors"
            ) from None
        raise UnreadableError(f"is no file of torch.save, or was cut off: {' '.join(text.split())[:200]}") from None
    found = dict(_flat(held))
    if not found:
        raise UnreadableError(f"holds no tensor but a {type(held).__name__}")

    def read(name: str) -> Any:
        value = found[name]
        if isinstance(value, torch.Tensor):  # one of few numbers can be expanded to any shape
            check_size(name, value.numel() * value.element_size(), limit_bytes)
        return value

    return Contents(tuple(found), read)


def safetensors(source: Path | bytes, limit_bytes: int) -> Contents:
    """The tensors of a file, or of its bytes, by their names: a file of this kind keeps no other order."""
    from safetensors import SafetensorError, safe_open
    from safetensors.torch import load

    del limit_bytes  # as large as the file
    try:
        if isinstance(source, bytes):
            held = load(source)
            return Contents(tuple(sorted(held, key=_place)), held.__getitem__)
        file = safe_open(source, framework="pt")
        return Contents(tuple(sorted(file.keys(), key=_place)), file.get_tensor)
    except (SafetensorError, ValueError, KeyError) as error:
        raise UnreadableError(f"is no safetensors file, or was cut off: {' '.join(str(error).split())[:200]}") from None


def _place(name: str) -> list[tuple[int, str]]:
    """`layer2` before `layer10`."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _check_records(source: Path) -> None:
    """Raises UnreadableError for records that are packed: torch stores them as they are."""
    with source.open("rb") as file:
        if file.read(len(ZIP)) != ZIP:
            return  # of torch before 1.6, or no file of torch, which it says itself
    try:
        with zipfile.ZipFile(source) as archive:
            packed = [one.filename for one in archive.infolist() if one.compress_type != zipfile.ZIP_STORED]
    # not implemented: a later version, which torch does not look at and would unpack
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:
        raise UnreadableError(f"is no file of torch.save, or was cut off: {error}") from None
    if packed:
        raise UnreadableError(f"holds {packed[0][:64]!r} compressed, which torch.save never does")


def _flat(held: Any, above: str = "", depth: int = 0) -> Iterator[tuple[str, Any]]:
    """Every array by its dotted name."""
    if isinstance(held, Mapping) and depth < MAX_DEPTH:
        for name, value in held.items():
            yield from _flat(value, f"{above}.{name}" if above else str(name), depth + 1)
    elif isinstance(held, (list, tuple)) and not depth and held and all(hasattr(one, "shape") for one in held):
        yield from zip(IN_ORDER, held, strict=False)
    elif hasattr(held, "shape") or isinstance(held, list):
        yield above or IN_ORDER[0], held
