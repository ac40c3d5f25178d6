"""The geometry of a run: cosines of class means and of weights as heat maps, singular values over the steps; beside the
predicted ones."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ncore.geometry import PRODUCT, WEIGHT, Matrix, SingularValues, cosines_of
from ncore.pictures import marks
from ncore.pictures.axes import Abscissa, Channel, bounded
from ncore.pictures.curves import SCREEN, Canvas, panel_chart, sizes_of, whole
from ncore.pictures.panels import Panel
from ncore.pictures.themes import THEMES, Layout

WORDS = {WEIGHT: "rows of the last weight W", PRODUCT: "W × class means"}
FACTORS = {WEIGHT: "last weight W", PRODUCT: "W × class means"}
SCALES = {PRODUCT: ", largest entry 1"}
"""What the colours mean where they are no cosines."""
ROUNDING = 2.0**-52
"""Singular values below this share of the largest are rounding, and drawn there."""


def geometry_figure(
    matrices: Sequence[Matrix],
    title: str,
    theme: str = "light",
    layout: Layout = SCREEN,
    columns: int = 2,
    predicted: str = "predicted",
) -> dict[str, Any]:
    """Vega-Lite of a square for each matrix, with the predicted one behind it where theory has one.

    `predicted`: what that is called (`Prediction.matrix_name`).
    """
    canvas = Canvas(THEMES[theme], layout, hover=True)
    charts = []
    for one in matrices:
        words = WORDS.get(one.name, f"class means, {one.name}")
        charts.append(_map(one.cosines, words + SCALES.get(one.name, ""), canvas))
        if one.predicted is not None:
            charts.append(_map(cosines_of(one.name, np.array(one.predicted)), f"{words}, {predicted}", canvas))
    return {**whole(charts, canvas, layout.title or title, "", columns), "description": f"Cosines of {title}"}


def singular_values_figure(
    items: Sequence[SingularValues],
    steps: Sequence[int],
    title: str,
    over: Abscissa,
    theme: str = "light",
    layout: Layout = SCREEN,
    columns: int = 2,
    hover: bool = False,
    predicted: str = "predicted",
) -> dict[str, Any]:
    """Vega-Lite of a panel for each matrix, a line for each singular value, the predicted ones dotted.

    `predicted`: what these are called (`Prediction.matrix_name`).
    """
    canvas = Canvas(THEMES[theme], layout, hover)
    charts = [_spectrum(one, steps, over, canvas, predicted) for one in items]
    return {**whole(charts, canvas, layout.title or title, "", columns), "description": f"Singular values of {title}"}


def _spectrum(item: SingularValues, steps: Sequence[int], over: Abscissa, canvas: Canvas, name: str) -> dict[str, Any]:
    words = FACTORS.get(item.name, f"class means, {item.name}")
    least = ROUNDING * max(max(values) for values in item.values)
    rows: list[dict[str, Any]] = [
        {"metric": f"{i + 1}", "step": step, over.title: step / over.unit, "value": value, "low": value, "high": value,
         "seeds": 1}
        for i, row in enumerate(zip(*item.values, strict=True))
        for step, value in zip(steps, (bounded(max(value, least)) for value in row), strict=True)
    ]  # fmt: skip
    predicted = {float(f"{value:.10g}"): value for value in item.predicted or () if value > least}
    levels = [{"value": v, "low": v, "high": v, "text": f"{name} = {v:.4g}"} for v in predicted.values()]
    names = {row["metric"]: row["metric"] for row in rows}
    panel = Panel("singular_values", "", names, "singular value")
    encoding: dict[str, Channel] = {"color": {"value": canvas.style.colours[0]}, "strokeOpacity": {"value": 0.6}}
    chart = panel_chart(panel, rows, levels, over, encoding, canvas, {})
    return {**chart, **sizes_of(canvas.layout), "title": f"Singular values: {words}"}


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
