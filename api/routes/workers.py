"""/workers: the workers, their devices, and what each one is running."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter
from pydantic import BaseModel
from sqlalchemy import and_, select

from api.database.sessions import reading
from api.database.tables import Experiment, WorkerRow
from api.database.workers import is_alive
from api.web.errors import PROBLEMS

router = APIRouter(tags=["workers"], responses=PROBLEMS)


class WorkerOut(BaseModel):
    """A process that trains one experiment at a time. `alive`: heard of within a lease."""

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
    """Id of the experiment that it runs."""


class Workers(BaseModel):
    items: list[WorkerOut]


@router.get("/workers", response_model=Workers)
def list_workers() -> Workers:
    """Every worker heard of in the last hour, the GPU workers first; what runs on it, if anything."""
    runs = and_(Experiment.worker == WorkerRow.id, Experiment.status == "running")
    query = (
        select(WorkerRow, is_alive(), Experiment.id)
        .outerjoin(Experiment, runs)
        .order_by(WorkerRow.kind.desc(), WorkerRow.started_at, WorkerRow.id)
    )
    with reading() as session:
        found = session.execute(query).all()
    own = [name for name in WorkerOut.model_fields if name not in ("alive", "experiment")]
    return Workers(
        items=[
            WorkerOut(**{name: getattr(row, name) for name in own}, alive=alive, experiment=experiment)
            for row, alive, experiment in found
        ]
    )
