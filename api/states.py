"""The state machine: queued → running → succeeded | failed | cancelled. All changes of `status` are here.

Each change is one UPDATE that names the state (and for a worker the attempt) it starts from, so that of two who want
to change a row one finds nothing to change. Terminal states are final, but for a retry asked for by a user.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import CursorResult, Update, and_, case, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from api.settings import get_settings
from api.tables import Experiment, MeasurementRow, now

STATUSES = ("queued", "running", "succeeded", "failed", "cancelled")
ENDED = ("succeeded", "failed", "cancelled")
WAKE_UPS = 100
"""Most wake-up calls that one round of the reconciler sends."""


def claim(session: Session, worker: str, preferred: str | None) -> Experiment | None:
    """Takes a queued experiment, the preferred one if it still is, else the one that waits longest; None if none is."""
    oldest_first = (case((Experiment.id == preferred, 0), else_=1), Experiment.queued_at, Experiment.id)
    candidates = (
        select(Experiment.id)
        .where(Experiment.status == "queued")
        .order_by(*oldest_first)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found = session.scalar(candidates)
    if found is None:
        return None
    moment = now()
    claimed = _rows(
        session,
        update(Experiment)
        .where(Experiment.id == found, Experiment.status == "queued")
        .values(
            status="running",
            worker=worker,
            attempt=Experiment.attempt + 1,
            started_at=func.coalesce(Experiment.started_at, moment),
            lease_until=moment + timedelta(seconds=get_settings().lease_seconds),
        ),
    )
    return session.get(Experiment, found, populate_existing=True) if claimed else None


def renew(session: Session, experiment_id: str, attempt: int) -> tuple[bool, bool]:
    """Renews the lease. (whether it is still held, whether the user wants it cancelled)."""
    held = _rows(
        session,
        _mine(experiment_id, attempt).values(lease_until=now() + timedelta(seconds=get_settings().lease_seconds)),
    )
    wanted = session.scalar(select(Experiment.cancel_requested).where(Experiment.id == experiment_id))
    return held > 0, bool(wanted)


def store(session: Session, experiment_id: str, attempt: int, rows: Sequence[dict[str, Any]], **progress: Any) -> bool:
    """Stores measurements and progress of a lease that is held; a row that is there already stays as it is."""
    if not _rows(session, _mine(experiment_id, attempt).values(**progress)):
        return False
    if rows:
        insert = (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(MeasurementRow)
        session.execute(insert.on_conflict_do_nothing(), [{**row, "at": now()} for row in rows])
    return True


def finish(session: Session, experiment_id: str, attempt: int, status: str, **values: Any) -> bool:
    """Ends a lease that is held: a terminal `status`, or queued again (a worker that has to stop gives it back)."""
    ended = {"finished_at": now()} if status in ENDED else {"queued_at": now(), "worker": None}
    result = _rows(
        session,
        _mine(experiment_id, attempt).values(status=status, lease_until=None, eta_seconds=None, **ended, **values),
    )
    return result > 0


def request_cancel(session: Session, experiment_id: str) -> None:
    """A queued experiment is cancelled at once, a running one by its worker at the next step boundary."""
    session.execute(
        update(Experiment)
        .where(Experiment.id == experiment_id, Experiment.status == "queued")
        .values(status="cancelled", finished_at=now(), cancel_requested=True)
    )
    session.execute(
        update(Experiment)
        .where(Experiment.id == experiment_id, Experiment.status == "running")
        .values(cancel_requested=True)
    )


def retry(session: Session, experiment_id: str) -> bool:
    """A failed or cancelled experiment goes on from its checkpoint."""
    result = _rows(
        session,
        update(Experiment)
        .where(Experiment.id == experiment_id, Experiment.status.in_(("failed", "cancelled")))
        .values(status="queued", queued_at=now(), finished_at=None, error=None, cancel_requested=False, crashes=0),
    )
    return result > 0


def take_back(session: Session) -> int:
    """What runs under an expired lease is queued again; after too many crashes it has failed. Returns how many."""
    limit = get_settings().max_attempts
    expired = and_(Experiment.status == "running", Experiment.lease_until < now())
    cancelled = _rows(
        session,
        update(Experiment)
        .where(expired, Experiment.cancel_requested)
        .values(status="cancelled", finished_at=now(), lease_until=None, eta_seconds=None),
    )
    failed = _rows(
        session,
        update(Experiment)
        .where(expired, Experiment.crashes + 1 >= limit)
        .values(
            status="failed",
            crashes=Experiment.crashes + 1,
            finished_at=now(),
            lease_until=None,
            eta_seconds=None,
            error=f"its worker was lost {limit} times (killed, out of memory, or its machine gone); not tried again",
        ),
    )
    queued = _rows(
        session,
        update(Experiment)
        .where(expired)
        .values(
            status="queued",
            queued_at=now(),
            crashes=Experiment.crashes + 1,
            worker=None,
            lease_until=None,
            sent_at=None,
        ),
    )
    return cancelled + failed + queued


def to_send_again(session: Session) -> list[str]:
    """Queued experiments of which no wake-up call was sent lately, the oldest first."""
    before = now() - timedelta(seconds=get_settings().resend_seconds)
    query = (
        select(Experiment.id)
        .where(Experiment.status == "queued", or_(Experiment.sent_at.is_(None), Experiment.sent_at < before))
        .order_by(Experiment.queued_at)
        .limit(WAKE_UPS)
    )
    return list(session.scalars(query))


def mark_sent(session: Session, experiment_ids: Sequence[str]) -> None:
    session.execute(update(Experiment).where(Experiment.id.in_(experiment_ids)).values(sent_at=now()))


def _mine(experiment_id: str, attempt: int) -> Update:
    return update(Experiment).where(
        Experiment.id == experiment_id, Experiment.status == "running", Experiment.attempt == attempt
    )


def _rows(session: Session, change: Update) -> int:
    """How many rows the change has changed."""
    return cast(CursorResult[Any], session.execute(change)).rowcount
