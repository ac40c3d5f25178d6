"""/experiments/{id}/plot.* and /compare.*: pictures of what was measured, beside what is predicted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Response

from api.caption import caption
from api.db import reading
from api.errors import PROBLEMS
from api.experiments import find
from api.panels import NETWORK_PANELS, UFM_PANELS, PanelName
from api.series import load
from api.theory import predicted_series
from ncore.spec import parse_spec
from ncore.theory import predict

router = APIRouter(tags=["pictures"], responses=PROBLEMS)
Form = Literal["svg", "png", "pdf", "json"]
Theme = Literal["light", "dark"]
KINDS = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf", "json": "application/json"}
PIXELS_PER_POINT = 2.0
MAX_COMPARED = 20
_PICTURES: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in KINDS.values()}}}


def rendered(vega_lite: dict[str, Any], form: Form) -> Response:
    import vl_convert

    if form == "svg":
        content: bytes = vl_convert.vegalite_to_svg(vega_lite).encode()
    elif form == "png":
        content = vl_convert.vegalite_to_png(vega_lite, scale=PIXELS_PER_POINT)
    elif form == "pdf":
        content = vl_convert.vegalite_to_pdf(vega_lite)
    else:
        content = orjson.dumps(vega_lite)
    return Response(content, media_type=KINDS[form])


@router.get("/experiments/{experiment_id}/plot.{form}", response_class=Response, responses=_PICTURES)
def plot(
    experiment_id: str,
    form: Form,
    panel: Annotated[list[PanelName], Query()] = [],  # noqa: B006 (FastAPI copies it)
    layer: Annotated[list[str], Query()] = [],  # noqa: B006
    seed: Annotated[list[Annotated[int, Query(ge=0, lt=2**63)]], Query()] = [],  # noqa: B006
    theme: Theme = "light",
    columns: Annotated[int, Query(ge=1, le=6)] = 2,
) -> Response:
    """The paper's panels, or those asked for by `panel`; seeds as median and range, predictions as dashed lines."""
    from api import pictures

    with reading() as session:
        row = find(session, experiment_id)
        series, _ = load(session, experiment_id, layers=[*layer, ""] if layer else [], seeds=seed)
    spec = parse_spec(row.spec)
    predicted = predicted_series(predict(spec))
    panels = panel or (UFM_PANELS if row.kind == "ufm" else NETWORK_PANELS)
    chart = pictures.figure(series, predicted, panels, row.name or row.id, caption(spec), theme, columns)
    return rendered(chart, form)


@router.get("/compare.{form}", response_class=Response, responses=_PICTURES)
def compare(
    form: Form,
    experiment: Annotated[list[str], Query(min_length=1, max_length=MAX_COMPARED)],
    metric: str = "nc1",
    layer: Annotated[list[str], Query()] = [],  # noqa: B006
    x: Literal["step", "fraction"] = "step",
    theme: Theme = "light",
) -> Response:
    """One metric of several experiments over the steps, or over the share of each run."""
    from api import pictures

    curves: list[tuple[str, list[dict[str, Any]]]] = []
    with reading() as session:
        for experiment_id in dict.fromkeys(experiment):
            row = find(session, experiment_id)
            series, _ = load(session, experiment_id, metrics=[metric], layers=layer)
            name = row.name or row.id
            taken = any(name == other for other, _ in curves)
            curves.append((f"{name} ({row.id})" if taken else name, series))
    return rendered(pictures.comparison(curves, metric, x == "fraction", theme), form)
