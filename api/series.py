"""/experiments/{id}/metrics: what was measured, as series, whole or in part, in the form that is asked for."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.db import reading
from api.errors import PROBLEMS
from api.experiments import find
from api.tables import MeasurementRow

router = APIRouter(tags=["metrics"], responses=PROBLEMS)


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
) -> tuple[list[dict[str, Any]], int]:
    """Series in the order of their first measurement, steps ascending, and the last `seq`; filters: empty means all.

    The layer "" stands for the metrics that have none.
    """
    columns = (MeasurementRow.seed, MeasurementRow.step, MeasurementRow.seq, MeasurementRow.values)
    query = select(*columns).where(MeasurementRow.experiment_id == experiment_id, MeasurementRow.seq > since)
    if seeds:
        query = query.where(MeasurementRow.seed.in_(seeds))
    rows = session.execute(query.order_by(MeasurementRow.step, MeasurementRow.seed)).all()
    found: dict[tuple[int, str], tuple[list[int], list[float | None]]] = {}
    wanted: dict[str, bool] = {}
    for seed, step, _, values in rows:
        for name, value in values.items():
            if name not in wanted:
                metric, _, layer = name.partition(" ")
                wanted[name] = (not metrics or metric in metrics) and (not layers or layer in layers)
            if wanted[name]:
                steps, numbers = found.setdefault((seed, name), ([], []))
                steps.append(step)
                numbers.append(value)
    series = []
    for (seed, name), (steps, numbers) in found.items():
        metric, _, layer = name.partition(" ")
        series.append({"metric": metric, "layer": layer or None, "seed": seed, "steps": steps, "values": numbers})
    return series, max((row.seq for row in rows), default=since)


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
    responses={200: {"content": {"text/csv": {}, "application/x-ndjson": {}, "application/vnd.apache.parquet": {}}}},
)
def metrics(
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
        status = find(session, experiment_id).status
        series, following = load(session, experiment_id, since, metric, layer, seed)
    if max_points is not None:
        series = [thinned(one, max_points) for one in series]
    if format == "json":
        body = {"experiment_id": experiment_id, "status": status, "series": series, "next": following}
        return Response(orjson.dumps(body), media_type="application/json")
    headers = {"Content-Disposition": f'attachment; filename="{experiment_id}.{format}"'}
    content, kind = _FORMATS[format](series)
    return Response(content, media_type=kind, headers=headers)


COLUMNS = ("metric", "layer", "seed", "step", "value")


def _points(series: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
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
    import pyarrow as pa
    import pyarrow.parquet as pq

    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.float64())
    points = _points(series)
    arrays = [pa.array([point[i] for point in points], kind) for i, kind in enumerate(kinds)]
    sink = io.BytesIO()
    pq.write_table(pa.table(arrays, names=list(COLUMNS)), sink)
    return sink.getvalue(), "application/vnd.apache.parquet"


_FORMATS = {"csv": as_csv, "ndjson": as_ndjson, "parquet": as_parquet}
