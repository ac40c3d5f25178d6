"""Pictures of a sweep as Vega-Lite: a final metric over one axis as lines, over two as a heat map."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Annotated, Any

from pydantic import BaseModel

from ncore.outcome import AsStored, Verdict
from ncore.pictures import marks
from ncore.pictures.axes import NUMBER_LABEL, Channel, Ordinate, powers_beside
from ncore.pictures.curves import NO_TITLE, SCHEMA, SCREEN
from ncore.pictures.marks import Row, Tables, field, tooltip_of
from ncore.pictures.themes import Layout, Theme
from ncore.pictures.titles import title_of

LOG_RATIO = 20.0
"""Values over more than this ratio are drawn on a log axis."""
LEVEL_LABELS = 8
"""Up to this many tick labels are horizontal; more are rotated."""
MOST_LABELS = 20
"""Most tick labels on one axis of a heat map."""
SHORT_NUMBER = "format(toNumber(datum.label), '.6~g')"
SMALL_NUMBER = "format(datum.value, abs(datum.value) < 1e-3 && datum.value != 0 ? '.1~e' : '.3~g')"
LABEL_PIXELS = 140
MOST_TICKS = 12
"""A tick at each value of an axis of numbers that has no more of them."""


def line_chart(items: Sequence[Item], over: str, metric: str, style: Theme, layout: Layout = SCREEN) -> dict[str, Any]:
    """The mean over the seeds at each value of the axis `over`, a line for each layer, predictions dashed."""
    layout, tables = _large(layout), Tables()
    rows = _averaged([(item.point[over], level) for item in items for level in item.metrics])
    if not rows:
        return _nothing(style, layout)
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    is_log = _is_log([row[key] for row in rows for key in ("low", "high")])
    known = sorted({row["predicted"] for row in rows if row["predicted"] is not None})
    drawable = [value for value in known if value > 0 or not is_log]
    y = Ordinate.over(metric, [*(row[key] for row in rows for key in ("low", "high")), *drawable], is_log)
    x = _abscissa(over, [row["x"] for row in rows])
    color: Channel = {"value": style.colours[0]}
    if len(layers) > 1:
        color = field("layer", "nominal", title="layer", scale=style.scale(layers, last_first=True))
    is_number = x["type"] == "quantitative"
    rows = [{**row, "x": row["x"] if is_number else str(row["x"]), **_drawn(row, y)} for row in rows]
    data, shown = tables.add(rows), _shown(rows, over, metric)
    parts = [
        {"data": data, "mark": {"type": "rule", "opacity": 0.4, "strokeWidth": 3},
         "encoding": {"x": x, "y": y.channel("low", layout), "y2": {"field": "high"}, "color": color}},
        {"data": data, "mark": {"type": "line", "point": True, "strokeWidth": layout.stroke},
         "encoding": {"x": x, "y": y.channel("value", layout), "tooltip": tooltip_of(shown, rows), "color": color}},
    ]  # fmt: skip
    if drawable:
        point = {"shape": "diamond", "filled": False, "color": style.ink}
        mark = {"type": "line", "strokeDash": [2, 3], "strokeWidth": 1.2, "color": style.ink, "point": point}
        at = {"x": x, "y": y.channel("predicted", layout), "detail": field("layer", "nominal")}
        parts.append({"data": data, "mark": mark, "encoding": at})
    if y.draws_powers(layout):
        beside = {"x": {"value": 0}, "y": y.channel("value", layout)}
        parts += marks.power_labels(powers_beside(y, layout), beside, style, layout, tables)
    title = f"{metric} at the end{', predicted dashed' if drawable else ', predicted: 0' if known else ''}"
    return _whole({"layer": parts}, tables, title, style, layout)


def _large(layout: Layout) -> Layout:
    """One panel in the room of two."""
    return replace(layout, width=int(1.5 * layout.width), height=int(1.5 * layout.height))


def _shown(rows: Sequence[Row], over: str, metric: str) -> dict[str, str]:
    """{field: title} of what the pointer shows."""
    known = {"x": over, "layer": "layer", "value": metric, "low": "lowest", "high": "highest", "predicted": "predicted"}
    return {name: title for name, title in known.items() if any(row[name] not in ("", None) for row in rows)}


def _drawn(row: Row, y: Ordinate) -> Row:
    """The values as they are drawn: on a log axis none below its floor, and no prediction of 0."""
    predicted = row["predicted"]
    is_shown = predicted is not None and (predicted > 0 or not y.log)
    return {
        **{key: y.drawn(row[key]) for key in ("value", "low", "high")},
        "predicted": predicted if is_shown else None,
    }


def _whole(chart: dict[str, Any], tables: Tables, title: str, style: Theme, layout: Layout) -> dict[str, Any]:
    heading = title if layout.title is None else layout.title
    shown = {} if heading == NO_TITLE else {"title": title_of(heading, layout.columns, 2)}
    return {
        "$schema": SCHEMA,
        "description": title,
        **chart,
        **shown,
        "width": layout.width,
        "height": layout.height,
        "config": style.config(layout),
        "datasets": tables.rows,
    }


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


def _abscissa(title: str, values: Sequence[Any]) -> Channel:
    """An axis for numbers, logarithmic where they cover decades, a tick at each of few; else a place for each value."""
    if not all(map(_is_number, values)):
        return field("x", "nominal", title=title, sort=None, axis={"labelAngle": 0, "labelLimit": LABEL_PIXELS})
    kind = {"type": "log"} if _is_log(values) else {"type": "linear", "zero": False}
    ticks = sorted(set(values))
    some = {"values": ticks} if len(ticks) <= MOST_TICKS else {}
    scale = {"nice": False, "padding": 12, **kind}
    return field("x", "quantitative", title=title, scale=scale, axis={"labelExpr": NUMBER_LABEL, **some})


def heat_map(
    items: Sequence[Item],
    axes: Mapping[str, Sequence[Any]],
    over: str,
    across: str,
    metric: str,
    style: Theme,
    layout: Layout = SCREEN,
) -> dict[str, Any]:
    """The mean over the seeds of the last layer for each pair of values of two axes."""
    layout, tables = _large(layout), Tables()
    layers: list[str | None] = list(dict.fromkeys(level.layer for item in items for level in item.metrics))
    if not layers:
        return _nothing(style, layout)
    cells: dict[tuple[str, str], list[float]] = {}
    places: dict[str, Any] = {}
    for item in items:
        for level in item.metrics:
            if level.layer == layers[-1] and level.mean is not None:
                key = (str(item.point[over]), str(item.point[across]))
                places |= {str(value): value for value in (item.point[over], item.point[across])}
                cells.setdefault(key, []).append(level.mean)
    rows = [
        {"x": x, "y": y, "at_x": places[x], "at_y": places[y], "value": fmean(values)}
        for (x, y), values in cells.items()
    ]
    scale = {"scheme": "viridis", "type": "log" if _is_log([fmean(values) for values in cells.values()]) else "linear"}
    legend = {"type": "gradient", "labelExpr": SMALL_NUMBER, "labelOverlap": True, "labelSeparation": 4}
    chart = {
        "data": tables.add(rows),
        "mark": "rect",
        "encoding": {
            "x": _places("x", over, axes[over], turned=True),
            "y": _places("y", across, axes[across], last_first=True),
            "color": field("value", "quantitative", title=metric, scale=scale,
                           legend=legend),
            "tooltip": tooltip_of({"at_x": over, "at_y": across, "value": metric}, rows),
        },
    }  # fmt: skip
    where = "" if layers[-1] is None else f" of {layers[-1]}"
    return _whole(chart, tables, f"{metric}{where} at the end", style, layout)


def _places(name: str, title: str, values: Sequence[Any], turned: bool = False, last_first: bool = False) -> Channel:
    """A place for each value. Of many some are labelled, at even distances; if `turned`, more than a few upright."""
    texts = list(dict.fromkeys(map(str, values)))
    every = math.ceil(len(texts) / MOST_LABELS)
    axis: dict[str, Any] = {"values": texts[::every], "labelAngle": 0, "labelLimit": LABEL_PIXELS}
    if turned and len(texts) > LEVEL_LABELS:
        axis["labelAngle"] = -90
    if all(map(_is_number, values)):
        axis["labelExpr"] = SHORT_NUMBER
    return field(name, "nominal", title=title, scale={"domain": texts[::-1] if last_first else texts}, axis=axis)


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _is_log(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) > LOG_RATIO * min(values) and math.isfinite(max(values))


def _nothing(style: Theme, layout: Layout) -> dict[str, Any]:
    tables = Tables()
    return _whole(marks.note("nothing has ended yet", style, layout, tables), tables, NO_TITLE, style, layout)


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
    point: dict[str, Any]
    metrics: list[Level]
    verdict: Annotated[list[Verdict], AsStored(list[Verdict])]
