"""Pictures of a sweep: a final metric over one axis as lines, over two as a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

if TYPE_CHECKING:
    from ncore.pictures.axes import Ordinate
    from ncore.pictures.themes import Theme as Style

WIDTH, HEIGHT = 480, 320
LOG_RATIO = 20.0
"""Values over more than this ratio are drawn on a log axis."""
LEVEL_LABELS = 8
"""So many values of an axis are written side by side, more from the bottom up."""
MOST_LABELS = 20
"""Of an axis of a heat map."""
SHORT_NUMBER = "format(toNumber(datum.label), '.6~g')"
MOST_TICKS = 12
"""A tick at each value of an axis of numbers that has no more of them."""
TOLD = ["x:N", "layer:N", "value:Q", "low:Q", "high:Q", "predicted:Q"]
Row = dict[str, Any]


def line_chart(items: Sequence[Item], over: str, metric: str, style: Style) -> dict[str, Any]:
    import altair as alt

    from ncore.pictures.axes import Ordinate

    rows = _averaged([(item.point[over], level) for item in items for level in item.metrics])
    if not rows:
        return _nothing(style)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    is_log = _is_log([row[key] for row in rows for key in ("low", "high")])
    known = sorted({row["predicted"] for row in rows if row["predicted"] is not None})
    drawable = [value for value in known if value > 0 or not is_log]
    y = Ordinate.over(metric, [*(row[key] for row in rows for key in ("low", "high")), *drawable], is_log)
    x = _abscissa(over, [row["x"] for row in rows])
    color = alt.ColorValue(style.colours[0]) if len(layers) < 2 else alt.Color(
        "layer:N", title="layer", scale=style.scale(layers, last_first=True)
    )  # fmt: skip
    rows = [{**row, "x": row["x"] if x.shorthand == "x:Q" else str(row["x"]), **_drawn(row, y)} for row in rows]
    base = alt.Chart(alt.Data(values=[])).encode(x=x)
    band = base.mark_rule(opacity=0.4, strokeWidth=3).encode(y=y.axis("low"), y2="high:Q", color=color)
    line = base.mark_line(point=True).encode(y=y.axis("value"), tooltip=TOLD, color=color)
    told = base.mark_line(
        strokeDash=[2, 3],
        strokeWidth=1.2,
        color=style.ink,
        point={"shape": "diamond", "filled": False, "color": style.ink},
    ).encode(y=y.axis("predicted"), detail="layer:N")
    title = f"{metric} at the end{', predicted dashed' if drawable else ', predicted: 0' if known else ''}"
    return _with_rows(alt.layer(band, line, *([told] if drawable else [])), rows, title)


def _drawn(row: Row, y: Ordinate) -> Row:
    """The values as they are drawn: on a log axis none below its floor, and no prediction of 0."""
    predicted = row["predicted"]
    is_shown = predicted is not None and (predicted > 0 or not y.log)
    return {
        **{key: y.drawn(row[key]) for key in ("value", "low", "high")},
        "predicted": predicted if is_shown else None,
    }


def _with_rows(chart: Any, rows: Sequence[Row], title: str) -> dict[str, Any]:
    """The picture with its data, which Altair does not see: to check and copy it takes longer than all else."""
    drawn: dict[str, Any] = chart.properties(width=WIDTH, height=HEIGHT, title=title).to_dict(validate=False)
    drawn["data"]["values"] = rows
    return drawn


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
    """An axis for numbers, logarithmic where they cover decades, a tick at each of few; else a place for each value."""
    import altair as alt

    if not all(map(_is_number, values)):
        return alt.X("x:N", title=title, sort=None, axis=alt.Axis(labelAngle=0))
    scale = alt.Scale(
        nice=False, padding=12, **({"type": "log"} if _is_log(values) else {"type": "linear", "zero": False})
    )
    ticks = sorted(set(values))
    axis = alt.Axis(values=ticks if len(ticks) <= MOST_TICKS else alt.Undefined, format="~g")
    return alt.X("x:Q", title=title, scale=scale, axis=axis)


def heat_map(
    items: Sequence[Item], axes: Mapping[str, Sequence[Any]], over: str, across: str, metric: str, style: Style
) -> dict[str, Any]:
    import altair as alt

    layers: list[str | None] = list(dict.fromkeys(level.layer for item in items for level in item.metrics))
    if not layers:
        return _nothing(style)
    cells: dict[tuple[str, str], list[float]] = {}
    for item in items:
        for level in item.metrics:
            if level.layer == layers[-1] and level.mean is not None:
                key = (str(item.point[over]), str(item.point[across]))
                cells.setdefault(key, []).append(level.mean)
    rows = [{"x": x, "y": y, "value": fmean(values)} for (x, y), values in cells.items()]
    scale = alt.Scale(scheme="viridis", type="log" if _is_log([fmean(one) for one in cells.values()]) else "linear")
    chart = alt.Chart(alt.Data(values=[])).mark_rect().encode(
        x=alt.X("x:N", title=over, sort=_texts(axes, over), axis=_labelled(axes[over], turned=True)),
        y=alt.Y("y:N", title=across, sort=_texts(axes, across)[::-1], axis=_labelled(axes[across])),
        color=alt.Color("value:Q", title=metric, scale=scale, legend=alt.Legend(type="gradient", format=".2~g")),
        tooltip=["x:N", "y:N", "value:Q"],
    )  # fmt: skip
    where = "" if layers[-1] is None else f" of {layers[-1]}"
    return _with_rows(chart, rows, f"{metric}{where} at the end")


def _labelled(values: Sequence[Any], turned: bool = False) -> Any:
    """Of many values some are labelled, at even distances; if `turned` from the bottom up where they are not few."""
    import altair as alt

    every = math.ceil(len(values) / MOST_LABELS)
    label = SHORT_NUMBER if all(map(_is_number, values)) else alt.Undefined
    angle = -90 if turned and len(values) > LEVEL_LABELS else 0
    return alt.Axis(values=[str(value) for value in values[::every]], labelExpr=label, labelAngle=angle)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_log(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) > LOG_RATIO * min(values) and math.isfinite(max(values))


def _texts(axes: Mapping[str, Sequence[Any]], name: str) -> list[str]:
    return [str(value) for value in axes[name]]


def _nothing(style: Style) -> dict[str, Any]:
    import altair as alt

    chart = alt.Chart(alt.Data(values=[{"text": "nothing has ended yet"}]))
    made: dict[str, Any] = chart.mark_text(fontSize=13, color=style.quiet).encode(text="text:N").to_dict(validate=False)
    return made


Point = dict[str, Any]


class Level(BaseModel):
    """A metric at the end: mean, lowest and highest over the seeds; `predicted` where the theory knows it."""

    metric: str
    layer: str | None
    mean: float | None
    low: float | None
    high: float | None
    predicted: float | None


class Item(BaseModel):
    """One combination. `metrics` is empty until it has succeeded."""

    experiment: str
    status: str
    point: Point
    metrics: list[Level]
    verdict: list[dict[str, Any]]
