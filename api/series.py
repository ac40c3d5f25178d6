"""/experiments/{id}/metrics: what was measured, as series, whole or in part, in the form that is asked for."""

from __future__ import annotations

import csv
import io
from collections.abc import Collection, Iterator, Sequence
from operator import itemgetter
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy import Row, func, select
from sqlalchemy.orm import Session

from api.db import reading
from api.errors import PROBLEMS
from api.etag import UNCHANGED, Tag, state_of
from api.experiments import find
from api.tables import MeasurementRow

if TYPE_CHECKING:
    import pyarrow as pa

router = APIRouter(tags=["metrics"], responses=PROBLEMS)


Point = tuple[str, str | None, int, int, float | None]
COLUMNS = ("metric", "layer", "seed", "step", "value")
COLUMNS_READ = (MeasurementRow.seed, MeasurementRow.step, MeasurementRow.seq, MeasurementRow.values)
MeasuredRow = Row[int, int, int, dict[str, Any]]
STREAMED_ROWS = 500
FORMS_TOLD: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}, "application/x-ndjson": {}, "application/vnd.apache.parquet": {}}}
}


class Series(BaseModel):
    """One metric of one layer (null: it has none) of one seed over the steps; a null value is undefined."""

    metric: str
    layer: str | None
    seed: int
    steps: list[int]
    values: list[float | None]


class Metrics(BaseModel):
    experiment_id: str
    status: str
    series: list[Series]
    next: int


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
                series[seed, name] = part if known is None else _merged(known, part)
    return list(series.values())


def _merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """One series from two that have no step in common."""
    pairs = sorted(zip(one["steps"] + other["steps"], one["values"] + other["values"], strict=True), key=itemgetter(0))
    return {**one, "steps": [step for step, _ in pairs], "values": [value for _, value in pairs]}


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


def thinned(series: dict[str, Any], points: int) -> dict[str, Any]:
    """At most `points` of a series: both ends, and lowest and highest of equal parts of the rest; always the same."""
    values: list[float | None] = series["values"]
    if len(values) <= points:
        return series
    kept, parts, inner = {0, len(values) - 1}, max(1, (points - 2) // 2), len(values) - 2
    for part in range(parts if points > 3 else 0):
        indices = range(1 + part * inner // parts, 1 + (part + 1) * inner // parts)
        known = [i for i in indices if values[i] is not None]
        if known:
            kept |= {min(known, key=lambda i: (values[i], i)), max(known, key=lambda i: (values[i], -i))}
    order = sorted(kept)
    return {**series, "steps": [series["steps"][i] for i in order], "values": [values[i] for i in order]}


@router.get(
    "/experiments/{experiment_id}/metrics",
    response_model=Metrics,
    responses=FORMS_TOLD | UNCHANGED,
)
def metrics(
    request: Request,
    experiment_id: str,
    metric: Annotated[list[str], Query()] = [],  # noqa: B006 (FastAPI copies it)
    layer: Annotated[list[str], Query()] = [],  # noqa: B006
    seed: Annotated[list[Annotated[int, Query(ge=0, lt=2**63)]], Query()] = [],  # noqa: B006
    since: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    max_points: Annotated[int | None, Query(ge=2)] = None,
    format: Literal["json", "csv", "ndjson", "parquet"] = "json",  # noqa: A002 (the interface's name)
) -> Response:
    """`since` is an earlier answer's `next`; `max_points` thins each series and keeps its ends and extremes."""
    with reading() as session:
        row = find(session, experiment_id)
        tag = Tag(request, state_of(row))
        if tag.is_known:
            return tag.unchanged()
        series, following = load(session, experiment_id, since, metric, layer, seed)
    if max_points is not None:
        series = [thinned(one, max_points) for one in series]
    if format == "json":
        body = {"experiment_id": experiment_id, "status": row.status, "series": series, "next": following}
        return tag.on(Response(orjson.dumps(body), media_type="application/json"))
    headers = {"Content-Disposition": f'attachment; filename="{experiment_id}.{format}"'}
    content, kind = _FORMATS[format](series)
    return tag.on(Response(content, media_type=kind, headers=headers))


def _points(series: list[dict[str, Any]]) -> list[Point]:
    return [
        (one["metric"], one["layer"], one["seed"], step, value)
        for one in series
        for step, value in zip(one["steps"], one["values"], strict=True)
    ]


def as_csv(series: list[dict[str, Any]]) -> tuple[bytes, str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_points(series))
    return text.getvalue().encode(), "text/csv"


def as_ndjson(series: list[dict[str, Any]]) -> tuple[bytes, str]:
    lines = [orjson.dumps(dict(zip(COLUMNS, point, strict=True))) for point in _points(series)]
    return b"".join(line + b"\n" for line in lines), "application/x-ndjson"


def as_parquet(series: list[dict[str, Any]]) -> tuple[bytes, str]:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table_of(_points(series)), sink)
    return sink.getvalue(), "application/vnd.apache.parquet"


def table_of(points: Sequence[Point]) -> pa.Table:
    """An Arrow table of the points, of the same types whatever they are."""
    import pyarrow as pa

    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.float64())
    arrays = [pa.array([point[i] for point in points], kind) for i, kind in enumerate(kinds)]
    return pa.table(arrays, names=list(COLUMNS))


_FORMATS = {"csv": as_csv, "ndjson": as_ndjson, "parquet": as_parquet}
