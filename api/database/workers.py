"""Which workers are there, by their rows in the database."""

from __future__ import annotations

from sqlalchemy import ColumnElement, delete, func, select
from sqlalchemy.orm import Session

from api.database.clock import from_now
from api.database.tables import WorkerRow
from api.settings import get_settings

HOUR_SECONDS = 3600.0
REMEMBERED_SECONDS = {"cpu": HOUR_SECONDS, "gpu": 30 * 24 * HOUR_SECONDS}


def is_alive() -> ColumnElement[bool]:
    """Whether a worker's last heartbeat is younger than a lease. One far ahead: the clock was set back."""
    lease_seconds = get_settings().lease_seconds
    return WorkerRow.seen_at.between(from_now(-lease_seconds), from_now(lease_seconds))


def gpu_workers(session: Session, alive: bool) -> int:
    """How many GPU workers are alive, or were there in the last 30 days."""
    since = is_alive() if alive else WorkerRow.seen_at >= from_now(-REMEMBERED_SECONDS["gpu"])
    return session.scalar(select(func.count()).where(WorkerRow.kind == "gpu", since)) or 0


def forget_worker(session: Session, worker: str) -> None:
    """Deletes the row of a CPU worker that is gone; a GPU worker's stays, so that what wants a GPU waits for it."""
    session.execute(delete(WorkerRow).where(WorkerRow.id == worker, WorkerRow.kind == "cpu"))


def forget_lost_workers(session: Session) -> None:
    """Deletes rows of workers whose heartbeat stopped: CPU workers after an hour, GPU workers after 30 days."""
    for kind, seconds in REMEMBERED_SECONDS.items():
        session.execute(delete(WorkerRow).where(WorkerRow.kind == kind, WorkerRow.seen_at < from_now(-seconds)))


def queue_of(session: Session, wanted: str) -> str:
    """The kind of worker to call for what is in queue `wanted`: what wants a GPU goes to the CPU where none is."""
    return "gpu" if wanted == "gpu" and gpu_workers(session, alive=True) else "cpu"
