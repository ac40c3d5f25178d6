"""A process of the service: started, watched, restarted, stopped with all that it started."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

STOP_SECONDS = 12.0
PR_SET_PDEATHSIG = 1
_libc = ctypes.CDLL(None, use_errno=True) if sys.platform == "linux" else None


class Child:
    """One process of the service, in a session of its own, with its output in a log file."""

    def __init__(self, name: str, command: list[str], env: Mapping[str, str], log: Path) -> None:
        self.name, self.command, self.env, self.log = name, command, dict(env), log
        self.restarts = 0
        self.process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        with self.log.open("ab") as log:
            return subprocess.Popen(
                self.command,
                env=self.env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                preexec_fn=die_with_parent if sys.platform == "linux" else None,
            )

    def restart_if_dead(self) -> None:
        if self.process.poll() is not None:
            self._kill_group()  # a worker that was killed has left its pool behind
            self.restarts += 1
            self.process = self._start()

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
    """As many open files and connections as this process may have at most: the usual 1024 are few for a server."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
