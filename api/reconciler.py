"""Makes queue and rows agree again: takes back expired leases, sends again what is queued but not on the broker.

In its rounds adaptive sweeps are continued too.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from api import broker
from api.database import integrity, states, workers
from api.database.clock import from_now
from api.database.migrating import migrate, migrated
from api.database.sessions import reading, writing
from api.refining import refine_sweeps
from api.settings import get_settings

ROUND_SECONDS = 1.0
log = logging.getLogger("ncore.reconciler")


class Patience:
    """Whether leases may be taken back yet.

    What kept this process from its rounds (a lock that another holds, a laptop that slept, a database that was away)
    has kept the workers from renewing theirs, and a clock that was set has moved them. After any of it each worker has
    one more lease's time to be heard of; then leases are taken back once, however late the rounds still are.
    """

    def __init__(self) -> None:
        self._round: tuple[float, datetime] | None = None
        self._until, self._is_owed = 0.0, False

    def is_over(self, moment: datetime) -> bool:
        """Whether the wait is over; to be called once a round, with the database's time."""
        at, last = time.monotonic(), self._round
        self._round = at, moment
        if at < self._until:
            return False
        if last is not None and not self._is_owed and _was_held_up(at - last[0], (moment - last[1]).total_seconds()):
            self.begin()
            return False
        self._is_owed = False
        return True

    def begin(self) -> None:
        self._until, self._is_owed = time.monotonic() + get_settings().lease_seconds, True


def _was_held_up(passed: float, counted: float) -> bool:
    """Whether a round came late, or the database's clock advanced by another time than the one that passed."""
    slack = get_settings().lease_seconds / 3
    held_up = passed > ROUND_SECONDS + slack or abs(counted - passed) > slack
    if held_up:
        log.warning("%.1f s since the last round, %.1f s by the database's clock: leases stand", passed, counted)
    return held_up


def reconcile(patience: Patience) -> None:
    """One round. Calls are sent again only while none waits at the broker: any call wakes a worker for any row."""
    with writing() as session:
        states.shorten_leases(session)
        if patience.is_over(_clock(session)):
            states.requeue_expired(session)
            states.lose_silent(session)
            states.fail_too_large(session)
            workers.forget_lost_workers(session)
    waiting = broker.waiting()
    if waiting is None:
        return
    with reading() as session:
        due = states.to_send_again(session, called=[kind for kind, calls in waiting.items() if calls])
    for kind, ids in due.items():
        if not ids:
            continue
        with writing() as session:
            states.mark_sent(session, ids)
        if not all(broker.send(experiment_id, kind) for experiment_id in ids):
            return  # the broker has gone: each further call would wait for it, and leases with it


def _clock(session: Session) -> datetime:
    moment = session.scalar(select(from_now()))
    assert moment is not None  # noqa: S101 (for the type checker)
    return moment


class Reconciler(threading.Thread):
    """Migrates, then makes rounds in the background of the API process, which answers /healthz meanwhile.

    Several processes may do this at once: migrations have a lock, and each change is one UPDATE.
    """

    def __init__(self) -> None:
        super().__init__(name="reconciler", daemon=True)
        self._stop_asked = threading.Event()

    def run(self) -> None:
        pause, patience = 0.0, Patience()
        while not self._stop_asked.wait(pause):
            pause = ROUND_SECONDS
            try:
                integrity.watch.look()
                if not migrated.is_set():
                    migrate()
                reconcile(patience)
                refine_sweeps()
            except SQLAlchemyError as error:
                log.warning("%s: %s", integrity.explain(error), error)
                patience.begin()
            except Exception:
                log.exception("the API stops: without its reconciler experiments would be lost")
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def stop(self) -> None:
        self._stop_asked.set()
        self.join(timeout=5)
