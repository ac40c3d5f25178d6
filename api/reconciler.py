"""Makes queue and rows agree again: takes back expired leases, sends again what is queued but not on the broker."""

from __future__ import annotations

import logging
import os
import signal
import threading
import time

from sqlalchemy.exc import SQLAlchemyError

from api import broker
from api.database import states, workers
from api.database.migrating import migrate, migrated
from api.database.sessions import writing
from api.settings import get_settings

ROUND_SECONDS = 1.0
log = logging.getLogger("ncore.reconciler")


def reconcile(take_back: bool) -> None:
    """One round. Calls are sent again only while none waits at the broker: any call wakes a worker for any row.

    `take_back` is false for a while after the database was away, when no worker could renew its lease.
    """
    with writing() as session:
        if take_back:
            states.take_back(session)
            workers.forget_lost_workers(session)
        due = states.to_send_again(session)
    waiting = broker.waiting()
    if waiting is None:
        return
    for kind, ids in due.items():
        if waiting[kind] or not ids:
            continue
        with writing() as session:
            states.mark_sent(session, ids)
        for experiment_id in ids:
            broker.send(experiment_id, kind)


class Reconciler(threading.Thread):
    """Migrates, then makes rounds in the background of the API process, which answers /healthz meanwhile.

    Several processes may do this at once: migrations have a lock, and each change is one UPDATE.
    """

    def __init__(self) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._stop_asked = threading.Event()

    def run(self) -> None:
        pause, patient_until = 0.0, 0.0
        while not self._stop_asked.wait(pause):
            pause = ROUND_SECONDS
            try:
                if not migrated.is_set():
                    migrate()
                reconcile(take_back=time.monotonic() >= patient_until)
            except SQLAlchemyError as error:
                log.warning("the database does not answer: %s", error)
                patient_until = time.monotonic() + get_settings().lease_seconds
            except Exception:
                log.exception("the API stops: without its reconciler experiments would be lost")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(timeout=5)
