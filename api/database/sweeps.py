"""Reads sweeps from the database: how far each is, and the experiments of its combinations."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.database.parts import VISIBLE
from api.database.tables import Experiment

READ_ROWS = 50
"""Read at once: results can be large."""


@dataclass(frozen=True)
class Advance:
    """How far a sweep is. `changes` differ after any change of one of its experiments."""

    statuses: dict[str, int]
    progress: float
    changes: list[Any]


class Row(NamedTuple):
    """What is read of the experiment of a combination."""

    id: str
    status: str
    spec: dict[str, Any]
    result: dict[str, Any] | None


def advances(session: Session, sweep_ids: Sequence[str]) -> dict[str, Advance]:
    """How far each of these sweeps is.

    Attempts only grow, ends only get later and what is deleted does not come back: so the sums are as they were only
    when all is as it was.
    """
    sums = (func.sum(column) for column in (Experiment.step, Experiment.total, Experiment.attempt))
    columns = (Experiment.sweep_id, Experiment.status, func.count(), *sums, func.max(Experiment.finished_at))
    query = (
        select(*columns)
        .where(Experiment.sweep_id.in_(sweep_ids), VISIBLE)
        .group_by(Experiment.sweep_id, Experiment.status)
    )
    found: dict[str, list[Any]] = {sweep_id: [] for sweep_id in sweep_ids}
    for row in session.execute(query.order_by(Experiment.sweep_id, Experiment.status)).all():
        found[str(row[0])].append(list(row[1:]))
    return {sweep_id: _advance(rows) for sweep_id, rows in found.items()}


def _advance(rows: list[Any]) -> Advance:
    done, total = sum(row[2] for row in rows), sum(row[3] for row in rows)
    return Advance({row[0]: row[1] for row in rows}, float(done / total) if total else 0.0, rows)


def rows_of(session: Session, sweep_id: str, offset: int = 0, limit: int | None = None) -> Iterator[Row]:
    """The combinations from `offset` on, in the order of the axes."""
    columns = (getattr(Experiment, name) for name in Row._fields)
    query = select(*columns).where(Experiment.sweep_id == sweep_id, VISIBLE).order_by(Experiment.sweep_index)
    query = query.offset(offset).limit(limit).execution_options(yield_per=READ_ROWS)
    return (Row(*row) for row in session.execute(query))


def first_succeeded(session: Session, sweep_id: str) -> list[Row]:
    columns = (getattr(Experiment, name) for name in Row._fields)
    query = select(*columns).where(Experiment.sweep_id == sweep_id, Experiment.status == "succeeded")
    return [Row(*row) for row in session.execute(query.order_by(Experiment.sweep_index).limit(1))]
