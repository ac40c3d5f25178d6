"""A process of the service: started, watched, restarted, stopped with all that it started."""

from __future__ import annotations

import ctypes
import logging
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

STOP_SECONDS = 12.0
QUICK_DEATH_SECONDS = 2.0
"""A process that lives shorter than this cannot start; the next try waits, up to LONGEST_PAUSE_SECONDS."""
LONGEST_PAUSE_SECONDS = 30.0
TAIL_BYTES = 2000
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None
log = logging.getLogger("ncore.service")


class Child:
    """One process of the service, in a session of its own, with its output in a log file.

    `folder` is its current folder, best not the user's, where Celery would find modules of the user to import.
    """

    def __init__(
        self, name: str, command: list[str], env: Mapping[str, str], log: Path, folder: Path | None = None
    ) -> None:
        self.name, self.command, self.env, self.log, self.folder = name, command, dict(env), log, folder
        self.restarts = 0
        self._quick_deaths, self._not_before = 0, 0.0
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        self._started_at = time.monotonic()
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                env=self.env,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                umask=0o077,  # what it leaves is for its owner only
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )

    def restart_if_dead(self) -> None:
        """Starts it again at once; later where it keeps ending as soon as it is started."""
        status = self.process.poll()
        if status is None or time.monotonic() < self._not_before:
            return
        if not self._not_before:  # its end is news
            self._kill_group()  # a worker that was killed has left its pool behind
            self._note_end(status)
            if time.monotonic() < self._not_before:
                return
        self._start_again()

    def _start_again(self) -> None:
        """What is in the way (a folder that is gone, a full disk, no more processes) may pass: it is tried again."""
        self.restarts += 1
        try:
            self.process, self._not_before = self._start(), 0.0
        except OSError as error:
            pause = self._pause(True)
            log.warning("%s could not be started (%s); the next try is in %.0f s", self.name, error, pause)

    def _pause(self, quick: bool) -> float:
        """Seconds until the next try, longer where it keeps ending quickly."""
        self._quick_deaths = self._quick_deaths + 1 if quick else 0
        pause = min(2.0 ** (self._quick_deaths - 2), LONGEST_PAUSE_SECONDS) if self._quick_deaths > 1 else 0.0
        self._not_before = time.monotonic() + pause
        return pause

    def _note_end(self, status: int) -> None:
        quick = self.age < QUICK_DEATH_SECONDS
        self._pause(quick)
        end = f"; the end of {self.log}:\n{self.tail()}" if quick else ""
        log.warning("%s ended with status %d and is started again%s", self.name, status, end)

    @property
    def age(self) -> float:
        """Seconds since its last start."""
        return time.monotonic() - self._started_at

    def tail(self) -> str:
        """The end of its log, or why that cannot be read."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - TAIL_BYTES))
                return log.read().decode(errors="replace")
        except OSError as error:
            return f"({error})"

    def replace(self) -> None:
        """Kills it with SIGKILL and starts it again."""
        self.process.kill()
        self.process.wait()
        self._kill_group()
        self._start_again()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL to what is left of its process group."""
        if self.process.poll() is None:
            self.process.terminate()
        with _ignored(subprocess.TimeoutExpired):
            self.process.wait(STOP_SECONDS)
        self._kill_group()
        self.process.wait()

    def _kill_group(self) -> None:
        with _ignored(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@contextmanager
def _ignored(kind: type[BaseException]) -> Iterator[None]:
    try:
        yield
    except kind:
        return


def die_with_parent() -> None:
    """The kernel kills this process when its parent dies (Linux only), however that happens."""
    if _libc is not None:
        _libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def raise_descriptor_limit() -> None:
    """Raises the limit of open files and connections to the system's maximum; the usual 1024 are few for a server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
