"""POST /sweeps: one experiment for each combination of values; their results: `sweep_table`, `sweep_plots`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Body
from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from sqlalchemy import func, select

from api.database import parts, states
from api.database.sessions import writing
from api.database.tables import Experiment, Sweep
from api.routes.sweep_table import SweepOut, first_page
from api.shown import find_sweep
from api.submission import Key, once
from api.sweep_submission import insert_sweep
from api.web.bodies import parsed, sound
from api.web.errors import PROBLEMS, Problem
from ncore.sweeps.plan import SweepRequest
from ncore.sweeps.presets import SWEEPS, expanded

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)


class SweepPresetRequest(BaseModel):
    """A sweep's preset by name, with dotted paths of its base changed: {"preset": "phase-plain", "set": {…}}.

    Whatever else it has (name, axes, zip, sample, refine, picture) takes the place of the preset's.
    """

    model_config = ConfigDict(extra="allow")
    preset: Annotated[str, Field(json_schema_extra={"enum": list(SWEEPS)})]
    set: dict[str, Any] = Field(default_factory=dict, description="dotted paths of the base spec and their new values")


SweepBody = Annotated[
    Any, Body(), PlainValidator(lambda body: body, json_schema_input_type=SweepRequest | SweepPresetRequest)
]


@router.post(
    "/sweeps",
    status_code=201,
    response_model=SweepOut,
    responses={200: {"model": SweepOut, "description": "It was submitted before, with the same key and body"}},
)
def submit_sweep(body: SweepBody, idempotency_key: Key = None) -> Any:
    """Submits one experiment for each combination of the axes' values, all or none of them."""
    request = parsed(SweepRequest, expanded(sound(body)))
    sweep, made = once(
        Sweep,
        idempotency_key,
        request.model_dump(mode="json", by_alias=True),
        lambda digest: insert_sweep(request, idempotency_key, digest),
    )
    response = first_page(sweep.id, 201 if made else 200)
    response.headers["Location"] = f"/sweeps/{sweep.id}"
    return response


@router.post("/sweeps/{sweep_id}/cancel", response_model=SweepOut)
def cancel_sweep(sweep_id: str) -> Any:
    """Cancels its experiments that have not ended, and adds no more; measurements are kept."""
    with writing() as session:
        find_sweep(session, sweep_id, lock=True).refining = False
    parts.change_sweep(sweep_id, states.request_cancel)
    return first_page(sweep_id)


@router.delete("/sweeps/{sweep_id}", status_code=204)
def delete_sweep(sweep_id: str) -> None:
    """Deletes it with its experiments, their measurements and files. 409 while any of them runs."""
    with writing() as session:
        sweep = find_sweep(session, sweep_id, lock=True)
        own = Experiment.sweep_id == sweep_id
        running = session.scalar(select(func.count()).where(own, Experiment.status == "running")) or 0
        if running:
            raise Problem(409, f"{running} experiments of sweep {sweep_id} are running; cancel it first")
        session.delete(sweep)
    parts.change_sweep(sweep_id, parts.take_out)
