"""The lease under which a worker runs an experiment, and whether this process was asked to stop."""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from api.database import states
from api.database.sessions import writing
from api.settings import get_settings
from ncore.stopping import Stopped

log = logging.getLogger("ncore.worker")
LONGEST_BEAT_SECONDS = 1.0
"""A wish to cancel comes with the renewal, and is heard within two seconds."""


class Lease(threading.Thread):
    """Renews the lease in the background, however long a step takes, and hears whether to stop."""

    def __init__(self, experiment_id: str, attempt: int) -> None:
        super().__init__(name="lease", daemon=True)
        self.lost, self.cancelled = threading.Event(), threading.Event()
        self._id, self._attempt, self._ended = experiment_id, attempt, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(min(LONGEST_BEAT_SECONDS, get_settings().beat_seconds)):
            try:
                with writing() as session:
                    held, cancel = states.renew(session, self._id, self._attempt)
            except SQLAlchemyError as error:
                log.warning("experiment=%s the lease could not be renewed: %s", self._id, error)
                continue
            if cancel:
                self.cancelled.set()
            if not held:
                self.lost.set()
                return

    def hear(self) -> None:
        """Raises Stopped where the experiment shall go no further in this process."""
        if self.status is not None:
            raise Stopped

    @property
    def status(self) -> str | None:
        """What the experiment is from now on: lost to another worker, cancelled, queued again; None: it goes on."""
        if self.lost.is_set():
            return "lost"
        if self.cancelled.is_set():
            return "cancelled"
        return "queued" if stop_asked.is_set() else None

    def end(self) -> None:
        self._ended.set()
        self.join()


stop_asked = threading.Event()
"""Set when this process shall end: what it runs is given back at the next step boundary."""
