"""Reads sweeps from the database: how far each is, and the experiments of its combinations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, and_, func, select
from sqlalchemy.orm import Session

from api.database.parts import VISIBLE
from api.database.tables import Experiment, MeasurementRow, Sweep
from api.predictions import prediction_of
from ncore.sweeps.summary import Summary, summary_of

READ_ROWS = 50
"""Rows read at once, few since summaries can be large."""


@dataclass(frozen=True)
class Advance:
    """How far a sweep is. `changes` differ after any change of one of its experiments."""

    statuses: dict[str, int]
    progress: float
    changes: list[Any]


class Combination(NamedTuple):
    """The columns read for one combination's experiment; `summary` is None until it has succeeded."""

    id: str
    status: str
    number: int
    point: dict[str, Any]
    summary: Summary | None


@dataclass(frozen=True)
class Selection:
    """Which combinations, and in which order; those of one rank in the order of the axes."""

    where: Sequence[ColumnElement[bool]] = ()
    order: Sequence[ColumnElement[Any]] = field(default_factory=tuple)


ALL = Selection()


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


def count(session: Session, sweep_id: str, selection: Selection = ALL) -> int:
    """How many combinations are selected."""
    return session.scalar(select(func.count()).where(*_chosen(sweep_id, selection))) or 0


def _chosen(sweep_id: str, selection: Selection) -> tuple[ColumnElement[bool], ...]:
    return (Experiment.sweep_id == sweep_id, VISIBLE, *selection.where)


def rows_of(
    session: Session, sweep_id: str, offset: int = 0, limit: int | None = None, selection: Selection = ALL
) -> Iterator[Combination]:
    """The selected combinations from `offset` on."""
    columns = (Experiment.id, Experiment.status, Experiment.sweep_index, Experiment.point, Experiment.summary)
    query = select(*columns).where(*_chosen(sweep_id, selection)).order_by(*selection.order, Experiment.sweep_index)
    query = query.offset(offset).limit(limit).execution_options(yield_per=READ_ROWS)
    for row in session.execute(query):
        known = Combination(*row)
        yield known if _is_whole(known) else _completed(session, sweep_id, known)


def _is_whole(row: Combination) -> bool:
    return row.point is not None and (row.summary is not None or row.status != "succeeded")


def _completed(session: Session, sweep_id: str, row: Combination) -> Combination:
    """A row that was written before points and summaries were kept."""
    spec, result = session.execute(select(Experiment.spec, Experiment.result).where(Experiment.id == row.id)).one()
    axes = session.scalar(select(Sweep.axes).where(Sweep.id == sweep_id)) or {}
    point = {path: at(spec, path) for path in axes} if row.point is None else row.point
    summary = (
        summary_of(prediction_of(spec), result["final"], result["verdict"])
        if result and row.summary is None
        else row.summary
    )
    return row._replace(point=point, summary=summary)


def at(spec: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path; entries of a list go by number."""
    value: Any = spec
    for name in path.split("."):
        if isinstance(value, list):
            value = value[int(name)] if name.isdigit() and int(name) < len(value) else None
        else:
            value = value.get(name) if isinstance(value, Mapping) else None
    return value


def first_succeeded(session: Session, sweep_id: str) -> Summary | None:
    """The summary of the first combination that has ended well: what may be chosen in tables and pictures."""
    succeeded = Selection(where=[Experiment.status == "succeeded"])
    return next((row.summary for row in rows_of(session, sweep_id, limit=1, selection=succeeded)), None)


def steps_below(session: Session, sweep_id: str, key: str, bound: float) -> dict[str, list[int]]:
    """{experiment: the first measured step of each seed at which the series `key` is below `bound`}.

    Seeds that never get there are left out.
    """
    value = MeasurementRow.values[key].as_float()
    query = (
        select(MeasurementRow.experiment_id, func.min(MeasurementRow.step))
        .join(Experiment, Experiment.id == MeasurementRow.experiment_id)
        .where(and_(Experiment.sweep_id == sweep_id, VISIBLE, Experiment.status == "succeeded", value < bound))
        .group_by(MeasurementRow.experiment_id, MeasurementRow.seed)
    )
    found: dict[str, list[int]] = {}
    for experiment_id, step in session.execute(query):
        found.setdefault(experiment_id, []).append(step)
    return found
