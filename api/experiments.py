"""/experiments: submit, look, cancel, retry, delete."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import APIRouter, Body, Header, Response
from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api import broker, journal, states
from api.db import reading, writing
from api.errors import PROBLEMS, Problem, not_found
from api.settings import get_settings
from api.store import get_store
from api.tables import Experiment, Sweep, new_id
from ncore.estimate import measurements, memory_bytes, wants_gpu
from ncore.network.estimate import largest_share
from ncore.presets import PRESETS
from ncore.spec import NetworkSpec, SpecError, UfmSpec, parse_spec, with_changes

router = APIRouter(tags=["experiments"], responses=PROBLEMS)
Submitted = TypeVar("Submitted", Experiment, Sweep)


class PresetRequest(BaseModel):
    """A preset by name, with dotted paths changed: {"preset": "fig1", "set": {"optimizer.steps": 500}}."""

    model_config = ConfigDict(extra="forbid")
    preset: Annotated[str, Field(json_schema_extra={"enum": list(PRESETS)})]
    set: dict[str, Any] = {}


SpecBody = Annotated[
    Any, Body(), PlainValidator(lambda body: body, json_schema_input_type=UfmSpec | NetworkSpec | PresetRequest)
]


class Progress(BaseModel):
    step: int
    total: int
    eta_seconds: float | None


class ExperimentOut(BaseModel):
    """One submitted spec and all that came of it."""

    id: str
    name: str
    tags: list[str]
    status: str
    spec: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    progress: Progress
    attempt: int
    worker: str | None
    device: str | None
    error: str | None
    result: dict[str, Any] | None


def spec_of(body: Any) -> UfmSpec | NetworkSpec:
    """The spec in a request's body: itself, or a preset with changes. Raises SpecError."""
    return parse_spec(body_of_request(body))


def body_of_request(body: Any) -> Any:
    """The spec's own body, a preset with its changes written out. Raises SpecError for a wrong preset."""
    if not isinstance(body, Mapping) or "preset" not in body:
        return body
    unknown = set(body) - {"preset", "set"}
    if unknown:
        raise SpecError([{"field": field, "message": "unknown field beside `preset`"} for field in sorted(unknown)])
    if not isinstance(body["preset"], str) or body["preset"] not in PRESETS:
        allowed = ", ".join(PRESETS)
        raise SpecError([{"field": "preset", "message": f"must be one of {allowed}; got {body['preset']!r}"}])
    changes = body.get("set", {})
    if not isinstance(changes, Mapping):
        raise SpecError([{"field": "set", "message": f"must be an object of dotted paths; got {changes!r}"}])
    return with_changes(PRESETS[body["preset"]].spec, changes)


def check_limits(spec: UfmSpec | NetworkSpec) -> None:
    """Raises SpecError with the estimate and the limit."""
    settings, memory = get_settings(), memory_bytes(spec)
    if memory > settings.max_memory_bytes:
        raise SpecError([_too_much_memory(spec, memory, settings.max_memory_bytes)])
    rows = measurements(spec)
    if rows > settings.max_measurements:
        message = (
            f"{rows} measurements (seeds x points), the limit is NCORE_MAX_MEASUREMENTS = {settings.max_measurements}"
        )
        raise SpecError([{"field": "measure", "message": message}])


def _too_much_memory(spec: UfmSpec | NetworkSpec, needed_bytes: int, limit_bytes: int) -> dict[str, str]:
    field, largest = "model", ""
    if isinstance(spec, NetworkSpec):
        field, share_bytes, what = largest_share(spec, limit_bytes)
        largest = f" ({_gib(share_bytes)} for {what})"
    message = f"needs about {_gib(needed_bytes)}{largest}, the limit is NCORE_MAX_MEMORY_BYTES = {_gib(limit_bytes)}"
    return {"field": field, "message": message}


def _gib(n: float) -> str:
    return f"{n / 2**30:{'.3g' if n < 1000 * 2**30 else '.0f'}} GiB"


@router.post("/experiments", status_code=201, response_model=ExperimentOut)
def submit(
    body: SpecBody,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> ExperimentOut:
    """Submits a spec, or a preset with changes. With `Idempotency-Key` a repeated request gives the same experiment."""
    spec = spec_of(body)
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


def wake(rows: Sequence[Experiment]) -> None:
    """Calls a worker for each, after the commit; when the broker is away the reconciler does it later."""
    with reading() as session:
        kinds = {queue: states.queue_of(session, queue) for queue in {row.queue for row in rows}}
    sent = [row.id for row in rows if broker.send(row.id, kinds[row.queue])]
    if sent:
        with writing() as session:
            states.mark_sent(session, sent)


def _find_or_insert(
    session: Session, spec: UfmSpec | NetworkSpec, key: str | None, digest: str
) -> tuple[Experiment, bool]:
    found = submitted_before(session, Experiment, key, digest)
    if found is not None:
        return found, False
    check_queue(session, 1)
    return row_of(session, spec, idempotency_key=key, body_hash=digest), True


def digest_of(body: Any) -> str:
    """What a body is recognised by, whatever the order of its fields."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def submitted_before(session: Session, table: type[Submitted], key: str | None, digest: str) -> Submitted | None:
    """The row that this Idempotency-Key has made. Raises the 409 where that was with another body."""
    found = None if key is None else session.scalar(select(table).where(table.idempotency_key == key))
    if found is not None and found.body_hash != digest:
        fault = {"field": "Idempotency-Key", "message": f"{key!r} was used with another body"}
        raise Problem(409, f"Idempotency-Key {key!r} was used with another body before", [fault])
    return found


def check_queue(session: Session, more: int) -> None:
    """Raises the 429 where the queue has no room for so many more."""
    limit = get_settings().max_queued
    queued = session.scalar(select(func.count()).select_from(Experiment).where(Experiment.status == "queued")) or 0
    if queued + more > limit:
        detail = f"{queued} experiments are queued, the limit is NCORE_MAX_QUEUED = {limit}; try again later"
        raise Problem(429, detail, headers={"Retry-After": "30"})


def row_of(session: Session, spec: UfmSpec | NetworkSpec, **more: Any) -> Experiment:
    """The new row of an experiment, queued."""
    row = Experiment(
        id=new_id(),
        name=spec.name,
        kind=spec.model.kind,
        tags=list(spec.tags),
        spec=spec.model_dump(mode="json"),
        total=spec.optimizer.steps if isinstance(spec, UfmSpec) else 0,
        priority=spec.priority,
        queue="gpu" if wants_gpu(spec) else "cpu",
        **more,
    )
    session.add(row)
    journal.write(session, row.id, "submitted")
    return row


def find(session: Session, experiment_id: str, lock: bool = False) -> Experiment:
    """The row; with `lock` no worker claims it until the end of the transaction. Raises the 404."""
    row = session.get(Experiment, experiment_id, populate_existing=True, with_for_update=lock)
    if row is None:
        raise not_found("experiment", experiment_id)
    return row


def shown(row: Experiment) -> ExperimentOut:
    progress = Progress(step=row.step, total=row.total, eta_seconds=row.eta_seconds)
    own = {name: getattr(row, name) for name in ExperimentOut.model_fields if name != "progress"}
    if row.status == "queued":
        own["worker"] = None  # the row keeps the last one, for its log
    return ExperimentOut(**own, progress=progress)


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
