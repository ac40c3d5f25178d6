"""Which queued experiments a worker takes: the first of the queue, and those that can be trained together with it.

The order: by priority; among equals what was submitted by itself before the members of sweeps, of which there are many
while who submits one experiment waits for it; then what has waited longest. What has crashed its worker so often that
this is its last attempt is trained alone, so that it takes no others with it into failure.
"""

from __future__ import annotations

import math
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.orm import Session

from api.database import states
from api.database.clock import from_now
from api.database.parts import VISIBLE
from api.database.tables import Experiment, WorkerRow
from api.database.workers import gpu_workers, is_alive
from api.settings import get_settings
from ncore.estimate import most_together
from ncore.faults import SpecError
from ncore.spec import UfmSpec, stored_spec
from ncore.ufm.together import kin

FEWEST_SHARES, MOST_SHARES = 2, 8
"""Specs are read for this many batches to fill one: a batch for each worker, and some more since not all specs fit."""
OVERLOOKED_SECONDS = 0.3
"""An experiment queued for longer than this has found no free worker."""


def claim(session: Session, worker: str, kind: str, gpu_grace_over: bool = True, gpus: int = 1) -> list[Experiment]:
    """Takes the first queued experiment for a worker of this kind, and what can be trained together with it.

    A GPU worker takes last what needs no GPU, and nothing that asks for more than its own `gpus`. A CPU worker takes
    what wants one only where no GPU worker is alive; where one was there in the last weeks it may be starting just now,
    and is waited for until `gpu_grace_over`.
    """
    first = _first(session, kind, gpu_grace_over, gpus)
    return [] if first is None else states.start(session, [first.id, *_others(session, first, kind)], worker)


def before(session: Session, row: Experiment) -> dict[str, int]:
    """How many queued experiments of each kind of model are taken before this one: of its own queue, in the order that
    the module says."""
    is_member = row.sweep_id is not None
    alike = Experiment.sweep_id.is_not(None) if is_member else Experiment.sweep_id.is_(None)
    same_time = and_(Experiment.queued_at == row.queued_at, Experiment.id < row.id)
    earlier = and_(alike, or_(Experiment.queued_at < row.queued_at, same_time))
    first = or_(Experiment.sweep_id.is_(None), earlier) if is_member else earlier
    ahead = or_(Experiment.priority > row.priority, and_(Experiment.priority == row.priority, first))
    query = select(Experiment.kind, func.count()).where(Experiment.status == "queued", VISIBLE, ahead)
    found = session.execute(query.where(Experiment.queue == row.queue).group_by(Experiment.kind)).all()
    return {kind: count for kind, count in found}  # noqa: C416 (what is a row to dict() is none to the type checker)


def _first(session: Session, kind: str, gpu_grace_over: bool, gpus: int) -> Experiment | None:
    queues = queues_of(session, kind, gpu_grace_over)
    heads = [head for queue in queues if (head := _head(session, queue, _fits(kind, gpus))) is not None]

    def place(head: Experiment) -> tuple[Any, ...]:
        is_foreign = kind == "gpu" and head.queue == "cpu"
        return -head.priority, is_foreign, head.sweep_id is not None, head.queued_at, head.id

    return min(heads, key=place, default=None)


def _head(session: Session, queue: str, fits: ColumnElement[bool]) -> Experiment | None:
    """The first experiment of a queue, by two index look-ups however long the queue is."""
    query = select(Experiment).where(Experiment.status == "queued", Experiment.queue == queue, VISIBLE)
    query = query.where(fits) if queue == "gpus" else query
    query = query.order_by(*states.IN_ORDER).limit(1).with_for_update(skip_locked=True)
    first = session.scalar(query)
    if first is None or first.sweep_id is None:
        return first
    by_itself = and_(Experiment.priority == first.priority, Experiment.sweep_id.is_(None))
    return session.scalar(query.where(by_itself)) or first


def queues_of(session: Session, kind: str, gpu_grace_over: bool) -> list[str]:
    """The queues that workers of this kind take from."""
    return ["cpu"] if kind == "cpu" and gpu_workers(session, alive=gpu_grace_over) else ["cpu", "gpu", "gpus"]


def _fits(kind: str, gpus: int) -> ColumnElement[bool]:
    """Of what asks for several devices, what a worker with so many GPUs can train; the CPU's may be any number."""
    return true() if kind == "cpu" else Experiment.devices <= gpus


def _comes_before(member: Experiment, kind: str) -> ColumnElement[bool]:
    """Whether another is taken before the member of a sweep, whatever either has waited."""
    by_itself = and_(Experiment.priority == member.priority, Experiment.sweep_id.is_(None))
    if kind == "gpu":
        by_itself = and_(by_itself, (Experiment.queue == "cpu") == (member.queue == "cpu"))
    return or_(Experiment.priority > member.priority, by_itself)


def _others(session: Session, first: Experiment, kind: str) -> list[str]:
    """The next in the queue that differ from the first in numbers only: members of its sweep, or of none as it is.

    No more than this worker's share, so that others have something to do, too.
    """
    spec = None if first.crashes + 1 >= get_settings().max_attempts else _spec(first.spec)
    if spec is None:
        return []
    on_gpu = kind == "gpu" and first.queue == "gpu"
    fitting = most_together(spec, on_gpu)
    most = min(get_settings().batch, fitting)
    if most == 1:
        return []
    query = (
        select(Experiment.id, Experiment.spec)
        .where(Experiment.status == "queued", VISIBLE, Experiment.priority == first.priority, Experiment.id != first.id)
        .where(Experiment.sweep_id == first.sweep_id, Experiment.queue == first.queue)
        .where(Experiment.crashes + 1 < get_settings().max_attempts)
        .order_by(Experiment.queued_at, Experiment.id)
    )
    shared, workers = kin(spec), _workers(session, kind)
    shares = min(MOST_SHARES, max(FEWEST_SHARES, workers))
    fit = (
        experiment_id
        for experiment_id, body in session.execute(query.limit(shares * most))
        if (other := _spec(body)) is not None and kin(other) == shared and most_together(other, on_gpu) >= fitting
    )
    found = list(islice(fit, most * max(1, workers) - 1))  # a share of more would not be taken
    share = math.ceil((len(found) + 1) / max(1, workers))
    free = query.with_only_columns(Experiment.id).where(Experiment.id.in_(found)).with_for_update(skip_locked=True)
    return list(session.scalars(free.limit(min(most, share) - 1)))


def _spec(body: Any) -> UfmSpec | None:
    """The spec of what can be trained together with others."""
    try:
        spec = stored_spec(body)
    except SpecError:  # its own run says what is wrong with it
        return None
    return spec if isinstance(spec, UfmSpec) else None


def _workers(session: Session, kind: str) -> int:
    query = select(func.count()).select_from(WorkerRow).where(WorkerRow.kind == kind, is_alive())
    return session.scalar(query) or 0


def is_awaited(session: Session, running: Experiment, kind: str, gpus: int = 1) -> bool:
    """Whether something that comes before what is `running` has found no free worker of this kind."""
    sooner = Experiment.priority > running.priority if running.sweep_id is None else _comes_before(running, kind)
    queues = queues_of(session, kind, gpu_grace_over=True)
    waits = and_(Experiment.status == "queued", VISIBLE, Experiment.queue.in_(queues))
    waits = and_(waits, or_(Experiment.queue != "gpus", _fits(kind, gpus)))
    overlooked = Experiment.queued_at < from_now(-OVERLOOKED_SECONDS)
    return bool(session.scalar(select(select(Experiment.id).where(waits, sooner, overlooked).exists())))
