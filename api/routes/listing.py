"""GET /experiments: the list, a page at a time."""

from __future__ import annotations

import base64
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response
from pydantic import BaseModel
from sqlalchemy import JSON, ColumnElement, RowMapping, String, Text, cast, func, select, tuple_
from sqlalchemy.orm import Session

from api.database.sessions import reading
from api.database.tables import Experiment
from api.shown import ExperimentOut, Progress
from api.web.errors import PROBLEMS, refused

router = APIRouter(tags=["experiments"], responses=PROBLEMS)
MAX_PAGE = 200
OWN = {name: getattr(Experiment, name) for name in ExperimentOut.model_fields if name != "progress"}
AS_JSON = [name for name, column in OWN.items() if isinstance(column.type, JSON)]
COLUMNS = [
    *(cast(column, Text).label(name) if name in AS_JSON else column for name, column in OWN.items()),
    *(getattr(Experiment, name) for name in Progress.model_fields),
]
"""Specs and results go from the database to the answer as text: to parse and write them again is most of the work."""


class Page(BaseModel):
    items: list[ExperimentOut]
    next_cursor: str | None


@router.get("/experiments", response_model=Page)
def index(
    status: Literal["queued", "running", "succeeded", "failed", "cancelled"] | None = None,
    tag: str | None = None,
    kind: str | None = None,
    q: str | None = None,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = 50,
    cursor: str | None = None,
) -> Response:
    """Newest first. `q` is looked for in the name; `cursor` is an earlier answer's `next_cursor`."""
    query = select(*COLUMNS).order_by(Experiment.created_at.desc(), Experiment.id.desc()).limit(limit + 1)
    if status is not None:
        query = query.where(Experiment.status == status)
    if kind is not None:
        query = query.where(Experiment.kind == kind)
    if q:
        query = query.where(Experiment.name.icontains(q, autoescape=True))
    if cursor is not None:
        query = query.where(tuple_(Experiment.created_at, Experiment.id) < _position(cursor))
    with reading() as session:
        if tag is not None:
            query = query.where(_has_tag(session, tag))
        rows = session.execute(query).mappings().all()
    more = len(rows) > limit
    rows = rows[:limit]
    page = {"items": [_shown(row) for row in rows], "next_cursor": _cursor(rows[-1]) if more else None}
    return Response(orjson.dumps(page, option=orjson.OPT_UTC_Z), media_type="application/json")


def _shown(row: RowMapping) -> dict[str, Any]:
    """An ExperimentOut, its fields in the same order."""
    item: dict[str, Any] = {name: row[name] for name in OWN}
    for name in AS_JSON:
        item[name] = None if item[name] is None else orjson.Fragment(item[name])
    item["progress"] = {name: row[name] for name in Progress.model_fields}
    return {name: item[name] for name in ExperimentOut.model_fields}


def _has_tag(session: Session, tag: str) -> ColumnElement[bool]:
    """Looks for the tag as JSON text, quotes included, in the column's text: exact, and the same on both databases."""
    find = func.strpos if session.get_bind().dialect.name == "postgresql" else func.instr
    return find(cast(Experiment.tags, String), orjson.dumps(tag).decode()) > 0


def _cursor(row: RowMapping) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([row["created_at"].isoformat(), row["id"]])).decode()


def _position(cursor: str) -> tuple[datetime, str]:
    try:
        moment, experiment_id = orjson.loads(base64.urlsafe_b64decode(cursor))
        return datetime.fromisoformat(moment), str(experiment_id).replace("\0", "")  # PostgreSQL takes no NUL
    except (ValueError, TypeError):
        raise refused("cursor", f"must be the next_cursor of an earlier answer; got {cursor[:80]!r}") from None
