"""/experiments/{id}/plot.*: pictures of what was measured, beside what is predicted."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response

from api.companion import CrowdedError
from api.database.curves import load_curves
from api.database.measurements import latest
from api.database.sessions import reading
from api.drawing import Drawing, PictureError
from api.shown import find
from api.web.errors import PROBLEMS, Problem, refused
from api.web.etag import UNCHANGED, Tag, state_of
from ncore.kinds.fields import Plain
from ncore.pictures import curves
from ncore.pictures.caption import caption
from ncore.pictures.files import KINDS, DotsError, Form, rendered
from ncore.pictures.histogram import ends_of
from ncore.pictures.panels import PANELS, PanelName, needed
from ncore.pictures.points import MAX_POINTS, is_chosen
from ncore.pictures.setting import setting_of
from ncore.pictures.themes import FAMILY, LEAST_DPI, MOST_DPI, Layout, LayoutName, LegendPlace, ThemeName, layout_of
from ncore.spec import MAX_SEEDS, stored_spec


@asynccontextmanager
async def drawing(_: Any) -> AsyncIterator[dict[str, Drawing]]:
    """The API's `request.state.drawing`, from its start to its end."""
    made = Drawing()
    yield {"drawing": made}
    made.stop()


log = logging.getLogger("ncore.api")
router = APIRouter(tags=["pictures"], responses=PROBLEMS, lifespan=drawing)
MAX_LAYERS = 64
MOST_LINES = 20
"""Seeds that are told apart as single lines."""
FEWEST_POINTS = 40
"""Least points of the line of one seed."""
ShortText = Annotated[str, Query(max_length=64), Plain()]
FileForm = Literal["svg", "png", "pdf", "json", "csv"]
"""The form of a picture, or of the data it shows; one literal, so that a fault names the parameter."""
PICTURES: dict[int | str, dict[str, Any]] = {200: {"content": {kind: {} for kind in KINDS.values()}}, **UNCHANGED}


def chosen_layout(
    form: FileForm,
    style: Annotated[LayoutName, Query(description="sizes for a screen, a paper or slides")] = "screen",
    width: Annotated[int | None, Query(ge=60, le=2000, description="of a panel, in pixels")] = None,
    height: Annotated[int | None, Query(ge=40, le=2000, description="of a panel, in pixels")] = None,
    font: Annotated[
        str | None, Query(min_length=1, max_length=100, pattern=FAMILY, description="a family of fonts"), Plain()
    ] = None,
    fontsize: Annotated[float | None, Query(ge=4, le=72, description="of axis titles; others follow")] = None,
    title: Annotated[str | None, Query(max_length=200, description="none: no title"), Plain()] = None,
    legend: Annotated[LegendPlace | None, Query(description="direct: names at the ends of the curves")] = None,
    dpi: Annotated[float | None, Query(ge=LEAST_DPI, le=MOST_DPI, description="dots per inch of a PNG")] = None,
) -> Layout:
    """Sizes, type, title and legend of a picture."""
    sizes = {"width": width, "height": height, "font": font, "fontsize": fontsize, "title": title, "legend": legend}
    return layout_of(style, **sizes, dpi=dpi, powers="text" if form == "json" else "drawn")


ChosenLayout = Annotated[Layout, Depends(chosen_layout)]


def picture(request: Request, vega_lite: dict[str, Any], form: Form, layout: Layout) -> Response:
    """The answer that is this picture. Raises the 503 where too many wait, the 422 where it would have too many dots,
    the 500 where it cannot be drawn."""
    try:
        content = rendered(vega_lite, form, request.state.drawing.convert, layout.dpi)
    except CrowdedError as error:
        raise too_many(error) from None
    except DotsError as error:
        raise refused("dpi", str(error).removeprefix("dpi: ")) from None
    except PictureError as error:
        log.warning("%s was not drawn: %s", request.url.path, error)
        raise Problem(500, f"the picture could not be drawn: {error}") from None
    return Response(content, media_type=KINDS[form])


def too_many(error: CrowdedError) -> Problem:
    return Problem(503, str(error), headers={"Retry-After": "2"})


@router.get("/experiments/{experiment_id}/plot.{form}", response_class=Response, responses=PICTURES)
def plot_experiment(
    request: Request,
    experiment_id: str,
    form: Form,
    layout: ChosenLayout,
    panel: Annotated[list[PanelName], Query(max_length=len(PANELS))] = [],  # noqa: B006 (FastAPI copies it)
    panels: Annotated[
        str | None, Query(max_length=400, description="several `panel`s in one: nc1,nc2"), Plain()
    ] = None,
    layer: Annotated[list[ShortText], Query(max_length=MAX_LAYERS)] = [],  # noqa: B006
    seed: Annotated[list[Annotated[int, Query(ge=0, lt=2**63)]], Query(max_length=MAX_SEEDS)] = [],  # noqa: B006
    theme: ThemeName = "light",
    columns: Annotated[int, Query(ge=1, le=6)] = 2,
    each_seed: Annotated[
        bool, Query(description=f"a line for each seed, at most {MOST_LINES}, instead of median and range")
    ] = False,
) -> Response:
    """The paper's panels, or those asked for by `panel`; seeds as median and range, predictions as dashed lines.

    Beyond 1,000,000 rows it is made of steps at equal distances, the first and the last among them.
    """
    with reading() as session:
        row = find(session, experiment_id)
        tag = Tag(request, state_of(row))
        if tag.is_known:
            return tag.unchanged()
        spec = stored_spec(row.spec)
        known("seed", seed, spec.seeds)
        setting = setting_of(spec, row.total, row.name or row.id, seed)
        known("layer", layer, setting.measured)
        last = latest(session, experiment_id)
        ends = ends_of([one for one in last if is_chosen(one, layer, seed)])
        names = list(dict.fromkeys([*panel, *_panels(panels)])) or setting.shown(ends)
        apart = [one for one in spec.seeds if not seed or one in seed] if each_seed else []
        if len(apart) > MOST_LINES:
            raise refused("each_seed", f"must be false for more than {MOST_LINES} seeds; got {len(apart)}")
        points = max(FEWEST_POINTS, MAX_POINTS // max(1, len(apart)))
        seeds = {one: load_curves(session, experiment_id, needed(names), layer, [one], points) for one in apart}
        found = {} if seeds else load_curves(session, experiment_id, needed(names), layer, seed)
    setting = replace(setting, caption=caption(spec, seed, each_seed))
    chart = curves.figure(found, setting, names, theme, columns, form == "json", layout, ends, seeds)
    return tag.on(picture(request, chart, form, layout))


def _panels(text: str | None) -> list[str]:
    """The names in a list with commas. Raises the 422."""
    names = [name.strip() for name in (text or "").split(",") if name.strip()]
    known("panels", names, PANELS)
    return names


def known(field: str, chosen: Sequence[object], allowed: Collection[object]) -> None:
    """Raises the 422 naming what may be chosen: a picture without curves would not say what is wrong."""
    wrong = next((one for one in chosen if one not in allowed), None)
    if wrong is not None:
        raise refused(field, f"must be one of {', '.join(map(str, allowed)) or 'none'}; got {wrong!r}")
