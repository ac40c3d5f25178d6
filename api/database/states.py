"""The state machine: queued → running → succeeded | failed | cancelled. All changes of `status` are here.

Each change is one UPDATE that names the state (and for a worker the attempt) it starts from, so that of two who want
to change a row one finds nothing to change. Terminal states are final, but for a retry asked for by a user.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, Update, and_, case, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from api.database import journal
from api.database.clock import from_now
from api.database.parts import VISIBLE
from api.database.tables import Experiment, MeasurementRow, now
from api.database.workers import gpu_workers, queue_of
from api.settings import get_settings
from ncore.status import ENDED, RETRIED

WAKE_UPS = 100
"""Most wake-up calls that one round of the reconciler sends."""
IN_ORDER = (Experiment.priority.desc(), Experiment.queued_at, Experiment.id)
"""Of one queue, as its index has it: the first is found without looking at the others."""


def claim(session: Session, worker: str, kind: str, gpu_grace_over: bool = True) -> Experiment | None:
    """Takes a queued experiment for a worker of this kind: by priority, then by what waits longest.

    A GPU worker takes last what needs no GPU. A CPU worker takes what wants one only where no GPU worker is alive;
    where one was there in the last weeks it may be starting just now, and is waited for until `gpu_grace_over`.
    """
    queues = ["gpu", "cpu"] if kind == "gpu" or not gpu_workers(session, alive=gpu_grace_over) else ["cpu"]
    heads = [head for queue in queues if (head := _head(session, queue)) is not None]
    if not heads:
        return None

    def place(head: Any) -> tuple[Any, ...]:
        return -head.priority, kind == "gpu" and head.queue != "gpu", head.queued_at, head.id

    found = min(heads, key=place).id
    claimed = _changed(
        session,
        update(Experiment)
        .where(Experiment.id == found, Experiment.status == "queued")
        .values(
            status="running",
            worker=worker,
            attempt=Experiment.attempt + 1,
            started_at=func.coalesce(Experiment.started_at, from_now()),
            lease_until=from_now(get_settings().lease_seconds),
        ),
        "started",
    )
    return session.get(Experiment, found, populate_existing=True) if claimed else None


def _head(session: Session, queue: str) -> Any:
    """What is first in a queue, locked where the database locks rows; None where nothing is queued."""
    head = (
        select(Experiment.id, Experiment.queue, Experiment.priority, Experiment.queued_at)
        .where(Experiment.status == "queued", Experiment.queue == queue, VISIBLE)
        .order_by(*IN_ORDER)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    return session.execute(head).first()


def renew(session: Session, experiment_id: str, attempt: int) -> tuple[bool, bool]:
    """Renews the lease. (whether it is still held, whether the user wants it cancelled)."""
    renewed = leased(experiment_id, attempt).values(lease_until=from_now(get_settings().lease_seconds))
    held = _rows(session, renewed)
    wanted = session.scalar(select(Experiment.cancel_requested).where(Experiment.id == experiment_id))
    return held > 0, bool(wanted)


def save_measurements(
    session: Session, experiment_id: str, attempt: int, rows: Sequence[dict[str, Any]], kept_step: int, **progress: Any
) -> bool:
    """Stores measurements and progress under a lease that is held; a row that is there already stays as it is.

    Crashes are counted anew where `kept_step`, the furthest step that this attempt has measured or saved, is beyond
    that of all attempts before. The step itself would not do: it is stored by the clock, so that of attempts that all
    die at one place some come further than others.
    """
    went_on = Experiment.kept_step < kept_step
    progress |= {
        "kept_step": case((went_on, kept_step), else_=Experiment.kept_step),
        "crashes": case((went_on, 0), else_=Experiment.crashes),
    }
    if not _rows(session, leased(experiment_id, attempt).values(**progress)):
        return False
    if rows:
        insert = (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(MeasurementRow)
        session.execute(insert.on_conflict_do_nothing(), [{**row, "at": now()} for row in rows])
    return True


def finish(
    session: Session, experiment_id: str, attempt: int, status: str, detail: str | None = None, **values: Any
) -> bool:
    """Ends a lease that is held: a terminal `status`, or queued again (a worker that has to stop gives it back).

    `detail` is for the log, e.g. a traceback.
    """
    ended = {"finished_at": from_now()} if status in ENDED else {"sent_at": None}
    change = leased(experiment_id, attempt).values(status=status, lease_until=None, eta_seconds=None, **ended, **values)
    event = status if status in ENDED else "given back"
    return _changed(session, change, event, detail or values.get("error")) > 0


def request_cancel(session: Session, which: ColumnElement[bool]) -> None:
    """A queued experiment is cancelled at once, a running one by its worker at the next step boundary."""
    this = update(Experiment).where(which)
    _changed(
        session,
        this.where(Experiment.status == "queued").values(
            status="cancelled", finished_at=from_now(), cancel_requested=True
        ),
        "cancelled",
    )
    running = this.where(Experiment.status == "running", Experiment.cancel_requested.is_(False))
    _changed(session, running.values(cancel_requested=True), "cancel asked for")


def retry(session: Session, experiment_id: str) -> bool:
    """A failed or cancelled experiment goes on from its checkpoint."""
    change = (
        update(Experiment)
        .where(Experiment.id == experiment_id, Experiment.status.in_(RETRIED))
        .values(
            status="queued",
            queued_at=from_now(),
            finished_at=None,
            error=None,
            cancel_requested=False,
            crashes=0,
            sent_at=None,
        )
    )
    return _changed(session, change, "retry asked for") > 0


def requeue_expired(session: Session) -> int:
    """Queues again what runs under an expired lease; after too many crashes without progress between it has failed.

    Returns how many.
    """
    expired = and_(Experiment.status == "running", Experiment.lease_until < from_now())
    return _requeue(session, expired, "its worker fell silent: killed, or its machine is gone")


def shorten_leases(session: Session) -> None:
    """Cuts leases that reach further than any is given: the clock was set back, and a dead worker's would last."""
    longest = get_settings().lease_seconds
    reaching = and_(Experiment.status == "running", Experiment.lease_until > from_now(2 * longest))
    _rows(session, update(Experiment).where(reaching).values(lease_until=from_now(longest)))


def requeue_from(session: Session, worker: str, cause: str) -> int:
    """Queues again at once what a worker runs that is known to have died of `cause`. Returns how many (0 or 1)."""
    return _requeue(session, and_(Experiment.status == "running", Experiment.worker == worker), cause)


def _requeue(session: Session, lost: ColumnElement[bool], cause: str) -> int:
    limit = get_settings().max_attempts
    free = {"lease_until": None, "eta_seconds": None, "lost_workers": Experiment.lost_workers + 1}
    crashed = {"crashes": Experiment.crashes + 1, **free}
    cancelled = _changed(
        session,
        update(Experiment)
        .where(lost, Experiment.cancel_requested)
        .values(status="cancelled", finished_at=from_now(), **free),
        "cancelled",
        cause,
    )
    reason = f"its worker was lost {limit} times without progress between; the last time: {cause}"
    failed = _changed(
        session,
        update(Experiment)
        .where(lost, Experiment.crashes + 1 >= limit)
        .values(status="failed", finished_at=from_now(), error=reason, **crashed),
        "failed",
        reason,
    )
    queued = _changed(
        session,
        update(Experiment).where(lost).values(status="queued", sent_at=None, **crashed),
        "worker lost",
        cause,
    )
    return cancelled + failed + queued


def to_send_again(session: Session, called: Collection[str] = ()) -> dict[str, list[str]]:
    """By kind of worker: queued experiments without a wake-up call in the last seconds, in the order of `claim`.

    Kinds of workers that are `called` already are left out: any call wakes a worker for any row.

    A call of the future was sent before the clock was set back, and counts as none.
    """
    # read once: the database would ask this process for its clock at every row
    since, until = session.execute(select(from_now(-get_settings().resend_seconds), from_now())).one()
    lately = Experiment.sent_at.between(since, until)
    due: dict[str, list[str]] = {}
    for queue in ("cpu", "gpu"):
        kind = queue_of(session, queue)
        if kind in called:
            continue
        query = (
            select(Experiment.id)
            .where(Experiment.status == "queued", Experiment.queue == queue, VISIBLE)
            .where(or_(Experiment.sent_at.is_(None), ~lately))
            .order_by(*IN_ORDER)
            .limit(WAKE_UPS)
        )
        due.setdefault(kind, []).extend(session.scalars(query))
    return due


def mark_sent(session: Session, experiment_ids: Sequence[str]) -> None:
    _rows(session, update(Experiment).where(Experiment.id.in_(experiment_ids)).values(sent_at=from_now()))


def leased(experiment_id: str, attempt: int) -> Update:
    """The update of an experiment that this attempt holds the lease of; of no row where it holds none."""
    return update(Experiment).where(
        Experiment.id == experiment_id, Experiment.status == "running", Experiment.attempt == attempt
    )


def _rows(session: Session, change: Update) -> int:
    """How many rows the change has changed."""
    change = change.execution_options(synchronize_session=False)
    return cast(CursorResult[Any], session.execute(change)).rowcount


def _changed(session: Session, change: Update, event: str, detail: str | None = None) -> int:
    """How many rows the change has changed, each with a line in its log."""
    columns = (Experiment.id, Experiment.attempt, Experiment.worker)
    rows = session.execute(change.returning(*columns).execution_options(synchronize_session=False)).all()
    for experiment_id, attempt, worker in rows:
        journal.write(session, experiment_id, event, attempt=attempt, worker=worker, detail=detail)
    return len(rows)
