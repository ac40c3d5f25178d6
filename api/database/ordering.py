"""The order of the list, and where its next page begins: after the last row of the page before, by that row's values.

Rows without a value come last in either direction; among equals the newest comes first.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from types import UnionType
from typing import Any

from sqlalchemy import ColumnElement, Select, and_, or_, tuple_
from sqlalchemy.orm import Session, aliased

from api.database.facts import FINAL
from api.database.fields import Field, Fields
from api.database.tables import Experiment, Fact
from ncore.query import Token, field_of

DEFAULT = "-created"
HELD: dict[str, type] = {"text": str, "status": str, "time": datetime, "flag": bool}
"""Types of values by the kind of field; numbers for all others."""
Place = tuple[Any, datetime, str]
"""Value, moment of creation and id of a row."""


@dataclass(frozen=True)
class Order:
    """`value` of an experiment, of the types that it `holds`, falling or rising; `fact` is its table, if it is one."""

    value: ColumnElement[Any]
    holds: type | UnionType
    is_falling: bool
    fact: Any = None

    @property
    def _by_moment(self) -> bool:
        return self.value is Experiment.created_at.expression

    def takes(self, value: Any) -> bool:
        """Whether a place's value is of the kind that this order compares: a cursor may be anybody's."""
        is_flag = isinstance(value, bool)
        return value is None or (isinstance(value, self.holds) and is_flag == (self.holds is bool))

    def first(self, query: Select[Any], limit: int, after: Place | None) -> Any:
        """The first of the experiments that the query chooses, from the row after the place on, as a table with `id`,
        `value` and `created`."""
        query = query.with_only_columns(
            Experiment.id, self.value.label("value"), Experiment.created_at.label("created"), maintain_column_froms=True
        )
        if self.fact is not None:
            query = query.outerjoin(self.fact[0], self.fact[1])
        if after is not None:
            query = query.where(self._after(*after))
        terms = self.terms(self.value, Experiment.created_at, Experiment.id)
        return query.order_by(*terms).limit(limit).subquery("page")

    def terms(self, value: Any, created: Any, experiment_id: Any) -> list[Any]:
        """The terms of ORDER BY, made of these columns."""
        falling = value.desc() if self.is_falling else value.asc()
        if self._by_moment:
            return [falling, experiment_id.desc()]
        return [value.is_(None), falling, created.desc(), experiment_id.desc()]

    def _after(self, value: Any, created: datetime, experiment_id: str) -> ColumnElement[bool]:
        later = tuple_(Experiment.created_at, Experiment.id) < (created, experiment_id)
        if value is None:
            return and_(self.value.is_(None), later)
        further = self.value < value if self.is_falling else self.value > value
        if self._by_moment:
            return or_(further, and_(self.value == value, Experiment.id < experiment_id))
        return or_(further, and_(self.value == value, later), self.value.is_(None))


def order_of(session: Session, text: str) -> Order:
    """The order by a field's name, falling where a minus stands before it. Raises QueryError."""
    token, reduction = field_of(text.removeprefix("-"))
    fields, is_falling = Fields(session), text.startswith("-")
    field = fields.candidates(token)[0]
    if reduction:
        check_reduction(token, field, reduction)
    if field.kind == "tags":
        token.refuse("tag cannot be sorted by: an experiment has several")
    if not field.is_fact:
        column = Experiment.search.expression if field.name == "name" else field.column
        assert column is not None  # noqa: S101 (for mypy: a field is a column or a fact)
        return Order(_plainly(session, field, column), HELD.get(field.kind, int | float), is_falling)
    fact = aliased(Fact)
    by: Any = {"min": fact.low, "max": fact.high}.get(reduction, fact.number)
    is_text = not reduction and not fields.has(field, Fact.number)
    if is_text:
        by = _plainly(session, Field(field.name, "text"), fact.text)
    return Order(
        by,
        str if is_text else int | float,
        is_falling,
        (fact, and_(fact.experiment_id == Experiment.id, fact.name == field.name)),
    )


def check_reduction(token: Token, field: Field, reduction: str) -> None:
    """Raises QueryError where the field is not measured seed by seed."""
    if not field.name.startswith(FINAL):
        token.refuse(f"{reduction}(…) is over the seeds, of final values only")


def _plainly(session: Session, field: Field, column: Any) -> Any:
    """Texts by their characters' numbers, on PostgreSQL too: a cursor has to mean the same there at all times."""
    is_text = field.kind in ("text", "status")
    return column.collate("C") if is_text and session.get_bind().dialect.name == "postgresql" else column
