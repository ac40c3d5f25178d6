"""The database: one engine for a process, and sessions that commit once at their end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import orjson
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.orm import Session

from api.database import clock, integrity, journal
from api.settings import get_settings

BUSY_TIMEOUT_MS = 30_000
POSTGRESQL_OPTIONS = {
    "connect_timeout": 5,
    "client_encoding": "utf8",  # psycopg returns bytes from an SQL_ASCII database otherwise
    "keepalives_idle": 10,  # seconds; a link that is cut is seen by these, not after a quarter of an hour
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 20_000,  # milliseconds
}


def _dumps(value: Any) -> str:
    """JSON with NaN and infinities as null."""
    return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS).decode()


def make_engine(url: str) -> Engine:
    sqlite = url.startswith("sqlite")
    options: dict[str, Any] = {"pool_size": 20, "max_overflow": 20}  # as many as Starlette has threads
    if not sqlite:
        options |= {"pool_pre_ping": True, "connect_args": POSTGRESQL_OPTIONS}
    engine = create_engine(url, json_serializer=_dumps, json_deserializer=orjson.loads, **options)
    if sqlite:
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_immediate)
        event.listen(engine, "handle_error", integrity.damaged_is_away)
    return engine


def _prepare_sqlite(connection: Any, _: Any) -> None:
    """WAL, so that readers never wait; transactions begin by `_begin_immediate` and not by the driver."""
    connection.isolation_level = None
    connection.create_function(clock.FUNCTION, 1, clock.of_sqlite)
    connection.create_function("lower", 1, _lower, deterministic=True)
    for pragma in (
        f"busy_timeout = {BUSY_TIMEOUT_MS}",
        "journal_mode = WAL",
        "synchronous = NORMAL",
        "foreign_keys = ON",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _lower(text: Any) -> Any:
    """SQLite's own knows the letters of ASCII only."""
    return text.lower() if isinstance(text, str) else text


def _begin_immediate(connection: Any) -> None:
    """A transaction that reads and then writes fails in WAL if another wrote in between, unless it locks at once."""
    mode = "" if connection.get_execution_options().get("ncore_read") else " IMMEDIATE"
    connection.exec_driver_sql(f"BEGIN{mode}")


@lru_cache
def get_engine() -> Engine:
    settings = get_settings()
    if settings.database.startswith("sqlite"):  # its file is in the home
        settings.home.mkdir(mode=0o700, parents=True, exist_ok=True)
    return make_engine(settings.database)


@contextmanager
def writing() -> Iterator[Session]:
    """A session for what changes rows: committed at the end, rolled back by an exception."""
    with Session(get_engine(), expire_on_commit=False) as session:
        with session.begin():
            yield session
        journal.emit(session)


@contextmanager
def reading() -> Iterator[Session]:
    """A session for what only reads; on SQLite it never waits for a writer."""
    engine = get_engine().execution_options(ncore_read=True)
    with Session(engine, expire_on_commit=False) as session:
        yield session
