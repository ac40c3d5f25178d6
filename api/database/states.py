"""The state machine: queued → running → succeeded | failed | cancelled. All changes of `status` are here.

An external experiment is running at once, and lost while its owner's loop is silent: lost → running when it is heard.

Each change is one UPDATE that names the state (and for a worker the attempt) it starts from, so that of two who want
to change a row one finds nothing to change. Terminal states are final, but for a retry asked for by a user.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

from sqlalchemy import (
    JSON,
    ColumnElement,
    CursorResult,
    Integer,
    Table,
    Update,
    and_,
    bindparam,
    case,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from api.database import facts, journal
from api.database.clock import from_now
from api.database.parts import VISIBLE
from api.database.tables import Experiment, MeasurementRow, now
from api.database.workers import most_gpus, queue_of
from api.settings import get_settings
from ncore.kinds.external import EXTERNAL
from ncore.outcome import Ended
from ncore.status import ENDED, LOST, OPEN, RETRIED

IS_EXTERNAL = Experiment.kind == EXTERNAL
WAKE_UPS = 100
"""Most wake-up calls that one round of the reconciler sends."""
IN_ORDER = (Experiment.priority.desc(), Experiment.queued_at, Experiment.id)
"""The order within one queue, as its index has it: the first row is found without reading the others."""


@dataclass(frozen=True)
class Progress:
    """Progress to store: the rows an attempt has measured since the last time, and how far it is.

    `kept_step`: the furthest step that it has measured or saved.
    """

    attempt: int
    rows: Sequence[dict[str, Any]]
    kept_step: int
    step: int
    total: int
    last_seq: int
    eta_seconds: float | None
    device: str


@dataclass(frozen=True)
class End:
    """The outcome of an attempt: a terminal `status`, or queued again; `detail` is for the log."""

    attempt: int
    status: str
    result: Mapping[str, Any] | None = None
    error: str | None = None
    detail: str | None = None
    summary: Mapping[str, Any] | None = None
    """The summary that tables of sweeps read, stored in its own column."""

    @classmethod
    def succeeded(cls, attempt: int, outcome: Ended, detail: str | None) -> End:
        """The end of an experiment with this outcome."""
        result: dict[str, Any] = {**outcome}
        summary = result.pop("summary")
        return cls(attempt, "succeeded", result, detail=detail, summary=summary)


def start(session: Session, experiment_ids: Sequence[str], worker: str) -> list[Experiment]:
    """Takes queued experiments for a worker, to be trained together; those that are still queued, in this order."""
    others = len(experiment_ids) - 1
    claimed = _changed(
        session,
        update(Experiment)
        .where(Experiment.id.in_(experiment_ids), Experiment.status == "queued")
        .values(
            status="running",
            worker=worker,
            attempt=Experiment.attempt + 1,
            started_at=func.coalesce(Experiment.started_at, from_now()),
            lease_until=from_now(get_settings().lease_seconds),
        ),
        "started",
        f"trained with {others} other{'s' if others > 1 else ''} in one batch" if others else None,
    )
    query = select(Experiment).where(Experiment.id.in_(claimed)).execution_options(populate_existing=True)
    rows = {row.id: row for row in session.scalars(query)}
    return [rows[experiment_id] for experiment_id in experiment_ids if experiment_id in rows]


def held(session: Session, leases: Mapping[str, int]) -> dict[str, bool]:
    """Which of these attempts still hold their lease, and whether the user wants them cancelled.

    Their rows stay locked to the end of the transaction, in the order in which all who lock several do it.
    """
    columns = (Experiment.id, Experiment.attempt, Experiment.cancel_requested)
    query = select(*columns).where(Experiment.id.in_(leases), Experiment.status == "running")
    rows = session.execute(query.order_by(Experiment.id).with_for_update())
    return {experiment_id: cancel for experiment_id, attempt, cancel in rows if leases[experiment_id] == attempt}


def renew(session: Session, leases: Mapping[str, int]) -> dict[str, bool]:
    """Renews leases; returns which are `held`."""
    found = held(session, leases)
    renewed = update(Experiment).where(Experiment.id.in_(found))
    _rows(session, renewed.values(lease_until=from_now(get_settings().lease_seconds)))
    return found


def save_measurements(session: Session, progress: Mapping[str, Progress]) -> set[str]:
    """Stores measurements and progress under leases that are held; a row that is there already stays as it is.

    Returns the experiments whose leases are held. Crashes are counted anew where `kept_step` is beyond that of all
    attempts before. The step itself would not do: it is stored by the clock, so that of attempts that all die at one
    place some come further than others.
    """
    found = set(held(session, {experiment_id: made.attempt for experiment_id, made in progress.items()}))
    if not found:
        return found
    went_on = Experiment.kept_step < bindparam("of_kept_step", type_=Integer)
    counted = {
        "kept_step": case((went_on, bindparam("of_kept_step", type_=Integer)), else_=Experiment.kept_step),
        "crashes": case((went_on, 0), else_=Experiment.crashes),
    }
    names = ("kept_step", "step", "total", "last_seq", "eta_seconds", "device")
    _each(session, {experiment_id: progress[experiment_id] for experiment_id in found}, names, **counted)
    rows = [{**row, "at": now()} for experiment_id in found for row in progress[experiment_id].rows]
    if rows:
        insert = (postgresql if session.get_bind().dialect.name == "postgresql" else sqlite).insert(MeasurementRow)
        session.execute(insert.on_conflict_do_nothing(), rows)
    return found


def finish(session: Session, ends: Mapping[str, End]) -> set[str]:
    """Ends leases that are held, each as it says (a worker that has to stop gives back what it runs).

    Returns the experiments whose leases were held.
    """
    found = held(session, {experiment_id: end.attempt for experiment_id, end in ends.items()})
    own = {experiment_id: ends[experiment_id] for experiment_id in found}
    for is_terminal in (True, False):
        some = {experiment_id: end for experiment_id, end in own.items() if (end.status in ENDED) == is_terminal}
        ended = {"finished_at": from_now()} if is_terminal else {"sent_at": None}
        _each(session, some, ("status", "result", "error", "summary"), lease_until=None, eta_seconds=None, **ended)
    columns = (Experiment.id, Experiment.worker, Experiment.last_seq)
    rows = {row.id: row for row in session.execute(select(*columns).where(Experiment.id.in_(own)))}
    measured = {}
    for experiment_id, end in own.items():
        event = end.status if end.status in ENDED else "given back"
        row, detail = rows[experiment_id], end.detail or end.error
        journal.write(session, experiment_id, event, attempt=end.attempt, worker=row.worker, detail=detail)
        if end.status in ENDED and row.last_seq:
            measured[experiment_id] = end.result
    facts.note_ends(session, measured, has_last=True)
    return set(own)


def _each(session: Session, records: Mapping[str, Any], names: Sequence[str], **common: Any) -> None:
    """Sets in the row of each experiment these fields of its record, and what is common to all."""
    table = cast(Table, Experiment.__table__)
    kinds = {name: table.c[name].type for name in names} | {"result": JSON(none_as_null=True)}
    own = {name: bindparam(f"of_{name}", type_=kinds[name]) for name in names}
    change = update(table).where(table.c.id == bindparam("of_id")).values({**own, **common})
    values = [
        {"of_id": experiment_id, **{f"of_{name}": getattr(record, name) for name in names}}
        for experiment_id, record in records.items()
    ]
    if values:
        session.connection().execute(change, values)


def request_cancel(session: Session, which: ColumnElement[bool]) -> None:
    """A queued experiment is cancelled at once, a running one by its worker at the next step boundary.

    An external one too is cancelled at once: its owner's loop learns it at its next call.
    """
    _lock(session, and_(which, Experiment.status.in_(OPEN)))
    this = update(Experiment).where(which)
    at_once = or_(Experiment.status == "queued", and_(IS_EXTERNAL, Experiment.status.in_(OPEN)))
    _changed(
        session,
        this.where(at_once).values(status="cancelled", finished_at=from_now(), cancel_requested=True, lease_until=None),
        "cancelled",
    )
    running = this.where(Experiment.status == "running", Experiment.cancel_requested.is_(False))
    _changed(session, running.values(cancel_requested=True), "cancel asked for")


def retry(session: Session, experiment_id: str) -> bool:
    """Continues a failed or cancelled experiment from its checkpoint; an external one where its owner continues."""
    lease = from_now(get_settings().lease_seconds)
    change = (
        update(Experiment)
        .where(Experiment.id == experiment_id, Experiment.status.in_(RETRIED))
        .values(
            status=case((IS_EXTERNAL, "running"), else_="queued"),
            lease_until=case((IS_EXTERNAL, lease), else_=None),
            attempt=case((IS_EXTERNAL, Experiment.attempt + 1), else_=Experiment.attempt),
            queued_at=from_now(),
            finished_at=None,
            error=None,
            cancel_requested=False,
            crashes=0,
            sent_at=None,
        )
    )
    return bool(_changed(session, change, "retry asked for"))


def requeue_expired(session: Session) -> int:
    """Queues again what runs under an expired lease; after too many crashes without progress between it has failed.

    Returns how many.
    """
    expired = and_(Experiment.status == "running", ~IS_EXTERNAL, Experiment.lease_until < from_now())
    return _requeue(session, expired, "its worker fell silent: killed, or its machine is gone")


def started() -> dict[str, Any]:
    """Values of the row of an external experiment, which runs from the first."""
    lease = from_now(get_settings().lease_seconds)
    return {"status": "running", "attempt": 1, "started_at": from_now(), "lease_until": lease}


def hear(session: Session, experiment_id: str) -> None:
    """The loop of an external experiment has called: renews its lease; one that was lost runs again."""
    this = update(Experiment).where(Experiment.id == experiment_id, IS_EXTERNAL)
    lease = {"lease_until": from_now(get_settings().lease_seconds)}
    if not _rows(session, this.where(Experiment.status == "running").values(**lease)):
        again = {"status": "running", "attempt": Experiment.attempt + 1, **lease}
        _changed(session, this.where(Experiment.status == LOST).values(**again), "heard again")


def lose_silent(session: Session) -> int:
    """Marks external experiments as lost whose lease has expired. Returns how many."""
    silent = and_(Experiment.status == "running", IS_EXTERNAL, Experiment.lease_until < from_now())
    change = update(Experiment).where(silent).values(status=LOST, lease_until=None)
    return len(_changed(session, change, "lost", "its loop fell silent: killed, or the network between is gone"))


def end(session: Session, experiment_id: str, status: str, **values: Any) -> bool:
    """Ends an external experiment; False where it has ended already."""
    this = update(Experiment).where(Experiment.id == experiment_id, IS_EXTERNAL, Experiment.status.in_(OPEN))
    ended: dict[str, Any] = {"status": status, "finished_at": from_now(), "lease_until": None}
    if status == "succeeded":
        ended["total"] = Experiment.step
    return bool(_changed(session, this.values(**ended, **values), status, values.get("error")))


def shorten_leases(session: Session) -> None:
    """Cuts leases that reach further than any is given: the clock was set back, and a dead worker's would last."""
    longest = get_settings().lease_seconds
    reaching = and_(Experiment.status == "running", Experiment.lease_until > from_now(2 * longest))
    _rows(session, update(Experiment).where(reaching).values(lease_until=from_now(longest)))


def requeue_from(session: Session, worker: str, cause: str) -> int:
    """Queues again at once what a worker runs that is known to have died of `cause`. Returns how many."""
    return _requeue(session, and_(Experiment.status == "running", Experiment.worker == worker), cause)


def _requeue(session: Session, lost: ColumnElement[bool], cause: str) -> int:
    _lock(session, lost)
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
    return len(cancelled) + len(failed) + len(queued)


def to_send_again(session: Session, called: Collection[str] = ()) -> dict[str, list[str]]:
    """Queued experiments without a recent wake-up call, by kind of worker, in the order of `claim`.

    Of the first WAKE_UPS in each queue: while those have had their calls, what is behind them needs none. Kinds of
    workers that are `called` already are left out: any call wakes a worker for any row.
    A call of the future was sent before the clock was set back, and counts as none.
    """
    # read once: the database would ask this process for its clock at every row
    since, until = session.execute(select(from_now(-get_settings().resend_seconds), from_now())).one()
    lately = Experiment.sent_at.between(since, until)
    due: dict[str, list[str]] = {}
    for queue in ("cpu", "gpu", "gpus"):
        kind = queue_of(session, queue)
        if kind in called:
            continue
        first = (
            select(Experiment.id, lately.is_(True).label("lately"))
            .where(Experiment.status == "queued", Experiment.queue == queue, VISIBLE)
            .order_by(*IN_ORDER)
            .limit(WAKE_UPS)
        )
        due.setdefault(kind, []).extend(row.id for row in session.execute(first) if not row.lately)
    return due


def fail_too_large(session: Session) -> None:
    """Fails what is queued for more GPUs than any worker has, which nobody would ever take."""
    largest = most_gpus(session)
    if largest is None:
        return
    waits = and_(Experiment.status == "queued", Experiment.queue == "gpus", VISIBLE, Experiment.devices > largest)
    for devices in session.scalars(select(Experiment.devices).where(waits).distinct()).all():
        reason = f"devices: asks for {devices} devices; the largest worker has {largest} GPU{'s' * (largest > 1)}"
        these = update(Experiment).where(waits, Experiment.devices == devices)
        _changed(session, these.values(status="failed", finished_at=from_now(), error=reason), "failed", reason)


def mark_sent(session: Session, experiment_ids: Sequence[str]) -> None:
    _rows(session, update(Experiment).where(Experiment.id.in_(experiment_ids)).values(sent_at=from_now()))


def _lock(session: Session, which: ColumnElement[bool]) -> None:
    """Locks rows that are to be changed, in the order of `held`, so that of two who change several none waits for ever.

    (SQLite has one lock for all, which the transaction has.)
    """
    if session.get_bind().dialect.name == "postgresql":
        session.execute(select(Experiment.id).where(which).order_by(Experiment.id).with_for_update())


def _rows(session: Session, change: Update) -> int:
    """How many rows the change has changed."""
    change = change.execution_options(synchronize_session=False)
    return cast(CursorResult[Any], session.execute(change)).rowcount


def _changed(session: Session, change: Update, event: str, detail: str | None = None) -> list[str]:
    """The rows that the change has changed, each with a line in its log."""
    columns = (Experiment.id, Experiment.attempt, Experiment.worker, Experiment.last_seq, Experiment.result)
    rows = session.execute(change.returning(*columns).execution_options(synchronize_session=False)).all()
    for experiment_id, attempt, worker, *_ in rows:
        journal.write(session, experiment_id, event, attempt=attempt, worker=worker, detail=detail)
    if event in ENDED:
        facts.note_ends(session, {one.id: one.result for one in rows if one.last_seq}, has_last=False)
    return [experiment_id for experiment_id, *_ in rows]
