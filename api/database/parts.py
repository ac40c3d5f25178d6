"""What takes long is written and deleted in parts, each a short transaction, so that nobody else waits for it.

Meanwhile an experiment is a draft, or is being deleted: two statuses that no list, no reader and no worker knows. A
sweep's own row is written last and deleted first: it says whether its drafts are to be queued or to be deleted.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, delete, exists, select, update
from sqlalchemy.orm import Session

from api.database.tables import Experiment, MeasurementRow, Sweep, now

DRAFT, DELETING = "draft", "deleting"
VISIBLE = Experiment.status.not_in((DRAFT, DELETING))
DRAFT_AGE = timedelta(minutes=10)
"""A draft as old as this is of a request that has died."""
PART_ROWS = 2000
"""Measurements that one transaction deletes: some hundredths of a second."""


def publish(session: Session, sweep: Sweep) -> None:
    """Queues all drafts of a sweep and shows the sweep, at once."""
    session.add(sweep)
    session.flush()  # a key that was used before is found here
    drafts = update(Experiment).where(Experiment.sweep_id == sweep.id, Experiment.status == DRAFT)
    session.execute(drafts.values(status="queued").execution_options(synchronize_session=False))


def take_out(session: Session, which: ColumnElement[bool]) -> int:
    """Hides experiments for good; returns how many. Their keys are free again; what they hold is deleted later."""
    change = update(Experiment).where(which, Experiment.status != DELETING)
    change = change.values(status=DELETING, idempotency_key=None).execution_options(synchronize_session=False)
    return cast(CursorResult[Any], session.execute(change)).rowcount


def forget_empty_sweep(session: Session, sweep_id: str) -> None:
    """A sweep is gone with the last of its experiments."""
    is_used = exists().where(Experiment.sweep_id == sweep_id, Experiment.status != DELETING)
    session.execute(delete(Sweep).where(Sweep.id == sweep_id, ~is_used))


def to_delete(session: Session, limit: int) -> list[str]:
    """Experiments that are to be deleted, with the drafts of requests that have died."""
    take_out(session, (Experiment.status == DRAFT) & (Experiment.created_at < now() - DRAFT_AGE))
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
