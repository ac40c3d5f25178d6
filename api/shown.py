"""An experiment as the API shows it, and the look-up of experiments and sweeps by id."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel
from sqlalchemy import select
from sqlalchemy.orm import Session

from api.database.parts import VISIBLE
from api.database.tables import Experiment, Sweep
from api.web.errors import not_found
from ncore.outcome import AsStored, Outcome
from ncore.status import Status


class Progress(BaseModel):
    step: int
    total: int
    eta_seconds: float | None


Result = Annotated[Outcome, AsStored(Outcome)]


class ExperimentOut(BaseModel):
    """One submitted spec and all that came of it."""

    id: str
    name: str
    tags: list[str]
    status: Status
    source: Literal["service", "external"]
    spec: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress
    attempt: int
    worker: str | None
    device: str | None
    error: str | None
    result: Result | None
    sweep_id: str | None
    priority: int
    notes: str
    archived: bool
    updated_at: datetime | None


def find(session: Session, experiment_id: str, lock: bool = False) -> Experiment:
    """The row; with `lock` no worker claims it until the end of the transaction. Raises the 404."""
    query = select(Experiment).where(Experiment.id == experiment_id, VISIBLE)
    query = query.with_for_update() if lock else query
    row = session.scalar(query.execution_options(populate_existing=True))
    if row is None:
        raise not_found("experiment", experiment_id)
    return row


def shown(row: Experiment) -> ExperimentOut:
    progress = Progress(step=row.step, total=row.total, eta_seconds=row.eta_seconds)
    own = {name: getattr(row, name) for name in ExperimentOut.model_fields if name != "progress"}
    if row.status == "queued":
        own["worker"] = None  # the row keeps the last one, for its log
    return ExperimentOut(**own, progress=progress)


def find_sweep(session: Session, sweep_id: str, lock: bool = False) -> Sweep:
    """The row; with `lock` nothing is added to it until the end of the transaction. Raises the 404."""
    sweep = session.get(Sweep, sweep_id, with_for_update=lock)
    if sweep is None:
        raise not_found("sweep", sweep_id)
    return sweep
