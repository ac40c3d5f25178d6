"""GET /experiments: the list, a page at a time; GET /fields: what it can be asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Depends, Query, Response
from pydantic import BaseModel
from sqlalchemy import JSON, RowMapping, Select, Text, cast, select
from sqlalchemy.orm import Session

from api.database.columns import Columns
from api.database.conditions import condition_of, has_tag, names_of
from api.database.curves import sparks
from api.database.fields import Fields
from api.database.names import folded
from api.database.ordering import DEFAULT, Order, order_of
from api.database.parts import VISIBLE
from api.database.sessions import reading
from api.database.tables import Experiment
from api.shown import ExperimentOut, Progress, Result
from api.web.errors import PROBLEMS, refused
from api.web.pages import READ_ROWS, cursor_at, foreign, page, place_of
from api.web.parameters import MAX_CHOSEN
from ncore.query import MAX_LENGTH, QueryError, parse
from ncore.status import Status

router = APIRouter(tags=["experiments"], responses=PROBLEMS)
MAX_PAGE = 200
MAX_CURSOR = 4000
"""Characters: a cursor holds the value that is sorted by."""
CURVE = "curve"
OWN = {name: getattr(Experiment, name) for name in ExperimentOut.model_fields if name != "progress"}
AS_JSON = [name for name, column in OWN.items() if isinstance(column.type, JSON)]
READ = {name: cast(column, Text).label(name) if name in AS_JSON else column for name, column in OWN.items()}
"""Specs and results go from the database to the answer as text: to parse and write them again is most of the work."""
PROGRESS = [getattr(Experiment, name) for name in Progress.model_fields]


class Curve(BaseModel):
    """NC1 of the last layer, in a few points of one seed."""

    steps: list[int]
    values: list[float | None]


class ExperimentPart(BaseModel):
    """An experiment with the requested columns only; `values` holds those that are fields of queries."""

    id: str
    name: str | None = None
    tags: list[str] | None = None
    status: Status | None = None
    source: Literal["service", "external"] | None = None
    spec: dict[str, Any] | None = None
    created_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    updated_at: datetime | None = None
    progress: Progress | None = None
    attempt: int | None = None
    worker: str | None = None
    device: str | None = None
    error: str | None = None
    result: Result | None = None
    sweep_id: str | None = None
    priority: int | None = None
    notes: str | None = None
    archived: bool | None = None
    curve: Curve | None = None
    values: dict[str, datetime | float | str | list[str] | None] | None = None


class Page(BaseModel):
    """`next_cursor` is null at the end of the list; a page of large experiments ends before `limit`."""

    items: list[ExperimentOut | ExperimentPart]
    next_cursor: str | None


class Filter:
    """The parameters of the list that choose experiments."""

    def __init__(
        self,
        status: Annotated[Status | None, Query(description="only those in this state")] = None,
        tag: Annotated[str | None, Query(description="only those with exactly this tag")] = None,
        kind: Annotated[
            str | None, Query(description="only models of this kind: ufm, external, resnet, torchvision …")
        ] = None,
        q: Annotated[str | None, Query(description="looked for in the name, in capital or small letters")] = None,
        where: Annotated[
            str, Query(max_length=MAX_LENGTH, description="a query: nc1.h1 < 1e-6 and tag:paper and not kind:ufm")
        ] = "",
        archived: Annotated[
            bool, Query(description="archived ones too, which are hidden unless `where` names them")
        ] = False,
    ) -> None:
        self._exactly = {"status": status, "kind": kind}
        self._tag, self._q, self._where, self._archived = tag, q, where, archived

    def chosen(self, session: Session) -> Select[str]:
        """The experiments. Raises the 422 of `where`."""
        query = select(Experiment.id).where(VISIBLE)
        with fault_of_query("where"):
            tree = parse(self._where)
            if tree is not None:
                query = query.where(condition_of(session, tree))
        if not self._archived and (tree is None or "archived" not in names_of(tree)):
            query = query.where(Experiment.archived.is_(False))
        if self._tag is not None:
            query = query.where(has_tag(session.get_bind().dialect.name == "postgresql", self._tag))
        if self._q:
            query = query.where(Experiment.search.contains(folded(self._q), autoescape=True))
        return query.filter_by(**{name: value for name, value in self._exactly.items() if value is not None})


@contextmanager
def fault_of_query(parameter: str) -> Iterator[None]:
    """Raises the 422 of this parameter where a query cannot be understood."""
    try:
        yield
    except QueryError as error:
        raise refused(parameter, str(error)) from None


@router.get("/experiments", response_model=Page)
def list_experiments(
    filters: Annotated[Filter, Depends()],
    sort: Annotated[str, Query(description="a field of queries, falling with a minus before it")] = DEFAULT,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE, description="most items of a page")] = 50,
    cursor: Annotated[str | None, Query(max_length=MAX_CURSOR, description="an earlier answer's `next_cursor`")] = None,
    columns: Annotated[
        list[str],
        Query(
            max_length=MAX_CHOSEN,
            description="the columns of each beside its id: its own fields, fields of queries, `curve` (NC1 in a "
            "few points); all of its own fields unless given",
        ),
    ] = [],  # noqa: B006 (FastAPI copies it)
) -> Response:
    """Newest first, or as `sort` says. Without `spec`, `result` and `notes` among the `columns` a page is small."""
    own = [name for name in ExperimentOut.model_fields if not columns or name in columns or name == "id"]
    with reading() as session:
        with fault_of_query("columns"):
            others = Columns(session, [name for name in columns if name not in (*own, CURVE)])
        with fault_of_query("sort"):
            order = order_of(session, sort)
        after = None if cursor is None else place_of(cursor, sort)
        if cursor is not None and after is not None and not order.takes(after[0]):
            raise foreign(cursor)
        places = order.first(filters.chosen(session), limit + 1, after)
        read = [*(READ[name] for name in own if name in READ), *others.selected()]
        with session.execute(_read(places, order, read)) as found:
            rows, more = page(found.mappings(), limit, _size)
        items = [_shown(row, own) for row in rows]
        if columns:
            for item, values in zip(items, others.values(rows), strict=True):
                item.update({"values": values} if values else {})
        if CURVE in columns:
            drawn = sparks(session, [row["key"] for row in rows])
            for item in items:
                item[CURVE] = drawn.get(item["id"])
    last = rows[-1] if more else None
    next_cursor = None if last is None else cursor_at(sort, last["by"], last["at"], last["key"])
    answer = {"items": items, "next_cursor": next_cursor}
    return Response(orjson.dumps(answer, option=orjson.OPT_UTC_Z), media_type="application/json")


def _read(places: Any, order: Order, columns: list[Any]) -> Select[Any]:
    """Reads the columns of the page's rows; the rows themselves are found and sorted without them."""
    more = (places.c.created.label("at"), Experiment.id.label("key"), places.c.value.label("by"), *PROGRESS)
    query = select(*columns, *more).join(places, places.c.id == Experiment.id)
    query = query.order_by(*order.terms(places.c.value, places.c.created, places.c.id))
    return query.execution_options(yield_per=READ_ROWS)


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


class FieldOut(BaseModel):
    """A field of queries; `differs` says of a parameter whether experiments have different values of it."""

    name: str
    kind: str
    differs: bool | None = None


class FieldList(BaseModel):
    items: list[FieldOut]


@router.get("/fields")
def list_fields() -> FieldList:
    """The names that `where`, `sort` and `columns` know: own fields of an experiment, parameters, final values."""
    with reading() as session:
        fields = Fields(session)
        own = [FieldOut(name=field.name, kind=field.kind) for field in fields.own.values()]
        facts = [FieldOut(name=name, kind="fact", differs=fields.differs(name)) for name in fields.stored()]
    return FieldList(items=[*own, *facts])
