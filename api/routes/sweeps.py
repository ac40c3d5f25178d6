"""POST /sweeps: one experiment for each combination of values; what comes of them: `sweep_table`, `sweep_pictures`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.exc import IntegrityError

from api.database import states
from api.database.sessions import reading, writing
from api.database.tables import Experiment, Sweep, new_id
from api.routes.sweep_table import SweepOut, look
from api.shown import find_sweep
from api.submission import check_limits, check_queue, digest_of, row_of, submitted_before, wake
from api.web.errors import PROBLEMS
from ncore.presets import body_of_request
from ncore.spec import NetworkSpec, SpecError, UfmSpec, parse_spec, with_changes

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)
MAX_COMBINATIONS = 10_000
MAX_AXES = 6
MAX_NAME = 200
MAX_FAULTS = 20
WOKEN = 100
"""Wake-up calls that are sent at once; the reconciler sends the others as the queue runs dry."""
Spec = UfmSpec | NetworkSpec
Point = dict[str, Any]


class SweepRequest(BaseModel):
    """{"base": spec or {"preset": …, "set": …}, "axes": {"regularization.features": [0.001, 0.01], …}}"""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=MAX_NAME, pattern=r"^[^\x00]*$")] = ""
    base: dict[str, Any]
    axes: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1, max_length=MAX_AXES)]


def combinations(request: SweepRequest) -> Iterator[Spec]:
    """The spec of every point of the grid, the last axis fastest. Raises SpecError naming axes and fields."""
    count = math.prod(len(values) for values in request.axes.values())
    if count > MAX_COMBINATIONS:
        raise SpecError([{"field": "axes", "message": f"{count} combinations, the limit is {MAX_COMBINATIONS}"}])
    body, faults = body_of_request(request.base), []
    for values in product(*request.axes.values()):
        point = dict(zip(request.axes, values, strict=True))
        try:
            spec = parse_spec(with_changes(body, {**point, "name": _named(body, point)}))
            check_limits(spec)
        except SpecError as error:
            faults += [_fault(fault, point) for fault in error.errors]
            if len(faults) >= MAX_FAULTS:
                break
        else:
            yield spec
    if faults:
        raise SpecError(faults)


def _fault(fault: Mapping[str, str], point: Point) -> dict[str, str]:
    """The fault of one combination, at the axis that it comes from."""
    axis = next((path for path in point if fault["field"] == path or fault["field"].startswith(f"{path}.")), None)
    where = ", ".join(f"{path} = {value!r}" for path, value in point.items())
    field = f"axes.{axis}" if axis else f"base.{fault['field']}"
    return {"field": field, "message": f"{fault['message']} (at {where})"}


def _named(body: Mapping[str, Any], point: Point) -> str:
    values = ", ".join(f"{path.rpartition('.')[2]} = {value}" for path, value in point.items())
    name = body.get("name") or "sweep"
    return f"{name}: {values}".replace("\0", "")[:MAX_NAME] if isinstance(name, str) else name


@router.post("/sweeps", status_code=201, response_model=SweepOut)
def submit(
    request: SweepRequest,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> SweepOut:
    """Submits one experiment for each combination of the axes' values, all or none of them."""
    digest = digest_of(request.model_dump())
    with reading() as session:
        found = submitted_before(session, Sweep, idempotency_key, digest)
    made = found is None
    if found is None:
        specs = list(combinations(request))
        try:
            found = _insert(request, specs, idempotency_key, digest)
        except IntegrityError:  # another request with this key was faster
            with reading() as session:
                found, made = submitted_before(session, Sweep, idempotency_key, digest), False
    assert found is not None  # noqa: S101 (for the type checker)
    response.status_code = 201 if made else 200
    response.headers["Location"] = f"/sweeps/{found.id}"
    return look(found.id)


def _insert(request: SweepRequest, specs: Sequence[Spec], key: str | None, digest: str) -> Sweep:
    sweep = Sweep(id=new_id(), total=len(specs), idempotency_key=key, body_hash=digest, **request.model_dump())
    with writing() as session:
        check_queue(session, len(specs))
        session.add(sweep)
        rows = [row_of(session, spec, sweep_id=sweep.id, sweep_index=index) for index, spec in enumerate(specs)]
    wake(rows[:WOKEN])
    return sweep


@router.post("/sweeps/{sweep_id}/cancel", response_model=SweepOut)
def cancel(sweep_id: str) -> SweepOut:
    """Cancels what has not ended; what was measured stays."""
    with writing() as session:
        find_sweep(session, sweep_id)
        states.request_cancel(session, Experiment.sweep_id == sweep_id)
    return look(sweep_id)
