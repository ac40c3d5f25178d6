"""Colours, type and sizes of the pictures: themes (light, dark) and layouts (for a screen, a paper, slides)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

ThemeName = Literal["light", "dark"]
LayoutName = Literal["screen", "paper", "slides"]
LegendPlace = Literal["bottom", "right", "direct", "none"]
FONT = "Helvetica, Arial, 'Liberation Sans', sans-serif"
"""vl-convert brings Liberation Sans along, which has the widths of Helvetica and Arial."""
FAMILY = r'^[^"&<>;{}\\]+$'
"""A pattern for names of fonts: other characters would end the attribute of the SVG in which vl-convert writes it as it
stands, and aborts on it."""
DPI = 144.0
"""Dots per inch of a PNG; in all forms a pixel of a layout is a point, 1/72 inch."""
LEAST_DPI, MOST_DPI = 36.0, 1200.0
DIGIT_WIDTH = 0.556
"""Width of a digit in these fonts, in units of the font's size."""


@dataclass(frozen=True)
class Layout:
    """Sizes in pixels: `width` and `height` of a panel, `fontsize` of axis titles, `stroke` of a curve.

    `title`: None for the experiment's name and setting, "none" for nothing, else the title itself. `legend`: "direct"
    writes the names at the ends of the curves. `powers`: "text" leaves the raised digits of ticks to the fonts of a
    browser, which also may turn an axis from logarithmic to linear.
    """

    width: int = 320
    height: int = 210
    fontsize: float = 11.0
    font: str = FONT
    stroke: float = 1.8
    title: str | None = None
    legend: LegendPlace = "bottom"
    powers: Literal["drawn", "text"] = "drawn"
    dpi: float = DPI
    """Dots per inch of a PNG."""

    def __post_init__(self) -> None:
        if re.match(FAMILY, self.font) is None:
            raise ValueError(f'font: must be a family of fonts, without any of " & < > ; {{ }} \\; got {self.font!r}')
        if not LEAST_DPI <= self.dpi <= MOST_DPI:
            raise ValueError(f"dpi: must be from {LEAST_DPI:g} to {MOST_DPI:g}; got {self.dpi:g}")

    @property
    def columns(self) -> int:
        """Letters of a caption that have room above one panel and its axis."""
        return int((self.width + 6 * self.fontsize) / (0.49 * self.fontsize))

    @property
    def has_legend(self) -> bool:
        return self.legend in ("bottom", "right")

    @property
    def label_size(self) -> float:
        return self.fontsize - 0.5


LAYOUTS = {
    "screen": Layout(),
    "paper": Layout(width=200, height=130, fontsize=8.5, stroke=1.3, title="none"),
    "slides": Layout(width=460, height=300, fontsize=17, stroke=2.8),
}


def layout_of(style: LayoutName = "screen", **changes: Any) -> Layout:
    """The layout of this name with changes; those that are None are none."""
    return replace(LAYOUTS[style], **{name: value for name, value in changes.items() if value is not None})


VIRIDIS = (
    "#440154", "#481467", "#482576", "#453781", "#404688", "#39558c", "#33638d", "#2d718e", "#287d8e", "#238a8d",
    "#1f968b", "#20a386", "#29af7f", "#3dbc74", "#56c667", "#75d054", "#95d840", "#bade28", "#dde318", "#fde725",
)  # fmt: skip
"""The ramp by Smith and van der Walt, at equal distances."""


@dataclass(frozen=True)
class Theme:
    """`colours` are Okabe & Ito's, which colour-blind eyes can distinguish too, and lighter ones for the dark theme."""

    background: str
    ink: str
    quiet: str
    grid: str
    colours: tuple[str, ...]
    boundary: str
    """Colour of theory's boundaries on top of a map."""
    categories: tuple[str, ...]
    """Fills that can be distinguished side by side: verdicts."""

    def scale(self, names: Sequence[str], last_first: bool = False) -> dict[str, Any]:
        """A colour for each name; the first one, which stands out, for the last name if `last_first`."""
        colours = [self.colours[i % len(self.colours)] for i in range(len(names))]
        return {"domain": list(names), "range": colours[::-1] if last_first else colours}

    @property
    def _ends(self) -> tuple[float, float]:
        """The ramp without the end that fades into the background."""
        return (0.0, 0.86) if self is THEMES["light"] else (0.25, 1.0)

    def ramp(self) -> dict[str, Any]:
        """A scheme of colours in an order, which colour-blind eyes see in that order, too."""
        return {"name": "viridis", "extent": list(self._ends)}

    def on_ramp(self, place: float) -> str:
        """The ramp's colour at a place from 0 to 1."""
        low, high = self._ends
        return VIRIDIS[round((low + place * (high - low)) * (len(VIRIDIS) - 1))]

    def config(self, layout: Layout) -> dict[str, Any]:
        text = {
            "labelColor": self.quiet,
            "titleColor": self.ink,
            "labelFontSize": layout.label_size,
            "titleFontSize": layout.fontsize + 0.5,
            "titleFontWeight": "normal",
        }
        lines = {"gridColor": self.grid, "domainColor": self.quiet, "tickColor": self.quiet}
        legend = {
            "orient": layout.legend if layout.has_legend else "bottom", "disable": not layout.has_legend,
            "symbolType": "stroke",
            "symbolSize": 400, "symbolOpacity": 1, "symbolStrokeColor": self.ink, "labelLimit": 2 * layout.width,
        }  # fmt: skip
        return {
            "background": self.background,
            "font": layout.font,
            "padding": 10,
            "axis": {**text, **lines},
            "legend": {**text, **legend},
            "title": {
                "color": self.ink, "subtitleColor": self.quiet, "fontSize": layout.fontsize + 1.5,
                "subtitleFontSize": layout.fontsize, "offset": 8,
            },
            "view": {"stroke": None},
            "mark": {"aria": False},  # a label of each mark is an expression with titles in it; the whole has one
        }  # fmt: skip


_CATEGORIES = (
    "#0072b2", "#e69f00", "#56b4e9", "#009e73", "#d9dde1", "#cc79a7", "#7a6a00", "#b9a44c", "#8a929b", "#d55e00",
    "#5b1a18", "#332288", "#44aa99",
)  # fmt: skip
THEMES = {
    "light": Theme(
        background="#ffffff", ink="#1b1f24", quiet="#58616b", grid="#e6e9ec",
        colours=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a6a00", "#000000"),
        boundary="#c1121f", categories=_CATEGORIES,
    ),
    "dark": Theme(
        background="#14171a", ink="#e4e7eb", quiet="#a3adb8", grid="#2b3138",
        colours=("#4fb3ee", "#ff8a3d", "#3ad1a2", "#ec9fcb", "#9bd8ff", "#f2bd4b", "#d9cb4a", "#ffffff"),
        boundary="#ff5a5f", categories=_CATEGORIES,
    ),
}  # fmt: skip
