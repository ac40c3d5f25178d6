"""Pictures drawn in processes of their own, `python -m api.drawing`, which may die or hang and are replaced.

vl-convert embeds a JavaScript engine: some inputs abort the process that it runs in, others keep it for minutes or
take all its memory. A child that reads Vega-Lite from a pipe and answers with files costs a millisecond a picture and
can be killed. (A process pool of concurrent.futures breaks as a whole when one process dies, and ends none that hangs.)
"""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from api.companion import Companion, CrowdedError, EndedError, LateError, UnheardError, answer_all
from ncore.pictures.files import DotsError, converted
from ncore.pictures.themes import DPI

MOST_CHILDREN = 2
MOST_WAITING = 8
"""Pictures that wait for a child; each holds a thread of the API."""
SECONDS = 30.0
PICTURES_PER_CHILD = 200
"""A child is replaced after this many pictures, since the JavaScript engine never gives memory back."""
MEMORY_BYTES = 2 << 30
ADVICE = "try again, or ask for fewer panels, layers or experiments"
EMPTY = '{"data": {"values": [{}]}, "mark": "text", "encoding": {"text": {"value": "1"}}}'


Question = tuple[str, str, float]
"""Vega-Lite as JSON, the form, the dots per inch of a PNG."""


class PictureError(RuntimeError):
    """A picture could not be drawn; the message says why and what may help."""


class Drawing:
    """The children of an API, each kept by a thread of its own: on Linux a child dies with the thread that made it."""

    def __init__(self, seconds: float = SECONDS, pictures_per_child: int = PICTURES_PER_CHILD) -> None:
        self.seconds, self.pictures_per_child = seconds, pictures_per_child
        self._threads = ThreadPoolExecutor(MOST_CHILDREN, "drawing")
        self._places = threading.BoundedSemaphore(MOST_CHILDREN + MOST_WAITING)
        self._children: dict[int, Companion] = {}
        self._stopped = threading.Event()
        self._threads.submit(self._child)  # the first picture finds it warm

    def convert(self, vega_lite: str, form: str, dpi: float = DPI) -> bytes:
        """Draws Vega-Lite as JSON. Raises PictureError, DotsError, and CrowdedError where too many wait already."""
        if not self._places.acquire(blocking=False):
            raise CrowdedError(f"{MOST_WAITING} pictures wait to be drawn already; try again in a moment")
        try:
            return self._threads.submit(self._drawn, (vega_lite, form, dpi)).result()
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

    def _drawn(self, question: Question) -> bytes:
        try:
            image, fault = self._answer(question)
        except LateError as error:
            raise PictureError(f"{error}; {ADVICE}") from None
        except EndedError:
            raise PictureError(f"the process that drew it has ended; {ADVICE}") from None
        finally:
            if not self._stopped.is_set():
                self._child()  # where this was the last picture of the old one, a new one gets warm before it is needed
        if fault is not None:
            raise fault if isinstance(fault, DotsError) else PictureError(fault)
        return bytes(image)

    def _answer(self, question: Question) -> tuple[bytes, str | DotsError | None]:
        try:
            found: tuple[bytes, str | DotsError | None] = self._child().ask(question, self.seconds)
        except UnheardError:  # it was killed while it waited: once more, by a new one
            found = self._child().ask(question, self.seconds)
        return found

    def _child(self) -> Companion:
        """This thread's child, a new one where the old one is dead or has drawn enough."""
        thread = threading.get_ident()
        child = self._children.get(thread)
        if child is None or not child.is_alive or child.asked >= self.pictures_per_child:
            if child is not None:
                child.close()
            child = self._children[thread] = Companion("api.drawing")
        return child


def drawn(question: Question) -> tuple[bytes | None, str | DotsError | None]:
    """The picture, or what is wrong with it."""
    try:
        return converted(*question), None
    except DotsError as error:
        return None, error
    except Exception as error:  # noqa: BLE001 (vl-convert's are plain ones; the next picture may be sound)
        return None, " ".join(str(error).splitlines()[:2])[:200]


if __name__ == "__main__":
    converted(EMPTY, "svg")  # warm before it is asked for the first
    answer_all(drawn, MEMORY_BYTES)
