"""Writes, changes and deletes large things in parts, each a short transaction, so that nobody has to wait.

A sweep's own row is written last and deleted first, and its experiments are there for lists, readers and workers only
while it stands: so a sweep comes and goes as a whole. An experiment that is being deleted has a status of its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, and_, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from api.database.sessions import reading, writing
from api.database.tables import Experiment, MeasurementRow, Sweep, now

DELETING = "deleting"
_HAS_SWEEP = or_(Experiment.sweep_id.is_(None), exists().where(Sweep.id == Experiment.sweep_id))
VISIBLE = and_(Experiment.status != DELETING, _HAS_SWEEP)
DRAFT_AGE = timedelta(minutes=10)
"""An experiment this old without its sweep was left by a request that died."""
PART_ROWS = 2000
"""Measurements that one transaction deletes: some hundredths of a second."""
PART_EXPERIMENTS = 100
"""Experiments that one transaction changes."""
PAUSE_SECONDS = 0.01


class Turns:
    """Transactions one after the other, between which others get as much time at the database."""

    def __init__(self) -> None:
        self._not_before = 0.0

    @contextmanager
    def next(self) -> Iterator[Session]:
        time.sleep(max(0.0, self._not_before - time.monotonic()))
        began = time.monotonic()
        with writing() as session:
            yield session
        ended = time.monotonic()
        self._not_before = ended + max(PAUSE_SECONDS, ended - began)


def take_out(session: Session, which: ColumnElement[bool]) -> int:
    """Hides experiments for good; returns how many. Their keys are free again; what they hold is deleted later."""
    change = update(Experiment).where(which, Experiment.status != DELETING)
    change = change.values(status=DELETING, idempotency_key=None).execution_options(synchronize_session=False)
    return cast(CursorResult[Any], session.execute(change)).rowcount


def change_sweep(sweep_id: str, change: Callable[[Session, ColumnElement[bool]], object]) -> None:
    """Makes a change to all experiments of a sweep, some in each transaction."""
    with reading() as session:
        ids = session.scalars(select(Experiment.id).where(Experiment.sweep_id == sweep_id)).all()
    turns = Turns()
    for begin in range(0, len(ids), PART_EXPERIMENTS):
        with turns.next() as session:
            change(session, Experiment.id.in_(ids[begin : begin + PART_EXPERIMENTS]))


def forget_empty_sweep(session: Session, sweep_id: str) -> None:
    """A sweep is gone with the last of its experiments."""
    is_used = exists().where(Experiment.sweep_id == sweep_id, Experiment.status != DELETING)
    session.execute(delete(Sweep).where(Sweep.id == sweep_id, ~is_used))


def to_delete(session: Session, limit: int) -> list[str]:
    """Experiments that are to be deleted, among them what requests that have died have left of sweeps."""
    left = select(Experiment.id).where(~_HAS_SWEEP, Experiment.created_at < now() - DRAFT_AGE)
    take_out(session, Experiment.id.in_(session.scalars(left.limit(limit)).all()))
    return list(session.scalars(select(Experiment.id).where(Experiment.status == DELETING).limit(limit)))


def delete_part(session: Session, experiment_id: str) -> bool:
    """Deletes some of an experiment that was taken out, at last its row; returns whether anything is left."""
    own = MeasurementRow.experiment_id == experiment_id
    later = select(MeasurementRow.seq).where(own).order_by(MeasurementRow.seq).offset(PART_ROWS).limit(1)
    bound = session.scalar(later)
    if bound is not None:
        session.execute(delete(MeasurementRow).where(own, MeasurementRow.seq < bound))
        return True
    session.execute(delete(Experiment).where(Experiment.id == experiment_id, Experiment.status == DELETING))
    return False
