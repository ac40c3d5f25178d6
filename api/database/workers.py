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


def most_gpus(session: Session) -> int | None:
    """The most GPUs that a worker has which is there or may come back; None while no GPU worker is alive.

    One that was there in the last 30 days is waited for as long as the others are just starting, too; one that was lost
    while others went on, for NCORE_GPU_WAIT_SECONDS.
    """
    if not gpu_workers(session, alive=True):
        return None
    waited_for = from_now(-max(get_settings().gpu_wait_seconds, get_settings().lease_seconds))
    have_waited = select(func.count()).where(is_alive(), WorkerRow.gpus > 0, WorkerRow.started_at < waited_for)
    most = select(func.max(WorkerRow.gpus))
    return session.scalar(most.where(WorkerRow.seen_at >= waited_for) if session.scalar(have_waited) else most)


def forget_worker(session: Session, worker: str) -> None:
    """Deletes the row of a CPU worker that is gone; a GPU worker's stays, so that what wants a GPU waits for it."""
    session.execute(delete(WorkerRow).where(WorkerRow.id == worker, WorkerRow.kind == "cpu"))


def forget_lost_workers(session: Session) -> None:
    """Deletes rows of workers whose heartbeat stopped: CPU workers after an hour, GPU workers after 30 days."""
    for kind, seconds in REMEMBERED_SECONDS.items():
        session.execute(delete(WorkerRow).where(WorkerRow.kind == kind, WorkerRow.seen_at < from_now(-seconds)))


def queue_of(session: Session, wanted: str) -> str:
    """The kind of worker to call for what is in queue `wanted`: what wants a GPU goes to the CPU where none is."""
    return wanted if wanted != "cpu" and gpu_workers(session, alive=True) else "cpu"
