"""Histograms over the seeds of an experiment: of a metric at the end, for each layer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ncore.pictures import marks
from ncore.pictures.axes import NUMBER_LABEL, Channel
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
    """How many seeds ended where; the predicted value of the objective as a dotted line."""
    of_it = {key: values for key, values in ends.items() if key[0] in panel.metrics}
    if not of_it:
        return {"layer": [marks.note("nothing has been measured", style, layout, tables)]}
    layers = [layer for layer in setting.layers if any(key[1] == layer for key in of_it)]
    rows = bars(of_it, layers)
    known = {setting.predicted[key] for key in of_it if key in setting.predicted}
    low = min([*(row["from"] for row in rows), *known])
    high = max([*(row["to"] for row in rows), *known])
    room = max(NARROW * abs(low + high) / 2, 1.04 * (high - low), 1e-12)
    middle = (low + high) / 2
    axis: dict[str, Any] = {"labelExpr": NUMBER_LABEL, "tickCount": 5}
    whole = {"tickMinStep": 1} if _are_whole(of_it) else {}
    x = field(
        "from", "quantitative", title=panel.y_title, axis={**axis, **whole},
        scale={"domain": [middle - room / 2, middle + room / 2], "nice": False, "zero": False},
    )  # fmt: skip
    y = field("seeds", "quantitative", title="seeds", axis={**axis, "tickMinStep": 1})
    color: Channel = {"value": style.colours[0]}
    if len(layers) > 1:
        color = field("layer", "nominal", title="layer", scale=style.scale(layers, last_first=True))
    shown = {"from": f"{panel.y_title} from", "to": "to", "seeds": "seeds"} | ({"layer": "layer"} if layers else {})
    rows = [{**row, "metric": panel.metrics[row["metric"]]} for row in rows]
    names = [name for name in panel.metrics.values() if any(row["metric"] == name for row in rows)]
    pale: Channel = {"value": 1}
    if len(names) > 1:
        shown["metric"] = "of"
        scale = {"domain": names, "range": [1, PALE]}
        pale = field("metric", "nominal", title=None, scale=scale, legend={"symbolType": "square"})
    encoding = {"x": x, "x2": {"field": "to"}, "y": y, "y2": {"datum": 0}, "color": color, "opacity": pale,
                "tooltip": marks.tooltip_of(shown, rows)}  # fmt: skip
    mark = {"type": "rect", "stroke": style.background, "strokeWidth": 0.5}
    parts = [{"data": tables.add(rows), "mark": mark, "encoding": encoding}]
    if known:
        line = {"type": "rule", "strokeDash": [2, 3], "color": style.ink, "strokeWidth": 1.1}
        parts.append({"data": tables.add([{"from": one} for one in sorted(known)]), "mark": line, "encoding": {"x": x}})
    return {"layer": parts}


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
