"""Pictures as Vega-Lite, the one source for browser, file and paper: pure functions from series to a chart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import altair as alt
from altair.utils.schemapi import debug_mode

from ncore.pictures.axes import SHARE, Abscissa, Ordinate
from ncore.pictures.panels import GAP, PANELS, Panel, panel_of
from ncore.pictures.subject import Subject
from ncore.pictures.themes import THEMES, Theme

Series = Mapping[str, Any]
"""{"metric", "layer", "seed", "steps", "values"} as /metrics has it."""
Row = dict[str, Any]
"""A point of a curve: value (median), low and high over the seeds; of a predicted level they are the same."""

WIDTH, HEIGHT = 320, 210
MAX_POINTS = 120
"""Points of a curve in a picture: one for each three pixels across; each takes time to draw."""
HOVERED_POINTS = 60
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])
CHARACTERS = 72
"""Of a caption's line, a panel wide."""
LABEL_PIXELS = 14


class Tables:
    """The data of a picture, by name: Altair would walk through every number of them, for seconds."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {}

    def add(self, rows: list[Row]) -> alt.NamedData:
        name = f"table{len(self.rows) + 1}"
        self.rows[name] = rows
        return alt.NamedData(name=name)


def figure(
    series: Sequence[Series],
    subject: Subject,
    panels: Sequence[str] = (),
    theme: str = "light",
    columns: int = 2,
    hover: bool = False,
) -> dict[str, Any]:
    """Vega-Lite of panels by name, each with median and range over the seeds, and predictions as dashed lines.

    With `hover` some points of each curve tell their values under the pointer.
    """
    names, tables = panels or subject.panels, Tables()
    if any(GAP in PANELS[name].metrics for name in names):
        series = [*series, *_gaps(series, subject)]
    with debug_mode(False):  # no check of every part against the schema: it costs more than all the rest
        charts = [_panel(PANELS[name], series, subject, THEMES[theme], tables, hover) for name in names]
        return _whole(charts, tables, subject.name, subject.caption, THEMES[theme], columns)


def comparison(
    curves: Sequence[tuple[Subject, Sequence[Series]]],
    metric: str,
    by_share: bool = False,
    theme: str = "light",
    hover: bool = False,
) -> dict[str, Any]:
    """Vega-Lite of one metric of several experiments of different names: a colour each, layers dashed from the last."""
    over = SHARE if by_share else Abscissa()
    panel, tables, style = panel_of(metric), Tables(), THEMES[theme]
    names, rows = [subject.name for subject, _ in curves], []
    for subject, series in curves:
        found = _rows(series, panel.metrics, Abscissa(over.title, _length(subject, series) if by_share else 1))
        depth = {layer: _depth(i) for i, layer in enumerate(_layers(subject, found)[::-1])} | {"": _depth(0)}
        rows += [{**row, "experiment": subject.name, "depth": depth[row["layer"]]} for row in found]
    depths = sorted({row["depth"] for row in rows}, key=lambda text: (len(text), text))
    with debug_mode(False):
        color = alt.Color("experiment:N", title=None, scale=style.scale(names), sort=names)
        dash = _dash("depth", depths, None)
        drawn = {"width": 2 * WIDTH, "height": int(1.7 * HEIGHT), "title": panel.title}
        chart = _curves(panel, rows, [], over, {"color": color, "strokeDash": dash}, style, tables, hover) | drawn
        return _whole([chart], tables, "", "", style, 2)


def _length(subject: Subject, series: Sequence[Series]) -> int:
    """Steps of the whole run; as far as it got where that is not known."""
    return subject.steps or max((one["steps"][-1] for one in series if one["steps"]), default=0) or 1


def _depth(index: int) -> str:
    return "last layer" if index == 0 else f"{index} before it"


def _panel(
    panel: Panel, series: Sequence[Series], subject: Subject, style: Theme, tables: Tables, hover: bool
) -> dict[str, Any]:
    rows = _rows(series, panel.metrics, subject.over)
    layers = _layers(subject, rows)
    labels = [label for label in panel.metrics.values() if any(row["metric"] == label for row in rows)]
    width = alt.StrokeWidthValue(1.8)
    if len(layers) < 2:
        color: Any = alt.ColorValue(style.colours[0])
    elif not any(row["layer"] for row in rows):
        color = alt.ColorValue(style.ink)
    else:
        bare = {"test": "datum.layer == ''", "value": style.ink}
        scale = style.scale(layers, last_first=True)
        color = alt.Color("layer:N", title="layer", scale=scale, sort=list(layers), condition=bare)
        width = alt.StrokeWidthValue(1.4, condition={"test": f"datum.layer == {layers[-1]!r}", "value": 2.1})
    encoding = {"color": color, "strokeDash": _dash("metric", labels, None), "strokeWidth": width}
    levels = _levels(panel, rows, subject.predicted)
    chart = _curves(panel, rows, levels, subject.over, encoding, style, tables, hover)
    return chart | {"width": WIDTH, "height": HEIGHT, "title": _title(panel, subject)}


def _title(panel: Panel, subject: Subject) -> str:
    least = subject.predicted.get(("objective", None)) if "objective" in panel.metrics else None
    return panel.title if least is None else f"{panel.title}, f* = {least:.5g}"


def _curves(
    panel: Panel,
    rows: list[Row],
    levels: list[Row],
    over: Abscissa,
    encoding: Mapping[str, Any],
    style: Theme,
    tables: Tables,
    hover: bool,
) -> dict[str, Any]:
    """Bands, lines and predicted levels in one panel; a text where there is nothing to draw."""
    if not rows:
        return {"layer": [_text("nothing has been measured", style, tables)]}
    y = Ordinate.over(panel.y_title, [row[key] for row in rows + levels for key in ("low", "high")], panel.log)
    rows = [{**row, **{key: y.drawn(row[key]) for key in ("value", "low", "high")}} for row in rows]
    x = over.axis(max(row[over.title] for row in rows))
    data = tables.add(rows)
    hidden = {name: channel for name, channel in encoding.items() if name not in ("strokeDash", "strokeWidth")}
    detail = [alt.Detail("metric:N"), alt.Detail("layer:N")]
    marks = []
    if any(row["low"] < row["high"] for row in rows):
        band = alt.Chart(data).mark_area(fillOpacity=0.18)
        marks.append(_part(band.encode(x=x, y=y.axis("low"), y2=alt.Y2("high"), detail=detail, **hidden)))
    line = alt.Chart(data).mark_line(point=_is_short(rows))
    marks.append(_part(line.encode(x=x, y=y.axis("value"), detail=detail, **encoding)))
    if levels:
        marks += _predicted(levels, y, style, tables)
    if hover:
        spots = alt.Chart(tables.add(_hovered(rows))).mark_circle(
            size=120, opacity=0, tooltip=alt.TooltipContent("data")
        )
        marks.append(_part(spots.encode(x=x, y=y.axis("value"), **hidden)))
    return {"layer": marks}


def _is_short(rows: Sequence[Row]) -> bool:
    """Whether a line through the points could be too short to be seen."""
    return len({row["step"] for row in rows}) < 3


def _hovered(rows: Sequence[Row]) -> list[Row]:
    steps = sorted({row["step"] for row in rows})
    kept = set(steps[:: max(1, len(steps) // HOVERED_POINTS)]) | {steps[-1]}
    return [row for row in rows if row["step"] in kept]


def _gaps(series: Sequence[Series], subject: Subject) -> Iterable[Series]:
    """The objective above its predicted value; null where rounding hides it."""
    least = subject.predicted.get(("objective", None))
    if least is None:
        return
    for one in series:
        if one["metric"] == "objective":
            above = [None if value is None else value - least for value in one["values"]]
            yield {**one, "metric": GAP, "values": [None if gap is None or gap <= 0 else gap for gap in above]}


def _rows(series: Sequence[Series], metrics: Mapping[str, str], over: Abscissa) -> list[Row]:
    """Median, lowest and highest over the seeds for each (metric, layer, step) where a value is known."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for one in series:
        if one["metric"] in metrics:
            key = metrics[one["metric"]], one["layer"] or ""
            for step, value in _thinned(one):
                if value is not None and math.isfinite(value):
                    found.setdefault((*key, step), []).append(value)
    return [
        {
            "metric": metric, "layer": layer, "step": step, over.title: step / over.unit,
            "value": median(values), "low": min(values), "high": max(values), "seeds": len(values),
        }
        for (metric, layer, step), values in sorted(found.items())
    ]  # fmt: skip


def _thinned(one: Series) -> Iterable[tuple[int, float | None]]:
    """Every so many points of a long series, both ends included: the same steps for all seeds of an experiment."""
    steps, values, count = one["steps"], one["values"], len(one["steps"])
    if count <= MAX_POINTS:
        return zip(steps, values, strict=True)
    kept = [i * (count - 1) // (MAX_POINTS - 1) for i in range(MAX_POINTS)]
    return [(steps[i], values[i]) for i in kept]


def _layers(subject: Subject, rows: Sequence[Row]) -> tuple[str, ...]:
    """The subject's layers that any panel may show, in their order, and unforeseen ones behind them."""
    others = {row["layer"] for row in rows if row["layer"]} - set(subject.layers)
    return (*subject.layers, *sorted(others))


def _levels(panel: Panel, rows: Sequence[Row], predicted: Mapping[tuple[str, str | None], float]) -> list[Row]:
    """The predicted levels that the panel can show, one row for each value however many layers tend to it."""
    drawn = {(row["metric"], row["layer"]) for row in rows}
    values: dict[float, str] = {}
    for (metric, layer), value in predicted.items():
        if (panel.metrics.get(metric), layer or "") in drawn and (value > 0 or not panel.log):
            values.setdefault(float(f"{value:.12g}"), "f*" if metric == "objective" else "predicted")
    return [
        {"value": value, "low": value, "high": value, "text": f"{name} = {value:.4g}"} for value, name in values.items()
    ]


def _predicted(levels: list[Row], y: Ordinate, style: Theme, tables: Tables) -> list[dict[str, Any]]:
    """Dotted lines, their labels at the left and below, where curves that fall to a level are not."""
    placed = [
        {**row, "dy": LABEL_PIXELS - 4 if y.height(row["value"]) * HEIGHT > LABEL_PIXELS + 2 else -6} for row in levels
    ]
    base, at = alt.Chart(tables.add(placed)), y.axis("value")
    rule = base.mark_rule(strokeDash=[2, 3], color=style.ink, strokeWidth=1.1).encode(y=at)
    text = base.mark_text(align="left", dx=4, dy=alt.ExprRef("datum.dy"), color=style.quiet, fontSize=10.5).encode(
        y=at, text=alt.Text("text:N"), x=alt.XValue(0)
    )
    return [_part(rule), _part(text)]


def _dash(field: str, names: Sequence[str], title: str | None) -> Any:
    """Solid for the first name. Nothing to tell apart: solid, and no legend."""
    if len(names) < 2:
        return alt.StrokeDashValue([1, 0])
    scale = alt.Scale(domain=list(names), range=[DASHES[i % len(DASHES)] for i in range(len(names))])
    return alt.StrokeDash(f"{field}:N", title=title, scale=scale, sort=list(names))


def _text(text: str, style: Theme, tables: Tables) -> dict[str, Any]:
    chart = alt.Chart(tables.add([{"text": text}])).mark_text(fontSize=13, color=style.quiet)
    return _part(chart.encode(text=alt.Text("text:N")))


def _part(chart: alt.Chart) -> dict[str, Any]:
    """What a part of a larger picture has to say; put together by hand, for Altair copies all parts each time."""
    made = chart.to_dict(validate=False)
    return {key: made[key] for key in ("data", "mark", "encoding")}


def _whole(
    charts: list[dict[str, Any]], tables: Tables, title: str, caption: str, style: Theme, columns: int
) -> dict[str, Any]:
    """One picture of the panels, with the scales of colour and the legend in common."""
    wide = min(columns, len(charts))
    joined = charts[0] if len(charts) == 1 else {"concat": charts, "columns": columns, "spacing": 24}
    heading = {} if not title else {
        "title": {"text": title, "subtitle": _wrapped(caption, CHARACTERS * wide), "anchor": "start", "fontSize": 14}
    }  # fmt: skip
    panel = {"description": f"{title}. {caption}".strip(". ")} | heading
    if len(charts) == 1 and title:  # the panel's own title stands below the picture's
        joined = {"concat": charts}
    return {
        "$schema": alt.SCHEMA_URL,
        **panel,
        **joined,
        "resolve": {"scale": {"color": "shared", "strokeDash": "independent"}},
        "config": style.config(),
        "datasets": tables.rows,
    }


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines
