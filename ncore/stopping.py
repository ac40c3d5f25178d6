"""Stopping what comes before a run's first step: reading data, drawing features, building networks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as StillRunning
from typing import TypeVar

Check = Callable[[], None]
"""Called between the pieces of a long piece of work; raises (for instance Stopped) where it shall go no further."""
T = TypeVar("T")
CHECK_SECONDS = 0.1


class Stopped(Exception):  # noqa: N818 (a wish, not an error)
    """The run is not wanted any more."""


def go_on() -> None:
    """The Check of callers that never stop."""


def interruptible(work: Callable[[Check], T], check: Check) -> T:
    """Returns or raises what `work` does. `check` is called here every CHECK_SECONDS; what it raises is raised at once.

    A thread of its own does the work, so that also a call which never looks up (a matrix decomposition, a name server
    that does not answer) is left behind; what is left behind ends at the next call of the Check it was given.
    """
    abandoned, result = threading.Event(), Future[T]()

    def checked() -> None:
        if abandoned.is_set():
            raise Stopped

    def run() -> None:
        try:
            result.set_result(work(checked))
        except BaseException as error:  # noqa: BLE001 (raised again where it is waited for)
            result.set_exception(error)

    check()
    threading.Thread(target=run, name="start of a run", daemon=True).start()
    try:
        while True:
            try:
                return result.result(CHECK_SECONDS)
            except StillRunning:
                if result.done():  # the work's own TimeoutError
                    return result.result()
                check()
    finally:
        abandoned.set()
