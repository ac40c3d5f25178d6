"""Pictures of a sweep as Vega-Lite: over one axis as lines, over two as a heat map, beside what theory predicts."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from ncore.pictures import marks
from ncore.pictures.axes import NUMBER_LABEL, Channel, Ordinate, powers_beside
from ncore.pictures.curves import NO_TITLE, SCHEMA
from ncore.pictures.histogram import Counted, bar_chart
from ncore.pictures.marks import Row, Tables, tooltip_of
from ncore.pictures.panels import MANY_SEEDS
from ncore.pictures.points import Key
from ncore.pictures.symbols import axis_title
from ncore.pictures.themes import Layout, Theme
from ncore.pictures.titles import title_of
from ncore.seeds import mean_of
from ncore.sweeps.boundary import Curve
from ncore.sweeps.quantity import GAP, Cell, OverSeeds, Quantity, together
from ncore.sweeps.ruler import Ruler, is_number
from ncore.sweeps.summary import PREDICTED
from ncore.theory.prediction import BEST_KNOWN

SEEDS = "seeds"
LOG_RATIO = 20.0
"""Values over more than this ratio are drawn on a log axis."""
LABEL_PIXELS = 140
MOST_TICKS = 12
"""A tick at each value of an axis of numbers that has no more of them."""
VERDICTS = (
    "orthogonal_frame", "simplex_etf", "between", "rank_deficient", "zero", "minority_collapse", "low_rank",
    "dead_samples", "not_converged", "diverged", "failed", "srg_like", "given_targets",
)  # fmt: skip
"""Verdicts in the order of their colours, so that each has the same colour in every picture."""
Crossing = tuple[str, str, float]
LINES = {"predicted": ("diamond", [2, 3]), "best": ("triangle-down", [7, 4])}
"""{field of a row: shape and dashes}: dotted where it is predicted, dashed where it is known otherwise."""


@dataclass(frozen=True)
class View:
    """A view of a sweep: a quantity over the axis `x`, or over `x` and `y`, with `facet` for small multiples."""

    quantity: Quantity
    x: Ruler
    y: Ruler | None = None
    facet: Ruler | None = None
    seeds: OverSeeds = "mean"
    scattered: bool = False
    """Points of a sample or of an adaptive sweep, which fill no grid."""
    style: Theme = field(kw_only=True)
    layout: Layout = field(kw_only=True)


@dataclass(frozen=True)
class Facet:
    """One of small multiples: its cells and the boundaries that theory draws there."""

    title: str
    cells: Sequence[Cell]
    crossings: Sequence[Crossing] = ()
    curves: Sequence[Curve] = ()


def value_text(value: Any) -> str:
    return f"{value:.4g}" if is_number(value) else str(value)


def line_chart(facet: Facet, view: View, tables: Tables) -> dict[str, Any]:
    """The value at each place of the axis `x`, a line for each layer, predictions dotted and best known values dashed,
    boundaries as rules."""
    style, layout = view.style, view.layout
    if view.quantity.is_category:
        return _shares(facet, view, tables)
    if view.x.path == SEEDS and len(view.x.values) > MANY_SEEDS:
        return _over_seeds(facet.cells, view, tables)
    rows = _averaged(facet.cells, view)
    if not rows:
        return {"layer": [marks.note("nothing has ended yet", style, layout, tables)]}
    layers = list(dict.fromkeys(row["layer"] for row in rows))
    is_log = is_over_decades([row[key] for row in rows for key in ("low", "high")])
    known = sorted({row[key] for row in rows for key in LINES if row[key] is not None})
    drawable = [value for value in known if value > 0 or not is_log]
    name = view.quantity.name(view.seeds)
    y = Ordinate.over(name, [*(row[key] for row in rows for key in ("low", "high")), *drawable], is_log)
    x = _abscissa(axis_title(view.x.columns), [row["x"] for row in rows], view.x.is_spread)
    color: Channel = {"value": style.colours[0]}
    if len(layers) > 1:
        color = marks.field("layer", "nominal", title="layer", scale=style.scale(layers, last_first=True))
    is_quantity = x["type"] == "quantitative"
    rows = [{**row, "x": row["x"] if is_quantity else str(row["x"]), **_drawn(row, y)} for row in rows]
    data, shown = tables.add(rows), _shown(rows, axis_title(view.x.columns), name, names_of(facet.cells))
    parts = [
        {"data": data, "mark": {"type": "rule", "opacity": 0.4, "strokeWidth": 3},
         "encoding": {"x": x, "y": y.channel("low", layout), "y2": {"field": "high"}, "color": color}},
        {"data": data, "mark": {"type": "line", "point": True, "strokeWidth": layout.stroke},
         "encoding": {"x": x, "y": y.channel("value", layout), "tooltip": tooltip_of(shown, rows), "color": color}},
    ]  # fmt: skip
    for key, (shape, dash) in LINES.items():
        if any(row[key] is not None for row in rows):
            point = {"shape": shape, "filled": False, "color": style.ink}
            mark = {"type": "line", "strokeDash": dash, "strokeWidth": 1.2, "color": style.ink, "point": point}
            at = {"x": x, "y": y.channel(key, layout), "detail": marks.field("layer", "nominal")}
            parts.append({"data": data, "mark": mark, "encoding": at})
    if is_quantity:
        parts += _rules(facet.crossings, view, x, tables)
    if y.draws_powers(layout):
        beside = {"x": {"value": 0}, "y": y.channel("value", layout)}
        parts += marks.power_labels(powers_beside(y, layout), beside, style, layout, tables)
    return {"layer": parts}


def _over_seeds(cells: Sequence[Cell], view: View, tables: Tables) -> dict[str, Any]:
    """How many experiments ended where: seeds are names and no places."""
    name, ends = view.quantity.name(view.seeds), dict[Key, list[float]]()
    for cell in cells:
        ends.setdefault((name, cell.layer or None), []).append(float(cell.value))
    if not ends:
        return {"layer": [marks.note("nothing has ended yet", view.style, view.layout, tables)]}
    layers = [layer for _, layer in ends if layer is not None]
    known = {(cell.predicted, cell.name, False) for cell in cells if cell.predicted is not None}
    known |= {(cell.best, BEST_KNOWN, True) for cell in cells if cell.best is not None}
    is_log = is_over_decades([value for values in ends.values() for value in values])
    if is_log:
        ends = {key: [math.log10(value) for value in values] for key, values in ends.items()}
    counted = Counted(ends, {name: name}, layers, f"log₁₀ {name}" if is_log else name, "experiments")
    lines: list[Row] = [
        {"from": math.log10(value) if is_log else value, "text": f"{name} = {value:.4g}", "dashed": dashed}
        for value, name, dashed in sorted(known)
        if value > 0 or not is_log
    ]
    return bar_chart(counted, lines, view.style, view.layout, tables)


def line_title(facets: Sequence[Facet], view: View) -> str:
    """The title: what the lines show, and how predictions are drawn."""
    cells = [cell for facet in facets for cell in facet.cells]
    values = [end for cell in cells for end in (cell.low, cell.high) if end is not None]
    names, is_log = names_of(cells), is_over_decades(values)
    drawn = [cell.predicted for cell in cells if cell.predicted is not None and (cell.predicted > 0 or not is_log)]
    title = view.quantity.title(view.seeds, names=names)
    if names and view.quantity.metric != GAP:
        title += f", {' and '.join(names)}{' dotted' if drawn else ': 0'}"
    is_best = any(cell.best is not None and (cell.best > 0 or not is_log) for cell in cells)
    return f"{title}, {BEST_KNOWN} dashed" if is_best else title


def names_of(cells: Sequence[Cell]) -> list[str]:
    """What the predictions are called, f* first; of a gap the objectives that it is to."""
    known = {cell.name for cell in cells if cell.predicted is not None or cell.name != PREDICTED}
    return sorted(known, key=lambda name: (name != "f*", name))


def _shares(facet: Facet, view: View, tables: Tables) -> dict[str, Any]:
    """Shares of categories: how many of the experiments at each value of the axis ended as each one."""
    counts: dict[tuple[str, str], int] = {}
    for cell in facet.cells:
        key = (value_text(cell.point[view.x.path]), str(cell.value))
        counts[key] = counts.get(key, 0) + 1
    if not counts:
        return {"layer": [marks.note("nothing has ended yet", view.style, view.layout, tables)]}
    rows: list[Row] = [{"x": x, "value": words(name), "experiments": n} for (x, name), n in counts.items()]
    texts = list(dict.fromkeys(map(value_text, view.x.values)))
    x = marks.field("x", "nominal", title=axis_title(view.x.columns), sort=None, scale={"domain": texts})
    y = marks.field("experiments", "quantitative", title="experiments", axis={"tickMinStep": 1})
    color = category_color(sorted({words(name) for _, name in counts}), view)
    shown = {"x": axis_title(view.x.columns), "value": view.quantity.metric, "experiments": "experiments"}
    return {
        "data": tables.add(rows),
        "mark": "bar",
        "encoding": {"x": x, "y": y, "color": color, "tooltip": tooltip_of(shown, rows)},
    }


def category_color(names: Sequence[str], view: View) -> Channel:
    """A verdict's own colour in every picture."""
    order = [words(name) for name in VERDICTS]
    known = [name for name in order if name in names] + [name for name in names if name not in order]
    colours = view.style.categories
    scale = {"domain": known, "range": [colours[(order.index(n) if n in order else -1) % len(colours)] for n in known]}
    legend: dict[str, Any] = {"symbolType": "square", "symbolStrokeWidth": 0, "symbolSize": 120}
    legend["columns"] = min(2, len(known))
    return marks.field("value", "nominal", title=None, scale=scale, legend=legend)


def words(name: str) -> str:
    return name.replace("_", " ").replace("etf", "ETF").replace("srg", "SRG")


def _rules(crossings: Sequence[Crossing], view: View, x: Channel, tables: Tables) -> list[marks.Part]:
    """Boundaries as vertical rules, named at their upper ends."""
    if not crossings:
        return []
    rows: list[Row] = [{"x": view.x.point(at)[view.x.path], "label": label} for _, label, at in crossings]
    data, style = tables.add(rows), view.style
    rule = {"type": "rule", "color": style.ink, "strokeWidth": 1.4}
    text = {"type": "text", "align": "left", "dx": 4, "dy": 8, "color": style.ink, "fontSize": view.layout.label_size}
    said = {"x": x, "y": {"value": 0}, "text": marks.field("label", "nominal")}
    return [{"data": data, "mark": rule, "encoding": {"x": x}}, {"data": data, "mark": text, "encoding": said}]


def _shown(rows: Sequence[Row], over: str, metric: str, names: Sequence[str]) -> dict[str, str]:
    """{field: title} of what the pointer shows."""
    known = {"x": over, "layer": "layer", "value": metric, "low": "lowest", "high": "highest", **titles_of(names)}
    return {name: title for name, title in known.items() if any(row[name] not in ("", None) for row in rows)}


def titles_of(names: Sequence[str]) -> dict[str, str]:
    """{field: title} of the texts of the known values of a row: by their one name, if they have one."""
    return {"known": names[0] if len(names) == 1 else PREDICTED, "best_known": BEST_KNOWN}


def known_of(cells: Sequence[Cell], names: Sequence[str]) -> Row:
    """The means of what is known of several experiments, where it is of all, and its name. As texts they are empty
    where there is none (Vega would write a missing number as 0), and have the name where there are several `names`."""
    predicted, best = (_mean([getattr(cell, key) for cell in cells]) for key in LINES)
    name = None if predicted is None else " or ".join(names_of(cells))
    text = "" if predicted is None else f"{predicted:.5g}{f', {name}' if len(names) > 1 else ''}"
    return {"predicted": predicted, "name": name, "best": best, "known": text,
            "best_known": "" if best is None else f"{best:.5g}"}  # fmt: skip


def _drawn(row: Row, y: Ordinate) -> Row:
    """The values as they are drawn: on a log axis none below its floor, and no prediction of 0."""
    known = {key: row[key] for key in LINES}
    return {
        **{key: y.drawn(row[key]) for key in ("value", "low", "high")},
        **{key: value if value is not None and (value > 0 or not y.log) else None for key, value in known.items()},
    }


def large(layout: Layout, count: int = 1) -> Layout:
    """One panel in the room of two; small multiples as they are."""
    share = 1.5 if count == 1 else 1.0
    return replace(layout, width=int(share * layout.width), height=int(share * layout.height))


def whole(
    charts: Sequence[dict[str, Any]], titles: Sequence[str], tables: Tables, title: str, view: View, columns: int = 2
) -> dict[str, Any]:
    """The picture of one chart, or of small multiples with their own titles."""
    layout, style = view.layout, view.style
    heading = title if layout.title is None else layout.title
    wide = min(columns, len(charts))
    shown: dict[str, Any] = {} if heading == NO_TITLE else {"title": title_of(heading, wide * layout.columns, 2)}
    sized = [{**chart, "width": layout.width, "height": layout.height} for chart in charts]
    if len(charts) > 1:
        for chart, own in zip(sized, titles, strict=True):
            chart["title"] = own
        if shown:
            shown = {"title": {"text": shown["title"], "anchor": "start", "fontSize": layout.fontsize + 3}}
    joined = sized[0] if len(charts) == 1 else {"concat": sized, "columns": columns, "spacing": 24}
    return {
        "$schema": SCHEMA,
        "description": title,
        **joined,
        **shown,
        "config": style.config(layout),
        "datasets": tables.rows,
    }


def _averaged(cells: Sequence[Cell], view: View) -> list[Row]:
    """One row for each value of the axis and each layer, in their order."""
    places: dict[tuple[str, str], list[Cell]] = {}
    names = names_of(cells)
    for cell in cells:
        places.setdefault((repr(cell.point[view.x.path]), cell.layer), []).append(cell)
    return [
        {
            "x": some[0].point[view.x.path],
            "layer": layer,
            "value": together([cell.value for cell in some], view.seeds),
            "low": min(cell.low for cell in some if cell.low is not None),
            "high": max(cell.high for cell in some if cell.high is not None),
            **known_of(some, names),
            "experiment": some[0].experiment if len(some) == 1 else None,
        }
        for (_, layer), some in places.items()
    ]


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return mean_of(known) if len(known) == len(values) and known else None


def _abscissa(title: str, values: Sequence[Any], is_spread: bool) -> Channel:
    """An axis for numbers, logarithmic where they cover decades, a tick at each of few; else a place for each value."""
    if not all(map(is_number, values)):
        return marks.field("x", "nominal", title=title, sort=None, axis={"labelAngle": 0, "labelLimit": LABEL_PIXELS})
    scale = {"nice": False, "padding": 12, **scale_type(values, is_spread)}
    ticks = sorted(set(values))
    some = {"values": ticks} if len(ticks) <= MOST_TICKS else {}
    return marks.field("x", "quantitative", title=title, scale=scale, axis={"labelExpr": NUMBER_LABEL, **some})


def scale_type(values: Sequence[float], is_spread: bool = False) -> dict[str, Any]:
    """Logarithmic over decades, and where the values were asked for by equal ratios."""
    return {"type": "log"} if is_over_decades(values) or is_spread else {"type": "linear", "zero": False}


def is_over_decades(values: Sequence[float]) -> bool:
    return bool(values) and min(values) > 0 and max(values) > LOG_RATIO * min(values) and math.isfinite(max(values))
