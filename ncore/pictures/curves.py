"""Pictures of curves as Vega-Lite, the one source for browser, file and paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from ncore.pictures import marks
from ncore.pictures.axes import Abscissa, Channel, Ordinate, powers_below, powers_beside
from ncore.pictures.histogram import histogram
from ncore.pictures.marks import Row, Tables
from ncore.pictures.panels import GAP, Panel, panel_called
from ncore.pictures.points import CurvePoint, Curves, Key
from ncore.pictures.setting import Lines, PictureSetting
from ncore.pictures.themes import THEMES, Layout, Theme
from ncore.pictures.titles import title_of

SCHEMA = "https://vega.github.io/schema/vega-lite/v6.json"
TITLE_LINES, CAPTION_LINES = 2, 6
NO_TITLE = "none"
SCREEN = Layout()


def figure(
    curves: Curves,
    setting: PictureSetting,
    panels: Sequence[str] = (),
    theme: str = "light",
    columns: int = 2,
    hover: bool = False,
    layout: Layout = SCREEN,
    ends: Mapping[Key, Sequence[float]] = MappingProxyType({}),
    seeds: Mapping[int, Curves] = MappingProxyType({}),
) -> dict[str, Any]:
    """Vega-Lite of panels by name, each with median and range over the seeds, and predictions as dashed lines.

    With `hover` some points of each curve show their values under the pointer. `ends` are the last values of all seeds,
    for the panels that are histograms. Where the curves of single `seeds` are given, a line for each is drawn instead
    of `curves`.
    """
    names, canvas = panels or setting.shown(ends), Canvas(THEMES[theme], layout, hover)
    drawn: dict[int | None, Curves] = dict(seeds.items()) if seeds else {None: curves}
    if any(GAP in panel_called(name).metrics for name in names):
        drawn = {seed: {**one, (GAP, None): gap_of(one, setting)} for seed, one in drawn.items()}
    charts = [_panel(panel_called(name), drawn, ends, setting, canvas) for name in names]
    heading = (setting.name, setting.caption) if layout.title is None else (layout.title, "")
    description = f"{setting.name}. {setting.caption}".strip(". ")
    return {**whole(charts, canvas, *heading, columns), "description": description}


class Canvas:
    """The parts that all panels of a picture share."""

    def __init__(self, style: Theme, layout: Layout, hover: bool) -> None:
        self.style, self.layout, self.hover, self.tables = style, layout, hover, Tables()


def sizes_of(layout: Layout) -> dict[str, Any]:
    return {"width": layout.width, "height": layout.height}


def _panel(
    panel: Panel,
    drawn: Mapping[int | None, Curves],
    ends: Mapping[Key, Sequence[float]],
    setting: PictureSetting,
    canvas: Canvas,
) -> dict[str, Any]:
    """`drawn`: the curves of each seed, or of all together under None."""
    if panel.over_seeds:
        chart = histogram(panel, ends, setting, canvas.style, canvas.layout, canvas.tables)
        return {**chart, **sizes_of(canvas.layout), "title": panel.title}
    if GAP in panel.metrics:
        panel = replace(panel, y_title=f"f − {setting.objective_name}")
    style, stroke = canvas.style, canvas.layout.stroke
    rows = [
        row if seed is None else {**row, "seed": str(seed)}  # as a text: JavaScript would round a large one
        for seed, curves in drawn.items()
        for row in rows_of(curves, panel.metrics, setting.over)
    ]
    layers = layers_of(setting, rows)
    labels = labels_of(panel, rows)
    stroke_width: Channel = {"value": stroke}
    if len(layers) < 2:
        color: Channel = {"value": style.colours[0]}
    elif not any(row["layer"] for row in rows):
        color = {"value": style.ink}
    else:
        bare = {"test": {"field": "layer", "equal": ""}, "value": style.ink}
        scale = style.scale(layers, last_first=True)
        color = marks.field("layer", "nominal", title="layer", scale=scale, condition=bare)
        last = {"test": {"field": "layer", "equal": layers[-1]}, "value": 1.15 * stroke}
        stroke_width = {"value": 0.8 * stroke, "condition": last}
    encoding = {"color": color, "strokeDash": marks.dash("metric", labels), "strokeWidth": stroke_width}
    levels = levels_of(panel, rows, setting.predicted_lines)
    levels += [{**level, "dashed": True} for level in levels_of(panel, rows, setting.references)]
    shown = {"layer": "layer"} if any(row["layer"] for row in rows) else {}
    shown |= {} if None in drawn else {"seed": "seed"}
    chart = panel_chart(panel, rows, levels, setting.over, encoding, canvas, shown)
    return {**chart, **sizes_of(canvas.layout), "title": _title(panel, setting)}


def _title(panel: Panel, setting: PictureSetting) -> str:
    least = setting.predicted.get(("objective", None)) if "objective" in panel.metrics else None
    return panel.title if least is None else f"{panel.title}, {setting.objective_name} = {least:.5g}"


def panel_chart(
    panel: Panel,
    rows: list[Row],
    levels: list[Row],
    over: Abscissa,
    encoding: Mapping[str, Channel],
    canvas: Canvas,
    shown: dict[str, str],
    coloured: bool = False,
) -> dict[str, Any]:
    """Bands, lines and predicted levels in one panel; a text where there is nothing to draw.

    With `coloured` the levels have the colours of their curves, and no names.
    """
    style, layout, tables = canvas.style, canvas.layout, canvas.tables
    if not rows:
        return {"layer": [marks.note("nothing has been measured", style, layout, tables)]}
    if panel.log and not any(row["high"] for row in rows):
        return {"layer": [marks.note("zero throughout", style, layout, tables)]}
    y = Ordinate.over(panel.y_title, [row[key] for row in rows + levels for key in ("low", "high")], panel.log)
    rows = [{**row, **{key: y.drawn(row[key]) for key in ("value", "low", "high")}} for row in rows]
    last = max(row[over.title] for row in rows)
    x = over.channel(last, layout)
    parts = marks.curves(tables.add(rows), rows, x, y, encoding, layout)
    if levels:
        if coloured:
            parts.append(marks.coloured_levels(levels, y, encoding["color"], layout, tables))
        else:
            parts += marks.levels(levels, y, style, layout, tables)
    if y.draws_powers(layout):
        at = {"x": {"value": 0}, "y": y.channel("value", layout)}
        parts += marks.power_labels(powers_beside(y, layout), at, style, layout, tables)
    if over.draws_powers(last, layout):
        parts += marks.power_labels(powers_below(over, last, layout), {"x": x, "y": {"value": layout.height}},
                                    style, layout, tables)  # fmt: skip
    if layout.legend == "direct":
        parts.append(_names(rows, x, y, encoding["color"], canvas))
    if canvas.hover:
        parts.append(marks.spots(rows, x, y, _hovered(panel, rows, over, shown), layout, tables))
    return {"layer": parts}


def _names(rows: Sequence[Row], x: Channel, y: Ordinate, color: Channel, canvas: Canvas) -> marks.Part:
    """Names at the ends of the curves: of what they differ in."""
    by = [name for name in ("experiment", "depth", "layer", "metric") if len({row.get(name) for row in rows}) > 1]
    by = [name for name in by if name != "layer" or "depth" not in by]
    names = {tuple(row[name] for name in by): ", ".join(str(row[name]) for name in by if row[name]) for row in rows}
    return marks.end_labels(rows, names, by, x, y, color, canvas.layout, canvas.tables)


def _hovered(panel: Panel, rows: Sequence[Row], over: Abscissa, shown: Mapping[str, str]) -> dict[str, str]:
    """{field: title} of what the pointer shows."""
    steps = {"step": "step"} if over.title == "step" else {over.title: over.title, "step": "step"}
    metric = {"metric": "curve"} if len(panel.metrics) > 1 else {}
    is_range = any(row["seeds"] > 1 for row in rows)
    values = {"value": "median" if is_range else panel.y_title}
    ranges = {"low": "lowest", "high": "highest", "seeds": "seeds"} if is_range else {}
    return {**shown, **metric, **steps, **values, **ranges}


def gap_of(curves: Curves, setting: PictureSetting) -> list[CurvePoint]:
    """The objective above its predicted value, where rounding does not hide it."""
    least = setting.predicted.get(("objective", None))
    if least is None:
        return []
    above = (one._replace(value=one.value - least, low=one.low - least, high=one.high - least)
             for one in curves.get(("objective", None), ()))  # fmt: skip
    return [one._replace(low=one.low if one.low > 0 else one.value) for one in above if one.value > 0]


def rows_of(curves: Curves, metrics: Mapping[str, str], over: Abscissa) -> list[Row]:
    """A row for each point of the curves of these metrics, under the names that the metrics have in the legend; the
    layer NAME@PART is the layer NAME, and its metrics are those of that part of the data."""
    found = []
    for (metric, layer), points in curves.items():
        if metric in metrics:
            name, _, part = (layer or "").partition("@")
            found.append((f"{metrics[metric]}, {part}" if part else metrics[metric], name, points))
    found.sort()
    return [
        {"metric": metric, "layer": layer, over.title: point.step / over.unit, **point._asdict()}
        for metric, layer, points in found
        for point in points
    ]


def labels_of(panel: Panel, rows: Sequence[Row]) -> list[str]:
    """The names of the metrics that are drawn, in the panel's order, each with those of other parts behind it."""
    drawn = sorted({row["metric"] for row in rows})
    return [
        name for label in panel.metrics.values() for name in drawn if name == label or name.startswith(f"{label}, ")
    ]


def layers_of(setting: PictureSetting, rows: Sequence[Row]) -> tuple[str, ...]:
    """The setting's layers that any panel may show, in their order, and unforeseen ones behind them; see `rows_of`."""
    own = dict.fromkeys(layer.partition("@")[0] for layer in setting.layers)
    others = {row["layer"] for row in rows if row["layer"]} - set(own)
    return (*own, *sorted(others))


def levels_of(panel: Panel, rows: Sequence[Row], known: Lines) -> list[Row]:
    """The levels that the panel can show: one row for each value however many layers tend to it."""
    drawn = {(row["metric"], row["layer"]) for row in rows}
    values: dict[float, str] = {}
    found = [(name, *key, value) for name, levels in known.items() for key, value in levels.items()]
    for name, metric, layer, value in found:
        if (panel.metrics.get(metric), layer or "") in drawn and (value > 0 or not panel.log):
            values.setdefault(float(f"{value:.12g}"), name)
    return [
        {"value": value, "low": value, "high": value, "text": f"{name} = {value:.4g}"} for value, name in values.items()
    ]


def whole(charts: list[dict[str, Any]], canvas: Canvas, title: str, caption: str, columns: int) -> dict[str, Any]:
    """One picture of the panels, with the scales of colour and the legend in common."""
    wide, layout = min(columns, len(charts)), canvas.layout
    joined = charts[0] if len(charts) == 1 else {"concat": charts, "columns": columns, "spacing": 24}
    heading: dict[str, Any] = {}
    if title and title != NO_TITLE:
        heading["title"] = {
            "text": title_of(title, int(0.8 * layout.columns * wide), TITLE_LINES),
            "subtitle": title_of(caption, layout.columns * wide, CAPTION_LINES),
            "anchor": "start",
            "fontSize": layout.fontsize + 3,
        }
        if len(charts) == 1:  # the panel's own title stands below the picture's
            joined = {"concat": charts}
    return {
        "$schema": SCHEMA,
        **heading,
        **joined,
        "resolve": {"scale": {"color": "shared", "strokeDash": "independent"}},
        "config": canvas.style.config(layout),
        "datasets": canvas.tables.rows,
    }
