"""A Vega-Lite picture as a file: SVG, PNG, PDF or JSON."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

import orjson

from ncore.pictures.subscripts import subscripted
from ncore.pictures.themes import DPI
from ncore.text import UNDRAWABLE, all_cleaned, cleaned

Form = Literal["svg", "png", "pdf", "json"]
KINDS = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf", "json": "application/json"}
MOST_DOTS = 60_000_000
"""Most dots of a PNG: it is drawn in memory, in four bytes a dot."""
ODD = re.compile(rf"\\[bfu]|{UNDRAWABLE.pattern}")
"""A pattern for odd characters in JSON, where control characters are escaped."""
SIZE = re.compile(r'<svg[^>]* width="([\d.]+)" height="([\d.]+)"')
Converter = Callable[[str, str, float], bytes]
"""Turns Vega-Lite as JSON into a file of a form, a PNG with this many dots per inch."""


class DotsError(ValueError):
    """The PNG would have too many dots; the message says how many per inch it may have."""


def as_json(vega_lite: dict[str, Any]) -> str:
    """The picture as JSON, with no text in it that could not be drawn, wherever that comes from."""
    try:
        text = orjson.dumps(vega_lite).decode()
    except TypeError:  # lone surrogates
        text = None
    if text is None or ODD.search(text):  # only then: to walk through all data takes longer than all else
        text = orjson.dumps(all_cleaned(vega_lite)).decode()
    return text


def converted(vega_lite: str, form: str, dpi: float = DPI) -> bytes:
    """Draws Vega-Lite as JSON, in this process, which vl-convert aborts where it meets what it cannot draw.

    Raises DotsError where the PNG would have too many dots.
    """
    import vl_convert

    svg = subscripted(vl_convert.vegalite_to_svg(vega_lite))
    if form == "png":
        _check_size(svg, dpi)
        png: bytes = vl_convert.svg_to_png(svg, ppi=dpi)
        return png
    if form == "pdf":
        pdf: bytes = vl_convert.svg_to_pdf(svg)
        return pdf
    return svg.encode()


def rendered(vega_lite: dict[str, Any], form: Form, convert: Converter = converted, dpi: float = DPI) -> bytes:
    """The picture as a file of this form; `convert` draws it, in another process if need be.

    `dpi`: dots per inch of a PNG. Raises DotsError.
    """
    if form == "json":
        return as_json(vega_lite).encode()
    bare = {**vega_lite, "config": {**vega_lite["config"], "aria": False}}
    image = convert(as_json(bare), form, dpi)  # a label of each mark takes a quarter of the time; the whole has one
    if form == "svg":
        label = quoteattr(cleaned(vega_lite["description"]))
        image = image.replace(b"<svg ", f'<svg role="img" aria-label={label} '.encode(), 1)
    return image


def _check_size(svg: str, dpi: float) -> None:
    """Raises DotsError where the image of the SVG has more than MOST_DOTS."""
    found = SIZE.search(svg)
    width, height = map(float, found.groups()) if found else (0.0, 0.0)
    if width * height * (dpi / 72) ** 2 > MOST_DOTS:
        most = int(72 * math.sqrt(MOST_DOTS / (width * height)))
        size = f"{width / 72:.3g} × {height / 72:.3g} inches"
        raise DotsError(f"dpi: must be at most {most} for a picture of {size}; got {dpi:g}")
