"""Reads measurements from the database as series: whole, the last ones, or as a stream."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from api.database.tables import MeasurementRow
from ncore.series import Point, merged

COLUMNS_READ = (MeasurementRow.seed, MeasurementRow.step, MeasurementRow.seq, MeasurementRow.values)
MeasuredRow = Row[int, int, int, dict[str, Any]]
STREAMED_ROWS = 500


def load(
    session: Session,
    experiment_id: str,
    since: int = 0,
    metrics: Sequence[str] = (),
    layers: Sequence[str] = (),
    seeds: Sequence[int] = (),
    points: int | None = None,
) -> tuple[list[dict[str, Any]], int]:
    """Series in the order of their first measurement, steps ascending, and the last `seq`; filters: empty means all.

    The layer "" stands for the metrics that have none. With `points` only so many steps, evenly chosen, are read.
    """
    query = select(*COLUMNS_READ).where(MeasurementRow.experiment_id == experiment_id, MeasurementRow.seq > since)
    if seeds:
        query = query.where(MeasurementRow.seed.in_(seeds))
    if points is not None:
        query = query.where(MeasurementRow.step.in_(_chosen_steps(session, experiment_id, points)))
    rows = session.execute(query.order_by(MeasurementRow.step, MeasurementRow.seed)).all()
    return _as_series(rows, metrics, layers), max((row.seq for row in rows), default=since)


def latest(session: Session, experiment_id: str) -> list[dict[str, Any]]:
    """Series of one point: the last measurement of each seed."""
    of_it = MeasurementRow.experiment_id == experiment_id
    last = select(MeasurementRow.seed, func.max(MeasurementRow.step).label("step")).where(of_it)
    ends = last.group_by(MeasurementRow.seed).subquery()
    at_end = (MeasurementRow.seed == ends.c.seed) & (MeasurementRow.step == ends.c.step)
    query = select(*COLUMNS_READ).where(of_it).join(ends, at_end).order_by(MeasurementRow.seed)
    return _as_series(session.execute(query).all())


def _chosen_steps(session: Session, experiment_id: str, count: int) -> list[int]:
    """At most `count` of the steps, both ends included: the same for all seeds."""
    query = select(MeasurementRow.step).where(MeasurementRow.experiment_id == experiment_id).distinct()
    steps = session.scalars(query.order_by(MeasurementRow.step)).all()
    if len(steps) <= count:
        return list(steps)
    return [steps[i * (len(steps) - 1) // (count - 1)] for i in range(count)]


def _as_series(
    rows: Sequence[MeasuredRow], metrics: Sequence[str] = (), layers: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Rows of the same seed and metrics are turned into columns all at once; there are few such kinds of rows."""
    kinds: dict[tuple[int, tuple[str, ...]], tuple[list[int], list[Collection[float | None]]]] = {}
    for seed, step, _, values in rows:
        steps, found = kinds.setdefault((seed, tuple(values)), ([], []))
        steps.append(step)
        found.append(values.values())
    series: dict[tuple[int, str], dict[str, Any]] = {}
    for (seed, names), (steps, found) in kinds.items():
        for name, column in zip(names, zip(*found, strict=True), strict=True):
            metric, _, layer = name.partition(" ")
            if (not metrics or metric in metrics) and (not layers or layer in layers):
                part = {"metric": metric, "layer": layer or None, "seed": seed, "steps": steps, "values": list(column)}
                known = series.get((seed, name))
                series[seed, name] = part if known is None else merged(known, part)
    return list(series.values())


def stream(session: Session, experiment_id: str) -> Iterator[list[Point]]:
    """All points, some thousand at a time, in the order of steps: for what is too large to be held at once."""
    columns = (MeasurementRow.seed, MeasurementRow.step, MeasurementRow.values)
    query = select(*columns).where(MeasurementRow.experiment_id == experiment_id)
    query = query.order_by(MeasurementRow.step, MeasurementRow.seed)
    rows = session.execute(query.execution_options(yield_per=STREAMED_ROWS))
    for part in rows.partitions():
        points = []
        for seed, step, values in part:
            for name, value in values.items():
                metric, _, layer = name.partition(" ")
                points.append((metric, layer or None, seed, step, value))
        yield points
