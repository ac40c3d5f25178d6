"""/experiments/{id}/events: server-sent events, resumable by `Last-Event-ID`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Header, Request
from fastapi.responses import StreamingResponse

from api.database.sessions import reading
from api.feeds import WATCH, event
from api.shown import find
from api.web.errors import PROBLEMS
from ncore.status import ENDED

router = APIRouter(tags=["events"], responses=PROBLEMS)
PING_SECONDS = 15.0
PRESENCE_SECONDS = 2.0
"""How often a silent stream looks whether anybody still listens."""


@router.get(
    "/experiments/{experiment_id}/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}}},
)
def stream_events(
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
    sent, spoke_at = None, time.monotonic()
    with WATCH.following(experiment_id) as feed:
        await feed.known.wait()
        while not await request.is_disconnected():
            # the state first and the rows after it: nothing can come behind the rows of a state that has ended
            state, changed = feed.state, feed.changed
            if state is None:
                yield event("end", {"status": "deleted"})
                return
            while seq < feed.last_seq:
                content, seq = await feed.after(seq)
                spoke_at = time.monotonic()
                yield content
            if state != sent:
                sent, spoke_at = state, time.monotonic()
                yield event("status", state)
            if state["status"] in ENDED:
                yield event("end", {"status": state["status"]})
                return
            if time.monotonic() - spoke_at > PING_SECONDS:
                spoke_at = time.monotonic()
                yield b": still here\n\n"
            await _until(changed)


async def _until(changed: asyncio.Event) -> None:
    try:
        await asyncio.wait_for(changed.wait(), PRESENCE_SECONDS)
    except TimeoutError:
        return
