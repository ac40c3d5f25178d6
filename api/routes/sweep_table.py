"""GET /sweeps: how far each is, and the final metrics of one beside what is predicted, as a table."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel
from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from api.database.sessions import reading
from api.database.sweeps import Advance, Row, advances, first_succeeded, rows_of
from api.database.tables import Sweep
from api.predictions import prediction_of
from api.shown import find_sweep
from api.web.errors import PROBLEMS
from api.web.etag import UNCHANGED, Tag
from api.web.pages import READ_ROWS, cursor_of, page, position
from api.web.parameters import Layers, Metrics
from ncore.pictures.sweep import Item, Level
from ncore.series import csv_lines
from ncore.theory.comparison import predicted_series

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)
MAX_PAGE = 2000
CSV_ROWS = 500
"""Combinations that are read at once for a CSV, so that a large sweep needs no more memory than a small one."""
UFM_LEVEL = re.compile(r"h(\d+)")
Key = tuple[str, str | None]


class SweepShort(BaseModel):
    """`statuses`: how many experiments are in each; `progress`: the share of all steps that has been done."""

    id: str
    name: str
    created_at: datetime
    axes: dict[str, list[Any]]
    total: int
    statuses: dict[str, int]
    progress: float


class SweepOut(SweepShort):
    """`measured`: {metric: its layers} to choose from; `items` in the order of the axes, the last one fastest."""

    base: dict[str, Any]
    measured: dict[str, list[str]]
    items: list[Item]
    next_offset: int | None = None
    """Of the combinations that come after these; null at the end."""


class Sweeps(BaseModel):
    """`next_cursor` is null at the end of the list; a page of large sweeps ends before `limit`."""

    items: list[SweepShort]
    next_cursor: str | None


@router.get("/sweeps", response_model=Sweeps)
def list_sweeps(
    limit: Annotated[int, Query(ge=1, le=200, description="most items of a page")] = 50,
    cursor: Annotated[str | None, Query(description="an earlier answer's `next_cursor`")] = None,
) -> Sweeps:
    """The newest first."""
    columns = (Sweep.id, Sweep.name, Sweep.created_at, Sweep.axes, Sweep.total)
    query = select(*columns).order_by(Sweep.created_at.desc(), Sweep.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(Sweep.created_at, Sweep.id) < position(cursor))
    with reading() as session:
        found = session.execute(query.execution_options(yield_per=READ_ROWS))
        rows, more = page(found, limit, lambda row: len(orjson.dumps(row.axes)))
        known = advances(session, [row.id for row in rows])
    items = [SweepShort(**_short(row, known[row.id])) for row in rows]
    return Sweeps(items=items, next_cursor=cursor_of(rows[-1].created_at, rows[-1].id) if more else None)


@router.get("/sweeps/{sweep_id}", response_model=SweepOut, responses={200: {"content": {"text/csv": {}}}, **UNCHANGED})
def get_sweep(
    request: Request,
    response: Response,
    sweep_id: str,
    metric: Metrics = [],  # noqa: B006 (FastAPI copies it)
    layer: Layers = [],  # noqa: B006
    offset: Annotated[int, Query(ge=0, lt=2**31, description="combinations that are passed over")] = 0,
    limit: Annotated[
        int | None, Query(ge=1, le=MAX_PAGE, description=f"without it {MAX_PAGE}, and in a CSV all")
    ] = None,
    format: Annotated[Literal["json", "csv"], Query(description="a table in JSON, or a file")] = "json",  # noqa: A002
) -> Any:
    """Progress and final metrics, one item a combination; `metric` and `layer` choose columns.

    A page of large results ends before `limit`; the next one begins at `next_offset`.
    """
    with reading() as session:
        sweep, advance, tag = look_up(session, request, sweep_id)
        if tag.is_known:
            return tag.unchanged()
        if format == "json":
            tag.on(response)
            return _table(session, sweep, advance, metric, layer, offset, limit or MAX_PAGE)
    until = sweep.total if limit is None else min(sweep.total, offset + limit)
    lines = _csv(sweep, metric, layer, range(offset, until, CSV_ROWS), until)
    return tag.on(StreamingResponse(lines, media_type="text/csv"))


def look(sweep_id: str) -> SweepOut:
    """The first page of the table, all metrics and layers. Raises the 404."""
    with reading() as session:
        sweep = find_sweep(session, sweep_id)
        return _table(session, sweep, advances(session, [sweep_id])[sweep_id], [], [], 0, MAX_PAGE)


def look_up(session: Session, request: Request, sweep_id: str) -> tuple[Sweep, Advance, Tag]:
    """The row, how far it is, and the tag of that. Raises the 404."""
    sweep = find_sweep(session, sweep_id)
    advance = advances(session, [sweep_id])[sweep_id]
    return sweep, advance, Tag(request, advance.changes)


def _short(sweep: Any, advance: Advance) -> dict[str, Any]:
    own = {name: getattr(sweep, name) for name in ("id", "name", "created_at", "axes", "total")}
    return {**own, "statuses": advance.statuses, "progress": advance.progress}


def _table(
    session: Session,
    sweep: Sweep,
    advance: Advance,
    metrics: Sequence[str],
    layers: Sequence[str],
    offset: int,
    limit: int,
) -> SweepOut:
    rows = rows_of(session, sweep.id, offset, limit + 1)
    made = ((item_of(row, sweep.axes, metrics, layers), measured([row])) for row in rows)
    kept, more = page(made, limit, lambda pair: len(pair[0].model_dump_json()))
    found = _union(known for _, known in kept)
    if not found and "succeeded" in advance.statuses:
        found = measured(first_succeeded(session, sweep.id))
    return SweepOut(
        **_short(sweep, advance),
        base=sweep.base,
        measured=found,
        items=[item for item, _ in kept],
        next_offset=offset + len(kept) if more else None,
    )


def measured(rows: Iterable[Row]) -> dict[str, list[str]]:
    """{metric: its layers} of what has succeeded; all seeds have the same."""
    finals = [(row.result or {}).get("final", [])[:1] for row in rows]
    keys = dict.fromkeys((one["metric"], one["layer"]) for final in finals for seed in final for one in seed["metrics"])
    return _by_metric(keys)


def _by_metric(keys: Iterable[Key]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for metric, layer in sorted(keys, key=_depth):
        found.setdefault(metric, []).extend([] if layer is None else [layer])
    return found


def _union(several: Iterable[dict[str, list[str]]]) -> dict[str, list[str]]:
    keys: dict[Key, None] = {}
    for one in several:
        for metric, layers in one.items():
            keys.update({(metric, layer): None for layer in layers} if layers else {(metric, None): None})
    return _by_metric(keys)


def _depth(key: Key) -> int:
    """Puts the levels in the order of the forward pass: those of a UFM are measured from the last one on."""
    level = UFM_LEVEL.fullmatch(key[1] or "")
    return int(level[1]) if level else 0


def item_of(
    row: Row, axes: Mapping[str, Any], metrics: Sequence[str], layers: Sequence[str], predicted: bool = True
) -> Item:
    """A line of the table; without `predicted`, which takes most of the time, all predictions are left out."""
    result = row.result or {}
    values = _values(result, metrics, layers)
    known = predicted_series(prediction_of(row.spec)) if values and predicted else {}
    point = {path: at(row.spec, path) for path in axes}
    levels = [_level(*key, values[key], known.get(key)) for key in sorted(values, key=_depth)]
    return Item(experiment=row.id, status=row.status, point=point, metrics=levels, verdict=result.get("verdict", []))


def at(spec: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path."""
    value: Any = spec
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _values(result: Mapping[str, Any], metrics: Sequence[str], layers: Sequence[str]) -> dict[Key, list[float]]:
    """{(metric, layer): a value for each seed where it is defined}."""
    found: dict[Key, list[float]] = {}
    for seed in result.get("final", []):
        for one in seed["metrics"]:
            if (not metrics or one["metric"] in metrics) and (not layers or one["layer"] in layers):
                values = found.setdefault((one["metric"], one["layer"]), [])
                if one["value"] is not None:
                    values.append(one["value"])
    return found


def _level(metric: str, layer: str | None, values: Sequence[float], predicted: float | None) -> Level:
    mean = sum(values) / len(values) if values else None
    low, high = min(values, default=None), max(values, default=None)
    return Level(metric=metric, layer=layer, mean=mean, low=low, high=high, predicted=predicted)


def _csv(
    sweep: Sweep, metrics: Sequence[str], layers: Sequence[str], offsets: Iterable[int], until: int
) -> Iterator[str]:
    """A row a combination and metric, the axes in front."""
    yield csv_lines([[*sweep.axes, "experiment", "status", *Level.model_fields]])
    for offset in offsets:
        with reading() as session:  # none is held while the reader takes its time
            rows = list(rows_of(session, sweep.id, offset, min(CSV_ROWS, until - offset)))
        yield csv_lines(cells for row in rows for cells in _cells(item_of(row, sweep.axes, metrics, layers)))


def _cells(item: Item) -> list[list[Any]]:
    front, empty = [*item.point.values(), item.experiment, item.status], [None] * len(Level.model_fields)
    return [[*front, *level.model_dump().values()] for level in item.metrics] or [[*front, *empty]]
