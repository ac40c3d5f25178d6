"""Pictures drawn in processes of their own, `python -m api.drawing`, which may die or hang and are replaced.

vl-convert embeds a JavaScript engine: some inputs abort the process that it runs in, others keep it for minutes or
take all its memory. A child that reads Vega-Lite from a pipe and answers with files costs a millisecond a picture and
can be killed. (A process pool of concurrent.futures breaks as a whole when one process dies, and ends none that hangs.)
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import Pipe
from multiprocessing.connection import Connection

from api.children import die_with_parent
from ncore.cli.service import search_path
from ncore.pictures.files import converted

MOST_CHILDREN = 2
MOST_WAITING = 8
"""Pictures that wait for a child; each holds a thread of the API."""
SECONDS = 30.0
PICTURES_PER_CHILD = 200
"""A child is replaced after so many: the JavaScript engine gives memory back to no one."""
MEMORY_BYTES = 2 << 30
EMPTY = '{"data": {"values": [{}]}, "mark": "text", "encoding": {"text": {"value": "1"}}}'


class PictureError(RuntimeError):
    """A picture could not be drawn; the message says why and what may help."""


class EndedError(PictureError):
    """The process that drew it has ended: by this picture, or killed by another."""


class CrowdedError(RuntimeError):
    """Too many pictures wait to be drawn already."""


class Child:
    """A process that draws one picture after the other; warm before it is asked for the first."""

    def __init__(self) -> None:
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 (our own command)
                [sys.executable, "-m", "api.drawing", str(theirs.fileno())],
                env={**os.environ, **search_path()},
                stdin=subprocess.DEVNULL,
                pass_fds=[theirs.fileno()],
                start_new_session=True,  # Ctrl-C is for the API, which ends this one
            )
        self.drawn = 0

    @property
    def pid(self) -> int:
        return self._process.pid

    def draw(self, vega_lite: str, form: str, seconds: float) -> bytes:
        """The picture as a file. Raises PictureError; the child is dead if it died or took longer than `seconds`."""
        late = threading.Event()

        def give_up() -> None:
            late.set()
            self._process.kill()

        timer = threading.Timer(seconds, give_up)
        timer.start()
        try:
            self._pipe.send((vega_lite, form))
            image, fault = self._pipe.recv()
        except (OSError, EOFError):
            self.close()
            advice = "try again, or ask for fewer panels, layers or experiments"
            if late.is_set():
                raise PictureError(f"it took longer than {seconds:g} s; {advice}") from None
            raise EndedError(f"the process that drew it has ended; {advice}") from None
        finally:
            timer.cancel()
        self.drawn += 1
        if fault is not None:
            raise PictureError(fault)
        return bytes(image)

    @property
    def is_alive(self) -> bool:
        return self._process.poll() is None

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._pipe.close()


class Drawing:
    """The children of an API, each kept by a thread of its own: on Linux a child dies with the thread that made it."""

    def __init__(self, seconds: float = SECONDS, pictures_per_child: int = PICTURES_PER_CHILD) -> None:
        self.seconds, self.pictures_per_child = seconds, pictures_per_child
        self._threads = ThreadPoolExecutor(MOST_CHILDREN, "drawing")
        self._places = threading.BoundedSemaphore(MOST_CHILDREN + MOST_WAITING)
        self._children: dict[int, Child] = {}
        self._stopped = threading.Event()
        self._threads.submit(self._child)  # the first picture finds it warm

    def convert(self, vega_lite: str, form: str) -> bytes:
        """Draws Vega-Lite as JSON. Raises PictureError, and CrowdedError where too many wait already."""
        if not self._places.acquire(blocking=False):
            raise CrowdedError(f"{MOST_WAITING} pictures wait to be drawn already; try again in a moment")
        try:
            return self._threads.submit(self._drawn, vega_lite, form).result()
        finally:
            self._places.release()

    @property
    def pids(self) -> list[int]:
        return [child.pid for child in self._children.values()]

    def stop(self) -> None:
        self._stopped.set()
        self._threads.shutdown(wait=False, cancel_futures=True)
        for child in list(self._children.values()):
            child.close()

    def _drawn(self, vega_lite: str, form: str) -> bytes:
        try:
            try:
                return self._child().draw(vega_lite, form, self.seconds)
            except EndedError:  # it may have been killed while it waited: once more, by a new one
                return self._child().draw(vega_lite, form, self.seconds)
        finally:
            if not self._stopped.is_set():
                self._child()  # where this was the last picture of the old one, a new one gets warm before it is needed

    def _child(self) -> Child:
        """This thread's child, a new one where the old one is dead or has drawn enough."""
        thread = threading.get_ident()
        child = self._children.get(thread)
        if child is None or not child.is_alive or child.drawn >= self.pictures_per_child:
            if child is not None:
                child.close()
            child = self._children[thread] = Child()
        return child


def serve(pipe: Connection) -> None:
    """Draws what the pipe asks for until its other end is closed."""
    converted(EMPTY, "svg")
    while True:
        try:
            vega_lite, form = pipe.recv()
        except EOFError:
            return
        answer: tuple[bytes | None, str | None]
        try:
            answer = converted(vega_lite, form), None
        except Exception as error:  # noqa: BLE001 (vl-convert's are plain ones; the next picture may be sound)
            answer = None, " ".join(str(error).splitlines()[:2])[:200]
        pipe.send(answer)


if __name__ == "__main__":
    die_with_parent()
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY_BYTES, MEMORY_BYTES))
    serve(Connection(int(sys.argv[1])))
