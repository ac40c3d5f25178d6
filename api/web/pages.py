"""Pages of long lists: at most a number of items and of bytes each, and the cursor where the next one begins."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any, TypeVar

import orjson

from api.web.errors import Problem, refused
from ncore.faults import shortened
from ncore.text import odd_character

PAGE_BYTES = 4_000_000
"""A page ends before it is larger, though with one item at least: specs and results can be large."""
READ_ROWS = 10
"""Rows of a page that are read at once."""
T = TypeVar("T")


def page(rows: Iterable[T], limit: int, size: Callable[[T], int]) -> tuple[list[T], bool]:
    """The first rows, as many as fit, and whether there are more; no row beyond them is read."""
    kept: list[T] = []
    total = 0
    for row in rows:
        total += size(row)
        if len(kept) == limit or (kept and total > PAGE_BYTES):
            return kept, True
        kept.append(row)
    return kept, False


def cursor_of(moment: datetime, row_id: str) -> str:
    return base64.urlsafe_b64encode(orjson.dumps([moment.isoformat(), row_id])).decode()


def position(cursor: str) -> tuple[datetime, str]:
    """Moment and id of the last row of the page before. Raises the 422."""
    try:
        moment, row_id = orjson.loads(base64.urlsafe_b64decode(cursor))
        if odd_character(str(row_id)) is None:
            return datetime.fromisoformat(moment), str(row_id)
    except (ValueError, TypeError):
        pass
    raise refused("cursor", f"must be the next_cursor of an earlier answer; got {shortened(cursor)}")


def cursor_at(sort: str, value: Any, moment: datetime, row_id: str) -> str:
    """The cursor of a list that is sorted by a field: it holds the order and the last row's value."""
    kept = ["time", value.isoformat()] if isinstance(value, datetime) else ["", value]
    return base64.urlsafe_b64encode(orjson.dumps([sort, *kept, moment.isoformat(), row_id])).decode()


def place_of(cursor: str, sort: str) -> tuple[Any, datetime, str]:
    """Value, moment and id of the last row of the page before. Raises the 422, also for a list in another order."""
    try:
        found = orjson.loads(base64.urlsafe_b64decode(cursor))
        before, kind, value, moment, row_id = found
        value = datetime.fromisoformat(value) if kind == "time" else value
        is_sound = isinstance(value, str | int | float | datetime | None) and odd_character(f"{value}{row_id}") is None
        if is_sound and before == sort:
            return value, datetime.fromisoformat(moment), str(row_id)
    except (ValueError, TypeError):
        pass
    raise foreign(cursor)


def foreign(cursor: str) -> Problem:
    """The 422 of a cursor that no answer in this order has given."""
    return refused("cursor", f"must be the next_cursor of an earlier answer in this order; got {shortened(cursor)}")
