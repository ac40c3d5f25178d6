"""GET /experiments: the list, a page at a time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlalchemy import JSON, ColumnElement, RowMapping, Text, cast, func, select, tuple_
from sqlalchemy.orm import Session

from api.database.names import folded
from api.database.parts import VISIBLE
from api.database.sessions import reading
from api.database.tables import Experiment
from api.shown import ExperimentOut, Progress, Result
from api.web.errors import PROBLEMS
from api.web.pages import READ_ROWS, cursor_of, page, position
from ncore.status import Status

router = APIRouter(tags=["experiments"], responses=PROBLEMS)
MAX_PAGE = 200
Column = Literal[
    "name", "tags", "status", "spec", "created_at", "started_at", "finished_at",
    "progress", "attempt", "worker", "device", "error", "result",
]  # fmt: skip
OWN = {name: getattr(Experiment, name) for name in ExperimentOut.model_fields if name != "progress"}
AS_JSON = [name for name, column in OWN.items() if isinstance(column.type, JSON)]
READ = {name: cast(column, Text).label(name) if name in AS_JSON else column for name, column in OWN.items()}
"""Specs and results go from the database to the answer as text: to parse and write them again is most of the work."""
ALWAYS = [Experiment.created_at.label("at"), *(getattr(Experiment, name) for name in Progress.model_fields)]


class ExperimentPart(BaseModel):
    """An experiment of which only the columns that were asked for are told."""

    id: str
    name: str | None = None
    tags: list[str] | None = None
    status: Status | None = None
    spec: dict[str, Any] | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    progress: Progress | None = None
    attempt: int | None = None
    worker: str | None = None
    device: str | None = None
    error: str | None = None
    result: Result | None = None


class Page(BaseModel):
    """`next_cursor` is null at the end of the list; a page of large experiments ends before `limit`."""

    items: list[ExperimentOut | ExperimentPart]
    next_cursor: str | None


@router.get("/experiments", response_model=Page)
def list_experiments(
    status: Annotated[Status | None, Query(description="only those in this state")] = None,
    tag: Annotated[str | None, Query(description="only those with exactly this tag")] = None,
    kind: Annotated[str | None, Query(description="only models of this kind: ufm, resnet, mlp, convnet")] = None,
    q: Annotated[str | None, Query(description="looked for in the name, in capital or small letters")] = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="most items of a page")] = 50,
    cursor: Annotated[str | None, Query(description="an earlier answer's `next_cursor`")] = None,
    columns: Annotated[
        list[Column], Query(description="what to tell of each beside its id; everything unless given")
    ] = [],  # noqa: B006 (FastAPI copies it)
) -> Response:
    """Newest first. Without `spec` and `result` among the `columns` a page is small, whatever the experiments are."""
    shown = [name for name in ExperimentOut.model_fields if not columns or name in columns or name == "id"]
    query = select(*(READ[name] for name in shown if name in READ), *ALWAYS, READ["id"].label("key"))
    query = query.where(VISIBLE).order_by(Experiment.created_at.desc(), Experiment.id.desc()).limit(limit + 1)
    if status is not None:
        query = query.where(Experiment.status == status)
    if kind is not None:
        query = query.where(Experiment.kind == kind)
    if q:
        query = query.where(Experiment.search.contains(folded(q), autoescape=True))
    if cursor is not None:
        query = query.where(tuple_(Experiment.created_at, Experiment.id) < position(cursor))
    with reading() as session:
        if tag is not None:
            query = query.where(_has_tag(session, tag))
        found = session.execute(query.execution_options(yield_per=READ_ROWS)).mappings()
        rows, more = page(found, limit, _size)
    answer = {
        "items": [_shown(row, shown) for row in rows],
        "next_cursor": cursor_of(rows[-1]["at"], rows[-1]["key"]) if more else None,
    }
    return Response(orjson.dumps(answer, option=orjson.OPT_UTC_Z), media_type="application/json")


def _size(row: RowMapping) -> int:
    return sum(len(value) for value in row.values() if isinstance(value, str))


def _shown(row: RowMapping, names: list[str]) -> dict[str, Any]:
    """An ExperimentOut or a part of it, the fields in the same order."""
    item: dict[str, Any] = {}
    for name in names:
        if name == "progress":
            item[name] = {part: row[part] for part in Progress.model_fields}
        elif name in AS_JSON:
            item[name] = None if row[name] is None else orjson.Fragment(row[name])
        else:
            item[name] = row[name]
    return item


def _has_tag(session: Session, tag: str) -> ColumnElement[bool]:
    """Whether one of the texts in the list is the tag, as the database's own JSON functions read them."""
    is_postgresql = session.get_bind().dialect.name == "postgresql"
    read = func.json_array_elements_text if is_postgresql else func.json_each
    tags = read(Experiment.tags).table_valued("value", name="own_tags")
    return select(tags.c.value).where(tags.c.value == tag).correlate(Experiment).exists()
