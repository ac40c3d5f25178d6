"""Where experiments leave their files: a directory, or what fsspec reaches by a URL, S3 and its like.

A file is there whole or not at all: a directory's is renamed into place, an object of S3 is put in one piece.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from api.settings import get_settings

CHUNK_BYTES = 1 << 20


class StoreError(RuntimeError):
    """The store of NCORE_ARTIFACTS cannot be used; the message says why."""


class Directory:
    """Files below `root`, one folder for each experiment."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(self, experiment_id: str, name: str, write: Callable[[Path], None]) -> None:
        """`write(path)` makes the file, which then takes the place of what was there."""
        path = self.root / experiment_id / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(".new")
        write(fresh)
        with fresh.open("rb") as file:
            os.fsync(file.fileno())
        fresh.replace(path)

    @contextmanager
    def fetched(self, experiment_id: str, name: str) -> Iterator[Path | None]:
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
        return {path.name: path.stat().st_size for path in folder.iterdir()} if folder.is_dir() else {}

    def remove(self, experiment_id: str, name: str) -> None:
        (self.root / experiment_id / name).unlink(missing_ok=True)

    def remove_all(self, experiment_id: str) -> None:
        for name in self.sizes(experiment_id):
            self.remove(experiment_id, name)
        if (self.root / experiment_id).is_dir():
            (self.root / experiment_id).rmdir()


class Remote:
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

    def save(self, experiment_id: str, name: str, write: Callable[[Path], None]) -> None:
        with tempfile.TemporaryDirectory() as folder:
            write(Path(folder) / name)
            self._files.put_file(str(Path(folder) / name), self._path(experiment_id, name))

    @contextmanager
    def fetched(self, experiment_id: str, name: str) -> Iterator[Path | None]:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / name
            try:
                self._files.get_file(self._path(experiment_id, name), str(path))
            except FileNotFoundError:
                yield None
            else:
                yield path

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
        if self._files.exists(self._path(experiment_id, name)):
            self._files.rm_file(self._path(experiment_id, name))

    def remove_all(self, experiment_id: str) -> None:
        for name in self.sizes(experiment_id):
            self.remove(experiment_id, name)


@lru_cache
def get_store() -> Directory | Remote:
    """The store of NCORE_ARTIFACTS; by default the folder `experiments` in NCORE_HOME. Raises StoreError."""
    settings = get_settings()
    if "://" in settings.artifacts:
        return Remote(settings.artifacts)
    return Directory(Path(settings.artifacts or settings.home / "experiments").expanduser().resolve())
