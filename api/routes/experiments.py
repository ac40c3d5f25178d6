"""/experiments: submit, look, cancel, retry, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.database import parts, states
from api.database.claims import before
from api.database.durations import seconds_to_start
from api.database.sessions import reading, writing
from api.database.tables import Experiment
from api.removal import remove
from api.shown import ExperimentOut, find, shown
from api.submission import Key, check_limits, check_queue, notify_workers, once, row_of
from api.web.bodies import SpecBody, sound
from api.web.errors import PROBLEMS, Problem
from api.web.etag import UNCHANGED, Tag
from ncore.presets import spec_of
from ncore.status import ENDED, Status

router = APIRouter(tags=["experiments"], responses=PROBLEMS)


@router.post(
    "/experiments",
    status_code=201,
    response_model=ExperimentOut,
    responses={200: {"model": ExperimentOut, "description": "It was submitted before, with the same key and body"}},
)
def submit_experiment(body: SpecBody, response: Response, idempotency_key: Key = None) -> ExperimentOut:
    """Submits a spec, or a preset with changes. With `Idempotency-Key` a repeated request gives the same experiment."""
    spec = spec_of(sound(body))
    check_limits(spec)

    def make(digest: str) -> Experiment:
        with writing() as session:
            check_queue(session, 1)
            return row_of(session, spec, idempotency_key=idempotency_key, body_hash=digest)

    row, made = once(Experiment, idempotency_key, body, make)
    if made and row.source == "service":
        notify_workers([(row.id, row.queue)])
    response.status_code = 201 if made else 200
    response.headers["Location"] = f"/experiments/{row.id}"
    return shown(row)


@router.get("/experiments/{experiment_id}", response_model=ExperimentOut, responses=UNCHANGED)
def get_experiment(request: Request, response: Response, experiment_id: str) -> ExperimentOut | Response:
    """The experiment as it is now."""
    with reading() as session:
        found = shown(find(session, experiment_id))
    tag = Tag(request, found.model_dump(mode="json"))
    if tag.is_known:
        return tag.unchanged()
    tag.on(response)
    return found


class Place(BaseModel):
    """`before`: how many queued experiments a worker takes first. `starts_in_seconds`: an estimate, from what runs now
    and how long the last of the kinds before it took. Null of what is not queued, and where nothing is known."""

    status: Status
    before: int | None
    starts_in_seconds: float | None


@router.get("/experiments/{experiment_id}/place", response_model=Place)
def get_place(experiment_id: str) -> Place:
    """The experiment's place in the queue."""
    with reading() as session:
        row = find(session, experiment_id)
        if row.status != "queued":
            return Place(status=row.status, before=None, starts_in_seconds=None)
        ahead = before(session, row)
        seconds = seconds_to_start(session, row.queue, ahead)
        return Place(status=row.status, before=sum(ahead.values()), starts_in_seconds=seconds)


@router.post("/experiments/{experiment_id}/cancel", response_model=ExperimentOut)
def cancel_experiment(experiment_id: str) -> ExperimentOut:
    """Stops it at the next step boundary; its measurements are kept. 409 when it has ended."""
    with writing() as session:
        row = find(session, experiment_id)
        if row.status in ENDED and row.status != "cancelled":
            raise Problem(409, f"experiment {experiment_id} has ended ({row.status}); there is nothing to cancel")
        states.request_cancel(session, Experiment.id == experiment_id)
        return shown(find(session, experiment_id))


@router.post("/experiments/{experiment_id}/retry", response_model=ExperimentOut)
def retry_experiment(experiment_id: str) -> ExperimentOut:
    """Continues a failed or cancelled experiment from its checkpoint. 409 for any other."""
    with writing() as session:
        row = find(session, experiment_id)
        if not states.retry(session, experiment_id):
            raise Problem(409, f"experiment {experiment_id} is {row.status}; only a failed or cancelled one is retried")
        row = find(session, experiment_id)
    if row.source == "service":
        notify_workers([(row.id, row.queue)])
    return shown(row)


@router.delete("/experiments/{experiment_id}", status_code=204)
def delete_experiment(
    experiment_id: str,
    status: Annotated[Status | None, Query(description="delete it only while it is in this state, else 409")] = None,
) -> None:
    """Deletes it with its measurements and files: invisible at once, removed from the database in parts.

    409 while it runs.
    """
    with writing() as session:
        row = find(session, experiment_id, lock=True)
        if row.status == "running":
            raise Problem(409, f"experiment {experiment_id} is running; cancel it first")
        if status not in (None, row.status):
            raise Problem(409, f"experiment {experiment_id} is {row.status}, not {status}: it is left as it is")
        parts.take_out(session, Experiment.id == experiment_id)
        if row.sweep_id is not None:
            parts.forget_empty_sweep(session, row.sweep_id)
    remove(experiment_id)
