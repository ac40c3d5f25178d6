"""A query's tree as SQL for SQLite and PostgreSQL, and what a list is sorted by.

`a != b` holds wherever `a = b` does not, also where there is no `a`; every other comparison with what is missing is
false, and `not` turns it round. `= null` asks for what is missing.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Text, and_, false, func, literal, not_, or_, select, true, type_coerce
from sqlalchemy.orm import Session

from api.database.facts import FINAL
from api.database.fields import Field, Fields
from api.database.names import folded
from api.database.ordering import check_reduction
from api.database.tables import Experiment, Fact, Sweep
from ncore.query import Comparison, Condition, Every, Not, Some, Token
from ncore.status import STATUSES

Sql = ColumnElement[bool]
ORDERS: dict[str, Callable[[Any, Any], Sql]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
EQUALS = ("=", ":", "!=", "in")
BEGINS_WITH = ("id", "sweep")
"""Fields whose values `:` and `in` match by prefix."""
UNITS = {"": 1.0, "ms": 1e-3, "s": 1.0, "min": 60.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SECONDS = re.compile(r"(?P<number>[0-9.eE+-]+?)(?P<unit>ms|s|min|m|h|d)?", re.ASCII)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_PLAIN = re.compile(r"[ !#-\[\]-~]*", re.ASCII)
"""Texts that JSON writes as they are."""
_A_DAY = timedelta(days=1, microseconds=-1)
_DAY = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def condition_of(session: Session, tree: Condition) -> Sql:
    """The tree as a condition on `experiments`. Raises QueryError for fields and values that do not fit."""
    return _Writer(session).write(tree)


def names_of(tree: Condition) -> frozenset[str]:
    """The names of all fields in a tree."""
    if isinstance(tree, Comparison):
        return frozenset((tree.field.text,))
    parts = (tree.of,) if isinstance(tree, Not) else tree.of
    return frozenset().union(*map(names_of, parts))


@dataclass(frozen=True)
class OfFact:
    """A condition on the rows of one fact."""

    name: str
    condition: Sql


def _is_unequal(tree: Condition) -> bool:
    return isinstance(tree, Comparison) and tree.operator == "!="


def _is_other(tree: Condition) -> bool:
    """Whether it is a comparison, but of the unequal."""
    return isinstance(tree, Comparison) and tree.operator != "!="


class _Writer:
    def __init__(self, session: Session) -> None:
        self._fields = Fields(session)
        self._is_postgresql = session.get_bind().dialect.name == "postgresql"

    def write(self, tree: Condition) -> Sql:
        """Comparisons that stand side by side are written together: see `_any_of`."""
        if isinstance(tree, Every):
            unequal = [one for one in tree.of if _is_unequal(one)]
            others = [self.write(one) for one in tree.of if not _is_unequal(one)]
            return and_(*others, *([_negated(self._any_of(unequal))] if unequal else []))
        if isinstance(tree, Some):
            plain = [one for one in tree.of if _is_other(one)]
            others = [self.write(one) for one in tree.of if not _is_other(one)]
            return or_(*others, *([self._any_of(plain)] if plain else []))
        if isinstance(tree, Not):
            return _negated(self.write(tree.of))
        found = self._any_of([tree])
        return _negated(found) if _is_unequal(tree) else found

    def _any_of(self, trees: Sequence[Condition]) -> Sql:
        """Whether one of the comparisons holds, `!=` written as `=`. What they ask of the same fact is one look
        into the table of facts: a look for each of a hundred values took seconds."""
        facts: dict[str, list[Sql]] = {}
        others: list[Sql] = []
        for tree in trees:
            assert isinstance(tree, Comparison)  # noqa: S101 (for mypy)
            candidates = self._fields.candidates(tree.field)
            if tree.reduction:
                check_reduction(tree.field, candidates[0], tree.reduction)
            for value in tree.values:
                found = self._one(tree, candidates, value)
                if isinstance(found, OfFact):
                    facts.setdefault(found.name, []).append(found.condition)
                else:
                    others.append(found)
        return or_(*others, *(self._with_fact(name, or_(*conditions)) for name, conditions in facts.items()))

    def _one(self, tree: Comparison, candidates: list[Field], value: Token) -> Sql | OfFact:
        field = candidates[0]
        if value.kind == "word" and value.text.lower() in ("null", "none"):
            return self._missing(tree, field, value)
        if field.is_fact:
            return self._fact(tree, candidates, value)
        writers: dict[str, Callable[[Comparison, Field, Token], Sql]] = {
            "text": self._text, "status": self._status, "tags": self._tag, "number": self._number,
            "seconds": self._seconds, "time": self._time, "flag": self._flag,
        }  # fmt: skip
        return writers[field.kind](tree, field, value)

    def _missing(self, tree: Comparison, field: Field, value: Token) -> Sql:
        _allow(tree, value, EQUALS, "null")
        if field.is_fact:
            return not_(self._with_fact(field.name, true()))
        if field.kind == "tags":
            return _is_empty_list(field.column)
        return (field.column.is_(None)) | (field.column == "") if field.kind == "text" else field.column.is_(None)  # type: ignore[union-attr]

    def _text(self, tree: Comparison, field: Field, value: Token) -> Sql:
        _allow(tree, value, (*EQUALS, "~"), f"{field.name} is a text")
        if field.name == "name" and tree.operator == "~":
            return Experiment.search.contains(folded(value.text), autoescape=True)
        column: Any = field.column
        if tree.operator == "~":
            return func.lower(column).contains(value.text.lower(), autoescape=True)
        if field.name not in BEGINS_WITH or tree.operator in ("=", "!="):
            return column == value.text
        begins = column.startswith(value.text, autoescape=True)
        named = column.in_(select(Sweep.id).where(Sweep.name == value.text))
        return begins | named if field.name == "sweep" else begins

    def _status(self, tree: Comparison, field: Field, value: Token) -> Sql:
        _allow(tree, value, EQUALS, "status is a word")
        if value.text not in STATUSES:
            value.refuse(f"status must be one of {', '.join(STATUSES)}")
        return field.column == value.text  # type: ignore[return-value]

    def _tag(self, tree: Comparison, _: Field, value: Token) -> Sql:
        _allow(tree, value, (*EQUALS, "~"), "tag is a text")
        return has_tag(self._is_postgresql, value.text, within=tree.operator == "~")

    def _number(self, tree: Comparison, field: Field, value: Token) -> Sql:
        return _compared(tree, field.column, _number(tree, value), value)

    def _seconds(self, tree: Comparison, field: Field, value: Token) -> Sql:
        found = _SECONDS.fullmatch(value.text) if value.kind == "word" else None
        if found is None or not _NUMBER.fullmatch(found["number"]):
            value.refuse(f"{field.name} takes seconds, or a number with s, min, h or d")
        seconds = float(found["number"]) * UNITS[found["unit"] or ""]
        return _compared(tree, field.column, _finite(seconds, value), value)

    def _time(self, tree: Comparison, field: Field, value: Token) -> Sql:
        moment = _moment(value)
        if tree.operator in EQUALS and _DAY.fullmatch(value.text):
            column: Any = field.column
            return (column >= moment) & (column <= moment + _A_DAY)
        return _compared(tree, field.column, moment, value)

    def _flag(self, tree: Comparison, field: Field, value: Token) -> Sql:
        _allow(tree, value, EQUALS, f"{field.name} is true or false")
        if value.text.lower() not in ("true", "false"):
            value.refuse(f"{field.name} must be true or false")
        return field.column.is_(value.text.lower() == "true")  # type: ignore[union-attr]

    def _fact(self, tree: Comparison, candidates: list[Field], value: Token) -> OfFact:
        """A number is compared with numbers, a text with texts; where the name is a metric's and a parameter's, with
        whichever is of that kind."""
        if candidates[0].name == "verdict":
            return self._verdict(tree, value)
        is_number = value.kind == "word" and _NUMBER.fullmatch(value.text) is not None and tree.operator != "~"
        finals = [field for field in candidates if field.name.startswith(FINAL)]
        configs = [field for field in candidates if not field.name.startswith(FINAL)]
        field = (finals or configs if is_number else configs or finals)[0]
        if is_number:
            return self._numeric_fact(tree, field, value)
        if field.name.startswith(FINAL) or field.name == "seeds":
            value.refuse(f"{tree.field.text} is a number")
        _allow(tree, value, (*EQUALS, "~"), f"{value.text!r} is a text")
        if self._fields.has(field, Fact.number) and not self._fields.has(field, Fact.text):
            value.refuse(f"{tree.field.text} is a number")
        if tree.operator == "~":
            return OfFact(field.name, func.lower(Fact.text).contains(value.text.lower(), autoescape=True))
        return OfFact(field.name, Fact.text.in_(_spellings(value)))

    def _numeric_fact(self, tree: Comparison, field: Field, value: Token) -> OfFact:
        if self._fields.has(field, Fact.text) and not self._fields.has(field, Fact.number):
            value.refuse(f"{tree.field.text} is a text, true or false, or a list")
        column = {"min": Fact.low, "max": Fact.high}.get(tree.reduction, Fact.number)
        return OfFact(field.name, _compared(tree, column, _number(tree, value), value))

    def _verdict(self, tree: Comparison, value: Token) -> OfFact:
        _allow(tree, value, (*EQUALS, "~"), "verdict is a word")
        word = value.text.replace(" ", "_")
        if tree.operator == "~":
            return OfFact("verdict", Fact.text.contains(word, autoescape=True))
        return OfFact("verdict", ("," + Fact.text + ",").contains(f",{word},", autoescape=True))

    def _with_fact(self, name: str, condition: ColumnElement[bool]) -> Sql:
        """SQLite would look up and sort all that have the fact: as an expression the id makes it read the list in its
        order, and stop where the page is full."""
        own: Any = Experiment.id if self._is_postgresql else Experiment.id.concat("")
        return own.in_(select(Fact.experiment_id).where(Fact.name == name, condition))


def _negated(condition: Sql) -> Sql:
    """True where the condition is false, and where it is about what is missing."""
    return not_(func.coalesce(condition, false()))


def has_tag(is_postgresql: bool, tag: str, within: bool = False) -> Sql:
    """Whether one of the texts in the list is the tag, or holds it, as the database's own JSON functions read them."""
    read = func.json_array_elements_text if is_postgresql else func.json_each
    tags = read(Experiment.tags).table_valued("value", name="own_tags")
    value: Any = tags.c.value
    found = func.lower(value).contains(tag.lower(), autoescape=True) if within else value == tag
    exact = select(literal(1)).select_from(tags).where(found).correlate(Experiment).exists()
    if is_postgresql or not _PLAIN.fullmatch(tag):
        return exact
    # most rows are passed over by SQLite's LIKE, which knows no case of ASCII, without reading their lists
    return and_(type_coerce(Experiment.tags, Text).contains(tag, autoescape=True), exact)


def _is_empty_list(column: Any) -> Sql:
    return func.json_array_length(column) == 0


def _allow(tree: Comparison, value: Token, operators: tuple[str, ...], what: str) -> None:
    if tree.operator not in operators:
        allowed = " ".join(one for one in operators if one != "!=" or "=" in operators)
        value.refuse(f"{what}: {tree.field.text} {tree.operator} … cannot be asked; allowed are {allowed}")


def _compared(tree: Comparison, column: Any, value: Any, token: Token) -> Sql:
    if tree.operator in ORDERS:
        return ORDERS[tree.operator](column, value)
    _allow(tree, token, (*EQUALS, *ORDERS), f"{tree.field.text} is no text")
    return column == value


def _number(tree: Comparison, value: Token) -> float:
    if value.kind != "word" or not _NUMBER.fullmatch(value.text):
        value.refuse(f"{tree.field.text} is a number")
    return _finite(float(value.text), value)


def _finite(number: float, value: Token) -> float:
    if not math.isfinite(number):
        value.refuse("must be a finite number")
    return number


def _moment(value: Token) -> datetime:
    """A day is its beginning; without a zone it is in UTC."""
    try:
        moment = datetime.fromisoformat(value.text)
    except ValueError:
        value.refuse("must be a time, as 2026-01-31 or 2026-01-31T12:00:00Z")
    try:
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except OverflowError:
        value.refuse("must be a time between the years 1 and 9999")


def _spellings(value: Token) -> list[str]:
    """A text as it is; of a list its JSON, with numbers whole and as fractions."""
    if value.kind != "list":
        return [value.text.lower() if value.text.lower() in ("true", "false") else value.text]
    try:
        entries = orjson.loads(value.text)
    except orjson.JSONDecodeError:
        value.refuse("must be a list in JSON, as [20, 20]")
    fractions = [float(one) if type(one) is int else one for one in entries]
    return list(dict.fromkeys(orjson.dumps(one).decode() for one in (entries, fractions)))
