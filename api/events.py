"""/experiments/{id}/events: server-sent events, resumable by `Last-Event-ID`.

The cursor is the `seq` that an experiment's one writer gives its rows. A stream holds no database session: it looks
for new rows in a short transaction of its own, and sleeps.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse
from sqlalchemy import select
from starlette.concurrency import run_in_threadpool

from api.db import reading
from api.errors import PROBLEMS
from api.experiments import find, shown
from api.states import ENDED
from api.tables import MeasurementRow

router = APIRouter(tags=["events"], responses=PROBLEMS)
LOOK_SECONDS = 0.3
PING_SECONDS = 15.0
BATCH = 500


@router.get(
    "/experiments/{experiment_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
def events(
    request: Request,
    experiment_id: str,
    last_event_id: Annotated[int, Header(ge=0, lt=2**31)] = 0,
) -> StreamingResponse:
    """`measurement` (id: its number), `status` when it changes, `end` at last; a comment every 15 s."""
    with reading() as session:
        find(session, experiment_id)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    stream = _stream(request, experiment_id, last_event_id)
    return StreamingResponse(stream, media_type="text/event-stream", headers=headers)


async def _stream(request: Request, experiment_id: str, seq: int) -> AsyncIterator[bytes]:
    told, spoke_at = None, time.monotonic()
    while not await request.is_disconnected():
        state, rows = await run_in_threadpool(_look, experiment_id, seq)
        for row in rows:
            seq = row["seq"]
            yield _event("measurement", row, seq)
        if state is None:
            yield _event("end", {"status": "deleted"})
            return
        changed = state != told
        if changed:
            told = state
            yield _event("status", state)
        if state["status"] in ENDED and not rows:
            yield _event("end", {"status": state["status"]})
            return
        if rows or changed:
            spoke_at = time.monotonic()
        elif time.monotonic() - spoke_at > PING_SECONDS:
            spoke_at = time.monotonic()
            yield b": still here\n\n"
        if len(rows) < BATCH:
            await asyncio.sleep(LOOK_SECONDS)


def _look(experiment_id: str, seq: int) -> tuple[dict[str, Any] | None, list[dict[str, Any]]]:
    """The state first and the rows after it, so that nothing can come behind the rows of a state that has ended."""
    from api.errors import Problem

    with reading() as session:
        try:
            row = shown(find(session, experiment_id))
        except Problem:
            return None, []
        state = row.model_dump(mode="json", include={"status", "progress", "attempt", "worker", "device", "error"})
    with reading() as session:
        query = (
            select(MeasurementRow.seq, MeasurementRow.seed, MeasurementRow.step, MeasurementRow.values)
            .where(MeasurementRow.experiment_id == experiment_id, MeasurementRow.seq > seq)
            .order_by(MeasurementRow.seq)
            .limit(BATCH)
        )
        return state, [_row(*found) for found in session.execute(query)]


def _row(seq: int, seed: int, step: int, values: dict[str, float | None]) -> dict[str, Any]:
    parts = [(name.partition(" "), value) for name, value in values.items()]
    metrics = [{"metric": name[0], "layer": name[2] or None, "value": value} for name, value in parts]
    return {"seq": seq, "seed": seed, "step": step, "metrics": metrics}


def _event(kind: str, data: dict[str, Any], seq: int | None = None) -> bytes:
    head = b"" if seq is None else f"id: {seq}\n".encode()
    return head + f"event: {kind}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"
