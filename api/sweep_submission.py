"""Submission of a sweep: all its experiments or none, written in parts; more of them later where it is adaptive."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any

import orjson
from sqlalchemy import insert
from sqlalchemy.orm import Session

from api.database import parts
from api.database.facts import note_specs
from api.database.sessions import reading, writing
from api.database.tables import Experiment, LogLine, Sweep, new_id, now
from api.submission import check_limits, check_queue, notify_workers, values_of
from ncore.spec import SpecError
from ncore.sweeps.plan import Plan, Point, Spec, SweepRequest

MAX_FAULTS = 20
MAX_BYTES = 64_000_000
"""Most bytes of all specs of a sweep, as JSON."""
WRITTEN = 200
"""Experiments that one transaction writes."""
WOKEN = 100
"""Wake-up calls that are sent at once; the reconciler sends the others as the queue runs dry."""


def check(plan: Plan) -> None:
    """Raises SpecError naming axes and fields where a combination is wrong, or all together are too large."""
    size = 0
    for spec in sound_specs(plan, plan.points()):
        size += len(orjson.dumps(spec.model_dump(mode="json")))
        if size > MAX_BYTES:
            message = f"its specs are longer than {MAX_BYTES} bytes of JSON in all: have fewer combinations"
            raise SpecError([{"field": "axes", "message": message}])


def sound_specs(plan: Plan, points: Iterable[Point]) -> Iterator[Spec]:
    """The specs of these combinations. Raises SpecError naming axes and fields, at the end or once many are wrong."""
    faults: list[dict[str, str]] = []
    for point in points:
        try:
            spec = plan.spec(point)
            _check_limits(plan, spec, point)
        except SpecError as error:
            faults += error.errors
            if len(faults) >= MAX_FAULTS:
                break
            continue
        yield spec
    if faults:
        raise SpecError(faults[:MAX_FAULTS])


def _check_limits(plan: Plan, spec: Spec, point: Point) -> None:
    try:
        check_limits(spec)
    except SpecError as error:
        raise SpecError([plan.fault(one, point) for one in error.errors]) from None


def insert_sweep(request: SweepRequest, key: str | None, digest: str) -> Sweep:
    """Writes the experiments, some at a time, and at last the row by which they are there for others."""
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
        first = _write_experiments(plan, sweep.id)
        with writing() as session:
            check_queue(session, plan.total)
            session.add(sweep)
            session.flush()  # a key that was used before is found here
    except BaseException:
        parts.change_sweep(sweep.id, parts.take_out)
        raise
    notify_workers(first)
    return sweep


def _write_experiments(plan: Plan, sweep_id: str) -> list[tuple[str, str]]:
    """Id and queue of those that come first."""
    numbered, turns = enumerate(plan.points()), parts.Turns()
    first: list[tuple[str, str]] = []
    while some := rows_of_points(plan, sweep_id, islice(numbered, WRITTEN)):
        with turns.next() as session:
            write_rows(session, some)
        first += [(row["id"], row["queue"]) for row in some[: max(0, WOKEN - len(first))]]
    return first


def rows_of_points(plan: Plan, sweep_id: str, numbered: Iterable[tuple[int, Point]]) -> list[dict[str, Any]]:
    """The rows of combinations with these numbers, queued."""
    return [
        {**values_of(plan.spec(point)), "sweep_id": sweep_id, "sweep_index": number, "point": point}
        for number, point in numbered
    ]


def write_rows(session: Session, rows: Sequence[dict[str, Any]]) -> None:
    """Inserts experiments, each with the first line of its log."""
    began = now()
    moments = (began + timedelta(microseconds=i) for i in range(len(rows)))  # they are queued in their order
    timed = [{**row, "created_at": at, "queued_at": at} for row, at in zip(rows, moments, strict=True)]
    session.execute(insert(Experiment), timed)
    note_specs(session.connection(), {row["id"]: row["spec"] for row in rows})
    lines = [{"experiment_id": row["id"], "event": "submitted", "level": "info", "attempt": 0} for row in rows]
    session.execute(insert(LogLine), lines)
