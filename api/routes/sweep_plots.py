"""/sweeps/{id}/plot.*: a final metric over one axis of a sweep, beside what is predicted, or over two as a heat map."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from api.database.sessions import reading
from api.database.sweeps import rows_of
from api.database.tables import Sweep
from api.routes.plots import ChosenLayout, MetricName, ShortText, picture
from api.routes.sweep_table import item_of, look_up, measured
from api.web.errors import PROBLEMS, Problem, refused
from api.web.etag import UNCHANGED
from ncore.kinds.fields import Plain
from ncore.pictures.files import KINDS, Form
from ncore.pictures.sweep import heat_map, line_chart
from ncore.pictures.themes import THEMES, ThemeName

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)

AxisName = Annotated[str, Query(max_length=200, description="an axis; the first one with several values"), Plain()]
SecondAxisName = Annotated[
    Annotated[str, Plain()] | None,
    Query(max_length=200, description="a second axis, for a heat map; the next with several values"),
]


@router.get(
    "/sweeps/{sweep_id}/plot.{form}",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in KINDS.values()}}, **UNCHANGED},
)
def plot_sweep(
    request: Request,
    sweep_id: str,
    form: Form,
    layout: ChosenLayout,
    metric: MetricName = "nc1",
    layer: ShortText | None = None,
    x: AxisName | None = None,
    y: SecondAxisName = None,
    theme: ThemeName = "light",
) -> Response:
    """The mean over the seeds, and over the axes that are not drawn; a line for each layer, predictions dashed."""
    with reading() as session:
        sweep, advance, tag = look_up(session, request, sweep_id)
        if tag.is_known:
            return tag.unchanged()
        over, across = _axes(sweep, x, y)
        layers = [layer] if layer else []
        items = [item_of(row, sweep.axes, [metric], layers, across is None) for row in rows_of(session, sweep_id)]
        if "succeeded" in advance.statuses and not any(item.metrics for item in items):
            raise _not_measured(session, sweep_id, metric, layer)
    if across is None:
        chart = line_chart(items, over, metric, THEMES[theme], layout)
    else:
        chart = heat_map(items, sweep.axes, over, across, metric, THEMES[theme], layout)
    description = f"{metric} at the end of the experiments of {sweep.name or sweep.id}"
    return tag.on(picture(request, {**chart, "description": description}, form))


def _axes(sweep: Sweep, x: str | None, y: str | None) -> tuple[str, str | None]:
    for field, name in (("x", x), ("y", y)):
        if name is not None and (name not in sweep.axes or (field == "y" and name == x)):
            allowed = ", ".join(axis for axis in sweep.axes if field == "x" or axis != x)
            raise refused(field, f"must be one of {allowed}; got {name!r}")
    several = [axis for axis, values in sweep.axes.items() if len(values) > 1] or list(sweep.axes)
    over = x or next((axis for axis in several if axis != y), y or several[0])
    return over, y or next((axis for axis in several if axis != over), None)


def _not_measured(session: Session, sweep_id: str, metric: str, layer: str | None) -> Problem:
    """The 422 naming what may be chosen."""
    known = measured(rows_of(session, sweep_id))
    if metric not in known:
        return refused("metric", f"must be one of {', '.join(known)}; got {metric!r}")
    return refused("layer", f"must be one of {', '.join(known[metric]) or 'none'}; got {layer!r}")
