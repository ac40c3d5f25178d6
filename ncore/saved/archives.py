"""Arrays of NumPy: `.npy`, and `.npz` read entry by entry, each checked by its header before it is unpacked."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy

from ncore.saved.contents import Contents, UnreadableError, check_size

COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""The compressions that numpy writes."""
FIXED_BYTES = 64
"""Least bytes of a header."""


def npz(source: Path | IO[bytes], limit_bytes: int) -> Contents:
    """The arrays of an archive; `limit_bytes` bounds all that are read together."""
    try:
        archive = zipfile.ZipFile(source)
    except (zipfile.BadZipFile, NotImplementedError, ValueError) as error:  # not implemented: a later version
        raise UnreadableError(f"is no .npz archive, or was cut off: {error}") from None
    entries = {one.filename.removesuffix(".npy"): one for one in archive.infolist()}
    if any(name.rpartition("/")[2] == "data.pkl" for name in entries):
        raise UnreadableError("is a file of torch.save, not of numpy: save it as .npz or .safetensors")
    left = limit_bytes

    def read(name: str) -> Any:
        nonlocal left
        entry = entries[name]
        check_size(name, entry.file_size, left)
        left -= entry.file_size
        return _array(archive, entry, name)

    return Contents(tuple(entries), read)


def single(source: Path, limit_bytes: int) -> Contents:
    """The one array of a `.npy` file, which is its features; it is read where it lies."""
    del limit_bytes
    try:
        array = np.load(source, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError, SyntaxError) as error:
        raise UnreadableError(_reason("features", error)) from None
    return Contents(("features",), lambda _: array)


def _array(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, name: str) -> Any:
    if entry.compress_type not in COMPRESSIONS:
        raise UnreadableError(f"{name}: must be stored or deflated, as numpy does it")
    try:
        with archive.open(entry) as file:
            _check_header(file, entry, name)
        with archive.open(entry) as file:
            return npy.read_array(file, allow_pickle=False)
    except UnreadableError:
        raise
    # of zipfile: RuntimeError where it is encrypted, NotImplementedError where it is strongly encrypted or patched
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError, ValueError) as error:
        raise UnreadableError(_reason(name, error)) from None


def _check_header(file: IO[bytes], entry: zipfile.ZipInfo, name: str) -> None:
    """Raises UnreadableError where the array is not as large as its entry: it would be given memory first."""
    version = npy.read_magic(file)
    read_header = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
    shape, _, kind = read_header(file)
    if kind.hasobject:
        raise UnreadableError(f"{name}: is an array of objects (a pickle), which is never read; save plain numbers")
    size = kind.itemsize
    for side in shape:
        size *= side
    if not 0 <= size <= entry.file_size - FIXED_BYTES:
        raise UnreadableError(f"{name}: declares shape {shape} of {kind}, {size} bytes; has {entry.file_size}")


def _reason(name: str, error: Exception) -> str:
    text = " ".join(str(error).split())[:200]
    if "pickle" in text or "Object arrays" in text:
        return f"{name}: is an array of objects (a pickle), which is never read; save plain numbers"
    return f"{name}: cannot be read, or was cut off: {text or type(error).__name__}"
