"""Which workers are there, by their rows in the database."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from api.database.tables import WorkerRow, now
from api.settings import get_settings

CPU_REMEMBERED, GPU_REMEMBERED = timedelta(hours=1), timedelta(days=30)


def heard_since() -> datetime:
    """A worker that told of itself after this moment is alive."""
    return now() - timedelta(seconds=get_settings().lease_seconds)


def gpu_workers(session: Session, alive: bool) -> int:
    """GPU workers that have been heard of: lately, or in the last weeks."""
    since = heard_since() if alive else now() - GPU_REMEMBERED
    query = select(func.count()).where(WorkerRow.kind == "gpu", WorkerRow.seen_at >= since)
    return session.scalar(query) or 0


def forget_worker(session: Session, worker: str) -> None:
    """A CPU worker that is gone leaves no row; a GPU worker's stays, so that what wants a GPU waits for it."""
    session.execute(delete(WorkerRow).where(WorkerRow.id == worker, WorkerRow.kind == "cpu"))


def forget_lost_workers(session: Session) -> None:
    """Those that went without a word, after a while."""
    long_ago = {"cpu": now() - CPU_REMEMBERED, "gpu": now() - GPU_REMEMBERED}
    for kind, moment in long_ago.items():
        session.execute(delete(WorkerRow).where(WorkerRow.kind == kind, WorkerRow.seen_at < moment))


def queue_of(session: Session, wanted: str) -> str:
    """The kind of worker to call for what is in queue `wanted`: what wants a GPU goes to the CPU where none is."""
    return "gpu" if wanted == "gpu" and gpu_workers(session, alive=True) else "cpu"
