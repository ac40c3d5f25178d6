"""The values of fields that are chosen as columns of the list."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from api.database.fields import Field, Fields
from api.database.ordering import check_reduction
from api.database.tables import Fact
from ncore.query import field_of


class Columns:
    """Fields by the names that they were asked for under. Raises QueryError for what is none."""

    def __init__(self, session: Session, names: Sequence[str]) -> None:
        self._session, fields = session, Fields(session)
        self._own: dict[str, Field] = {}
        self._facts: dict[str, tuple[str, str]] = {}
        for name in dict.fromkeys(names):
            token, reduction = field_of(name)
            field = fields.candidates(token)[0]
            if reduction:
                check_reduction(token, field, reduction)
            if field.is_fact:
                self._facts[name] = field.name, reduction
            else:
                self._own[name] = field

    def selected(self) -> list[ColumnElement[Any]]:
        """The columns to read from the experiments' own rows."""
        return [field.column.label(f"own {name}") for name, field in self._own.items() if field.column is not None]

    def values(self, rows: Sequence[Any]) -> list[dict[str, Any]]:
        """{name: value} of each row, which has an id as `key` and what `selected` has asked for; null where there is
        none. A fact is a number, else a text (true, false, and a list as JSON)."""
        facts = self._read([row["key"] for row in rows])
        return [
            {name: row[f"own {name}"] for name in self._own}
            | {name: facts.get((row["key"], *asked)) for name, asked in self._facts.items()}
            for row in rows
        ]

    def _read(self, ids: Sequence[str]) -> dict[tuple[str, str, str], Any]:
        names = {name for name, _ in self._facts.values()}
        if not names or not ids:
            return {}
        columns = (Fact.experiment_id, Fact.name, Fact.text, Fact.number, Fact.low, Fact.high)
        query = select(*columns).where(Fact.name.in_(names), Fact.experiment_id.in_(ids))
        found = {}
        for experiment_id, name, text, number, low, high in self._session.execute(query):
            found[experiment_id, name, ""] = number if text is None else text
            found[experiment_id, name, "min"], found[experiment_id, name, "max"] = low, high
        return found
