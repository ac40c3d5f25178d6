"""The lease under which a worker runs an experiment, and whether this process was asked to stop."""

from __future__ import annotations

import logging
import threading

from sqlalchemy.exc import SQLAlchemyError

from api.database import states
from api.database.sessions import writing
from api.settings import get_settings

log = logging.getLogger("ncore.worker")


class Lease(threading.Thread):
    """Renews the lease in the background, however long a step takes, and hears whether to stop."""

    def __init__(self, experiment_id: str, attempt: int) -> None:
        super().__init__(name="lease", daemon=True)
        self.lost, self.cancelled = threading.Event(), threading.Event()
        self._id, self._attempt, self._ended = experiment_id, attempt, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(min(1.0, get_settings().heartbeat_seconds)):
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

    def end(self) -> None:
        self._ended.set()
        self.join()


stop_asked = threading.Event()
