"""The parts of a panel as Vega-Lite: bands, lines, predicted levels, labels of ticks and of curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ncore.pictures.axes import EXPONENT_RISE, EXPONENT_SIZE, Channel, Ordinate
from ncore.pictures.themes import Layout, Theme

Row = dict[str, Any]
"""A row of a table: a point of a curve, a predicted level, a label."""
Part = dict[str, Any]
"""A chart of one mark, with its data and encoding."""
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 3], [8, 3, 2, 3, 2, 3], [1, 4], [14, 3, 5, 3])
DOTTED_OR_DASHED: Channel = {"value": [2, 3], "condition": {"test": "datum.dashed", "value": [7, 4]}}
"""Of a level: dotted where it is predicted, dashed where it is known otherwise."""
HOVERED_POINTS = 60
TICK_LABEL_PIXELS = 8
"""Pixels from the lower axis to its labels."""


class Tables:
    """The data of a picture, by name, so that the parts of it share them."""

    def __init__(self) -> None:
        self.rows: dict[str, list[Row]] = {}

    def add(self, rows: list[Row]) -> dict[str, str]:
        name = f"table{len(self.rows) + 1}"
        self.rows[name] = rows
        return {"name": name}


def field(name: str, kind: str, **more: Any) -> Channel:
    """The channel of a field: "quantitative" or "nominal"."""
    return {"field": name, "type": kind, **more}


def tooltip_of(columns: Mapping[str, str], rows: Sequence[Row]) -> list[Channel]:
    """The tooltip: {field: title}, numbers with few digits."""
    return [
        field(name, "quantitative", title=title, format=",d" if kinds <= {int} else ".5~g")
        if kinds and kinds <= {int, float}
        else field(name, "nominal", title=title)
        for name, title in ((name, _in_expression(title)) for name, title in columns.items())
        for kinds in [{type(row[name]) for row in rows} - {type(None)}]
    ]


def _in_expression(title: str) -> str:
    r"""The title as Vega-Lite can write it into an expression: it escapes quotes, no backslashes, no line breaks."""
    return title.replace("\\", "\\\\").replace("\n", " ").replace("\r", " ")


def curves(
    data: dict[str, str], rows: Sequence[Row], x: Channel, y: Ordinate, encoding: Mapping[str, Channel], layout: Layout
) -> list[Part]:
    """Lines through the values, on bands from low to high where seeds differ."""
    detail = [field(name, "nominal") for name in ("metric", "layer", "experiment", "seed") if name in rows[0]]
    colour = {name: channel for name, channel in encoding.items() if name == "color"}
    if encoding["color"].get("type") == "quantitative":
        colour = {"fill": field("tint", "nominal", scale=None)}  # the legend of fill and stroke is no ramp but steps
    marks = []
    if any(row["low"] < row["high"] for row in rows):
        ends = {"y": y.channel("low", layout), "y2": {"field": "high"}}
        marks.append(_part(data, {"type": "area", "fillOpacity": 0.18}, {"x": x, **ends, "detail": detail, **colour}))
    is_short = len({row["step"] for row in rows}) < 3  # a line could be too short to be seen
    line = {"x": x, "y": y.channel("value", layout), "detail": detail, **encoding}
    return [*marks, _part(data, {"type": "line", "point": is_short}, line)]


def spots(
    rows: Sequence[Row], x: Channel, y: Ordinate, shown: Mapping[str, str], layout: Layout, tables: Tables
) -> Part:
    """Invisible circles at some points of each curve, for the pointer."""
    steps = sorted({row["step"] for row in rows})
    kept = set(steps[:: max(1, len(steps) // HOVERED_POINTS)]) | {steps[-1]}
    data = tables.add([row for row in rows if row["step"] in kept])
    encoding = {"x": x, "y": y.channel("value", layout), "tooltip": tooltip_of(shown, rows)}
    return _part(data, {"type": "circle", "size": 120, "opacity": 0}, encoding)


def levels(rows: Sequence[Row], y: Ordinate, style: Theme, layout: Layout, tables: Tables) -> list[Part]:
    """Dotted lines, or dashed ones, their labels at the left and below, where curves that fall to a level are not."""
    lines = [(1 - y.height(row["value"])) * layout.height for row in rows]
    placed = [{**row, "dy": at - own} for row, own, at in zip(rows, lines, beside(lines, layout), strict=True)]
    data, at = tables.add(placed), y.channel("value", layout)
    rule = {"type": "rule", "color": style.ink, "strokeWidth": 1.1}
    said = {"y": at, "x": {"value": 0}, "text": field("text", "nominal")}
    text = {"align": "left", "dx": 4, "dy": {"expr": "datum.dy"}}
    return [_part(data, rule, {"y": at, "strokeDash": DOTTED_OR_DASHED}), *readable(data, text, said, style, layout)]


def readable(
    data: dict[str, str], text: Mapping[str, Any], said: Mapping[str, Channel], style: Theme, layout: Layout
) -> list[Part]:
    """A text on a margin in the colour of the background, so that it can be read on curves and bars."""
    margin = _text(layout.label_size, style.background, stroke=style.background, strokeWidth=3, opacity=0.8, **text)
    return [_part(data, margin, {**said}), _part(data, _text(layout.label_size, style.quiet, **text), {**said})]


def coloured_levels(rows: Sequence[Row], y: Ordinate, color: Channel, layout: Layout, tables: Tables) -> Part:
    """Dotted lines, or dashed ones, in the colours of the curves that they are of."""
    rule, at = {"type": "rule", "strokeWidth": 1.1}, {"y": y.channel("value", layout), "strokeDash": DOTTED_OR_DASHED}
    return _part(tables.add(list(rows)), rule, {**at, "color": color})


def beside(lines: Sequence[float], layout: Layout) -> list[float]:
    """Where the labels of horizontal lines stand, pixels from the top as the lines: below each, above it where there is
    no room or another label is; no two cover each other."""
    room = layout.fontsize + 3
    made: dict[int, float] = {}
    for i in sorted(range(len(lines)), key=lambda i: -lines[i]):
        below, above = lines[i] + room - 4, min([lines[i] - 6, *(other - room for other in made.values())])
        is_free = layout.height - lines[i] > room + 2 and all(abs(below - other) >= room for other in made.values())
        made[i] = below if is_free else above
    order = sorted(made, key=made.__getitem__)
    apart = _apart([made[i] for i in order], min(room, layout.height / len(order)), layout.height)
    places = dict(zip(order, apart, strict=True))
    return [places[i] for i in range(len(lines))]


def power_labels(
    rows: list[Row], at: Mapping[str, Channel], style: Theme, layout: Layout, tables: Tables
) -> list[Part]:
    """Labels of ticks as powers of ten: a base, and an exponent that is smaller and raised."""
    data, size = tables.add(rows), layout.label_size
    down = TICK_LABEL_PIXELS + size / 2 if "value" in at["y"] else 0.0
    parts = []
    for name, align, share, rise in (("base", "right", 1.0, 0.0), ("exponent", "left", EXPONENT_SIZE, EXPONENT_RISE)):
        mark = _text(share * size, style.quiet, align=align, dx={"expr": f"datum.{name}_dx"}, dy=down - rise * size)
        parts.append(_part(data, mark, {**at, "text": field(name, "nominal")}))
    return parts


def end_labels(
    rows: Sequence[Row], names: Mapping[tuple[str, ...], str], by: Sequence[str], x: Channel, y: Ordinate,
    color: Channel, layout: Layout, tables: Tables,
) -> Part:  # fmt: skip
    """The names of the curves at their right ends, moved apart where they would cover each other.

    `names`: {the values of the fields `by`: the text}.
    """
    last = {tuple(row[name] for name in by): row for row in rows}
    ends = [{**row, "label": names[key]} for key, row in last.items()]
    ends.sort(key=lambda row: -y.height(row["value"]))
    at = [(1 - y.height(row["value"])) * layout.height for row in ends]
    for row, own, free in zip(ends, at, _apart(at, 1.15 * layout.label_size, layout.height), strict=True):
        row["dy"] = free - own
    mark = _text(layout.label_size, None, align="left", dx=5, dy={"expr": "datum.dy"})
    encoding = {"x": x, "y": y.channel("value", layout), "text": field("label", "nominal"), "color": color}
    return _part(tables.add(ends), mark, encoding)


def _apart(places: Sequence[float], gap: float, end: float) -> list[float]:
    """Ascending places, moved until neighbours are `gap` apart and, where there is room, none is beyond `end`."""
    made: list[float] = []
    for place in places:
        made.append(max(place, made[-1] + gap) if made else place)
    for i in reversed(range(len(made))):
        made[i] = min(made[i], end if i + 1 == len(made) else made[i + 1] - gap)
    return made


def note(text: str, style: Theme, layout: Layout, tables: Tables) -> Part:
    """A text in the middle of a panel that has nothing to draw."""
    said = {"text": field("text", "nominal")}
    return _part(
        tables.add([{"text": text}]), {"type": "text", "fontSize": layout.fontsize + 2, "color": style.quiet}, said
    )


def dash(name: str, values: Sequence[str]) -> Channel:
    """Solid for the first value. With a single value: solid, and no legend."""
    if len(values) < 2:
        return {"value": [1, 0]}
    scale = {"domain": list(values), "range": [DASHES[i % len(DASHES)] for i in range(len(values))]}
    return field(name, "nominal", title=None, scale=scale)


def _part(data: dict[str, str], mark: dict[str, Any], encoding: dict[str, Any]) -> Part:
    return {"data": data, "mark": mark, "encoding": encoding}


def _text(size: float, color: str | None, **more: Any) -> dict[str, Any]:
    return {"type": "text", "fontSize": size, "baseline": "middle", **({"color": color} if color else {}), **more}
