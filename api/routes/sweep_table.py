"""GET /sweeps: how far each is, and the final metrics of one beside what is predicted, as a table."""

from __future__ import annotations

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
from api.database.sweeps import ALL, Advance, Combination, Selection, advances, count, first_succeeded, rows_of
from api.database.tables import Sweep
from api.routes.sweep_selection import Columns, selection_of
from api.shown import find_sweep
from api.web.errors import PROBLEMS
from api.web.etag import UNCHANGED, Tag
from api.web.pages import READ_ROWS, cursor_of, page, position
from api.web.parameters import Layers, Metrics
from ncore.kinds.fields import Plain
from ncore.outcome import AsStored, Verdict
from ncore.series import PARQUET, csv_lines, metric_and_layer, parquet_of
from ncore.status import Status
from ncore.sweeps.summary import COLUMNS, Summary, best_of, depth, name_of

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)
MAX_PAGE = 2000
LEVEL_TEXTS = ("metric", "layer", "predicted_name")
FILE_ROWS = 500
"""Combinations that are read at once for a file, so that a large sweep needs no more memory than a small one."""


class Level(BaseModel):
    """A metric at the end over the seeds; `predicted` where the theory knows it.

    `predicted_name`: what that value is called in pictures, "f*" for a proven minimum only. `best_known`: an upper
    bound where no minimum is proven, or the predicted one is not it.
    """

    metric: str
    layer: str | None
    mean: float | None
    low: float | None
    high: float | None
    median: float | None
    predicted: float | None
    predicted_name: str | None = None
    best_known: float | None = None


class Item(BaseModel):
    """One combination. `metrics` is empty until it has succeeded."""

    experiment: str
    status: str
    index: int
    point: dict[str, Any]
    metrics: list[Level]
    verdict: Annotated[list[Verdict], AsStored(list[Verdict])]


class SweepShort(BaseModel):
    """`statuses`: how many experiments are in each; `progress`: the share of all steps that has been done.

    `refining`: more experiments are added when those that are there have ended.
    """

    id: str
    name: str
    created_at: datetime
    axes: dict[str, list[Any]]
    total: int
    refining: bool
    statuses: dict[str, int]
    progress: float


class SweepOut(SweepShort):
    """`measured`: {metric: its layers} to choose from, an empty one where the metric exists without a layer too;
    `items` in the order asked for, by default that of the axes, the last one fastest. `request` is how it was asked
    for; `selected` how many combinations the filters let through."""

    base: dict[str, Any]
    request: dict[str, Any] | None
    measured: dict[str, list[str]]
    selected: int
    items: list[Item]
    next_offset: int | None = None
    """The `offset` of the next page; null at the end."""


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
    columns = (Sweep.id, Sweep.name, Sweep.created_at, Sweep.axes, Sweep.total, Sweep.refining)
    query = select(*columns).order_by(Sweep.created_at.desc(), Sweep.id.desc()).limit(limit + 1)
    if cursor is not None:
        query = query.where(tuple_(Sweep.created_at, Sweep.id) < position(cursor))
    with reading() as session:
        found = session.execute(query.execution_options(yield_per=READ_ROWS))
        rows, more = page(found, limit, lambda row: len(orjson.dumps(row.axes)))
        known = advances(session, [row.id for row in rows])
    items = [SweepShort(**_short(row, known[row.id])) for row in rows]
    return Sweeps(items=items, next_cursor=cursor_of(rows[-1].created_at, rows[-1].id) if more else None)


@router.get(
    "/sweeps/{sweep_id}",
    response_model=SweepOut,
    responses={200: {"content": {"text/csv": {}, PARQUET: {}}}, **UNCHANGED},
)
def get_sweep(
    request: Request,
    sweep_id: str,
    metric: Metrics = [],  # noqa: B006 (FastAPI copies it)
    layer: Layers = [],  # noqa: B006
    sort: Annotated[
        Annotated[str, Plain()] | None,
        Query(description="an axis, a metric (nc1.h1), verdict, gap, rank, status; with - in front downwards"),
    ] = None,
    where: Annotated[
        Annotated[str, Plain()] | None, Query(description="only these: nc1.h1 < 1e-6 and verdict = simplex_etf")
    ] = None,
    status: Annotated[Status | None, Query(description="only experiments of this status")] = None,
    offset: Annotated[int, Query(ge=0, lt=2**31, description="combinations that are passed over")] = 0,
    limit: Annotated[
        int | None, Query(ge=1, le=MAX_PAGE, description=f"without it {MAX_PAGE}, and in a file all")
    ] = None,
    format: Annotated[  # noqa: A002
        Literal["json", "csv", "parquet"], Query(description="a table in JSON, or a file")
    ] = "json",
) -> Any:
    """Progress and final metrics, one item a combination; `metric` and `layer` choose columns.

    A page of large results ends before `limit`; the next one begins at `next_offset`.
    """
    with reading() as session:
        sweep, advance, tag = load_with_tag(session, request, sweep_id)
        if tag.is_known:
            return tag.unchanged()
        selection = ALL
        if sort or where is not None or status:
            columns = Columns(sweep.axes, first_succeeded(session, sweep_id))
            selection = selection_of(columns, sort, where, status)
        table, until = _Table(sweep, metric, layer, selection), 2**31 if limit is None else offset + limit
        if format == "json":
            return tag.on(as_response(table.page(session, advance, offset, limit or MAX_PAGE)))
    lines = table.csv(offset, until) if format == "csv" else table.parquet(offset, until)
    return tag.on(StreamingResponse(lines, media_type="text/csv" if format == "csv" else PARQUET))


def first_page(sweep_id: str, status_code: int = 200) -> Response:
    """The answer that is the first page of the table, all metrics and layers. Raises the 404."""
    with reading() as session:
        sweep = find_sweep(session, sweep_id)
        content = _Table(sweep).page(session, advances(session, [sweep_id])[sweep_id], 0, MAX_PAGE)
    return as_response(content, status_code)


def as_response(content: dict[str, Any], status_code: int = 200) -> Response:
    """A page has tens of thousands of numbers: it is written as it is, without being checked against its schema."""
    body = orjson.dumps(content, option=orjson.OPT_UTC_Z)
    return Response(body, status_code, media_type="application/json")


def load_with_tag(session: Session, request: Request, sweep_id: str) -> tuple[Sweep, Advance, Tag]:
    """The row, how far it is, and the tag of that. Raises the 404."""
    sweep = find_sweep(session, sweep_id)
    advance = advances(session, [sweep_id])[sweep_id]
    return sweep, advance, Tag(request, advance.changes, sweep.refining)


def _short(sweep: Any, advance: Advance) -> dict[str, Any]:
    own = {name: getattr(sweep, name) for name in ("id", "name", "created_at", "axes", "total", "refining")}
    return {**own, "statuses": advance.statuses, "progress": advance.progress}


class _Table:
    """Some combinations of a sweep and some of their metrics, in an order: as a page of JSON or as a file."""

    def __init__(
        self,
        sweep: Sweep,
        metrics: Sequence[str] = (),
        layers: Sequence[str] = (),
        selection: Selection = ALL,
    ) -> None:
        self._sweep, self._metrics, self._layers, self._selection = sweep, metrics, layers, selection

    def page(self, session: Session, advance: Advance, offset: int, limit: int) -> dict[str, Any]:
        """The content of a SweepOut."""
        sweep = self._sweep
        selected = sum(advance.statuses.values())
        if self._selection.where:
            selected = count(session, sweep.id, self._selection)
        rows = rows_of(session, sweep.id, offset, limit + 1, self._selection)
        kept, more = page(((row, self._item(row)) for row in rows), limit, lambda pair: len(orjson.dumps(pair[1])))
        summaries = [row.summary for row, _ in kept if row.summary is not None]
        if not summaries and "succeeded" in advance.statuses:
            summaries = [first_succeeded(session, sweep.id) or {}]
        return {
            **_short(sweep, advance),
            "base": sweep.base,
            "request": sweep.request,
            "measured": measured(summaries),
            "selected": selected,
            "items": [item for _, item in kept],
            "next_offset": offset + len(kept) if more else None,
        }

    def csv(self, offset: int, until: int) -> Iterator[str]:
        """A row a combination and metric, the axes in front."""
        yield csv_lines([[*self._sweep.axes, "experiment", "status", *Level.model_fields]])
        for items in self._parts(offset, until):
            yield csv_lines(cells for item in items for cells in _cells(item))

    def parquet(self, offset: int, until: int) -> Iterator[bytes]:
        """The same; an axis is a column of numbers where all its values are, else of JSON."""
        axes = self._sweep.axes
        columns = Columns(axes, None)
        kinds = {path: float if columns.is_number(path) else str for path in axes}
        texts = dict.fromkeys(("experiment", "status"), str)
        levels = {name: str if name in LEVEL_TEXTS else float for name in Level.model_fields}
        parts = ([cells for item in items for cells in _cells(item)] for items in self._parts(offset, until))
        return parquet_of({**kinds, **texts, **levels}, parts)

    def _parts(self, offset: int, until: int) -> Iterator[list[dict[str, Any]]]:
        """The items, some at a time; no session is held while the reader takes its time."""
        while offset < until:
            with reading() as session:
                rows = rows_of(session, self._sweep.id, offset, min(FILE_ROWS, until - offset), self._selection)
                items = list(map(self._item, rows))
            if not items:
                return
            yield items
            offset += len(items)

    def _item(self, row: Combination) -> dict[str, Any]:
        """A line of the table, as Item says."""
        summary: Mapping[str, Any] = row.summary or {}
        return {
            "experiment": row.id,
            "status": row.status,
            "index": row.number,
            "point": {path: row.point.get(path) for path in self._sweep.axes},
            "metrics": [
                _level(summary, metric, layer, values)
                for key, values in summary.get("levels", {}).items()
                for metric, layer in [metric_and_layer(key)]
                if self._is_chosen(metric, layer)
            ],
            "verdict": summary.get("verdict", []),
        }

    def _is_chosen(self, metric: str, layer: str | None) -> bool:
        layers = self._layers
        return (not self._metrics or metric in self._metrics) and (not layers or (layer or "") in layers)


def _level(
    summary: Mapping[str, Any], metric: str, layer: str | None, values: Sequence[float | None]
) -> dict[str, Any]:
    """As Level says."""
    known = dict(zip(COLUMNS, values, strict=True))
    name = None if known["predicted"] is None else name_of(summary, metric)
    best = best_of(summary, metric)
    return {"metric": metric, "layer": layer, **known, "predicted_name": name, "best_known": best}


def measured(summaries: Iterable[Summary]) -> dict[str, list[str]]:
    """{metric: its layers} of what has been measured at the end, in the order of the forward pass; the first of them is
    empty where the metric exists without a layer too."""
    keys = dict.fromkeys(metric_and_layer(key) for one in summaries for key in one.get("levels", {}))
    found: dict[str, list[str]] = {}
    for metric, layer in sorted(keys, key=depth):
        found.setdefault(metric, []).append(layer or "")
    return {metric: [] if layers == [""] else sorted(layers, key=bool) for metric, layers in found.items()}


def _cells(item: Mapping[str, Any]) -> list[list[Any]]:
    front, empty = [*item["point"].values(), item["experiment"], item["status"]], [None] * len(Level.model_fields)
    return [[*front, *level.values()] for level in item["metrics"]] or [[*front, *empty]]
