"""The folder that keeps what a loop has logged until a service has it.

`about.json` says what the experiment is, `log.ndjson` has a line for each call, and `state.json` how far a service is.
A line is in the file before `log` returns, so that whatever kills the process after that takes nothing away.
"""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import orjson

ROOT = "ncore-runs"
CHUNK_BYTES = 1 << 18
"""Bytes of the log that are read, and sent, at once."""
LEFT_AFTER = re.compile(r"[^\w.-]+")
Line = dict[str, Any]


def root_of(folder: str | os.PathLike[str] | None = None) -> Path:
    """Where the folders of runs are: `folder`, else NCORE_RUNS, else `ncore-runs` in the current folder."""
    return Path(folder or os.environ.get("NCORE_RUNS") or ROOT).expanduser().absolute()


class Spool:
    """One run's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.about: dict[str, Any] = orjson.loads((folder / "about.json").read_bytes())
        self._log = folder / "log.ndjson"
        self.state: dict[str, Any] = {"id": self.about.get("id"), "offset": 0, "ended": False}
        with suppress(FileNotFoundError, orjson.JSONDecodeError):
            self.state |= orjson.loads((folder / "state.json").read_bytes())
        self._file = -1

    @classmethod
    def create(cls, root: Path, about: dict[str, Any]) -> Spool:
        """A new folder below `root`. `about`: body, url, seed, and the id of an experiment that is there already."""
        key = str(uuid.uuid4())
        words = LEFT_AFTER.sub("-", about["body"]["name"]).strip("-.")[:40] or "run"
        folder = root / f"{words}-{key[:8]}"
        folder.mkdir(parents=True)
        content = orjson.dumps({"key": key, "created": time.time(), **about}, option=orjson.OPT_INDENT_2)
        part = folder / "about.part"
        try:
            part.write_bytes(content)
            part.replace(folder / "about.json")
        except OSError:  # of a full disk
            shutil.rmtree(folder, ignore_errors=True)
            raise
        return cls(folder)

    def append(self, line: Line) -> None:
        """Adds a line: in the file, and so out of this process's hands, when this returns."""
        if self._file < 0:
            self._file = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
            if self._is_torn():
                os.write(self._file, b"\n")  # a line of a process that was killed meanwhile stays one of its own
        left = memoryview(orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))
        try:
            while left:  # at once but on a disk that is nearly full
                left = left[os.write(self._file, left) :]
        except OSError:
            self.close()  # the next line begins behind what is torn
            raise

    def _is_torn(self) -> bool:
        with self._log.open("rb") as file:
            if not file.seek(0, os.SEEK_END):
                return False
            file.seek(-1, os.SEEK_END)
            return file.read() != b"\n"

    def read(self) -> tuple[list[Line], int]:
        """Some lines behind those that were sent, and the offset that is reached with them."""
        offset: int = self.state["offset"]
        try:
            with self._log.open("rb") as file:
                file.seek(offset)
                content = file.read(CHUNK_BYTES)
                content += b"" if content.endswith(b"\n") else file.readline()
        except FileNotFoundError:
            return [], offset
        whole = content[: content.rfind(b"\n") + 1]
        return list(_parsed(whole)), offset + len(whole)

    @property
    def unsent_bytes(self) -> int:
        try:
            return max(0, self._log.stat().st_size - int(self.state["offset"]))
        except FileNotFoundError:
            return 0

    def remember(self, **changes: Any) -> None:
        """Writes how far a service is: all or nothing."""
        self.state |= changes
        part = self.folder / f"state.{os.getpid()}.part"
        part.write_bytes(orjson.dumps(self.state))
        part.replace(self.folder / "state.json")

    def remove(self) -> None:
        """Deletes the folder with the files that are its own."""
        self.close()
        for name in ("log.ndjson", "state.json", "about.json"):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # holds a file of somebody else
            self.folder.rmdir()

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _parsed(content: bytes) -> Iterator[Line]:
    """The lines that are whole: one that a killed process has begun is none."""
    for text in content.splitlines():
        with suppress(orjson.JSONDecodeError):
            line = orjson.loads(text)
            if isinstance(line, dict):
                yield line


def spools_in(folder: Path) -> list[Spool]:
    """The run of this folder, or those in the folders below it, in the order in which they were begun."""
    folders = [folder] if (folder / "about.json").is_file() else [one.parent for one in folder.glob("*/about.json")]
    found = []
    for one in folders:
        with suppress(OSError, ValueError, TypeError):  # not of this kind, or being removed just now
            spool = Spool(one)
            if {"body", "key", "created", "seed", "url"} <= spool.about.keys():
                found.append(spool)
    return sorted(found, key=lambda one: (one.about["created"], one.folder.name))
