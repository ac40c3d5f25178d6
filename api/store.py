"""Where experiments leave their files: a directory, or what fsspec reaches by a URL, S3 and its like.

A file is there whole or not at all: a directory's is renamed into place, an object of S3 is put in one piece.
"""

from __future__ import annotations

import errno
import os
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from api.settings import get_settings

CHECKPOINT, PREVIOUS, FINAL = "checkpoint.pt", "checkpoint.previous.pt", "final.safetensors"
"""The files of an experiment: its last checkpoint, the one before, and its final state."""
CHUNK_BYTES = 1 << 20
PROBE_BYTES = 1 << 20
FOLDER_MODE = 0o700
UNFINISHED = ".new"
DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EBUSY)
NETWORK_ERRORS = (errno.ESTALE, errno.ETIMEDOUT, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ECONNREFUSED)


class StoreError(RuntimeError):
    """The store of NCORE_ARTIFACTS cannot be used; the message says why."""


class StoreAway(OSError):  # noqa: N818 (a state that passes)
    """A store beyond the network does not answer."""


def will_pass(error: OSError) -> bool:
    """Whether it is worth trying again: a disk that is full or fails, a server that is away; not a wrong path."""
    return isinstance(error, StoreAway) or error.errno in (*DISK_ERRORS, *NETWORK_ERRORS)


def is_away(error: OSError) -> bool:
    """Whether the store cannot be reached now, so that nothing is known of its files."""
    return isinstance(error, StoreAway) or error.errno in NETWORK_ERRORS


class DirectoryStore:
    """Files below `root`, one folder for each experiment."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, experiment_id: str, name: str, write: Callable[[Path], None], keep: str | None = None) -> None:
        """`write(path)` makes the file, which then takes the place of what was there, or what was there is kept as
        `keep`. Raises OSError, and leaves what was there."""
        folder = self.root / experiment_id
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        fresh = folder / f"{name}.{socket.gethostname()}-{os.getpid()}{UNFINISHED}"  # nobody else writes this one
        try:
            write(fresh)
            with fresh.open("rb") as file:
                os.fsync(file.fileno())
            if keep is not None and (folder / name).is_file():
                (folder / name).replace(folder / keep)
            fresh.replace(folder / name)
        finally:
            fresh.unlink(missing_ok=True)

    @contextmanager
    def local_copy(self, experiment_id: str, name: str) -> Iterator[Path | None]:
        """The file as one on this machine; None where there is none."""
        path = self.root / experiment_id / name
        yield path if path.is_file() else None

    def chunks(self, experiment_id: str, name: str, begin: int = 0) -> Iterator[bytes]:
        """The file from byte `begin` on."""
        with (self.root / experiment_id / name).open("rb") as file:
            file.seek(begin)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def sizes(self, experiment_id: str) -> dict[str, int]:
        """Bytes of each file that an experiment has left."""
        folder = self.root / experiment_id
        if not folder.is_dir():
            return {}
        return {path.name: path.stat().st_size for path in folder.iterdir() if path.suffix != UNFINISHED}

    def remove(self, experiment_id: str, name: str) -> None:
        """The file, and what was begun to take its place by a worker that was killed."""
        folder = self.root / experiment_id
        for path in (folder / name, *folder.glob(f"{name}.*{UNFINISHED}")):
            path.unlink(missing_ok=True)

    def remove_all(self, experiment_id: str) -> None:
        folder = self.root / experiment_id
        for path in folder.iterdir() if folder.is_dir() else ():
            path.unlink(missing_ok=True)
        if folder.is_dir():
            folder.rmdir()

    def why_not_writable(self) -> str | None:
        return why_not_writable_folder(self.root)


class FsspecStore:
    """The same at a URL of fsspec; each file passes through a temporary one here."""

    def __init__(self, url: str) -> None:
        import fsspec

        try:
            self._files: Any
            self._files, root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ImportError, ValueError) as error:
            raise StoreError(f"NCORE_ARTIFACTS: {url!r} cannot be used: {error}") from error
        self._root = root.rstrip("/")

    def _path(self, experiment_id: str, name: str = "") -> str:
        return f"{self._root}/{experiment_id}/{name}".rstrip("/")

    def save(self, experiment_id: str, name: str, write: Callable[[Path], None], keep: str | None = None) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / name)
            with _or_away():
                if keep is not None and self._files.exists(self._path(experiment_id, name)):
                    self._files.cp_file(self._path(experiment_id, name), self._path(experiment_id, keep))
                self._files.put_file(str(Path(folder) / name), self._path(experiment_id, name))

    @contextmanager
    def local_copy(self, experiment_id: str, name: str) -> Iterator[Path | None]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            yield path if self._fetch(experiment_id, name, path) else None

    def _fetch(self, experiment_id: str, name: str, path: Path) -> bool:
        try:
            with _or_away():
                self._files.get_file(self._path(experiment_id, name), str(path))
        except FileNotFoundError:
            return False
        return True

    def chunks(self, experiment_id: str, name: str, begin: int = 0) -> Iterator[bytes]:
        with self._files.open(self._path(experiment_id, name), "rb") as file:
            file.seek(begin)
            while chunk := file.read(CHUNK_BYTES):
                yield chunk

    def sizes(self, experiment_id: str) -> dict[str, int]:
        try:
            found = self._files.ls(self._path(experiment_id), detail=True)
        except FileNotFoundError:
            return {}
        return {entry["name"].rpartition("/")[2]: int(entry["size"]) for entry in found}

    def remove(self, experiment_id: str, name: str) -> None:
        with _or_away():
            if self._files.exists(self._path(experiment_id, name)):
                self._files.rm_file(self._path(experiment_id, name))

    def remove_all(self, experiment_id: str) -> None:
        for name in self.sizes(experiment_id):
            self.remove(experiment_id, name)

    def why_not_writable(self) -> str | None:
        """Not asked of a store beyond the network, where each question takes long and costs something."""
        return None


@contextmanager
def _or_away() -> Iterator[None]:
    """Turns what a client of S3 raises when its server does not answer, an exception of its own, into StoreAway."""
    try:
        yield
    except (FileNotFoundError, PermissionError):
        raise
    except Exception as error:
        raise StoreAway(f"{type(error).__name__}: {error}") from error


def why_not_writable_folder(folder: Path) -> str | None:
    """Why files in it could not be written now; None where they could. What is tried leaves nothing behind."""
    try:
        folder.mkdir(mode=FOLDER_MODE, parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(os.urandom(PROBE_BYTES))
    except OSError as error:
        return f"{folder}: {error.strerror}"
    return None


@lru_cache
def get_store() -> DirectoryStore | FsspecStore:
    """The store of NCORE_ARTIFACTS; by default the folder `experiments` in NCORE_HOME. Raises StoreError."""
    settings = get_settings()
    if "://" in settings.artifacts:
        return FsspecStore(settings.artifacts)
    return DirectoryStore(Path(settings.artifacts or settings.home / "experiments"))
