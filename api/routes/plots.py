"""/experiments/{id}/plot.* and /compare.*: pictures of what was measured, beside what is predicted."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response

from api.database.measurements import load
from api.database.sessions import reading
from api.drawing import CrowdedError, Drawing, PictureError
from api.shown import find
from api.web.errors import PROBLEMS, Problem, refused
from api.web.etag import UNCHANGED, Tag, state_of
from ncore.kinds.fields import Plain
from ncore.pictures.files import KINDS, Form, Theme, rendered
from ncore.pictures.panels import PANELS, PanelName, needed
from ncore.spec import MAX_SEEDS, parse_spec

if TYPE_CHECKING:
    from ncore.pictures.subject import Subject


@asynccontextmanager
async def drawing(_: Any) -> AsyncIterator[dict[str, Drawing]]:
    """The API's `request.state.drawing`, from its start to its end."""
    made = Drawing()
    yield {"drawing": made}
    made.stop()


log = logging.getLogger("ncore.api")
router = APIRouter(tags=["pictures"], responses=PROBLEMS, lifespan=drawing)
MAX_COMPARED = 20
MAX_LAYERS = 64
ShortText = Annotated[str, Query(max_length=64), Plain()]
MetricName = Annotated[str, Query(max_length=64, pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./:@+-]*$")]
"""A metric's name: without blanks, since stored names are followed by a blank and the layer."""
_PICTURES: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in KINDS.values()}}, **UNCHANGED}


def picture(request: Request, vega_lite: dict[str, Any], form: Form) -> Response:
    """The answer that is this picture. Raises the 503 where too many wait, the 500 where it cannot be drawn."""
    try:
        content = rendered(vega_lite, form, request.state.drawing.convert)
    except CrowdedError as error:
        raise too_many(error) from None
    except PictureError as error:
        log.warning("%s was not drawn: %s", request.url.path, error)
        raise Problem(500, f"the picture could not be drawn: {error}") from None
    return Response(content, media_type=KINDS[form])


def too_many(error: CrowdedError) -> Problem:
    return Problem(503, str(error), headers={"Retry-After": "2"})


@router.get("/experiments/{experiment_id}/plot.{form}", response_class=Response, responses=_PICTURES)
def plot(
    request: Request,
    experiment_id: str,
    form: Form,
    panel: Annotated[list[PanelName], Query(max_length=len(PANELS))] = [],  # noqa: B006 (FastAPI copies it)
    layer: Annotated[list[ShortText], Query(max_length=MAX_LAYERS)] = [],  # noqa: B006
    seed: Annotated[list[Annotated[int, Query(ge=0, lt=2**63)]], Query(max_length=MAX_SEEDS)] = [],  # noqa: B006
    theme: Theme = "light",
    columns: Annotated[int, Query(ge=1, le=6)] = 2,
) -> Response:
    """The paper's panels, or those asked for by `panel`; seeds as median and range, predictions as dashed lines."""
    from ncore.pictures import curves
    from ncore.pictures.subject import subject_of

    points = curves.MAX_POINTS
    with reading() as session:
        row = find(session, experiment_id)
        tag = Tag(request, state_of(row))
        if tag.is_known:
            return tag.unchanged()
        spec = parse_spec(row.spec)
        subject = subject_of(spec, row.total, row.name or row.id)
        metrics = needed(panel or subject.panels)
        layers = [*layer, ""] if layer else []
        series, _ = load(session, experiment_id, metrics=metrics, layers=layers, seeds=seed, points=points)
        _known("layer", layer, subject.layers)
        _known("seed", seed, spec.seeds)
    return tag.on(picture(request, curves.figure(series, subject, panel, theme, columns, hover=form == "json"), form))


def _known(field: str, chosen: Sequence[object], allowed: Collection[object]) -> None:
    """Raises the 422 naming what may be chosen: a picture without curves would not say what is wrong."""
    wrong = next((one for one in chosen if one not in allowed), None)
    if wrong is not None:
        raise refused(field, f"must be one of {', '.join(map(str, allowed)) or 'none'}; got {wrong!r}")


@router.get("/compare.{form}", response_class=Response, responses=_PICTURES)
def compare(
    request: Request,
    form: Form,
    experiment: Annotated[list[ShortText], Query(min_length=1, max_length=MAX_COMPARED)],
    metric: MetricName = "nc1",
    layer: Annotated[list[ShortText], Query(max_length=MAX_LAYERS)] = [],  # noqa: B006
    x: Literal["step", "fraction"] = "step",
    theme: Theme = "light",
) -> Response:
    """One metric of several experiments over the steps, or over the share of each run."""
    from ncore.pictures import curves
    from ncore.pictures.subject import subject_of

    drawn: list[tuple[Subject, list[dict[str, Any]]]] = []
    measured: dict[str, None] = {}
    with reading() as session:
        rows = [find(session, experiment_id) for experiment_id in dict.fromkeys(experiment)]
        tag = Tag(request, *map(state_of, rows))
        if tag.is_known:
            return tag.unchanged()
        for row in rows:
            series, _ = load(session, row.id, points=curves.MAX_POINTS)
            measured |= dict.fromkeys(one["metric"] for one in series)
            name = row.name or row.id
            if any(name == other.name for other, _ in drawn):
                name = f"{name} ({row.id})"
            chosen = [one for one in series if one["metric"] == metric and (not layer or one["layer"] in layer)]
            drawn.append((subject_of(parse_spec(row.spec), row.total, name), chosen))
    if measured:
        _known("metric", [metric], sorted(measured))
    return tag.on(
        picture(request, curves.comparison(drawn, metric, x == "fraction", theme, hover=form == "json"), form)
    )
