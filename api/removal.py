"""Deletes experiments that were taken out: files, then rows in parts, in the request or in the background."""

from __future__ import annotations

import logging
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from api.database import parts
from api.database.migrating import migrated
from api.database.sessions import writing
from api.store import get_store

REQUEST_SECONDS = 1.0
"""How long a request takes part in it before it answers."""
ROUND_SECONDS = 2.0
log = logging.getLogger("ncore.api")


def remove(experiment_id: str, seconds: float = REQUEST_SECONDS) -> bool:
    """Deletes for about `seconds`; returns whether everything is gone."""
    get_store().remove_all(experiment_id)
    turns, until = parts.Turns(), time.monotonic() + seconds
    while True:
        with turns.next() as session:
            is_left = parts.delete_part(session, experiment_id)
        if not is_left or time.monotonic() > until:
            return not is_left


class Remover(threading.Thread):
    """Goes on with what requests have begun, of this process or of one that has died; several may do it at once."""

    def __init__(self) -> None:
        super().__init__(name="remover", daemon=True)
        self._stop_asked = threading.Event()

    def run(self) -> None:
        while not self._stop_asked.wait(ROUND_SECONDS):
            try:
                if migrated.is_set():
                    self._round()
            except (SQLAlchemyError, OSError) as error:
                log.warning("what was deleted cannot be removed yet: %s", error)
            except Exception:
                log.exception("what was deleted cannot be removed yet")

    def _round(self) -> None:
        with writing() as session:
            found = parts.to_delete(session, limit=100)
        for experiment_id in found:
            if self._stop_asked.is_set():
                return
            remove(experiment_id, seconds=ROUND_SECONDS)

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(timeout=5)
