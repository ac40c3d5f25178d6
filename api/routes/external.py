"""/experiments/{id}/measurements, heartbeat, finish: what the owner of an external experiment sends."""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Depends, Request
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.orm import Session

from api.database import received, states
from api.database.measurements import last_rows, last_rows_with, measurement_of
from api.database.sessions import writing
from api.database.tables import Experiment
from api.settings import get_settings
from api.shown import ExperimentOut, find, shown
from api.web.errors import PROBLEMS, Problem
from ncore.faults import SpecError
from ncore.geometry import MOST_CLASSES
from ncore.kinds.external import MAX_LAYERS
from ncore.kinds.fields import Plain
from ncore.outcome import as_final
from ncore.rows import MAX_COLUMNS, MAX_ROWS, Rows, parse_rows
from ncore.sent_geometry import MOST_SENT
from ncore.spec import stored_spec
from ncore.status import ENDED, Ended, Status
from ncore.verdict import verdicts

router = APIRouter(tags=["external"], responses=PROBLEMS)
MAX_REASON = 2000
_NAME = {"type": "string", "minLength": 1, "maxLength": 64}
_NUMBERS = {"type": "array", "minItems": 1, "maxItems": MOST_CLASSES, "items": {"type": "number"}}


def _object(**properties: Any) -> dict[str, Any]:
    """The schema of an object that has all of these fields."""
    required = [name for name, one in properties.items() if "default" not in one]
    return {"type": "object", "required": required, "additionalProperties": False, "properties": properties}


_MATRICES: dict[str, Any] = {
    "type": "array",
    "minItems": 1,
    "maxItems": MAX_LAYERS + 2,
    "items": _object(
        name={**_NAME, "description": "a layer: H̄ᵀH̄ of its class means; W: W Wᵀ of the last weight; W H: W H̄"},
        gram={"description": "K x K", "type": "array", "minItems": 1, "maxItems": MOST_CLASSES, "items": _NUMBERS},
        singular_values={
            "description": "of H̄, W, W H̄, largest first; found from the matrix where it is left out",
            "anyOf": [_NUMBERS, {"type": "null"}],
            "default": None,
        },
    ),
}
_ROWS_SCHEMA: dict[str, Any] = {
    "type": "object",
    "required": ["rows"],
    "additionalProperties": False,
    "properties": {
        "columns": {
            "description": "a metric's name, or [metric, layer], for each value of a row",
            "type": "array",
            "maxItems": MAX_COLUMNS,
            "items": {"anyOf": [_NAME, {"type": "array", "minItems": 2, "maxItems": 2, "items": _NAME}]},
        },
        "rows": {
            "description": "seed, step, and a value (null: undefined) for each column",
            "type": "array",
            "maxItems": MAX_ROWS,
            "items": {"type": "array", "minItems": 2, "items": {"type": ["number", "null"]}},
        },
        "on_conflict": {
            "description": "where a seed and step has other values already: refuse the request, or keep what is stored",
            "enum": ["refuse", "keep"],
            "default": "refuse",
        },
        "geometry": {
            "description": "class means and weights at some of the seeds and steps of `rows`; behind the last one kept "
            "of its seed it is kept, at up to 50 steps spread evenly, and left out where it is too much",
            "type": "array",
            "maxItems": MOST_SENT,
            "items": _object(seed={"type": "integer"}, step={"type": "integer"}, items=_MATRICES),
        },
    },
    "example": {"columns": ["loss", ["nc1", "layer4"]], "rows": [[0, 100, 0.31, 0.012], [0, 200, 0.22, None]]},
}


class Received(BaseModel):
    """The result of a call: `status` is cancelled where a user wants the loop to stop."""

    status: Status
    stored: int = Field(description="rows that are new, or have got more metrics")
    kept: int = Field(description="rows of which other values were stored before, which stay")
    lease_seconds: float = Field(description="without another call for so long it counts as lost")


class Ending(BaseModel):
    """How an external experiment has ended."""

    model_config = ConfigDict(extra="forbid")
    status: Ended = "succeeded"
    reason: Annotated[str, Field(max_length=MAX_REASON, description="of a failure"), Plain()] | None = None


async def _content(request: Request) -> bytes:
    """The body as it came: parsed in a worker thread, by the faster parser."""
    return await request.body()


@router.post(
    "/experiments/{experiment_id}/measurements",
    response_model=Received,
    openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _ROWS_SCHEMA}}}},
)
def send_measurements(experiment_id: str, content: Annotated[bytes, Depends(_content)]) -> Received:
    """Stores rows of an external experiment, each under its seed and step: once, however often it is sent.

    A row that is there gets the metrics that are new; where it has other values nothing is stored (409), unless
    `on_conflict` is `keep`. Rows for what has succeeded or failed: 409. `geometry` is kept beside the rows, so that
    GET …/geometry has it.
    """
    rows = _parsed(content)
    with writing() as session:
        row = _heard(session, experiment_id)
        try:
            plan = received.plan_of(session, row, rows)
            if not plan.is_empty and row.status in ENDED and row.status != "cancelled":
                raise Problem(409, f"experiment {experiment_id} has ended ({row.status}): it takes no more rows")
            if not plan.is_empty:
                received.store(session, row, rows, plan)
        except received.Conflict as error:
            raise Problem(409, f"rows: {error}", [{"field": "rows", "message": str(error)}]) from None
        except SpecError as error:
            raise Problem.of(error.errors) from None
        return _received(row, plan.changes, plan.kept)


@router.post("/experiments/{experiment_id}/heartbeat", response_model=Received)
def send_heartbeat(experiment_id: str) -> Received:
    """Reports that the loop of an external experiment is alive; a lost one is running again."""
    with writing() as session:
        return _received(_heard(session, experiment_id), 0, 0)


@router.post("/experiments/{experiment_id}/finish", response_model=ExperimentOut)
def finish_experiment(experiment_id: str, ending: Annotated[Ending | None, Body()] = None) -> ExperimentOut:
    """Ends an external experiment. Repeating it changes nothing, another end is a 409. A cancelled one stays so."""
    ending = ending or Ending()
    if ending.reason and ending.status != "failed":
        message = f"must be left out where status is {ending.status}"
        raise Problem.of([{"field": "reason", "message": message}])
    with writing() as session:
        row = _found(session, experiment_id)
        if row.status not in ENDED:
            states.end(session, experiment_id, ending.status, **_outcome(session, row, ending))
        elif row.status not in (ending.status, "cancelled"):
            raise Problem(409, f"experiment {experiment_id} has ended ({row.status}) and cannot be {ending.status} now")
        return shown(find(session, experiment_id))


def _parsed(content: bytes) -> Rows:
    try:
        return parse_rows(orjson.loads(content))
    except orjson.JSONDecodeError as error:
        message = f"the body is not JSON (NaN and infinities are null): {error}"
        raise Problem.of([{"field": "", "message": message}]) from None
    except SpecError as error:
        raise Problem.of(error.errors) from None


def _found(session: Session, experiment_id: str) -> Experiment:
    """The row, locked. Raises the 404, and the 409 where a worker measures it."""
    row = find(session, experiment_id, lock=True)
    if row.source != "external":
        detail = (
            f"experiment {experiment_id} is not external (model.kind is {row.kind}): its worker measures and ends it"
        )
        raise Problem(409, detail)
    return row


def _heard(session: Session, experiment_id: str) -> Experiment:
    """The row, its lease renewed where it runs or was lost."""
    _found(session, experiment_id)
    states.hear(session, experiment_id)
    return find(session, experiment_id, lock=True)


def _received(row: Experiment, stored: int, kept: int) -> Received:
    status: Any = row.status
    return Received(status=status, stored=stored, kept=kept, lease_seconds=get_settings().lease_seconds)


def _outcome(session: Session, row: Experiment, ending: Ending) -> dict[str, Any]:
    """Values of the row that go with this end: a result, or the error."""
    if ending.status == "failed":
        return {"error": ending.reason or "no reason was given"}
    if ending.status == "cancelled":
        return {}
    final, judged = last_rows(session, row.id), last_rows_with(session, row.id, "nc2_etf")
    verdict = verdicts(stored_spec(row.spec), [measurement_of(one) for one in judged])
    return {"result": {"final": as_final([measurement_of(one) for one in final]), "verdict": verdict}}
