"""/sweeps/{id}/plot.*: a final metric over one axis of a sweep, beside what is predicted, or over two as a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Query, Response

from api.errors import PROBLEMS, Problem
from api.plots import KINDS, Form, Theme, rendered
from api.sweeps import MAX_COMBINATIONS, Item, Level, SweepOut, look

if TYPE_CHECKING:
    from api.themes import Theme as Style

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)
WIDTH, HEIGHT = 480, 320
LOG_RATIO = 20.0
"""Values over more than this ratio are drawn on a log axis."""
LEVEL_LABELS = 8
"""So many values of an axis are written side by side, more from the bottom up."""
TOLD = ["x:N", "layer:N", "value:Q", "low:Q", "high:Q", "predicted:Q"]
Row = dict[str, Any]


@router.get(
    "/sweeps/{sweep_id}/plot.{form}",
    response_class=Response,
    responses={200: {"content": {kind: {} for kind in KINDS.values()}}},
)
def plot(
    sweep_id: str,
    form: Form,
    metric: str = "nc1",
    layer: str | None = None,
    x: Annotated[str | None, Query(description="an axis; the first one with several values")] = None,
    y: Annotated[
        str | None, Query(description="a second axis, for a heat map; the next one with several values")
    ] = None,
    theme: Theme = "light",
) -> Response:
    """The mean over the seeds, and over the axes that are not drawn; a line for each layer, predictions dashed."""
    sweep = look(sweep_id, [metric], [layer] if layer else [], 0, MAX_COMBINATIONS)
    over, across = _axes(sweep, x, y)
    _is_measured(sweep, metric, layer)
    from api.themes import THEMES

    if across is None:
        chart = _lines(sweep.items, over, metric, THEMES[theme])
    else:
        chart = _heat_map(sweep, over, across, metric, THEMES[theme])
    told = f"{metric} at the end of the experiments of {sweep.name or sweep.id}"
    return rendered({"description": told, **chart, "config": THEMES[theme].config()}, form)


def _axes(sweep: SweepOut, x: str | None, y: str | None) -> tuple[str, str | None]:
    for field, name in (("x", x), ("y", y)):
        if name is not None and (name not in sweep.axes or (field == "y" and name == x)):
            allowed = ", ".join(axis for axis in sweep.axes if field == "x" or axis != x)
            raise _refused(field, f"must be one of {allowed}; got {name!r}")
    several = [axis for axis, values in sweep.axes.items() if len(values) > 1] or list(sweep.axes)
    over = x or next((axis for axis in several if axis != y), y or several[0])
    return over, y or next((axis for axis in several if axis != over), None)


def _is_measured(sweep: SweepOut, metric: str, layer: str | None) -> None:
    """Raises the 422 naming what may be chosen, once something has succeeded."""
    if any(item.metrics for item in sweep.items) or "succeeded" not in sweep.statuses:
        return
    everything = next(item for item in look(sweep.id, [], [], 0, MAX_COMBINATIONS).items if item.metrics).metrics
    metrics = list(dict.fromkeys(level.metric for level in everything))
    if metric not in metrics:
        raise _refused("metric", f"must be one of {', '.join(metrics)}; got {metric!r}")
    layers = [str(level.layer) for level in everything if level.metric == metric]
    raise _refused("layer", f"must be one of {', '.join(layers)}; got {layer!r}")


def _refused(field: str, message: str) -> Problem:
    return Problem(422, f"{field}: {message}", [{"field": field, "message": message}])


def _lines(items: Sequence[Item], over: str, metric: str, style: Style) -> dict[str, Any]:
    import altair as alt

    from api.axes import Ordinate

    rows = _averaged([(item.point[over], level) for item in items for level in item.metrics])
    if not rows:
        return _nothing(style)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    values = [row[key] for row in rows for key in ("low", "high", "predicted") if row[key] is not None]
    y = Ordinate.over(metric, values, _is_log(values))
    x = _abscissa(over, [row["x"] for row in rows])
    color = alt.ColorValue(style.colours[0]) if len(layers) < 2 else alt.Color(
        "layer:N", title="layer", scale=style.scale(layers, last_first=True)
    )  # fmt: skip
    rows = [{**row, "x": row["x"] if x.shorthand == "x:Q" else str(row["x"])} for row in rows]
    base = alt.Chart(alt.Data(values=rows)).encode(x=x)
    band = base.mark_rule(opacity=0.4, strokeWidth=3).encode(y=y.axis("low"), y2="high:Q", color=color)
    line = base.mark_line(point=True).encode(y=y.axis("value"), tooltip=TOLD, color=color)
    told = base.mark_line(
        strokeDash=[2, 3],
        strokeWidth=1.2,
        color=style.ink,
        point={"shape": "diamond", "filled": False, "color": style.ink},
    ).encode(y=y.axis("predicted"), detail="layer:N")
    known = any(row["predicted"] is not None for row in rows)
    title = f"{metric} at the end{', predicted dashed' if known else ''}"
    made: dict[str, Any] = alt.layer(band, line, *([told] if known else [])).properties(
        width=WIDTH, height=HEIGHT, title=title
    ).to_dict(validate=False)  # fmt: skip
    return made


def _averaged(found: Sequence[tuple[Any, Level]]) -> list[Row]:
    """One row for each value of the axis and each layer, in their order."""
    cells: dict[tuple[str, str], tuple[Any, list[Level]]] = {}
    for value, level in found:
        if level.mean is not None:
            cells.setdefault((repr(value), level.layer or ""), (value, []))[1].append(level)
    return [
        {
            "x": value,
            "layer": layer,
            "value": fmean(level.mean or 0.0 for level in levels),
            "low": min(level.low or 0.0 for level in levels),
            "high": max(level.high or 0.0 for level in levels),
            "predicted": _mean([level.predicted for level in levels]),
        }
        for (_, layer), (value, levels) in cells.items()
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if len(known) == len(values) and known else None


def _abscissa(title: str, values: Sequence[Any]) -> Any:
    """An axis for numbers, logarithmic where they cover decades, with a tick at each; else one place for each value."""
    import altair as alt

    if not all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values):
        return alt.X("x:N", title=title, sort=None, axis=alt.Axis(labelAngle=0))
    scale = alt.Scale(type="log" if _is_log(values) else "linear", nice=False, zero=False, padding=12)
    return alt.X("x:Q", title=title, scale=scale, axis=alt.Axis(values=sorted(set(values)), format="~g"))


def _heat_map(sweep: SweepOut, over: str, across: str, metric: str, style: Style) -> dict[str, Any]:
    import altair as alt

    layers: list[str | None] = list(dict.fromkeys(level.layer for item in sweep.items for level in item.metrics))
    if not layers:
        return _nothing(style)
    cells: dict[tuple[str, str], list[float]] = {}
    for item in sweep.items:
        for level in item.metrics:
            if level.layer == layers[-1] and level.mean is not None:
                key = (str(item.point[over]), str(item.point[across]))
                cells.setdefault(key, []).append(level.mean)
    rows = [{"x": x, "y": y, "value": fmean(values)} for (x, y), values in cells.items()]
    few = len(sweep.axes[over]) <= LEVEL_LABELS
    scale = alt.Scale(scheme="viridis", type="log" if _is_log([fmean(one) for one in cells.values()]) else "linear")
    base = alt.Chart(alt.Data(values=rows)).mark_rect().encode(
        x=alt.X("x:N", title=over, sort=_texts(sweep.axes, over), axis=alt.Axis(labelAngle=0 if few else -90)),
        y=alt.Y("y:N", title=across, sort=_texts(sweep.axes, across)[::-1]),
        color=alt.Color("value:Q", title=metric, scale=scale, legend=alt.Legend(type="gradient", format=".2~g")),
        tooltip=["x:N", "y:N", "value:Q"],
    )  # fmt: skip
    where = "" if layers[-1] is None else f" of {layers[-1]}"
    made: dict[str, Any] = base.properties(width=WIDTH, height=HEIGHT, title=f"{metric}{where} at the end").to_dict(
        validate=False
    )
    return made


def _is_log(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) > LOG_RATIO * min(values) and math.isfinite(max(values))


def _texts(axes: Mapping[str, Sequence[Any]], name: str) -> list[str]:
    return [str(value) for value in axes[name]]


def _nothing(style: Style) -> dict[str, Any]:
    import altair as alt

    chart = alt.Chart(alt.Data(values=[{"text": "nothing has ended yet"}]))
    made: dict[str, Any] = chart.mark_text(fontSize=13, color=style.quiet).encode(text="text:N").to_dict(validate=False)
    return made
