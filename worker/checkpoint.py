"""Files of an experiment in the store: checkpoints, to continue from after a lost worker, and the final state.

A checkpoint carries a checksum of all its bytes behind them, where torch does not look, and the one before it is kept.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import IO, BinaryIO, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from api.store import CHECKPOINT, CHUNK_BYTES, FINAL, PREVIOUS, get_store
from worker.memory import is_out_of_memory

MARK = b"\nncore blake2b "
DIGEST_BYTES = 32
SYSTEM_ERROR = re.compile(r"(?:os error|code:) (\d+)")


class DamagedError(ValueError):
    """A checkpoint is not as it was written."""


class _Hashed:
    """A file that is written to and hashed; `error` is the system's where a write has failed, since torch hides it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._hash = file, hashlib.blake2b(digest_size=DIGEST_BYTES)
        self.error: OSError | None = None

    def write(self, data: bytes) -> int:
        try:
            self._file.write(data)
        except OSError as error:
            self.error = error
            raise
        self._hash.update(data)
        return len(data)

    def flush(self) -> None:
        self._file.flush()

    def seal(self) -> None:
        self._file.write(MARK + self._hash.hexdigest().encode())


def save(experiment_id: str, state: dict[str, Tensor]) -> None:
    """Saves a checkpoint. Raises OSError where the store does not take it; then the last one is kept."""
    get_store().save(experiment_id, CHECKPOINT, lambda path: _write(state, path), keep=PREVIOUS)


def _write(state: dict[str, Tensor], path: Path) -> None:
    with path.open("wb") as file:
        hashed = _Hashed(file)
        try:
            torch.save(state, cast(IO[bytes], hashed))
        except Exception:
            if hashed.error is not None:
                raise hashed.error from None
            raise
        hashed.seal()


def save_final(experiment_id: str, state: dict[str, Tensor]) -> None:
    """Saves the final state as safetensors: weights, and features where they fit. Raises OSError."""
    get_store().save(experiment_id, FINAL, lambda path: _write_final(state, path))


def _write_final(state: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(state, path)
    except SafetensorError as error:
        number = SYSTEM_ERROR.search(str(error))
        if number is None:
            raise
        raise OSError(int(number[1]), str(error)) from None


def remove(experiment_id: str) -> None:
    """An experiment that has succeeded needs none any more."""
    for name in (CHECKPOINT, PREVIOUS):
        get_store().remove(experiment_id, name)


def load(experiment_id: str, name: str) -> dict[str, Tensor] | None:
    """CHECKPOINT or PREVIOUS; None where it is not there. Only tensors are read, never code.

    Raises DamagedError, and OSError where the store is away.
    """
    with get_store().local_copy(experiment_id, name) as path:
        if path is None:
            return None
        _verify(path)
        try:
            state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        except Exception as error:  # torch has many for a file that is none of its own
            if is_out_of_memory(error):
                raise
            raise DamagedError(f"it cannot be read ({type(error).__name__})") from error
        return state


def _verify(path: Path) -> None:
    """Raises DamagedError. One without a checksum is of an earlier version, or was cut off: torch finds that out."""
    length = path.stat().st_size - len(MARK) - 2 * DIGEST_BYTES
    found = hashlib.blake2b(digest_size=DIGEST_BYTES)
    with path.open("rb") as file:
        file.seek(max(0, length))
        if length < 0 or file.read(len(MARK)) != MARK:
            return
        checksum = file.read()
        file.seek(0)
        while length > 0 and (chunk := file.read(min(CHUNK_BYTES, length))):
            found.update(chunk)
            length -= len(chunk)
    if found.hexdigest().encode() != checksum:
        raise DamagedError("its checksum does not fit its content")
