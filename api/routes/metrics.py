"""/experiments/{id}/metrics: what was measured, as series, whole or in part, in the form that is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api.database.measurements import series_of
from api.database.sessions import reading
from api.shown import find
from api.web.errors import PROBLEMS
from api.web.etag import UNCHANGED, Tag, state_of
from api.web.parameters import Layers, Metrics, Seeds
from ncore.series import PARQUET, Series, csv_parts, ndjson_parts, parquet_parts, thinned

router = APIRouter(tags=["metrics"], responses=PROBLEMS)
MAX_POINTS = 2**31 - 1
FILES = {
    "csv": (csv_parts, "text/csv"),
    "ndjson": (ndjson_parts, "application/x-ndjson"),
    "parquet": (parquet_parts, PARQUET),
}
CHUNK_BYTES = 1 << 17
_CONTENT: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for _, kind in FILES.values()}}}


class MetricsOut(BaseModel):
    """`next` is for `since` of the next call."""

    experiment_id: str
    status: str
    series: list[Series]
    next: int


@router.get("/experiments/{experiment_id}/metrics", response_model=MetricsOut, responses=_CONTENT | UNCHANGED)
def get_metrics(
    request: Request,
    experiment_id: str,
    metric: Metrics = [],  # noqa: B006 (FastAPI copies it)
    layer: Layers = [],  # noqa: B006
    seed: Seeds = [],  # noqa: B006
    since: Annotated[int, Query(ge=0, lt=2**31, description="an earlier answer's `next`: only what came later")] = 0,
    max_points: Annotated[
        int | None, Query(ge=2, le=MAX_POINTS, description="thins each series; its ends and extremes stay")
    ] = None,
    format: Annotated[  # noqa: A002 (the interface's name)
        Literal["json", "csv", "ndjson", "parquet"], Query(description="JSON, or a file with a row a point")
    ] = "json",
) -> Response:
    """The series, seed by seed, each in the order of its steps; sent as they are read, however many there are."""
    with reading() as session:
        row = find(session, experiment_id)
    tag = Tag(request, state_of(row))
    if tag.is_known:
        return tag.unchanged()
    seeds = [one for one in row.spec["seeds"] if not seed or one in seed]
    series: Iterable[Series] = series_of(experiment_id, seeds, row.last_seq, since, set(metric), set(layer))
    if max_points is not None:
        series = (thinned(one, max_points) for one in series)
    if format == "json":
        about = {"experiment_id": experiment_id, "status": row.status, "next": max(since, row.last_seq)}
        return tag.on(StreamingResponse(_in_chunks(_as_json(about, series)), media_type="application/json"))
    write, kind = FILES[format]
    headers = {"Content-Disposition": f'attachment; filename="{experiment_id}.{format}"'}
    return tag.on(StreamingResponse(_in_chunks(write(series)), media_type=kind, headers=headers))


def _as_json(about: dict[str, Any], series: Iterable[Series]) -> Iterator[bytes]:
    """A MetricsOut, of which no more than one series is written at once."""
    yield orjson.dumps(about)[:-1] + b',"series":['
    before = b""
    for one in series:
        yield before + orjson.dumps(one)
        before = b","
    yield b"]}"


def _in_chunks(parts: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in fewer pieces: each costs a switch of threads, and compresses worse."""
    chunk = bytearray()
    for part in parts:
        chunk += part
        if len(chunk) >= CHUNK_BYTES:
            yield bytes(chunk)
            chunk.clear()
    yield bytes(chunk)
