"""Heat maps of a sweep: equal cells with values in them, or squares at the points of a sample; boundaries on top."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ncore.pictures import marks
from ncore.pictures.axes import NUMBER_LABEL, Channel, bounded
from ncore.pictures.marks import Row, Tables, tooltip_of
from ncore.pictures.sweep import (
    LABEL_PIXELS,
    Facet,
    View,
    category_color,
    is_over_decades,
    known_of,
    line_chart,
    line_title,
    names_of,
    scale_type,
    titles_of,
    value_text,
    whole,
    words,
)
from ncore.pictures.symbols import axis_title
from ncore.sweeps.quantity import Cell, together
from ncore.sweeps.ruler import Ruler, is_number

LEVEL_LABELS = 8
"""Up to this many tick labels are horizontal; more are rotated."""
MOST_LABELS = 20
"""Most tick labels on one axis of a heat map."""
WRITTEN = 12
"""Cells along an axis of a grid that has its values written into them."""
SHORT_NUMBER = "format(toNumber(datum.label), '.3~g')"
SMALL_NUMBER = "format(datum.value, abs(datum.value) < 1e-3 && datum.value != 0 ? '.1~e' : '.3~g')"
EXPONENT = re.compile(r"e\+?(-?)0*(?=\d)")
"""The exponent of a short number in a cell: 7.76e-6."""
SQUARE = 60
"""Area of a point of a sample, in square pixels."""


def sweep_figure(facets: Sequence[Facet], view: View) -> dict[str, Any]:
    """The whole picture: lines over one axis, a map over two; a panel for each of the facets."""
    facets = [replace(facet, cells=[_bounded(cell) for cell in facet.cells]) for facet in facets]
    tables, titles = Tables(), [facet.title for facet in facets]
    if view.y is None:
        charts = [line_chart(facet, view, tables) for facet in facets]
        return whole(charts, titles, tables, line_title(facets, view), view)
    cells = [_of_last_layer(facet.cells) for facet in facets]
    known = [cell for some in cells for cell in some]
    color = _color([cell.value for cell in known], view) if known else {}
    charts = [_map(some, facet, view, color, tables) for some, facet in zip(cells, facets, strict=True)]
    layers = sorted({cell.layer for cell in known if cell.layer})
    title = view.quantity.title(view.seeds, layers[0] if len(layers) == 1 else "", names_of(known))
    return whole(charts, titles, tables, title, view)


def _bounded(cell: Cell) -> Cell:
    value = cell.value if isinstance(cell.value, str) else bounded(cell.value)
    low, high = (None if end is None else bounded(end) for end in (cell.low, cell.high))
    return replace(cell, value=value, low=low, high=high)


def _of_last_layer(cells: Sequence[Cell]) -> list[Cell]:
    """The last layer of each combination: the models of a sweep may differ in depth."""
    last: dict[str, Cell] = {}
    for cell in cells:
        last[cell.experiment] = cell  # layers come in the order of the forward pass
    return list(last.values())


def _map(cells: Sequence[Cell], facet: Facet, view: View, color: Channel, tables: Tables) -> dict[str, Any]:
    assert view.y is not None  # noqa: S101 (for the type checker)
    if not cells:
        return {"layer": [marks.note("nothing has ended yet", view.style, view.layout, tables)]}
    if view.scattered:
        return _scatter(cells, facet, view, color, tables)
    rows = _rows(cells, view)
    data = tables.add(rows)
    small = max(len(_texts(view.x)), len(_texts(view.y))) <= WRITTEN and not view.quantity.is_category
    places = {"x": _places("x", view.x, turned=True), "y": _places("y", view.y, last_first=True)}
    parts: list[dict[str, Any]] = [{"mark": "rect", "encoding": {"color": color, "tooltip": _tooltip(rows, view)}}]
    texts = [_written(rows, places, view)] if small else []
    return {
        "data": data,
        "encoding": places,
        "layer": [*parts, *_boundaries(facet, view, tables), *texts],
        "resolve": {"scale": {"x": "independent", "y": "independent"}},
    }


def _rows(cells: Sequence[Cell], view: View) -> list[Row]:
    """A row for each pair of values, or for each point of a sample; `experiment` where it is a single one."""
    assert view.y is not None  # noqa: S101
    places: dict[tuple[str, str], list[Cell]] = {}
    for cell in cells:
        places.setdefault((str(cell.point[view.x.path]), str(cell.point[view.y.path])), []).append(cell)
    rows, names = [], names_of(cells)
    for (x, y), some in places.items():
        value = together([cell.value for cell in some], view.seeds)
        row = {"x": x, "y": y, "at_x": some[0].point[view.x.path], "at_y": some[0].point[view.y.path]}
        shown = words(value) if isinstance(value, str) else value
        alone = {"experiment": some[0].experiment} if len(some) == 1 else {"experiments": len(some)}
        text = shown if isinstance(shown, str) else EXPONENT.sub(r"e\1", f"{shown:.3g}")
        rows.append({**row, "value": shown, "text": text, **known_of(some, names), **alone})
    return rows


def _tooltip(rows: Sequence[Row], view: View) -> list[Channel]:
    assert view.y is not None  # noqa: S101
    names = {
        "at_x": axis_title(view.x.columns),
        "at_y": axis_title(view.y.columns),
        "value": view.quantity.name(view.seeds),
    }
    called = titles_of(list(dict.fromkeys(row["name"] for row in rows if row["name"])))
    known = {name: title for name, title in called.items() if any(row[name] for row in rows)}
    return tooltip_of({**names, **known}, rows)


def _color(values: Sequence[float | str], view: View) -> Channel:
    """One scale for all panels."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return category_color(sorted({words(str(value)) for value in values}), view)
    low, high = min(numbers), max(numbers)
    scale = {"scheme": "viridis", "type": "log" if is_over_decades(numbers) else "linear"}
    if low < high:
        scale["domain"] = [low, high]  # type: ignore[assignment]
    whole_numbers = {"tickMinStep": 1} if all(value == round(value) for value in numbers) else {}
    legend = {
        "type": "gradient", "labelExpr": SMALL_NUMBER, "labelOverlap": True, "labelSeparation": 4, **whole_numbers,
        "gradientLength": view.layout.width,
    }  # fmt: skip
    return marks.field("value", "quantitative", title=view.quantity.name(view.seeds), scale=scale, legend=legend)


def _written(rows: Sequence[Row], places: dict[str, Channel], view: View) -> marks.Part:
    """The values in their cells, light on the dark half of the scale."""
    numbers = [row["value"] for row in rows]
    low, high = min(numbers), max(numbers)
    middle = math.sqrt(low * high) if is_over_decades(numbers) else (low + high) / 2
    mark = {"type": "text", "fontSize": view.layout.label_size - 1}
    text = marks.field("text", "nominal")
    color = {"value": "#1b1f24", "condition": {"test": f"datum.value < {middle!r}", "value": "#ffffff"}}
    same = {name: {**place, "axis": None} for name, place in places.items()}  # scales are each layer's own
    return {"mark": mark, "encoding": {**same, "text": text, "color": color}}


def _boundaries(facet: Facet, view: View, tables: Tables) -> list[marks.Part]:
    """Lines in positions of the cells, whose scales are hidden, with a casing that is seen on every colour."""
    assert view.y is not None  # noqa: S101
    hidden = {"axis": None, "type": "quantitative"}
    wide, high = len(_texts(view.x)), len(_texts(view.y))
    x = {**hidden, "field": "u", "scale": {"domain": [0, wide], "nice": False, "zero": False}}
    y = {**hidden, "field": "v", "scale": {"domain": [0, high], "nice": False, "zero": False}}
    return _lines(facet, view, {"x": x, "y": y}, tables, (wide, high))


def _lines(
    facet: Facet, view: View, at: dict[str, Channel], tables: Tables, room: tuple[float, float]
) -> list[marks.Part]:
    pieces = [(curve, piece) for curve in facet.curves for piece in curve.pieces]
    rows = [
        {"u": u, "v": v, "piece": i}
        for i, (_, piece) in enumerate(pieces)
        for u, v in piece
        if 0 <= u <= room[0] and 0 <= v <= room[1]
    ]
    if not rows:
        return []
    if view.scattered:
        rows = [{**row, **_real(row, view)} for row in rows]
    data, layers = tables.add(rows), []
    detail = marks.field("piece", "nominal")
    for colour, stroke in ((view.style.background, 4.5), (view.style.boundary, 2.0)):
        mark = {"type": "line", "strokeWidth": stroke, "color": colour, "clip": True}
        layers.append({"data": data, "mark": mark, "encoding": {**at, "detail": detail}})
    return [*layers, _names(facet, view, at, rows, pieces, tables)]


def _names(
    facet: Facet, view: View, at: dict[str, Channel], rows: Sequence[Row], pieces: Sequence[Any], tables: Tables
) -> marks.Part:
    """Each boundary's name once, beside the middle of its longest piece."""
    named = []
    for curve in facet.curves:
        own = [[row for row in rows if row["piece"] == i] for i, (one, _) in enumerate(pieces) if one is curve]
        longest = max(own, key=len, default=[])
        if longest:
            place = longest[len(longest) // 2]
            named.append({**place, "label": curve.label, **_aside(longest, place, curve.label, view)})
    mark = {
        "type": "text", "fontSize": view.layout.label_size + 1, "fontWeight": "bold", "align": "left",
        "dx": {"expr": "datum.dx"}, "dy": {"expr": "datum.dy"}, "color": view.style.boundary,
        "stroke": view.style.background, "strokeWidth": 3, "strokeOpacity": 0.85,
    }  # fmt: skip
    front = {**mark, "strokeWidth": 0}
    data, encoding = tables.add(named), {**at, "text": marks.field("label", "nominal")}
    return {"layer": [{"data": data, "mark": one, "encoding": encoding} for one in (mark, front)]}


def _aside(piece: Sequence[Row], place: Row, label: str, view: View) -> Row:
    """Pixels from a place of a curve to its name: above where the curve falls, below where it rises, and inside."""
    assert view.y is not None  # noqa: S101
    rises = (piece[-1]["v"] - piece[0]["v"]) * (piece[-1]["u"] - piece[0]["u"]) > 0
    span = view.x.values if view.scattered else range(len(_texts(view.x)) + 1)
    is_right = place["u"] > span[0] + 0.7 * (span[-1] - span[0])
    wide = 0.6 * (view.layout.label_size + 1) * len(label)
    return {"dx": -wide if is_right else 6, "dy": 16 if rises or is_right else -8}


def _real(row: Row, view: View) -> Row:
    assert view.y is not None  # noqa: S101
    return {"u": view.x.point(row["u"])[view.x.path], "v": view.y.point(row["v"])[view.y.path]}


def _scatter(cells: Sequence[Cell], facet: Facet, view: View, color: Channel, tables: Tables) -> dict[str, Any]:
    """A square at each point of a sample or of an adaptive sweep."""
    assert view.y is not None  # noqa: S101
    rows = _rows(cells, view)
    x, y = _real_axis("at_x", view.x), _real_axis("at_y", view.y)
    mark = {"type": "square", "opacity": 1, "size": SQUARE}
    parts = [{"data": tables.add(rows), "mark": mark, "encoding": {"x": x, "y": y, "color": color,
              "tooltip": _tooltip(rows, view)}}]  # fmt: skip
    lines = {"x": {**x, "field": "u"}, "y": {**y, "field": "v"}}
    return {"layer": [*parts, *_lines(facet, view, lines, tables, (len(view.x.values), len(view.y.values)))]}


def _real_axis(name: str, ruler: Ruler) -> Channel:
    values = [float(value) for value in ruler.values]
    ends = {"domain": [min(values), max(values)]}
    scale = {"nice": False, "padding": 8, **ends, **scale_type(values, ruler.is_spread)}
    return marks.field(
        name, "quantitative", title=axis_title(ruler.columns), scale=scale, axis={"labelExpr": NUMBER_LABEL}
    )


def _texts(ruler: Ruler) -> list[str]:
    return list(dict.fromkeys(map(str, ruler.values)))


def _places(name: str, ruler: Ruler, turned: bool = False, last_first: bool = False) -> Channel:
    """A place for each value. Of many some are labelled, at even distances; if `turned`, more than a few upright."""
    texts = _texts(ruler)
    every = math.ceil(len(texts) / MOST_LABELS)
    axis: dict[str, Any] = {"values": texts[::every], "labelAngle": 0, "labelLimit": LABEL_PIXELS}
    if turned and len(texts) > LEVEL_LABELS:
        axis["labelAngle"] = -90
    if all(map(is_number, ruler.values)):
        axis["labelExpr"] = SHORT_NUMBER
    scale = {"domain": texts[::-1] if last_first else texts}
    return marks.field(name, "nominal", title=axis_title(ruler.columns), scale=scale, axis=axis)


__all__ = ["sweep_figure", "value_text"]
