"""The log of an experiment: a row for each event, in the transaction of the change itself, and after its commit a
line of JSON on stderr."""

from __future__ import annotations

import logging
from datetime import UTC, datetime
from typing import Any

import orjson
from sqlalchemy.orm import Session

from api.database.tables import LogLine

log = logging.getLogger("ncore.experiments")
WARNINGS = ("failed", "lost", "worker lost", "checkpoint damaged", "files wait")
LONGEST_DETAIL = 20_000
"""Characters of a traceback that are kept, its end."""


class JsonLines(logging.Formatter):
    """One object a line: at, level, logger, event, and what the record's `fields` hold."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def log_to_stderr() -> None:
    """Every logger of this process writes JSON lines to stderr from here on."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for chatty in ("alembic", "celery", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)


def write(
    session: Session,
    experiment_id: str,
    event: str,
    *,
    attempt: int = 0,
    worker: str | None = None,
    detail: str | None = None,
) -> None:
    """One line in the log of an experiment."""
    level = "warning" if event in WARNINGS else "info"
    detail = detail[-LONGEST_DETAIL:].replace("\0", "") if detail else None  # PostgreSQL takes no NUL
    session.add(
        LogLine(experiment_id=experiment_id, level=level, event=event, attempt=attempt, worker=worker, detail=detail)
    )
    fields = {"experiment": experiment_id, "attempt": attempt, "worker": worker, "detail": detail}
    session.info.setdefault("lines", []).append((level, event, fields))


def emit(session: Session) -> None:
    """Writes the lines of a committed transaction to stderr."""
    for level, event, fields in session.info.pop("lines", []):
        given = {name: value for name, value in fields.items() if value is not None}
        log.log(getattr(logging, level.upper()), event, extra={"fields": given})
