"""The database's clock: the one that leases, heartbeats and wake-up calls are timed by, wherever a process runs.

The clocks of several machines differ; of SQLite it is that of the machine, which all its processes share. It may jump
nevertheless, when it is set or a laptop wakes up: see `api.reconciler`.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, FunctionElement, literal
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from api.database.tables import Moment

FUNCTION = "ncore_clock"
"""Name of the clock that we add to SQLite, whose own resolves milliseconds only."""


class _From(FunctionElement[datetime]):
    type = Moment()
    inherit_cache = True


@compiles(_From, "postgresql")
def _of_postgresql(element: _From, compiler: SQLCompiler, **options: Any) -> str:
    return f"clock_timestamp() + make_interval(secs => {compiler.process(element.clauses, **options)})"


@compiles(_From, "sqlite")
def _of_sqlite(element: _From, compiler: SQLCompiler, **options: Any) -> str:
    return f"{FUNCTION}({compiler.process(element.clauses, **options)})"


def from_now(seconds: float = 0.0) -> ColumnElement[datetime]:
    """The database's time when the statement runs, plus `seconds` (negative: earlier)."""
    return _From(literal(float(seconds)))


def of_sqlite(seconds: float) -> str:
    """The function FUNCTION, as SQLAlchemy stores moments."""
    moment = datetime.now(UTC) + timedelta(seconds=seconds)
    return moment.strftime("%Y-%m-%d %H:%M:%S.%f")
