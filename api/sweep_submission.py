"""From a sweep's request to queued experiments: all of them or none, written in parts; and more of them later."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import insert
from sqlalchemy.orm import Session

from api.database import parts
from api.database.sessions import reading, writing
from api.database.tables import Experiment, LogLine, Sweep, new_id, now
from api.submission import check_limits, check_queue, values_of, wake
from ncore.spec import SpecError
from ncore.sweeps.plan import Plan, Point, Spec, SweepRequest

MAX_FAULTS = 20
MAX_BYTES = 64_000_000
"""Of all specs of a sweep, as JSON."""
WRITTEN = 200
"""Experiments that one transaction writes."""
WOKEN = 100
"""Wake-up calls that are sent at once; the reconciler sends the others as the queue runs dry."""


def check(plan: Plan) -> None:
    """Raises SpecError naming axes and fields where a combination is wrong, or all together are too large."""
    faults: list[dict[str, str]] = []
    size = 0
    for point in plan.points():
        try:
            spec = plan.spec(point)
            _check_limits(plan, spec, point)
        except SpecError as error:
            faults += error.errors
            if len(faults) >= MAX_FAULTS:
                break
            continue
        size += len(orjson.dumps(spec.model_dump(mode="json")))
        if size > MAX_BYTES:
            message = f"its specs are longer than {MAX_BYTES} bytes of JSON in all: have fewer combinations"
            raise SpecError([{"field": "axes", "message": message}])
    if faults:
        raise SpecError(faults[:MAX_FAULTS])


def _check_limits(plan: Plan, spec: Spec, point: Point) -> None:
    try:
        check_limits(spec)
    except SpecError as error:
        raise SpecError([plan.fault(one, point) for one in error.errors]) from None


def insert_sweep(request: SweepRequest, key: str | None, digest: str) -> Sweep:
    """Writes drafts, some at a time, and shows and queues them at once when all are there."""
    plan = Plan(request)
    check(plan)
    with reading() as session:
        check_queue(session, plan.total)
    sweep = Sweep(
        id=new_id(),
        name=request.name,
        base=request.base,
        axes=plan.axes,
        total=plan.total,
        request=request.model_dump(mode="json", by_alias=True),
        refining=request.refine is not None,
        idempotency_key=key,
        body_hash=digest,
    )
    try:
        first = _write_drafts(plan, sweep.id)
        with writing() as session:
            check_queue(session, plan.total)
            parts.publish(session, sweep)
    except BaseException:
        with writing() as session:
            parts.take_out(session, Experiment.sweep_id == sweep.id)
        raise
    wake(first)
    return sweep


def _write_drafts(plan: Plan, sweep_id: str) -> list[tuple[str, str]]:
    """Id and queue of those that come first."""
    numbered = enumerate(plan.points())
    first: list[tuple[str, str]] = []
    while some := list(_rows(plan, sweep_id, islice(numbered, WRITTEN), status=parts.DRAFT)):
        began = time.monotonic()
        with writing() as session:
            write_rows(session, some)
        first += [(row["id"], row["queue"]) for row in some[: max(0, WOKEN - len(first))]]
        if len(some) == WRITTEN:
            time.sleep(time.monotonic() - began)  # others get as much time at the database
    return first


def _rows(plan: Plan, sweep_id: str, numbered: Iterable[tuple[int, Point]], **more: Any) -> Iterator[dict[str, Any]]:
    for index, point in numbered:
        own = {"sweep_id": sweep_id, "sweep_index": index, "point": point}
        yield {**values_of(plan.spec(point)), **own, **more}


def rows_of_points(plan: Plan, sweep_id: str, start: int, points: Sequence[Point]) -> list[dict[str, Any]]:
    """Rows of further combinations of a sweep, queued, numbered from `start`."""
    return list(_rows(plan, sweep_id, enumerate(points, start), status="queued"))


def write_rows(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts experiments, each with the first line of its log."""
    began = now()
    moments = (began + timedelta(microseconds=i) for i in range(len(rows)))  # they are queued in their order
    timed = [{**row, "created_at": at, "queued_at": at} for row, at in zip(rows, moments, strict=True)]
    session.execute(insert(Experiment), timed)
    lines = [{"experiment_id": row["id"], "event": "submitted", "level": "info", "attempt": 0} for row in rows]
    session.execute(insert(LogLine), lines)
