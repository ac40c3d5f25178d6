"""/experiments/{id}/metrics: what was measured, as series, whole or in part, in the form that is asked for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.database.measurements import load
from api.database.sessions import reading
from api.shown import find
from api.web.errors import PROBLEMS
from api.web.etag import UNCHANGED, Tag, state_of
from ncore.series import as_csv, as_ndjson, as_parquet, thinned

router = APIRouter(tags=["metrics"], responses=PROBLEMS)


FORMS_TOLD: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}, "application/x-ndjson": {}, "application/vnd.apache.parquet": {}}}
}


class Series(BaseModel):
    """One metric of one layer (null: it has none) of one seed over the steps; a null value is undefined."""

    metric: str
    layer: str | None
    seed: int
    steps: list[int]
    values: list[float | None]


class Metrics(BaseModel):
    experiment_id: str
    status: str
    series: list[Series]
    next: int


@router.get(
    "/experiments/{experiment_id}/metrics",
    response_model=Metrics,
    responses=FORMS_TOLD | UNCHANGED,
)
def metrics(
    request: Request,
    experiment_id: str,
    metric: Annotated[list[str], Query()] = [],  # noqa: B006 (FastAPI copies it)
    layer: Annotated[list[str], Query()] = [],  # noqa: B006
    seed: Annotated[list[Annotated[int, Query(ge=0, lt=2**63)]], Query()] = [],  # noqa: B006
    since: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    max_points: Annotated[int | None, Query(ge=2)] = None,
    format: Literal["json", "csv", "ndjson", "parquet"] = "json",  # noqa: A002 (the interface's name)
) -> Response:
    """`since` is an earlier answer's `next`; `max_points` thins each series and keeps its ends and extremes."""
    with reading() as session:
        row = find(session, experiment_id)
        tag = Tag(request, state_of(row))
        if tag.is_known:
            return tag.unchanged()
        series, following = load(session, experiment_id, since, metric, layer, seed)
    if max_points is not None:
        series = [thinned(one, max_points) for one in series]
    if format == "json":
        body = {"experiment_id": experiment_id, "status": row.status, "series": series, "next": following}
        return tag.on(Response(orjson.dumps(body), media_type="application/json"))
    headers = {"Content-Disposition": f'attachment; filename="{experiment_id}.{format}"'}
    content, kind = _FORMATS[format](series)
    return tag.on(Response(content, media_type=kind, headers=headers))


_FORMATS = {"csv": as_csv, "ndjson": as_ndjson, "parquet": as_parquet}
