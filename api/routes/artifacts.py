"""/experiments/{id}/artifacts: the files that an experiment has left, its last checkpoint and its final state."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from typing import Any

import orjson
from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api.database.sessions import reading
from api.database.tables import Experiment
from api.shown import find
from api.store import CHECKPOINT, FINAL, get_store
from api.web.errors import PROBLEMS, Problem, not_found
from ncore.faults import shortened
from ncore.status import ENDED

router = APIRouter(tags=["artifacts"], responses=PROBLEMS)
NAMES = (CHECKPOINT, FINAL)
_RANGE = re.compile(r"bytes=(\d{0,18})-(\d{0,18})")
_CONTENT: dict[str, Any] = {"content": {"application/octet-stream": {}}}
_RESPONSES: dict[int | str, dict[str, Any]] = {
    200: _CONTENT,
    206: {**_CONTENT, "description": "The part that `Range` asks for"},
}


class Artifact(BaseModel):
    name: str
    bytes: int


class Artifacts(BaseModel):
    items: list[Artifact]


@router.get("/experiments/{experiment_id}/artifacts", response_model=Artifacts)
def list_artifacts(experiment_id: str) -> Artifacts:
    """`final.safetensors`: weights and features at the end (a network's features beyond 2 GiB are left out, as its log
    says); `checkpoint.pt`: the state that an interrupted run continues from."""
    _, sizes = _found(experiment_id)
    return Artifacts(items=[Artifact(name=name, bytes=sizes[name]) for name in NAMES if name in sizes])


@router.get("/experiments/{experiment_id}/artifacts/{name}", response_class=StreamingResponse, responses=_RESPONSES)
def get_artifact(request: Request, experiment_id: str, name: str) -> Response:
    """The file, or the part of it that `Range` asks for, so that a broken download can be resumed."""
    row, sizes = _found(experiment_id)
    if name not in NAMES or name not in sizes:
        raise not_found("artifact", name)
    size, tag = sizes[name], _tag(row, name, sizes[name])
    part = _part(request, size, tag)
    begin, end = part or (0, size)
    headers = {
        "Content-Disposition": f'attachment; filename="{experiment_id}-{name}"',
        "Content-Length": str(end - begin),
        "Accept-Ranges": "bytes",
    }
    if tag is not None:
        headers["ETag"] = tag
    if part is not None:
        headers["Content-Range"] = f"bytes {begin}-{end - 1}/{size}"
    chunks = _between(get_store().chunks(experiment_id, name, begin), end - begin)
    status = 200 if part is None else 206
    return StreamingResponse(chunks, status, headers, media_type="application/octet-stream")


def _found(experiment_id: str) -> tuple[Experiment, dict[str, int]]:
    with reading() as session:
        row = find(session, experiment_id)
    return row, get_store().sizes(row.id)


def _tag(row: Experiment, name: str, size: int) -> str | None:
    """Two files with the same tag are the same byte for byte; None while they may still change."""
    if row.status not in ENDED:
        return None
    made_of = orjson.dumps([row.id, name, size, row.attempt, row.finished_at])
    return f'"{hashlib.blake2b(made_of, digest_size=12).hexdigest()}"'


def _part(request: Request, size: int, tag: str | None) -> tuple[int, int] | None:
    """Begin and end of the one part that is asked for; None for the whole. Raises the 416.

    Several parts, other units, and a part of what is another file by now: the whole, as RFC 9110 has it.
    """
    asked = _RANGE.fullmatch(request.headers.get("Range", "").replace(" ", ""))
    condition = request.headers.get("If-Range")
    if asked is None or asked.groups() == ("", "") or (condition is not None and condition != tag):
        return None
    first, last = asked.groups()
    begin = int(first) if first else max(0, size - int(last))
    end = min(size, int(last) + 1) if first and last else size
    if last and first and int(last) < int(first):
        return None
    if begin >= end:
        message = f"must begin before the file's end at {size}; got {shortened(request.headers['Range'])}"
        fault = {"field": "Range", "message": message}
        raise Problem(416, f"Range: {message}", [fault], headers={"Content-Range": f"bytes */{size}"})
    return begin, end


def _between(chunks: Iterator[bytes], left: int) -> Iterator[bytes]:
    """The first bytes, as many as are left to be sent."""
    for chunk in chunks:
        yield chunk[:left]
        left -= len(chunk)
        if left <= 0:
            return
