"""A process beside the API that answers questions, one after the other: `python -m MODULE`. It may die or hang."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from typing import Any

from api.children import die_with_parent
from ncore.cli.service import search_path


class EndedError(RuntimeError):
    """The process has ended before it answered."""


class UnheardError(EndedError):
    """The process had ended before it took the question, so another process may be asked."""


class LateError(RuntimeError):
    """The process took too long and was killed."""


class CrowdedError(RuntimeError):
    """Too many questions wait already."""


class Companion:
    """The process that runs `module`, which calls `answer_all`."""

    def __init__(self, module: str) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own command)
                [sys.executable, "-m", module, str(theirs.fileno())],
                env={**os.environ, **search_path()},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the API, which ends this one
            )
        self.asked = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, question: Any, seconds: float) -> Any:
        """The answer. Raises LateError and EndedError, or UnheardError of these, after which this one is dead."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, give_up)
        timer.start()
        ended: type[EndedError] = UnheardError
        try:
            self._pipe.send(question)
            self._pipe.recv()  # it begins
            ended = EndedError
            answer = self._pipe.recv()
        except (OSError, EOFError):
            self.close()
            if late.is_set():
                raise LateError(f"it took longer than {seconds:g} s") from None
            raise ended from None
        finally:
            timer.cancel()
        self.asked += 1
        return answer

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()


def answer_all(answer: Callable[[Any], Any], memory_bytes: int) -> None:
    """Answers questions from the pipe, within a memory limit, until its other end is closed."""
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_DATA, (memory_bytes, memory_bytes))
    pipe = Connection(int(sys.argv[1]))
    while True:
        try:
            question = pipe.recv()
        except EOFError:
            return
        pipe.send("begun")
        pipe.send(answer(question))
