"""A process with torch beside the API, `python -m api.engine`: it measures uploaded features and describes models.

The API itself imports no torch. The process is started at the first question, is killed where a question takes too long
or too much memory, and ends after a while without one. Where torch is not installed there is none.
"""

from __future__ import annotations

import logging
import math
import re
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import Any

from api.companion import Companion, CrowdedError, EndedError, LateError, answer_all
from api.settings import get_settings
from api.web.errors import Problem
from ncore.faults import Fault, SpecError
from ncore.kinds.foreign import Description, ForeignModel
from ncore.kinds.networks import NETWORKS
from ncore.saved.names import ROLES

log = logging.getLogger("ncore.api")
SECONDS = 60.0
"""A question that takes longer is given up."""
MOST_WAITING = 8
"""Questions that wait; each holds a thread of the API."""
IDLE_SECONDS = 300.0
LIBRARIES_BYTES = 4 << 30
COPIES = 8
"""Memory for the arrays of a body: themselves, and what measuring them takes."""


class AwayError(RuntimeError):
    """The question was not answered; the message says why."""


class Engine:
    """The process of an API, kept by one thread: on Linux a child dies with the thread that made it."""

    def __init__(self, seconds: float = SECONDS, idle_seconds: float = IDLE_SECONDS) -> None:
        self.seconds, self.idle_seconds = seconds, idle_seconds
        self._thread = ThreadPoolExecutor(1, "engine")
        self._places = threading.BoundedSemaphore(1 + MOST_WAITING)
        self._companion: Companion | None = None
        self._idle: threading.Timer | None = None

    @property
    def is_here(self) -> bool:
        return find_spec("torch") is not None

    def measure(self, body: bytes, classes: str, keys: Mapping[str, str]) -> dict[str, Any]:
        """{"samples", "classes", "metrics"} of a file's bytes.

        Raises SpecError naming what is wrong with it, CrowdedError, and AwayError where it takes too much.
        """
        limit = get_settings().max_measure_bytes
        found: dict[str, Any] = self._ask("measured", body, classes, dict(keys), limit)
        return found

    def describe(self, model: ForeignModel, channels: int, image_size: int) -> Description | None:
        """Maps and weights of a network that others wrote; None where torch is not here: then its worker finds out.

        Raises SpecError where it cannot be built, and the 503 where too many wait.
        """
        if not self.is_here:
            return None
        try:
            found: Description = self._ask("described", model.kind, model.model_dump(mode="json"), channels, image_size)
        except CrowdedError as error:
            raise Problem(503, str(error), headers={"Retry-After": "2"}) from None
        except AwayError as error:
            raise SpecError([{"field": "model", "message": f"cannot be built here: {error}"}]) from None
        return found

    def _ask(self, work: str, *arguments: Any) -> Any:
        if not self._places.acquire(blocking=False):
            raise CrowdedError(f"{MOST_WAITING} questions to the engine wait already; try again in a moment")
        try:
            found, faults = self._thread.submit(self._answer, (work, arguments)).result()
        finally:
            self._places.release()
        if faults:
            raise SpecError(faults)
        return found

    def _answer(self, question: tuple[str, tuple[Any, ...]]) -> tuple[Any, list[Fault]]:
        if self._idle is not None:
            self._idle.cancel()
        try:
            if self._companion is None or not self._companion.is_alive:
                self._close()
                self._companion = Companion("api.engine")
            found: tuple[Any, list[Fault]] = self._companion.ask(question, self.seconds)
        except LateError as error:
            raise AwayError(str(error)) from None
        except EndedError:
            raise AwayError("the process that worked at it has ended: it took too much memory, or was killed") from None
        self._idle = threading.Timer(self.idle_seconds, lambda: self._thread.submit(self._close))
        self._idle.daemon = True
        self._idle.start()
        return found

    def _close(self) -> None:
        if self._companion is not None:
            self._companion.close()
            self._companion = None

    def stop(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
        self._thread.shutdown(wait=False, cancel_futures=True)
        self._close()


def measured(body: bytes, classes: Any, keys: Mapping[str, str], limit_bytes: int) -> dict[str, Any]:
    """The answer to `Engine.measure`. Raises ValueError."""
    from ncore.saved import read_bytes

    saved = read_bytes(body, keys, limit_bytes=limit_bytes)
    metrics = [
        {"metric": metric, "layer": layer, "value": value if math.isfinite(value) else None}
        for (metric, layer), value in saved.measure(classes).items()
    ]
    return {**saved.shape, "metrics": metrics}


def described(kind: str, body: Mapping[str, Any], channels: int, image_size: int) -> Description:
    """The answer to `Engine.describe`. Raises SpecError."""
    from ncore.network.describing import describe

    model = NETWORKS[kind].model_validate(body)
    assert isinstance(model, ForeignModel)  # noqa: S101 (for the type checker)
    return describe(model, channels, image_size)


WORK: dict[str, Callable[..., Any]] = {"measured": measured, "described": described}


def answered(question: tuple[str, tuple[Any, ...]]) -> tuple[Any, list[Fault]]:
    """(what was found, []), or (None, what is wrong)."""
    work, arguments = question
    try:
        return WORK[work](*arguments), []
    except SpecError as error:
        return None, error.errors
    except ValueError as error:
        return None, [_fault(str(error).removeprefix("body: "))]
    except (MemoryError, RuntimeError) as error:  # torch has a RuntimeError for the CPU's memory
        return None, [{"field": "body", "message": f"takes too much memory here: {' '.join(str(error).split())[:200]}"}]


def _fault(message: str) -> Fault:
    """The message at the field that it begins with, or at the body as a whole."""
    field, rest = re.split(":? ", message, maxsplit=1)
    if field in ROLES:
        return {"field": field, "message": rest if message.startswith(f"{field}:") else message}
    return {"field": "body", "message": message}


if __name__ == "__main__":
    answer_all(answered, LIBRARIES_BYTES + COPIES * get_settings().max_measure_bytes)
