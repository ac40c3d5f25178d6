"""/workers: the workers, their devices, and what each one is running."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import func, select

from api.database.sessions import reading
from api.database.tables import Experiment, WorkerRow
from api.database.workers import is_alive
from api.web.errors import PROBLEMS

router = APIRouter(tags=["workers"], responses=PROBLEMS)


class WorkerOut(BaseModel):
    """A process that trains an experiment, or a batch of them, at a time. `alive`: heard of within a lease."""

    id: str
    kind: str
    gpus: int
    """How many it trains on; 0 on the CPU."""
    device: str
    memory_bytes: int
    """Of the device: of its GPUs, or of the machine."""
    used_bytes: int
    """Memory in use there, by any process."""
    version: str
    started_at: datetime
    seen_at: datetime
    alive: bool
    experiment: str | None
    """Id of the experiment that it runs, the first one of a batch."""
    running: int
    """How many it runs: 0, 1, or the members of a batch."""


class Workers(BaseModel):
    items: list[WorkerOut]


@router.get("/workers", response_model=Workers)
def list_workers() -> Workers:
    """Every worker heard of in the last hour, the GPU workers first; what runs on it, if anything."""
    runs = (
        select(Experiment.worker, func.min(Experiment.id).label("first"), func.count().label("count"))
        .where(Experiment.status == "running", Experiment.source != "external")
        .group_by(Experiment.worker)
        .subquery()
    )
    query = (
        select(WorkerRow, is_alive(), runs.c.first, func.coalesce(runs.c.count, 0))
        .outerjoin(runs, runs.c.worker == WorkerRow.id)
        .order_by(WorkerRow.kind.desc(), WorkerRow.started_at, WorkerRow.id)
    )
    with reading() as session:
        found = session.execute(query).all()
    own = [name for name in WorkerOut.model_fields if name not in ("alive", "experiment", "running")]
    return Workers(
        items=[
            WorkerOut(**{name: getattr(row, name) for name in own}, alive=alive, experiment=first, running=count)
            for row, alive, first, count in found
        ]
    )
