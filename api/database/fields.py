"""The fields that queries, columns and the order of the list know: of an experiment's own row, and its facts.

A fact's name is `config.PATH` (a leaf of the spec) or `final.METRIC[.LAYER]`; both may be written without the prefix
where that leaves no doubt. Which names there are is asked of the database, and of the spec's own schema, so that a
parameter that nobody has set yet is known too.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, Float, Select, case, cast, func, select
from sqlalchemy.orm import Session

from api.database.clock import from_now
from api.database.facts import CONFIG, FINAL, OWN_COLUMNS
from api.database.tables import Experiment, Fact
from ncore.pictures.panels import PANELS
from ncore.query import Token
from ncore.spec import ExperimentSpec

Kind = Literal["text", "status", "tags", "number", "seconds", "time", "flag", "fact"]
NEAR = 5
"""Names that are offered for one that is unknown."""
FACTS = ("verdict", "seeds")
"""Facts that have neither prefix."""
_LEVEL = re.compile(r"h[1-9]\d?", re.ASCII)
_SCHEMA_DEPTH = 6


@dataclass(frozen=True)
class Field:
    """A field by its full name. `column` is of the experiment's row; None of a fact."""

    name: str
    kind: Kind
    column: ColumnElement[Any] | None = None

    @property
    def is_fact(self) -> bool:
        return self.column is None


def own_fields(dialect: str) -> dict[str, Field]:
    """The row's own fields, by name. Integers are compared as floats: PostgreSQL would round the value asked for."""
    fields = [
        Field("id", "text", Experiment.id.expression),
        Field("name", "text", Experiment.name.expression),
        Field("kind", "text", Experiment.kind.expression),
        Field("worker", "text", Experiment.worker.expression),
        Field("device", "text", Experiment.device.expression),
        Field("sweep", "text", Experiment.sweep_id.expression),
        Field("notes", "text", Experiment.notes.expression),
        Field("error", "text", Experiment.error.expression),
        Field("status", "status", Experiment.status.expression),
        Field("tag", "tags", Experiment.tags.expression),
        Field("priority", "number", cast(Experiment.priority, Float)),
        Field("attempt", "number", cast(Experiment.attempt, Float)),
        Field("step", "number", cast(Experiment.step, Float)),
        Field("progress", "number", _progress()),
        Field("duration", "seconds", seconds_between(dialect, Experiment.started_at, _end())),
        Field("created", "time", Experiment.created_at.expression),
        Field("started", "time", Experiment.started_at.expression),
        Field("finished", "time", Experiment.finished_at.expression),
        Field("updated", "time", Experiment.updated_at.expression),
        Field("archived", "flag", Experiment.archived.expression),
    ]
    return {field.name: field for field in fields}


ALIASES = {
    **{f"{name}_at": name for name in ("created", "started", "finished", "updated")},
    "submitted": "created",
    "tags": "tag",
    "sweep_id": "sweep",
}
"""Other names: those that an answer has, and that the dashboard shows."""


def _progress() -> ColumnElement[float]:
    return case((Experiment.total > 0, cast(Experiment.step, Float) / Experiment.total), else_=0.0)


def _end() -> ColumnElement[Any]:
    return func.coalesce(Experiment.finished_at, from_now())


def seconds_between(dialect: str, start: Any, end: Any) -> ColumnElement[Any]:
    """Seconds from one moment to another, null where one of them is."""
    if dialect == "postgresql":
        return cast(func.extract("epoch", end - start), Float)
    days = func.julianday(end) - func.julianday(start)  # to about 0.05 ms
    return func.round(days * 86_400, 3)


class Fields:
    """All fields as of one session."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self.own = own_fields(session.get_bind().dialect.name)

    def candidates(self, token: Token) -> list[Field]:
        """The fields that a name can mean: one, or two if it names a final value and a parameter. Raises QueryError
        with the nearest names where it is neither."""
        name = ALIASES.get(token.text, token.text)
        if name in self.own:
            return [self.own[name]]
        if name in FACTS:
            return [Field(name, "fact")]
        full = [name] if name.startswith((CONFIG, FINAL)) else [f"{FINAL}{name}", f"{CONFIG}{name}"]
        found = [Field(one, "fact") for one in full if self._is_known(one)]
        if not found:
            near = self.near(token.text)
            words = f"did you mean {', '.join(near)}?" if near else "GET /fields lists all"
            token.refuse(f"unknown field; {words}")
        return found

    def _is_known(self, name: str) -> bool:
        if name in parameters():
            return True
        metric, _, layer = name.removeprefix(FINAL).partition(".")
        if name.startswith(FINAL) and metric in METRICS and (not layer or _LEVEL.fullmatch(layer)):
            return True
        return self._session.scalar(select(Fact.name).where(Fact.name == name).limit(1)) is not None

    def near(self, name: str) -> list[str]:
        """Names like this one, with a prefix where it has one."""
        known = {*self.own, *ALIASES, *FACTS, *parameters(), *self.stored(), *(f"{FINAL}{one}" for one in METRICS)}
        if not name.startswith((CONFIG, FINAL)):
            known = {one.removeprefix(CONFIG).removeprefix(FINAL) for one in known}
        inside = [one for one in sorted(known) if name.lower() in one.lower()]
        return list(dict.fromkeys([*difflib.get_close_matches(name, sorted(known), NEAR), *inside]))[:NEAR]

    def stored(self) -> list[str]:
        """The names of all facts, each found by one step in the index."""
        first = select(func.min(Fact.name).label("name")).cte("names", recursive=True)
        following = select(func.min(Fact.name)).where(Fact.name > first.c.name).scalar_subquery()
        names = first.union_all(select(following).where(first.c.name.is_not(None)))
        return [name for name in self._session.scalars(select(names.c.name)) if name is not None]

    def differs(self, name: str) -> bool | None:
        """Whether experiments have different values of a parameter; None of what is no parameter."""
        if not name.startswith(CONFIG):
            return None
        own = Fact.name == name
        first = self._session.execute(select(Fact.number, Fact.text).where(own).limit(1)).one_or_none()
        if first is None:
            return False
        other = Fact.number.is_distinct_from(first[0]) | Fact.text.is_distinct_from(first[1])
        return self._session.scalar(select(Fact.name).where(own, other).limit(1)) is not None

    def has(self, field: Field, column: Any) -> bool:
        """Whether any experiment has a value of this kind, a number or a text, for the fact."""
        query: Select[Any] = select(Fact.name).where(Fact.name == field.name, column.is_not(None)).limit(1)
        return self._session.scalar(query) is not None


METRICS = frozenset(metric for panel in PANELS.values() for metric in panel.metrics)
"""Metrics known before anything is measured; others become known with the first run that has them."""


@lru_cache
def parameters() -> frozenset[str]:
    """Every path of the spec's schema, with the prefix."""
    schema: dict[str, Any] = TypeAdapter(ExperimentSpec).json_schema()
    return frozenset(f"{CONFIG}{path}" for path in _paths(schema, schema["$defs"]) if path not in OWN_COLUMNS)


def _paths(schema: Mapping[str, Any], parts: Mapping[str, Any], before: str = "", depth: int = 0) -> Iterator[str]:
    if depth > 3 * _SCHEMA_DEPTH:
        return
    if "$ref" in schema:
        yield from _paths(parts[schema["$ref"].rpartition("/")[2]], parts, before, depth + 1)
    for one in (*schema.get("oneOf", ()), *schema.get("anyOf", ())):
        yield from _paths(one, parts, before, depth + 1)
    for name, inner in schema.get("properties", {}).items():
        yield f"{before}{name}"
        yield from _paths(inner, parts, f"{before}{name}.", depth + 1)
