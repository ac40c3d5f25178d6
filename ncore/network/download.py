"""Files of published data sets, fetched where they are not there: in one piece, by one process at a time."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import shutil
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

from ncore.stopping import Check

SILENT_SECONDS = 20.0
"""A host that says nothing for so long while a data set is fetched is taken for gone."""
PIECE_BYTES = 2**20
WAIT_SECONDS = 0.2


@dataclass(frozen=True)
class Archive:
    """A published file: `urls` to try in turn, its name, its MD5, and the files it holds (below the directory of the
    data sets; one that is not packed holds itself)."""

    urls: tuple[str, ...]
    name: str
    md5: str
    holds: tuple[str, ...]


class _HostError(Exception):
    """A host has not answered, or has refused."""


def provide(archives: Sequence[Archive], root: Path, check: Check) -> None:
    """Puts what the archives hold below `root` where it is not there. An archive that lies in `root`, or beside what it
    holds, is taken instead of downloaded.

    Raises OSError saying what each url had to answer, or that nothing can be written here.
    """
    with _alone(root, check):
        for archive in archives:
            if all((root / name).is_file() for name in archive.holds):
                continue
            with tempfile.TemporaryDirectory(dir=root, prefix=".download-") as made:
                fetched = _found(archive, root, check) or _downloaded(archive, Path(made), check)
                _unpack(archive, fetched, Path(made) / "unpacked", check)
                for name in archive.holds:
                    (root / name).parent.mkdir(parents=True, exist_ok=True)
                    (Path(made) / "unpacked" / name).replace(root / name)


def md5_of(file: Path, check: Check) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as opened:
        while piece := opened.read(PIECE_BYTES):
            check()
            digest.update(piece)
    return digest.hexdigest()


@contextmanager
def _alone(root: Path, check: Check) -> Iterator[None]:
    """Waits while another process, or thread, provides files in `root`."""
    with (root / ".download.lock").open("w") as lock:
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                check()
                time.sleep(WAIT_SECONDS)
        yield


def _found(archive: Archive, root: Path, check: Check) -> Path | None:
    places = (root / archive.name, (root / archive.holds[0]).parent / archive.name)
    return next((place for place in places if place.is_file() and md5_of(place, check) == archive.md5), None)


def _downloaded(archive: Archive, directory: Path, check: Check) -> Path:
    faults, file = [], directory / archive.name
    for url in archive.urls:
        check()
        try:
            with file.open("wb") as opened:
                for piece in _pieces(url):
                    check()
                    opened.write(piece)
        except _HostError as error:
            faults.append(f"{url}: {error}")
            continue
        if md5_of(file, check) == archive.md5:
            return file
        faults.append(f"{url}: what it sent has not the published checksum")
    raise OSError("; ".join(faults))


def _pieces(url: str) -> Iterator[bytes]:
    """What the host sends. Raises _HostError: what goes wrong where it is written is no fault of the host's, and would
    go wrong with the next one."""
    request = Request(url, headers={"User-Agent": "ncore"})  # noqa: S310 (published addresses, http and https)
    try:
        with urlopen(request, timeout=SILENT_SECONDS) as response:  # noqa: S310
            while piece := response.read1(PIECE_BYTES):
                yield piece
    except (OSError, HTTPException) as error:
        raise _HostError(error) from error


def _unpack(archive: Archive, file: Path, into: Path, check: Check) -> None:
    """Writes what the archive holds, and nothing else, below `into`."""
    into.mkdir()
    if ".tar" in archive.name:
        with tarfile.open(file) as tar:
            for member in tar:
                check()
                if member.name in archive.holds:
                    tar.extract(member, into, filter="data")
        return
    target = into / archive.holds[0]
    target.parent.mkdir(parents=True, exist_ok=True)
    with gzip.open(file) if file.suffix == ".gz" else file.open("rb") as packed, target.open("wb") as opened:
        shutil.copyfileobj(packed, opened, PIECE_BYTES)
