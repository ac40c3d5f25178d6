"""Heat maps of the geometry at the end of a run: cosines of class means and of weights, beside the predicted ones."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ncore.geometry import Matrix
from ncore.pictures import marks
from ncore.pictures.curves import SCREEN, Canvas, whole
from ncore.pictures.themes import THEMES, Layout

WORDS = {"W": "rows of W_M", "W H": "W H̄, relative to its largest entry"}


def geometry_figure(
    matrices: Sequence[Matrix], title: str, theme: str = "light", layout: Layout = SCREEN, columns: int = 2
) -> dict[str, Any]:
    """Vega-Lite of a square for each matrix, with the predicted one behind it where theory has one."""
    canvas = Canvas(THEMES[theme], layout, hover=True)
    charts = []
    for one in matrices:
        words = WORDS.get(one.name, f"class means, {one.name}")
        charts.append(_map(one.cosines, words, canvas))
        if one.predicted is not None:
            charts.append(_map(_cosines(one.predicted), f"{words}, predicted", canvas))
    return {**whole(charts, canvas, layout.title or title, "", columns), "description": f"Cosines of {title}"}


def _cosines(gram: Sequence[Sequence[float]]) -> list[list[float | None]]:
    norms = [math.sqrt(max(row[i], 0)) for i, row in enumerate(gram)]
    return [
        [value / (norms[i] * norms[j]) if norms[i] and norms[j] else None for j, value in enumerate(row)]
        for i, row in enumerate(gram)
    ]


def _map(cosines: Sequence[Sequence[float | None]], title: str, canvas: Canvas) -> dict[str, Any]:
    rows = [{"row": i, "class": j, "cosine": value} for i, row in enumerate(cosines) for j, value in enumerate(row)]
    axis = {"labelOverlap": True, "labelAngle": 0, "ticks": False, "domain": False}
    x = marks.field("class", "ordinal", title="class", axis=axis)
    y = marks.field("row", "ordinal", title="class", axis=axis)
    scale = {"scheme": "blueorange", "domain": [1, -1]}
    legend = {"type": "gradient", "gradientLength": canvas.layout.width / 2}
    color = marks.field("cosine", "quantitative", title="cosine", scale=scale, legend=legend)
    tooltip = marks.tooltip_of({"row": "class", "class": "and", "cosine": "cosine"}, rows)
    side = min(canvas.layout.width, round(1.2 * canvas.layout.height))
    return {
        "data": canvas.tables.add(rows), "mark": "rect", "width": side, "height": side, "title": title,
        "encoding": {"x": x, "y": y, "color": color, "tooltip": tooltip},
    }  # fmt: skip
