"""Pictures as Vega-Lite, the one source for browser, file and paper: pure functions from series to a chart."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any

import altair as alt

from api.panels import PANELS, Panel

Series = Mapping[str, Any]
"""{"metric", "layer", "seed", "steps", "values"} as /metrics has it."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a6a00", "#000000")
"""Okabe & Ito's palette: told apart by colour-blind eyes too."""
DARK_COLOURS = ("#4fb3ee", "#ff8a3d", "#3ad1a2", "#ec9fcb", "#9bd8ff", "#f2bd4b", "#d9cb4a", "#ffffff")
FLOOR = 1e-32
"""Log axes go no lower; smaller values, which are rounding, are drawn at the floor."""
WIDTH, HEIGHT = 320, 210
MAX_POINTS = 400
"""Points of a curve in a picture: more than it has pixels across."""
STEP_LABEL = "datum.value < 1000 ? format(datum.value, 'd') : format(datum.value, '~s')"


class Tables:
    """The data of a picture, put into it last: Altair would walk through every number of them, for seconds."""

    def __init__(self) -> None:
        self._tables: dict[str, list[dict[str, Any]]] = {}

    def add(self, rows: list[dict[str, Any]]) -> alt.NamedData:
        name = f"table{len(self._tables) + 1}"
        self._tables[name] = rows
        return alt.NamedData(name=name)

    def into(self, chart: alt.TopLevelMixin) -> dict[str, Any]:
        made: dict[str, Any] = chart.to_dict()
        return {**made, "datasets": self._tables | made.get("datasets", {})}


def figure(
    series: Sequence[Series],
    predicted: Mapping[tuple[str, str | None], float],
    panels: Sequence[str],
    title: str,
    caption: str,
    theme: str,
    columns: int = 2,
) -> dict[str, Any]:
    """Vega-Lite of the panels by name, each with median and range over the seeds, and predictions as dashed lines."""
    by_name = {panel.name: panel for panel in PANELS}
    layers = sorted({one["layer"] for one in series if one["layer"] is not None})
    tables = Tables()
    charts = [_panel(by_name[name], series, predicted, layers, theme, tables) for name in panels]
    joined = charts[0] if len(charts) == 1 else alt.concat(*charts, columns=columns, spacing=24)
    heading = alt.TitleParams(title or " ", subtitle=_wrapped(caption, 54 * min(columns, len(charts))), anchor="start")
    return tables.into(_styled(joined.properties(title=heading), theme))


def comparison(
    curves: Sequence[tuple[str, Sequence[Series]]], metric: str, by_fraction: bool, theme: str
) -> dict[str, Any]:
    """Vega-Lite of one metric of several experiments, `curves` being (name, series): a colour each, a dash a layer."""
    rows = []
    for name, series in curves:
        for row in _rows(series, {metric: metric}):
            last = max((one["steps"][-1] for one in series if one["steps"]), default=1) or 1
            x = row["step"] / last if by_fraction else row["step"]
            rows.append({**row, "step": x, "experiment": name})
    names = [name for name, _ in curves]
    panel = next((one for one in PANELS if metric in one.metrics), Panel(metric, metric, {metric: metric}, metric))
    drawable = panel.log and any(row["value"] > 0 for row in rows)
    rows = [_floored(row) for row in rows] if drawable else rows
    layers = sorted({row["layer"] for row in rows})
    x = _fraction_axis() if by_fraction else _step_axis(rows)
    tables = Tables()
    base = alt.Chart(tables.add(rows)).encode(
        x=x,
        color=alt.Color("experiment:N", title=None, scale=_scale(names, theme), sort=names),
    )
    dash = alt.StrokeDash("layer:N", title="layer", sort=layers) if len(layers) > 1 else alt.Undefined
    low = _y(panel.y_title, rows, drawable, "low")
    band = base.mark_area(opacity=0.15, line=False).encode(y=low, y2="high:Q", detail="layer:N")
    value = _y(panel.y_title, rows, drawable, "value")
    line = base.mark_line(clip=True).encode(y=value, strokeDash=dash, tooltip=_tooltip("experiment"))
    chart = alt.layer(band, line).properties(width=2 * WIDTH, height=int(1.6 * HEIGHT), title=panel.title)
    return tables.into(_styled(chart if rows else _nothing(panel.title, "nothing has been measured"), theme))


def _panel(
    panel: Panel,
    series: Sequence[Series],
    predicted: Mapping[tuple[str, str | None], float],
    layers: Sequence[str],
    theme: str,
    tables: Tables,
) -> Any:
    rows = _rows(series, panel.metrics)
    if not rows:
        return _nothing(panel.title, "nothing has been measured")
    log = panel.log and any(row["value"] > 0 for row in rows)
    levels = _levels(panel, rows, predicted)
    if log:
        rows = [_floored(row) for row in rows]
    shown = [layer for layer in layers if any(row["layer"] == layer for row in rows)] or [""]
    labels = [label for label in panel.metrics.values() if any(row["metric"] == label for row in rows)]
    base = alt.Chart(tables.add(rows)).encode(
        x=_step_axis(rows),
        color=_colour("layer", shown, "layer", theme),
    )
    y_low, y_line = _y(panel.y_title, rows + levels, log, "low"), _y(panel.y_title, rows + levels, log, "value")
    marks = [
        base.mark_area(opacity=0.18, clip=True).encode(y=y_low, y2="high:Q", detail="metric:N"),
        base.mark_line(clip=True).encode(y=y_line, strokeDash=_dash(labels), tooltip=_tooltip("layer")),
    ]
    if levels:
        marks += _predicted(tables.add(levels), y_line, theme)
    return alt.layer(*marks).properties(width=WIDTH, height=HEIGHT, title=panel.title)


def _rows(series: Sequence[Series], metrics: Mapping[str, str]) -> list[dict[str, Any]]:
    """Median, lowest and highest over the seeds for each (metric, layer, step) where a value is known."""
    found: dict[tuple[str, str, int], list[float]] = {}
    for one in map(_thinned, series):
        if one["metric"] in metrics:
            for step, value in zip(one["steps"], one["values"], strict=True):
                if value is not None and math.isfinite(value):
                    found.setdefault((metrics[one["metric"]], one["layer"] or "", step), []).append(value)
    return [
        {
            "metric": metric, "layer": layer, "step": step,
            "value": median(values), "low": min(values), "high": max(values), "seeds": len(values),
        }
        for (metric, layer, step), values in sorted(found.items())
    ]  # fmt: skip


def _thinned(one: Series) -> Series:
    """Every so many points of a long series, both ends included: the same steps for all seeds of an experiment."""
    count = len(one["steps"])
    if count <= MAX_POINTS:
        return one
    kept = [i * (count - 1) // (MAX_POINTS - 1) for i in range(MAX_POINTS)]
    return {**one, "steps": [one["steps"][i] for i in kept], "values": [one["values"][i] for i in kept]}


def _floored(row: dict[str, Any]) -> dict[str, Any]:
    return {**row, **{key: max(row[key], FLOOR) for key in ("value", "low", "high")}}


def _levels(
    panel: Panel, rows: Iterable[Mapping[str, Any]], predicted: Mapping[tuple[str, str | None], float]
) -> list[dict[str, Any]]:
    """The predicted levels that a log axis can show, one row for each value however many layers tend to it."""
    drawn = {(row["metric"], row["layer"]) for row in rows}
    values: dict[float, str] = {}
    for (metric, layer), value in predicted.items():
        label = panel.metrics.get(metric)
        if label is not None and (label, layer or "") in drawn and (value > 0 or not panel.log):
            rounded = float(f"{value:.12g}")
            values.setdefault(rounded, "f*" if metric == "objective" else "predicted")
    return [
        {"value": value, "low": value, "high": value, "text": f"{name} = {value:.4g}"} for value, name in values.items()
    ]


def _predicted(levels: alt.NamedData, y: alt.Y, theme: str) -> list[alt.Chart]:
    ink = "#b8c0c8" if theme == "dark" else "#555b61"
    base = alt.Chart(levels).encode(y=y)
    rule = base.mark_rule(strokeDash=[2, 3], color=ink, strokeWidth=1.2)
    text = base.mark_text(align="right", dx=-2, dy=-6, color=ink, fontSize=10).encode(text="text:N", x=alt.value(WIDTH))
    return [rule, text]


def _y(title: str, rows: Sequence[Mapping[str, Any]], log: bool, field: str) -> alt.Y:
    if not log:
        return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(zero=False, nice=True))
    low = max(FLOOR, min(row["low"] for row in rows if row["low"] > 0))
    high = max(row["high"] for row in rows)
    decades = math.log10(high / low) if high > low else 0.0
    if decades < 1:  # an axis of less than a decade: room on both sides and plain numbers
        domain, axis = [low * 0.8, high * 1.25], alt.Axis(format="~g", tickCount=5)
    else:
        bottom, top = math.floor(math.log10(low)), math.ceil(math.log10(high))
        every = max(1, math.ceil((top - bottom) / 6))
        domain = [10.0**bottom, 10.0**top]
        powers = [power for power in range(bottom, top + 1) if power % every == 0]
        axis = alt.Axis(values=[10.0**power for power in powers], labelExpr=_powers_of_ten(powers))
    return alt.Y(f"{field}:Q", title=title, scale=alt.Scale(type="log", domain=domain, nice=False), axis=axis)


def _powers_of_ten(powers: Sequence[int]) -> str:
    """Vega expression that labels 10^p by 10 with p raised."""
    raised = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
    labels = ["1" if power == 0 else f"10{str(power).translate(raised)}" for power in powers]
    return f"{labels!r}[indexof({list(powers)!r}, round(log(datum.value) / LN10))]"


def _step_axis(rows: Sequence[Mapping[str, Any]]) -> alt.X:
    """Logarithmic, but with step 0 on it: symlog with ticks at 0, 1, 10, 100, … ."""
    last = max((row["step"] for row in rows), default=1) or 1
    values = [0, *(10**power for power in range(int(math.log10(last)) + 1))]
    scale = alt.Scale(type="symlog", constant=1, domain=[0, last], nice=False)
    return alt.X("step:Q", title="step", scale=scale, axis=alt.Axis(values=values, labelExpr=STEP_LABEL))


def _fraction_axis() -> alt.X:
    return alt.X("step:Q", title="share of the run", scale=alt.Scale(domain=[0, 1]), axis=alt.Axis(format="~%"))


def _scale(names: Sequence[str], theme: str) -> alt.Scale:
    colours = DARK_COLOURS if theme == "dark" else COLOURS
    return alt.Scale(domain=list(names), range=[colours[i % len(colours)] for i in range(len(names))])


def _colour(field: str, names: Sequence[str], title: str, theme: str) -> Any:
    if len(names) == 1:
        return alt.value((DARK_COLOURS if theme == "dark" else COLOURS)[0])
    return alt.Color(f"{field}:N", title=title, scale=_scale(names, theme), sort=list(names))


def _dash(labels: Sequence[str]) -> Any:
    if len(labels) == 1:
        return alt.Undefined
    dashes = ([1, 0], [6, 3], [2, 2])
    scale = alt.Scale(domain=list(labels), range=list(dashes[: len(labels)]))
    return alt.StrokeDash("metric:N", title=None, scale=scale, sort=list(labels))


def _tooltip(field: str) -> list[alt.Tooltip]:
    names = (("step", "step", alt.Undefined), ("value", "median", ".6~g"), ("low", "lowest", ".4~g"))
    shown = [alt.Tooltip(f"{field}:N"), alt.Tooltip("metric:N")]
    return (
        shown
        + [alt.Tooltip(f"{key}:Q", title=title, format=form) for key, title, form in names]
        + [
            alt.Tooltip("high:Q", title="highest", format=".4~g"),
            alt.Tooltip("seeds:Q"),
        ]
    )


def _nothing(title: str, text: str) -> alt.Chart:
    blank = alt.Chart(alt.Data(values=[{"text": text}]))
    return (
        blank.mark_text(fontSize=13, color="#808890")
        .encode(text="text:N")
        .properties(width=WIDTH, height=HEIGHT, title=title)
    )


def _wrapped(text: str, width: int) -> list[str]:
    lines = [""]
    for word in text.split(" "):
        if len(lines[-1]) + len(word) >= width:
            lines.append("")
        lines[-1] = f"{lines[-1]} {word}".strip()
    return lines


def _styled(chart: Any, theme: str) -> alt.TopLevelMixin:
    dark = theme == "dark"
    ink, quiet, grid = ("#e4e7eb", "#a3adb8", "#343b42") if dark else ("#1b1f24", "#58616b", "#e3e7eb")
    styled: alt.TopLevelMixin = chart.configure(
        background="#14171a" if dark else "#ffffff",
        font="Helvetica, Arial, 'Liberation Sans', sans-serif",
        padding=10,
        axis=alt.AxisConfig(
            labelColor=quiet, titleColor=ink, gridColor=grid, domainColor=quiet, tickColor=quiet,
            titleFontWeight="normal", labelFontSize=10.5, titleFontSize=11.5,
        ),
        legend=alt.LegendConfig(
            labelColor=ink, titleColor=quiet, orient="bottom", symbolType="stroke", symbolOpacity=1
        ),
        title=alt.TitleConfig(color=ink, subtitleColor=quiet, fontSize=13, subtitleFontSize=11, offset=8),
        view=alt.ViewConfig(stroke=None),
        line=alt.LineConfig(strokeWidth=1.8),
    ).resolve_scale(color="shared", strokeDash="independent")  # fmt: skip
    return styled
