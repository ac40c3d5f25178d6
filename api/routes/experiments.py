"""/experiments: submit, look, cancel, retry, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Header, Response
from sqlalchemy.exc import IntegrityError

from api.database import states
from api.database.sessions import reading, writing
from api.database.tables import Experiment
from api.shown import ExperimentOut, find, shown
from api.store import get_store
from api.submission import _find_or_insert, check_limits, digest_of, wake
from api.web.bodies import SpecBody, sound
from api.web.errors import PROBLEMS, Problem
from ncore.presets import spec_of

router = APIRouter(tags=["experiments"], responses=PROBLEMS)


@router.post("/experiments", status_code=201, response_model=ExperimentOut)
def submit(
    body: SpecBody,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> ExperimentOut:
    """Submits a spec, or a preset with changes. With `Idempotency-Key` a repeated request gives the same experiment."""
    spec = spec_of(sound(body))
    check_limits(spec)
    digest = digest_of(body)
    try:
        with writing() as session:
            row, made = _find_or_insert(session, spec, idempotency_key, digest)
    except IntegrityError:  # another request with this key was faster
        with writing() as session:
            row, made = _find_or_insert(session, spec, idempotency_key, digest)
    if made:
        wake([row])
    response.status_code = 201 if made else 200
    response.headers["Location"] = f"/experiments/{row.id}"
    return shown(row)


@router.get("/experiments/{experiment_id}", response_model=ExperimentOut)
def look(experiment_id: str) -> ExperimentOut:
    with reading() as session:
        return shown(find(session, experiment_id))


@router.post("/experiments/{experiment_id}/cancel", response_model=ExperimentOut)
def cancel(experiment_id: str) -> ExperimentOut:
    """Stops it at the next step boundary; what was measured stays. 409 when it has ended."""
    with writing() as session:
        row = find(session, experiment_id)
        if row.status in states.ENDED and row.status != "cancelled":
            raise Problem(409, f"experiment {experiment_id} has ended ({row.status}); there is nothing to cancel")
        states.request_cancel(session, Experiment.id == experiment_id)
        return shown(find(session, experiment_id))


@router.post("/experiments/{experiment_id}/retry", response_model=ExperimentOut)
def retry(experiment_id: str) -> ExperimentOut:
    """A failed or cancelled experiment goes on from its checkpoint. 409 for any other."""
    with writing() as session:
        row = find(session, experiment_id)
        if not states.retry(session, experiment_id):
            raise Problem(409, f"experiment {experiment_id} is {row.status}; only a failed or cancelled one is retried")
        row = find(session, experiment_id)
    wake([row])
    return shown(row)


@router.delete("/experiments/{experiment_id}", status_code=204)
def delete(experiment_id: str) -> None:
    """Deletes it with its measurements and files. 409 while it runs."""
    with writing() as session:
        row = find(session, experiment_id, lock=True)
        if row.status == "running":
            raise Problem(409, f"experiment {experiment_id} is running; cancel it first")
        session.delete(row)
    get_store().remove_all(experiment_id)
