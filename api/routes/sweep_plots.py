"""/sweeps/{id}/plot.*: the results of a sweep over one of its axes or two, with the boundaries of theory on top."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any

import orjson
from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.orm import Session

from api.database.sessions import reading
from api.database.sweeps import first_succeeded, rows_of, steps_below
from api.database.tables import Sweep
from api.routes.plots import ChosenLayout, ShortText, picture
from api.routes.sweep_table import load_with_tag, measured
from api.web.errors import PROBLEMS, Problem, refused
from api.web.etag import UNCHANGED
from ncore.faults import shortened
from ncore.kinds.fields import Plain
from ncore.pictures.files import KINDS, Form
from ncore.pictures.sweep import Facet, View, large, value_text
from ncore.pictures.sweep_map import sweep_figure
from ncore.pictures.symbols import symbol_of
from ncore.pictures.themes import THEMES, ThemeName
from ncore.series import key_of
from ncore.sweeps.axes import Interval
from ncore.sweeps.boundary import Theory, crossings, curves
from ncore.sweeps.plan import Plan, SweepRequest
from ncore.sweeps.quantity import GAP, VERDICT, Cell, OverSeeds, Quantity
from ncore.sweeps.ruler import Ruler

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)
MOST_FACETS = 12
SAMPLED = 33
"""Places of the ruler along an axis that points are drawn from."""
SEEDS = "seeds"
MetricText = Annotated[
    str,
    Query(max_length=100, description="nc1, gap, verdict, verdict=zero (a share), nc1 < 1e-6 (steps to it)"),
    Plain(),
]
AxisName = Annotated[str, Query(max_length=200, description="an axis; the first one with several values"), Plain()]
SecondAxisName = Annotated[
    Annotated[str, Plain()] | None,
    Query(max_length=200, description="a second axis, for a map; the next with several values; none: lines"),
]
FacetName = Annotated[
    Annotated[str, Plain()] | None, Query(max_length=200, description="a third axis, a panel for each of its values")
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
    metric: MetricText | None = None,
    layer: ShortText | None = None,
    x: AxisName | None = None,
    y: SecondAxisName = None,
    facet: FacetName = None,
    seeds: Annotated[OverSeeds | None, Query(description="of several seeds: their mean, median, or share")] = None,
    boundary: Annotated[bool, Query(description="draw where theory changes its answer")] = True,
    theme: ThemeName = "light",
) -> Response:
    """A value over the seeds, and over axes that are not drawn; predictions dotted, boundaries of theory as lines.

    `layer` may be empty: the metric without one, where it exists with layers too.
    """
    with reading() as session:
        sweep, advance, tag = load_with_tag(session, request, sweep_id)
        if tag.is_known:
            return tag.unchanged()
        given = {"metric": metric, "layer": layer, "x": x, "y": y, "facet": facet, "seeds": seeds}
        asked = _with_defaults(sweep, given)
        axes = Axes(sweep)
        quantity = _quantity(asked["metric"])
        over, across, apart = axes.chosen(asked["x"], asked["y"], asked["facet"])
        cells = _cells(session, sweep_id, quantity, asked["layer"], asked["seeds"])
        if "succeeded" in advance.statuses and not cells:
            raise _not_measured(session, sweep_id, quantity, asked["layer"])
    view = View(
        quantity, axes.ruler(over), axes.ruler(across) if across else None,
        axes.ruler(apart) if apart else None, asked["seeds"],
        axes.is_scattered(over, across), style=THEMES[theme],
        layout=large(layout, len(axes.rulers[apart].values) if apart else 1),
    )  # fmt: skip
    chart = sweep_figure(_facets(axes, view, cells, boundary), view)
    description = f"{chart['description']}; experiments of {sweep.name or sweep.id}"
    return tag.on(picture(request, {**chart, "description": description}, form, layout))


def _with_defaults(sweep: Sweep, given: Mapping[str, Any]) -> dict[str, Any]:
    """The request's choices, else those of the sweep's own `picture`, else nc1 as the mean over the seeds."""
    own = (sweep.request or {}).get("picture") or {}
    mine = {name: value for name, value in given.items() if value is not None}
    if "x" in mine or "y" in mine:
        own = {name: value for name, value in own.items() if name not in ("x", "y", "facet")}
    if "metric" in mine:
        own = {name: value for name, value in own.items() if name not in ("layer", "seeds")}
    defaults = {"metric": "nc1", "layer": None, "x": None, "y": None, "facet": None, "seeds": "mean"}
    return {**defaults, **{name: value for name, value in own.items() if name in defaults}, **mine}


def _quantity(text: str) -> Quantity:
    try:
        return Quantity.parsed(text)
    except ValueError as error:
        raise refused("metric", str(error)) from None


class Axes:
    """The axes of a sweep that can be drawn, by their (first) path."""

    def __init__(self, sweep: Sweep) -> None:
        body = sweep.request or {"base": sweep.base, "axes": sweep.axes}
        self._request = SweepRequest.model_validate(body)
        self.plan = Plan(self._request)
        self.rulers: dict[str, Ruler] = {}
        sampled = self._request.sample.box if self._request.sample else {}
        for one in self.plan.dimensions:
            columns = {path: [row[i] for row in one.values] for i, path in enumerate(one.paths)}
            if one.paths == tuple(sampled):
                self.rulers |= {path: self._drawn(path, values) for path, values in columns.items()}
            else:
                self.rulers[one.paths[0]] = Ruler(columns)

    def _drawn(self, path: str, values: Sequence[Any]) -> Ruler:
        interval = self.plan.intervals.get(path)
        if interval is not None:
            return Ruler({path: [interval.at(i / (SAMPLED - 1)) for i in range(SAMPLED)]})
        return Ruler({path: list({repr(value): value for value in values}.values())})

    def ruler(self, path: str) -> Ruler:
        return self.rulers[path]

    def is_scattered(self, x: str, y: str | None) -> bool:
        """Whether points fill no grid: of a sample, or of cells that were divided."""
        if y is None:
            return False
        intervals = all(isinstance(self.plan.intervals.get(path), Interval) for path in (x, y))
        free = self._request.refine is not None or self._request.sample is not None
        return intervals and free and (self._request.refine is not None or x in self._sampled or y in self._sampled)

    @property
    def _sampled(self) -> set[str]:
        return set(self._request.sample.box) if self._request.sample else set()

    def chosen(self, x: str | None, y: str | None, facet: str | None) -> tuple[str, str | None, str | None]:
        """The axes to draw. Raises the 422 naming the parameter."""
        taken: list[str] = []
        for field, name in (("x", x), ("y", y if y != "none" else None), ("facet", facet)):
            if name is None:
                continue
            if name not in self.rulers or name in taken:
                allowed = ", ".join(axis for axis in self.rulers if axis not in taken)
                raise refused(field, f"must be one of {allowed}; got {shortened(name)}")
            taken.append(name)
        if facet is not None and len(self.rulers[facet].values) > MOST_FACETS:
            count = len(self.rulers[facet].values)
            raise refused("facet", f"must have at most {MOST_FACETS} values; {facet} has {count}")
        several = [axis for axis, ruler in self.rulers.items() if len(ruler.values) > 1] or list(self.rulers)
        free = [axis for axis in several if axis not in taken]
        free.sort(key=lambda axis: axis == SEEDS)  # a mean over the seeds says more than a place for each
        over = x or (free.pop(0) if free else taken[0])
        if y == "none" or (y is None and free[:1] == [SEEDS]):
            return over, None, facet
        return over, y or (free[0] if free else None), facet

    def is_averaged(self, view: View) -> bool:
        """Whether places of the picture are means over axes that move a boundary."""
        drawn = {ruler.path for ruler in (view.x, view.y, view.facet) if ruler is not None}
        return any(len(ruler.values) > 1 for path, ruler in self.rulers.items() if path not in {*drawn, SEEDS})

    def theory(self, drawn: Sequence[str], values: Mapping[str, Any]) -> Theory:
        """The boundaries to compute: axes that are not drawn take their first values, or a panel's `values`."""
        fixed = {
            path: value
            for first, ruler in self.rulers.items()
            if first not in drawn
            for path, value in ruler.point(0.5).items()
        }
        return Theory(self.plan.body, {**fixed, **values})


def _cells(session: Session, sweep_id: str, quantity: Quantity, layer: str | None, seeds: OverSeeds) -> list[Cell]:
    steps: dict[str, list[int]] = {}
    if quantity.bound is not None:
        layers = measured([first_succeeded(session, sweep_id) or {}]).get(quantity.metric)
        if layers is not None and (layer is None or layer in (layers or [""])):
            key = key_of(quantity.metric, (layer if layer is not None else layers[-1] if layers else None) or None)
            steps = steps_below(session, sweep_id, key, quantity.bound)
    return [
        cell
        for row in rows_of(session, sweep_id)
        for cell in quantity.cells(row.id, row.point, row.summary, row.status, layer, seeds, steps)
    ]


def _facets(axes: Axes, view: View, cells: Sequence[Cell], boundary: bool) -> list[Facet]:
    if view.facet is None:
        return [_with_boundaries(axes, view, Facet("", cells), {}, boundary)]
    path, found = view.facet.path, []
    for i, value in enumerate(view.facet.values):
        own = [cell for cell in cells if cell.point[path] == value]
        title = f"{symbol_of(path)} = {value_text(value)}"
        found.append(_with_boundaries(axes, view, Facet(title, own), view.facet.point(i + 0.5), boundary))
    return found


def _with_boundaries(axes: Axes, view: View, facet: Facet, values: Mapping[str, Any], boundary: bool) -> Facet:
    if not boundary or axes.is_averaged(view):
        return facet
    drawn = [view.x.path, *([view.y.path] if view.y else [])]
    theory = axes.theory(drawn, values)
    body = orjson.dumps([theory.body, theory.fixed, view.x.columns, view.y.columns if view.y else None])
    found = _boundaries(body)
    return Facet(facet.title, facet.cells, *found)


@lru_cache(maxsize=200)
def _boundaries(asked: bytes) -> tuple[list[Any], list[Any]]:
    """(crossings, curves): they are the same at each look, and take some tenths of a second."""
    body, fixed, x, y = orjson.loads(asked)
    theory = Theory(body, fixed)
    return ([], curves(theory, Ruler(x), Ruler(y))) if y else (crossings(theory, Ruler(x)), [])


def _not_measured(session: Session, sweep_id: str, quantity: Quantity, layer: str | None) -> Problem:
    """The 422 naming what may be chosen."""
    known = measured(row.summary for row in rows_of(session, sweep_id) if row.summary)
    if quantity.metric in (GAP, VERDICT):
        return refused("metric", f"nothing is known of the {quantity.metric} of this sweep; got {quantity.metric!r}")
    if quantity.metric not in known:
        allowed = ", ".join([VERDICT, GAP, *known])
        return refused("metric", f"must be one of {allowed}; got {quantity.metric!r}")
    if quantity.bound is not None and (layer is None or layer in (known[quantity.metric] or [""])):
        return refused("metric", f"no seed has {quantity.metric} below {quantity.bound:g}; got {quantity.bound:g}")
    allowed = ", ".join(name or "nothing" for name in known[quantity.metric] or [""])
    return refused("layer", f"must be one of {allowed}; got {layer!r}")
