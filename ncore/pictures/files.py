"""A Vega-Lite picture as a file: SVG, PNG, PDF or JSON."""

from __future__ import annotations

from typing import Any, Literal
from xml.sax.saxutils import quoteattr

import orjson

Form = Literal["svg", "png", "pdf", "json"]
Theme = Literal["light", "dark"]
KINDS = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf", "json": "application/json"}
PIXELS_PER_POINT = 2.0


def rendered(vega_lite: dict[str, Any], form: Form) -> bytes:
    """The picture as a file of this form."""
    import vl_convert

    if form != "json":  # a label of each mark takes a quarter of the time; the picture as a whole has one
        vega_lite = {**vega_lite, "config": {**vega_lite["config"], "aria": False}}
    if form == "svg":
        label = quoteattr(vega_lite["description"])
        svg: str = vl_convert.vegalite_to_svg(vega_lite)
        return svg.replace("<svg ", f'<svg role="img" aria-label={label} ', 1).encode()
    if form == "png":
        png: bytes = vl_convert.vegalite_to_png(vega_lite, scale=PIXELS_PER_POINT)
        return png
    if form == "pdf":
        pdf: bytes = vl_convert.vegalite_to_pdf(vega_lite)
        return pdf
    return orjson.dumps(vega_lite)
