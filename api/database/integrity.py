"""Finds out what is wrong with the database (damaged, disk full, unreachable) and says it in words."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import make_url, text
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.settings import get_settings
from api.store import why_not_writable_folder

CHECK_SECONDS = 2.0
"""Time limit of a check of a whole SQLite file; a file that takes longer is checked in part."""
CHECK_SHARE = 0.02
"""Share of the time that is spent looking."""
LEAST_PAUSE_SECONDS = 2.0
PROGRESS_INSTRUCTIONS = 10_000
DISK_FULL = "53100"
"""PostgreSQL's code."""
SORTED_ON_DISK = "SELECT count(*) FROM (SELECT md5(i::text) FROM generate_series(1, 4000) i ORDER BY 1) sorted"
"""Needs more than 64 kB, so that a server sorts it in a file on its disk."""


def damage_of(url: str, seconds: float = CHECK_SECONDS) -> str | None:
    """Why a file of SQLite cannot be used, found within about `seconds`; None where nothing is found, or no file."""
    path = _file_of(url)
    if path is None or not path.is_file():
        return None
    until = time.monotonic() + seconds
    try:
        connection = sqlite3.connect(f"file:{quote(str(path))}?mode=rw", uri=True, timeout=seconds)
        try:
            connection.set_progress_handler(lambda: time.monotonic() > until, PROGRESS_INSTRUCTIONS)
            found = [line for (line,) in connection.execute("PRAGMA quick_check(1)")]
        finally:
            connection.close()
    except sqlite3.Error as error:
        return _damaged(path, str(error)) if _is_damage(error) else None
    return None if found == ["ok"] else _damaged(path, " ".join(found[:1]))


def _damaged(path: Path, reason: str) -> str:
    reason = " ".join(reason.split())[:200]
    return f"the database {path} is damaged ({reason}): restore a backup, see docs/operations.md, Backup and restore"


def _file_of(url: str) -> Path | None:
    parsed = make_url(url)
    return Path(parsed.database) if parsed.drivername.startswith("sqlite") and parsed.database else None


def _code(error: BaseException | None) -> int:
    """SQLite's primary result code; 0 of another error."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF


def damaged_is_away(context: ExceptionContext) -> OperationalError | None:
    """Makes of the error of a damaged file one of a database that cannot be used now, as all who call expect it.

    The damage is known from then on, though another connection may not have met it yet.
    """
    if not _is_damage(context.original_exception):
        return None
    watch.damage = _explained(context.original_exception)
    return OperationalError(context.statement, None, context.original_exception)


def _is_damage(error: BaseException | None) -> bool:
    return _code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def explain(error: Exception) -> str:
    """The reason why a statement failed, in words."""
    return _explained(getattr(error, "orig", None))


def _explained(origin: BaseException | None) -> str:
    """The same of the error of the database's driver."""
    path = _file_of(get_settings().database)
    if path is not None and _is_damage(origin):
        return _damaged(path, str(origin))
    if _code(origin) == sqlite3.SQLITE_FULL or getattr(origin, "sqlstate", None) == DISK_FULL:
        return "the database's disk is full"
    if _code(origin) in (sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN):
        return f"the database {path} cannot be used: {origin}"
    return "the database does not answer; try again"


def why_not_writable(session: Session) -> str | None:
    """Why rows could not be written now, without writing any; None where they could."""
    path = _file_of(get_settings().database)
    if path is not None:
        why = why_not_writable_folder(path.parent)
        return None if why is None else f"{path.name} cannot be written: {why}"
    session.execute(text("SET LOCAL work_mem = '64kB'"))
    session.execute(text(SORTED_ON_DISK))
    if session.scalar(text("SHOW transaction_read_only")) == "on":
        return "the database can only be read"
    return None


class Watch:
    """Looks at a file of SQLite again and again; `damage` is what the last look, or a statement since, has found."""

    def __init__(self) -> None:
        self.damage: str | None = None
        self._next = 0.0

    def look(self) -> None:
        began = time.monotonic()
        if began < self._next:
            return
        self.damage = damage_of(get_settings().database)
        ended = time.monotonic()
        self._next = ended + max(LEAST_PAUSE_SECONDS, (ended - began) / CHECK_SHARE)


watch = Watch()
"""The watch of this process."""
