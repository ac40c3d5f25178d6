"""/experiments/{id}/logs: what happened to an experiment, one line an event."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel
from sqlalchemy import select

from api.database.sessions import reading
from api.database.tables import LogLine
from api.shown import find
from api.web.errors import PROBLEMS
from api.web.pages import READ_ROWS, page

router = APIRouter(tags=["experiments"], responses=PROBLEMS)
MAX_LINES = 1000


class Line(BaseModel):
    """`event`: submitted, started, given back, worker lost, cancel asked for, retry asked for, or how it ended."""

    id: int
    at: datetime
    level: str
    event: str
    attempt: int
    worker: str | None
    detail: str | None


class Lines(BaseModel):
    items: list[Line]
    next: int
    """The `since` of the next call."""


@router.get("/experiments/{experiment_id}/logs", response_model=Lines)
def get_logs(
    experiment_id: str,
    since: Annotated[int, Query(ge=0, lt=2**63, description="an earlier answer's `next`")] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_LINES, description="most lines of an answer")] = MAX_LINES,
) -> Lines:
    """The lines in the order in which they were written; `since` is an earlier answer's `next`.

    Long ones end an answer before `limit`: what comes after the last line is asked for in turn.
    """
    query = select(LogLine).where(LogLine.experiment_id == experiment_id, LogLine.id > since)
    with reading() as session:
        find(session, experiment_id)
        found = session.scalars(query.order_by(LogLine.id).limit(limit + 1).execution_options(yield_per=READ_ROWS))
        rows, _ = page(found, limit, lambda row: len(row.detail or ""))
    items = [Line(**{name: getattr(row, name) for name in Line.model_fields}) for row in rows]
    return Lines(items=items, next=rows[-1].id if rows else since)
