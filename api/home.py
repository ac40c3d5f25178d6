"""The folder NCORE_HOME: one service uses it at a time, and it is for its owner only."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from api.addresses import shown
from api.settings import SettingsError

log = logging.getLogger("ncore.home")
LOCK = "service.lock"
OURS = ("ncore.db*", "*.lock", "*.aof", "appendonlydir", "logs", "experiments")
"""Names of files that a service makes in its home; other files there keep their modes."""
FOLDER_MODE, FILE_MODE, OTHERS = 0o700, 0o600, 0o077


class HomeInUseError(RuntimeError):
    """Another service uses this home; the message names it."""


def prepare(home: Path) -> None:
    """Makes the home where it is missing, and closes it and what a service has left in it to all but its owner.

    Raises SettingsError where it cannot be used.
    """
    try:
        home.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
        os.close(os.open(home / LOCK, os.O_CREAT | os.O_RDWR, FILE_MODE))
    except OSError as error:
        raise SettingsError(
            f"NCORE_HOME: must be a folder that can be written; got {shown(home)}: {error.strerror}"
        ) from None
    repaired = sum(map(_close, (home, *_files_of(home))))
    if repaired:
        log.warning("%d files and folders of %s could be read by others; now only by their owner", repaired, home)


def own_folder(path: Path) -> None:
    """Makes a folder for its owner only. Raises SettingsError where one is there that belongs to somebody else."""
    path.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    if path.stat().st_uid != os.getuid():
        raise SettingsError(f"NCORE_HOME: its broker's socket would stand in {path}, which belongs to somebody else")
    _close(path)


def _files_of(home: Path) -> Iterator[Path]:
    for top in (found for pattern in OURS for found in home.glob(pattern)):
        yield top
        if top.is_dir() and not top.is_symlink():
            yield from top.rglob("*")


def _close(path: Path) -> bool:
    """Whether others could read it and now cannot."""
    try:
        status = path.lstat()
        if path.is_symlink() or not status.st_mode & OTHERS:
            return False
        path.chmod(FOLDER_MODE if path.is_dir() else FILE_MODE)
    except FileNotFoundError:  # removed meanwhile
        return False
    except OSError as error:
        log.warning("%s stays open to others: %s", path, error)
        return False
    return True


@contextmanager
def locked(home: Path, url: str) -> Iterator[None]:
    """Holds the home for a service at `url`; the kernel frees it when this process ends, however that happens.

    Raises HomeInUseError naming who holds it.
    """
    with (home / LOCK).open("r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(500).decode(errors="replace").strip() or "another service"
            raise HomeInUseError(
                f"NCORE_HOME: {home} is in use by {holder}; stop that one, or set another NCORE_HOME"
            ) from None
        file.truncate()
        file.write(f"process {os.getpid()} on {socket.gethostname()} ({url})\n".encode())
        file.flush()
        try:
            yield
        finally:
            file.truncate(0)  # so that what is left names nobody
