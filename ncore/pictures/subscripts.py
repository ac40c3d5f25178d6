"""Subscripts of symbols in an SVG: λ_W as a λ with a smaller, lowered W.

Texts of Vega are plain, and Unicode has no lowered W, H or M: so the finished SVG is changed, and other forms are made
of it. `api/static/parts/picture.js` does the same in the browser.
"""

from __future__ import annotations

import re

SYMBOL = re.compile(r"(?<![^\W_])(?<![_.-])([α-ωΑ-ΩWnd])_([A-Za-z0-9]{1,2})(?![\w.-]|&#)")
"""A Greek letter, W, n or d, and what is lowered: one or two letters or digits, as a word of its own."""
SIZE, DROP = 0.72, 0.22
"""Size of lowered letters and their drop, in units of the font's size."""
_TEXT = re.compile(r">([^<>]*_[^<>]*)<(/?)")
_DOWN = f'<tspan font-size="{SIZE:.0%}" dy="{DROP / SIZE:.3f}em">'
_UP = f'<tspan dy="-{DROP}em">'


def subscripted(svg: str) -> str:
    """The SVG with the subscripts of its symbols lowered; the texts stay texts."""
    return _TEXT.sub(lambda found: f">{_lowered(found[1])}<{found[2]}", svg)


def _lowered(text: str) -> str:
    """The text with lowered subscripts. The rest is raised again, a space of no width behind the last: a line that
    follows would be lowered, too."""
    pieces = SYMBOL.split(text)
    made = pieces[0]
    for symbol, low, after in zip(pieces[1::3], pieces[2::3], pieces[3::3], strict=True):
        made += f"{symbol}{_DOWN}{low}</tspan>{_UP}{after or '&#8203;'}</tspan>"
        # each piece stands in a tspan of its own, so that none is inside of another
    return made
