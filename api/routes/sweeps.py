"""POST /sweeps: one experiment for each combination of values; what comes of them: `sweep_table`, `sweep_pictures`."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice, product
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Body, Response
from pydantic import BaseModel, ConfigDict, Field, PlainValidator
from sqlalchemy import func, select

from api.database import parts, states
from api.database.sessions import reading, writing
from api.database.tables import Experiment, Sweep, new_id
from api.routes.sweep_table import SweepOut, look
from api.shown import find_sweep
from api.submission import Key, check_limits, check_queue, once, row_of, wake
from api.web.bodies import parsed, sound
from api.web.errors import PROBLEMS, Problem
from ncore.faults import shortened
from ncore.kinds.fields import Entries, Plain
from ncore.presets import body_of_request
from ncore.spec import NetworkSpec, SpecError, UfmSpec, parse_spec, with_changes
from ncore.text import escaped

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)
MAX_COMBINATIONS = 10_000
MAX_AXES = 6
MAX_NAME = 200
MAX_FAULTS = 20
MAX_BYTES = 64_000_000
"""Of all specs of a sweep, as JSON."""
WRITTEN = 100
"""Experiments that one transaction writes."""
WOKEN = 100
"""Wake-up calls that are sent at once; the reconciler sends the others as the queue runs dry."""
Spec = UfmSpec | NetworkSpec
Point = dict[str, Any]
Path = Annotated[str, Field(min_length=1, max_length=MAX_NAME), Plain()]


class SweepRequest(BaseModel):
    """{"base": spec or {"preset": …, "set": …}, "axes": {"regularization.features": [0.001, 0.01], …}}"""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=MAX_NAME, description="shown with the sweep"), Plain()] = ""
    base: Annotated[dict[str, Any], Field(description="the spec, or a preset with changes, that all start from")]
    axes: Annotated[
        dict[Path, Annotated[list[Any], Entries(1, MAX_COMBINATIONS)]],
        Field(min_length=1, max_length=MAX_AXES, description="values for dotted paths of the spec, the last fastest"),
    ]


SweepBody = Annotated[Any, Body(), PlainValidator(lambda body: body, json_schema_input_type=SweepRequest)]


def points(request: SweepRequest) -> Iterator[Point]:
    """The values of every combination, the last axis fastest. Raises SpecError where there are too many."""
    count = math.prod(len(values) for values in request.axes.values())
    if count > MAX_COMBINATIONS:
        raise SpecError([{"field": "axes", "message": f"{count} combinations, the limit is {MAX_COMBINATIONS}"}])
    return (dict(zip(request.axes, values, strict=True)) for values in product(*request.axes.values()))


def check(request: SweepRequest) -> int:
    """How many combinations there are, all of them good. Raises SpecError naming axes and fields."""
    body, faults, size, count = body_of_request(request.base), [], 0, 0
    for point in points(request):
        try:
            spec = _spec(body, point)
            check_limits(spec)
        except SpecError as error:
            faults += [_fault(fault, point) for fault in error.errors[:MAX_FAULTS]]
            if len(faults) >= MAX_FAULTS:
                break
            continue
        count += 1
        size += len(orjson.dumps(spec.model_dump(mode="json")))
        if size > MAX_BYTES:
            message = f"its specs are longer than {MAX_BYTES} bytes of JSON in all: have fewer combinations"
            raise SpecError([{"field": "axes", "message": message}])
    if faults:
        raise SpecError(faults[:MAX_FAULTS])
    return count


def _spec(body: Mapping[str, Any], point: Point) -> Spec:
    return parse_spec(with_changes(body, {**point, "name": _named(body, point)}))


def _fault(fault: Mapping[str, str], point: Point) -> dict[str, str]:
    """The fault of one combination, at the axis that it comes from."""
    axis = next((path for path in point if fault["field"] == path or fault["field"].startswith(f"{path}.")), None)
    where = ", ".join(f"{path} = {shortened(value, 40)}" for path, value in point.items())
    field = f"axes.{axis}" if axis else f"base.{fault['field']}"
    return {"field": field, "message": f"{fault['message']} (at {where})"}


def _named(body: Mapping[str, Any], point: Point) -> str:
    values = ", ".join(f"{path.rpartition('.')[2]} = {_written(value)}" for path, value in point.items())
    name = body.get("name") or "sweep"
    return escaped(f"{name}: {values}")[:MAX_NAME] if isinstance(name, str) else name


def _written(value: Any) -> str:
    return value if isinstance(value, str) else shortened(value)


@router.post(
    "/sweeps",
    status_code=201,
    response_model=SweepOut,
    responses={200: {"model": SweepOut, "description": "It was submitted before, with the same key and body"}},
)
def submit_sweep(body: SweepBody, response: Response, idempotency_key: Key = None) -> SweepOut:
    """Submits one experiment for each combination of the axes' values, all or none of them."""
    request = parsed(SweepRequest, sound(body))
    sweep, made = once(
        Sweep, idempotency_key, request.model_dump(), lambda digest: _insert(request, idempotency_key, digest)
    )
    response.status_code = 201 if made else 200
    response.headers["Location"] = f"/sweeps/{sweep.id}"
    return look(sweep.id)


def _insert(request: SweepRequest, key: str | None, digest: str) -> Sweep:
    """Writes the experiments, some at a time, and at last the row by which they are there for others."""
    total = check(request)
    with reading() as session:
        check_queue(session, total)
    sweep = Sweep(id=new_id(), total=total, idempotency_key=key, body_hash=digest, **request.model_dump())
    try:
        first = _write_experiments(request, sweep.id)
        with writing() as session:
            check_queue(session, total)
            session.add(sweep)
            session.flush()  # a key that was used before is found here
    except BaseException:
        parts.change_sweep(sweep.id, parts.take_out)
        raise
    wake(first)
    return sweep


def _write_experiments(request: SweepRequest, sweep_id: str) -> Sequence[Experiment]:
    """Returns those that come first."""
    body, numbered, turns = body_of_request(request.base), enumerate(points(request)), parts.Turns()
    first: list[Experiment] = []
    while some := [(index, _spec(body, point)) for index, point in islice(numbered, WRITTEN)]:
        with turns.next() as session:
            rows = [row_of(session, spec, sweep_id=sweep_id, sweep_index=index) for index, spec in some]
        first = first or rows[:WOKEN]
    return first


@router.post("/sweeps/{sweep_id}/cancel", response_model=SweepOut)
def cancel_sweep(sweep_id: str) -> SweepOut:
    """Cancels what has not ended; what was measured stays."""
    with reading() as session:
        find_sweep(session, sweep_id)
    parts.change_sweep(sweep_id, states.request_cancel)
    return look(sweep_id)


@router.delete("/sweeps/{sweep_id}", status_code=204)
def delete_sweep(sweep_id: str) -> None:
    """Deletes it with its experiments, their measurements and files. 409 while any of them runs."""
    with writing() as session:
        sweep = find_sweep(session, sweep_id)
        own = Experiment.sweep_id == sweep_id
        running = session.scalar(select(func.count()).where(own, Experiment.status == "running")) or 0
        if running:
            raise Problem(409, f"{running} experiments of sweep {sweep_id} are running; cancel it first")
        session.delete(sweep)
    parts.change_sweep(sweep_id, parts.take_out)
