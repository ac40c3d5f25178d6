"""Submission of a spec: limits, idempotency, room in the queue, the row of the experiment, the call to a worker."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from itertools import takewhile
from typing import Annotated, Any, TypeVar

import orjson
from fastapi import Header
from pydantic import Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api import broker
from api.database import journal, states, workers
from api.database.names import folded
from api.database.parts import VISIBLE
from api.database.sessions import reading, writing
from api.database.tables import Experiment, Sweep, new_id
from api.settings import get_settings
from api.web.errors import Problem
from ncore.estimate import measurements, memory_bytes, wants_gpu
from ncore.faults import shortened
from ncore.kinds.fields import Plain
from ncore.network.estimate import largest_share
from ncore.presets import Spec
from ncore.spec import AnySpec, ExternalSpec, NetworkSpec, SpecError, UfmSpec

Submitted = TypeVar("Submitted", Experiment, Sweep)
Key = Annotated[
    Annotated[str, Field(min_length=1, max_length=255), Plain()] | None,
    Header(alias="Idempotency-Key", description="of your choice: a repeated request with it makes nothing again"),
]


def check_limits(spec: AnySpec) -> None:
    """Raises SpecError with the estimate and the limit. What is measured elsewhere takes nothing here."""
    if isinstance(spec, ExternalSpec):
        return
    settings, memory = get_settings(), memory_bytes(spec)
    if memory > settings.max_memory_bytes:
        raise SpecError([_too_much_memory(spec, memory, settings.max_memory_bytes)])
    rows = measurements(spec)
    if rows > settings.max_measurements:
        message = (
            f"{rows} measurements (seeds x points), the limit is NCORE_MAX_MEASUREMENTS = {settings.max_measurements}"
        )
        raise SpecError([{"field": "measure", "message": message}])


def _too_much_memory(spec: Spec, needed_bytes: int, limit_bytes: int) -> dict[str, str]:
    field, largest = "model", ""
    if isinstance(spec, NetworkSpec):
        field, share_bytes, what = largest_share(spec, limit_bytes)
        largest = f" ({_gib(share_bytes)} for {what})"
    message = f"needs about {_gib(needed_bytes)}{largest}, the limit is NCORE_MAX_MEMORY_BYTES = {_gib(limit_bytes)}"
    return {"field": field, "message": message}


def _gib(n: float) -> str:
    return f"{n / 2**30:{'.3g' if n < 1000 * 2**30 else '.0f'}} GiB"


def notify_workers(rows: Sequence[tuple[str, str]]) -> None:
    """Calls a worker for each (id, queue), after the commit; when the broker is away the reconciler does it later."""
    with reading() as session:
        kinds = {queue: workers.queue_of(session, queue) for queue in {queue for _, queue in rows}}
    reached = takewhile(lambda row: broker.send(row[0], kinds[row[1]]), rows)  # one that fails takes seconds
    sent = [experiment_id for experiment_id, _ in reached]
    if sent:
        with writing() as session:
            states.mark_sent(session, sent)


def digest_of(body: Any) -> str:
    """The digest that recognises a body whatever the order of its fields."""
    return hashlib.sha256(orjson.dumps(body, option=orjson.OPT_SORT_KEYS)).hexdigest()


def once(
    table: type[Submitted], key: str | None, body: Any, make: Callable[[str], Submitted]
) -> tuple[Submitted, bool]:
    """The row that this Idempotency-Key has made, else what `make(digest of the body)` makes; and whether it is new.

    Raises the 409 where the key was used with another body.
    """
    digest = digest_of(body)
    found = _made_before(table, key, digest)
    if found is not None:
        return found, False
    try:
        return make(digest), True
    except IntegrityError:  # another request with this key was faster
        found = _made_before(table, key, digest)
        if found is None:
            raise
        return found, False


def _made_before(table: type[Submitted], key: str | None, digest: str) -> Submitted | None:
    if key is None:
        return None
    with reading() as session:
        found = session.scalar(select(table).where(table.idempotency_key == key))
    if found is not None and found.body_hash != digest:
        message = f"{shortened(key)} was used with another body before"
        raise Problem(409, f"Idempotency-Key: {message}", [{"field": "Idempotency-Key", "message": message}])
    return found


def check_queue(session: Session, more: int) -> None:
    """Raises the 429 where the queue has no room for `more` experiments."""
    limit = get_settings().max_queued
    queued = session.scalar(select(func.count(Experiment.id)).where(Experiment.status == "queued", VISIBLE)) or 0
    if queued + more > limit:
        detail = f"{queued} experiments are queued, the limit is NCORE_MAX_QUEUED = {limit}; try again later"
        raise Problem(429, detail, headers={"Retry-After": "30"})


def values_of(spec: Spec) -> dict[str, Any]:
    """The columns of a new experiment's row that come from its spec, and its id."""
    return {
        **_named(spec),
        "total": spec.optimizer.steps if isinstance(spec, UfmSpec) else 0,
        "priority": spec.priority,
        "queue": _queue_of(spec),
    }


def _queue_of(spec: Spec) -> str:
    if not wants_gpu(spec):
        return "cpu"
    return "gpus" if isinstance(spec, NetworkSpec) and spec.devices > 1 else "gpu"


def _named(spec: AnySpec) -> dict[str, Any]:
    return {
        "id": new_id(),
        "name": spec.name,
        "search": folded(spec.name),
        "kind": spec.model.kind,
        "tags": list(spec.tags),
        "spec": spec.model_dump(mode="json"),
    }


def row_of(session: Session, spec: AnySpec, **more: Any) -> Experiment:
    """The new row of an experiment: queued, or running where its owner measures it."""
    if isinstance(spec, ExternalSpec):
        own = {**_named(spec), "total": spec.model.steps or 0, **states.started()}
    else:
        own = values_of(spec)
    row = Experiment(**own, **more)
    session.add(row)
    journal.write(session, row.id, "submitted")
    if row.source == "external":
        session.flush()
        session.refresh(row)  # its times are the database's
    return row
