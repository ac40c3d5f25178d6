"""Histograms over the seeds of an experiment: of a metric at the end, for each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ncore.pictures import marks
from ncore.pictures.axes import NUMBER_LABEL, Channel, bounded
from ncore.pictures.marks import Row, Tables, field
from ncore.pictures.panels import Panel
from ncore.pictures.points import Key
from ncore.pictures.setting import PictureSetting
from ncore.pictures.themes import Layout, Theme
from ncore.series import Series

MOST_BARS = 24
SAME = 1e-9
"""Values whose relative distance is smaller are in one bar: rounding and slow convergence differ by less."""
PALE = 0.45
"""Opacity of the second metric's bars."""
ROW = 0.08
"""Height of the name of a line, as a share of the panel's."""
NARROW = 0.02
"""Least width of the axis, relative to its middle: a bar of equal values is not drawn as wide as the picture."""


def ends_of(series: Sequence[Series]) -> dict[Key, list[float]]:
    """The last defined value of each seed."""
    found: dict[Key, list[float]] = {}
    for one in series:
        known = [value for value in one["values"] if value is not None and math.isfinite(value)]
        if known:
            found.setdefault((one["metric"], one["layer"] or None), []).append(known[-1])
    return found


def histogram(
    panel: Panel,
    ends: Mapping[Key, Sequence[float]],
    setting: PictureSetting,
    style: Theme,
    layout: Layout,
    tables: Tables,
) -> dict[str, Any]:
    """How many seeds ended where; what is predicted as dotted lines, what else is known as dashed ones, with names."""
    of_it = {key: list(map(bounded, values)) for key, values in ends.items() if key[0] in panel.metrics}
    if not of_it:
        return {"layer": [marks.note("nothing has been measured", style, layout, tables)]}
    lines = _lines(of_it, setting)
    if any(layer for _, layer in of_it):  # what has no layer would have no colour
        of_it = {key: values for key, values in of_it.items() if key[1] is not None}
    counted = Counted(of_it, panel.metrics, setting.layers, panel.y_title, "seeds")
    return bar_chart(counted, lines, style, layout, tables)


@dataclass(frozen=True)
class Counted:
    """Values to be counted; `names` of their metrics, all `layers` that have a colour, `title` of their axis, and of
    what there is one for each value."""

    ends: Mapping[Key, Sequence[float]]
    names: Mapping[str, str]
    layers: Sequence[str]
    title: str
    each: str


def bar_chart(counted: Counted, lines: Sequence[Row], style: Theme, layout: Layout, tables: Tables) -> dict[str, Any]:
    """Bars for how often values are met, and upright `lines` ({"from", "text", "dashed"})."""
    layers = [layer for layer in counted.layers if any(key[1] == layer for key in counted.ends)]
    rows = bars(counted.ends, layers)
    low, high = (pick([*(row[end] for row in rows), *(row["from"] for row in lines)])
                 for pick, end in ((min, "from"), (max, "to")))  # fmt: skip
    room, middle = max(NARROW * abs(low + high) / 2, 1.04 * (high - low), 1e-12), (low + high) / 2
    axis: dict[str, Any] = {"labelExpr": NUMBER_LABEL, "tickCount": 5}
    whole = {"tickMinStep": 1} if _are_whole(counted.ends) else {}
    x = field(
        "from", "quantitative", title=counted.title, axis={**axis, **whole},
        scale={"domain": [middle - room / 2, middle + room / 2], "nice": False, "zero": False},
    )  # fmt: skip
    room_above = max(row["seeds"] for row in rows) * (1 + ROW * len(lines))
    y = field("seeds", "quantitative", title=counted.each, axis={**axis, "tickMinStep": 1},
              scale={"domain": [0, room_above], "nice": False})  # fmt: skip
    color: Channel = {"value": style.colours[0]}
    if len(layers) > 1:
        color = field("layer", "nominal", title="layer", scale=style.scale(counted.layers, last_first=True))
    shown = {
        "from": f"{counted.title} from",
        "to": "to",
        "seeds": counted.each,
        **({"layer": "layer"} if layers else {}),
    }
    rows = [{**row, "metric": counted.names[row["metric"]]} for row in rows]
    names = [name for name in counted.names.values() if any(row["metric"] == name for row in rows)]
    pale: Channel = {"value": 1}
    if len(names) > 1:
        shown["metric"] = "of"
        scale = {"domain": names, "range": [1, PALE]}
        pale = field("metric", "ordinal", title=None, scale=scale, legend={"symbolType": "square"})
    encoding = {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"datum": 0}, "color": color, "opacity": pale,
                "tooltip": marks.tooltip_of(shown, rows)}  # fmt: skip
    mark = {"type": "rect", "stroke": style.background, "strokeWidth": 0.5}
    parts = [{"data": tables.add(rows), "mark": mark, "encoding": encoding}]
    return {"layer": [*parts, *_named(lines, x, middle, style, layout, tables)]}


def _lines(ends: Mapping[Key, Sequence[float]], setting: PictureSetting) -> list[Row]:
    """{"from", "text", "dashed"} of each known value of these metrics, one for each value."""
    found: dict[float, Row] = {}
    for lines, dashed in ((setting.predicted_lines, False), (setting.references, True)):
        for name, levels in lines.items():
            for key, value in levels.items():
                if key in ends:
                    row = {"from": value, "text": f"{name} = {value:.4g}", "dashed": dashed}
                    found.setdefault(float(f"{value:.12g}"), row)
    return [found[value] for value in sorted(found)]


def _named(
    lines: Sequence[Row], x: Channel, middle: float, style: Theme, layout: Layout, tables: Tables
) -> list[marks.Part]:
    """Upright lines with their names above the bars, each in a row of its own, towards the middle."""
    mark = {"type": "rule", "color": style.ink, "strokeWidth": 1.1}
    shown = {"text": field("text", "nominal", title=""), "from": field("from", "quantitative", title="at")}
    parts = []
    for i, row in enumerate(lines):
        data, is_right = tables.add([row]), row["from"] > middle
        encoding = {"x": x, "strokeDash": marks.DOTTED_OR_DASHED, "tooltip": list(shown.values())}
        parts.append({"data": data, "mark": mark, "encoding": encoding})
        side = {"align": "right" if is_right else "left", "dx": -4 if is_right else 4}
        at = {"x": x, "y": {"value": ROW * layout.height * (i + 0.5)}, "text": shown["text"]}
        parts += marks.readable(data, side, at, style, layout)
    return parts


def _are_whole(ends: Mapping[Key, Sequence[float]]) -> bool:
    """Whether all are whole numbers and few enough for a bar each."""
    values = [value for found in ends.values() for value in found]
    return all(value == round(value) for value in values) and max(values) - min(values) < MOST_BARS


def bars(ends: Mapping[Key, Sequence[float]], layers: Sequence[str]) -> list[Row]:
    """{"from", "to", "seeds", "layer"} of each bar: keys side by side, few whole numbers each in its own."""
    values = [value for found in ends.values() for value in found]
    low, high = min(values), max(values)
    if _are_whole(ends):
        width, low, count = 1.0, low - 0.5, int(high - low) + 1
    elif high - low <= SAME * max(abs(low), abs(high)):
        width = max(abs(low), abs(high), 1e-12) * NARROW / 10
        low, count = (low + high - width) / 2, 1
    else:
        count = min(MOST_BARS, math.ceil(2 * math.sqrt(len(values))))
        width = (high - low) / count
    places = sorted(ends, key=lambda key: (layers.index(key[1]) if key[1] in layers else 0, key[0]))
    share = 0.9 * width / len(places)
    rows = []
    for place, (metric, layer) in enumerate(places):
        found = ends[metric, layer]
        heights: dict[int, int] = {}
        for value in found:
            at = min(count - 1, int((value - low) / width))
            heights[at] = heights.get(at, 0) + 1
        for at, seeds in sorted(heights.items()):
            start = low + at * width + 0.05 * width + place * share
            rows.append({"from": start, "to": start + share, "seeds": seeds, "layer": layer or "", "metric": metric})
    return rows
