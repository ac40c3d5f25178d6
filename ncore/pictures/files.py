"""A Vega-Lite picture as a file: SVG, PNG, PDF or JSON."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

import orjson

from ncore.text import UNDRAWABLE, all_cleaned, cleaned

Form = Literal["svg", "png", "pdf", "json"]
KINDS = {"svg": "image/svg+xml", "png": "image/png", "pdf": "application/pdf", "json": "application/json"}
PIXELS_PER_POINT = 2.0
ODD = re.compile(rf"\\[bfu]|{UNDRAWABLE.pattern}")
"""What may be an odd character in JSON, where control characters are escaped."""
Converter = Callable[[str, str], bytes]
"""Turns Vega-Lite as JSON into a file of a form."""


def as_json(vega_lite: dict[str, Any]) -> str:
    """The picture as JSON, with no text in it that could not be drawn, wherever that comes from."""
    try:
        text = orjson.dumps(vega_lite).decode()
    except TypeError:  # lone surrogates
        text = None
    if text is None or ODD.search(text):  # only then: to walk through all data takes longer than all else
        text = orjson.dumps(all_cleaned(vega_lite)).decode()
    return text


def converted(vega_lite: str, form: str) -> bytes:
    """Draws Vega-Lite as JSON, in this process, which vl-convert aborts where it meets what it cannot draw."""
    import vl_convert

    if form == "png":
        png: bytes = vl_convert.vegalite_to_png(vega_lite, scale=PIXELS_PER_POINT)
        return png
    if form == "pdf":
        pdf: bytes = vl_convert.vegalite_to_pdf(vega_lite)
        return pdf
    svg: str = vl_convert.vegalite_to_svg(vega_lite)
    return svg.encode()


def rendered(vega_lite: dict[str, Any], form: Form, convert: Converter = converted) -> bytes:
    """The picture as a file of this form; `convert` draws it, in another process if need be."""
    if form == "json":
        return as_json(vega_lite).encode()
    bare = {**vega_lite, "config": {**vega_lite["config"], "aria": False}}
    image = convert(as_json(bare), form)  # a label of each mark takes a quarter of the time; the whole picture has one
    if form == "svg":
        label = quoteattr(cleaned(vega_lite["description"]))
        image = image.replace(b"<svg ", f'<svg role="img" aria-label={label} '.encode(), 1)
    return image
