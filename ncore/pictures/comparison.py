"""Pictures that lay several experiments over each other: a panel for each metric, a colour for each experiment, or for
each value of a parameter in which they differ."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ncore.differences import number_of
from ncore.pictures import marks
from ncore.pictures.axes import SHARE, Abscissa, Channel
from ncore.pictures.curves import (
    NO_TITLE,
    SCREEN,
    Canvas,
    gap_of,
    layers_of,
    levels_of,
    panel_chart,
    rows_of,
    sizes_of,
    whole,
)
from ncore.pictures.marks import Row
from ncore.pictures.panels import GAP, Panel, panel_of
from ncore.pictures.points import Curves
from ncore.pictures.setting import PictureSetting
from ncore.pictures.sweep import is_over_decades, value_text
from ncore.pictures.symbols import symbol_of
from ncore.pictures.themes import THEMES, Layout
from ncore.pictures.titles import distinct, width
from ncore.theory.prediction import BEST_KNOWN

NAME_COLUMNS, SAID_COLUMNS = 44, 72
"""Columns of an experiment's name in a legend, and of the parameters in its place."""
LEGEND_MARK_COLUMNS = 7
"""Columns of the line in front of a name, and of the room behind it."""
MOST_SAID = 3
"""Parameters in a label, which is the name where experiments differ in more."""
NAMED_LEVELS = 3
"""Up to this many predicted values are written beside their lines; more have the colours of their curves."""
BY_EXPERIMENT = "experiment"


@dataclass(frozen=True)
class Compared:
    """One of the experiments; `parameters` are its values of the fields in which they differ, by dotted path; `named`
    says whether its name was given to it alone, not to all members of a sweep."""

    setting: PictureSetting
    curves: Curves
    parameters: Mapping[str, Any] = field(default_factory=dict)
    named: bool = True


@dataclass(frozen=True)
class Lens:
    """How they are looked at.

    `color`: a dotted path, "experiment" for a colour each, or None for the one parameter that alone varies, where more
    than two experiments differ in it by numbers. `x_log`, `y_log`: None for what the metric has elsewhere.
    """

    by_share: bool = False
    color: str | None = None
    x_log: bool | None = None
    y_log: bool | None = None


def comparison(
    experiments: Sequence[Compared],
    metrics: Sequence[str],
    lens: Lens = Lens(),
    theme: str = "light",
    hover: bool = False,
    layout: Layout = SCREEN,
    columns: int = 2,
) -> dict[str, Any]:
    """Vega-Lite of a panel for each metric, layers dashed from the last, predictions dotted, best known dashed."""
    if len(metrics) == 1:  # one panel in the room of two
        layout = replace(layout, width=2 * layout.width, height=int(1.7 * layout.height))
    canvas, names = Canvas(THEMES[theme], layout, hover), labels(experiments)
    color, shades = _color(experiments, names, lens, canvas)
    charts = []
    for metric in metrics:
        panel = panel_of(metric)
        panel = panel if lens.y_log is None else replace(panel, log=lens.y_log)
        charts.append(_panel(panel, metric, experiments, names, shades, color, lens, canvas))
    titles = ", ".join(str(chart["title"]) for chart in charts)
    made = whole(charts, canvas, layout.title or NO_TITLE, "", columns)
    return {**made, "description": f"{titles} of {len(names)} experiments: {', '.join(names[:20])}"}


def labels(experiments: Sequence[Compared]) -> list[str]:
    """Names where they are all given and differ, else the parameters that do, else names made to differ."""
    names = [one.setting.name for one in experiments]
    paths = [path for one in experiments[:1] for path in one.parameters]
    said = [", ".join(f"{symbol_of(path)} = {_text(one.parameters[path])}" for path in paths) for one in experiments]
    is_named = all(one.named for one in experiments) and len(set(names)) == len(names)
    is_enough = 0 < len(paths) <= MOST_SAID and len(set(said)) == len(said)
    return distinct(said, SAID_COLUMNS) if is_enough and not is_named else distinct(names, NAME_COLUMNS)


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return (
        {True: "yes", False: "no", None: "–"}[value] if value is None or isinstance(value, bool) else value_text(value)
    )


def _color(
    experiments: Sequence[Compared], names: Sequence[str], lens: Lens, canvas: Canvas
) -> tuple[Channel, list[float | str]]:
    """The channel of colours, and the value that each experiment has there."""
    path = _varied(experiments) if lens.color is None else lens.color
    if path is None or path == BY_EXPERIMENT:
        return _of_names(names, BY_EXPERIMENT, None, canvas), list(names)
    values = [one.parameters.get(path) for one in experiments]
    numbers = [number for value in values if (number := number_of(value)) is not None]
    if len(numbers) < len(values):
        texts = [_text(value) for value in values]
        return _of_names(list(dict.fromkeys(texts)), "shade", symbol_of(path), canvas), list(texts)
    kind = "log" if is_over_decades(numbers) else "linear"
    scale: dict[str, Any] = {"scheme": canvas.style.ramp(), "type": kind}
    if min(numbers) < max(numbers):
        scale["domain"] = [min(numbers), max(numbers)]
    legend: dict[str, Any] | None = {"type": "gradient", "gradientLength": canvas.layout.width, "labelOverlap": True}
    if canvas.layout.legend == "right":
        legend = {"type": "gradient", "labelOverlap": True}
    shown = legend if canvas.layout.has_legend else None
    return marks.field("shade", "quantitative", title=symbol_of(path), scale=scale, legend=shown), list(numbers)


def _varied(experiments: Sequence[Compared]) -> str | None:
    """The one parameter in which more than two experiments differ, by numbers."""
    paths = [path for one in experiments[:1] for path in one.parameters]
    if len(paths) != 1:
        return None
    numbers = {number_of(one.parameters[paths[0]]) for one in experiments}
    return paths[0] if len(numbers) > 2 and None not in numbers else None


def _of_names(names: Sequence[str], by: str, title: str | None, canvas: Canvas) -> Channel:
    """A colour for each name; a ramp where there are more names than distinct colours."""
    beside = max(1, canvas.layout.columns // (max(map(width, names), default=1) + LEGEND_MARK_COLUMNS))
    legend = {"columns": beside} if canvas.layout.has_legend else None
    if len(names) <= len(canvas.style.colours):
        return marks.field(by, "nominal", title=title, scale=canvas.style.scale(names), legend=legend)
    scale = {"domain": list(names), "scheme": canvas.style.ramp()}
    return marks.field(by, "ordinal", title=title, scale=scale, legend=legend)


def _panel(
    panel: Panel,
    metric: str,
    experiments: Sequence[Compared],
    names: Sequence[str],
    shades: Sequence[float | str],
    color: Channel,
    lens: Lens,
    canvas: Canvas,
) -> dict[str, Any]:
    over = SHARE if lens.by_share else Abscissa()
    over = over if lens.x_log is None else replace(over, log=lens.x_log)
    is_ramp = color["type"] == "quantitative"
    points: list[Row] = []
    levels: list[Row] = []
    for name, shade, one in zip(names, shades, experiments, strict=True):
        own = {"experiment": name, "shade": shade, **({"tint": _tint(shade, color, canvas)} if is_ramp else {})}
        curves: Curves = one.curves if metric != GAP else {(GAP, None): gap_of(one.curves, one.setting)}
        found = rows_of(curves, panel.metrics, replace(over, unit=_length(one.setting, curves) if lens.by_share else 1))
        depth = {layer: _depth(i) for i, layer in enumerate(layers_of(one.setting, found)[::-1])} | {"": _depth(0)}
        label = panel.metrics[metric]  # behind which a row says of which images it is, where not of training
        points += [{**row, **own, "depth": depth[row["layer"]] + row["metric"].removeprefix(label)} for row in found]
        best = {BEST_KNOWN: one.setting.references.get(BEST_KNOWN, {})}
        known = levels_of(panel, found, one.setting.predicted_lines)
        known += [{**level, "dashed": True} for level in levels_of(panel, found, best)]
        levels += [{**level, **own} for level in known]
    depths = sorted({row["depth"] for row in points}, key=lambda text: (len(text), text))
    encoding = {
        "color": color, "strokeDash": marks.dash("depth", depths), "strokeWidth": {"value": canvas.layout.stroke},
    }  # fmt: skip
    several = {f"{level['value']:.12g}": level for level in levels}
    coloured = len(several) > NAMED_LEVELS
    drawn = levels if coloured else list(several.values())
    shown = {"experiment": "experiment", "layer": "layer"}
    chart = panel_chart(panel, points, drawn, over, encoding, canvas, shown, coloured)
    return {**chart, **sizes_of(canvas.layout), "title": panel.title}


def _tint(shade: Any, color: Channel, canvas: Canvas) -> str:
    """The colour that the scale gives to a number."""
    low, high = color["scale"].get("domain", (shade, shade))
    if low == high:
        return canvas.style.on_ramp(0)
    if color["scale"]["type"] == "log":
        return canvas.style.on_ramp(math.log(shade / low) / math.log(high / low))
    return canvas.style.on_ramp((shade - low) / (high - low))


def _length(setting: PictureSetting, curves: Curves) -> int:
    """Steps of the whole run; as far as it got where that is not known."""
    return setting.steps or max((points[-1].step for points in curves.values() if points), default=0) or 1


def _depth(index: int) -> str:
    return "last layer" if index == 0 else f"{index} before it"
