"""Colours and type of the pictures, light and dark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt


@dataclass(frozen=True)
class Theme:
    """`colours` are Okabe & Ito's, which colour-blind eyes tell apart too, and lighter ones for the dark theme."""

    background: str
    ink: str
    quiet: str
    grid: str
    colours: tuple[str, ...]

    def scale(self, names: Sequence[str], last_first: bool = False) -> alt.Scale:
        """A colour for each name; the first one, which stands out, for the last name if `last_first`."""
        colours = [self.colours[i % len(self.colours)] for i in range(len(names))]
        return alt.Scale(domain=list(names), range=colours[::-1] if last_first else colours)

    def config(self) -> dict[str, Any]:
        text: dict[str, Any] = {
            "labelColor": self.quiet,
            "titleColor": self.ink,
            "labelFontSize": 10.5,
            "titleFontSize": 11.5,
        }
        lines: dict[str, Any] = {"gridColor": self.grid, "domainColor": self.quiet, "tickColor": self.quiet}
        made: dict[str, Any] = alt.Config(
            background=self.background,
            font="Helvetica, Arial, 'Liberation Sans', sans-serif",
            padding=10,
            axis=alt.AxisConfig(titleFontWeight="normal", **text, **lines),
            legend=alt.LegendConfig(
                **text, titleFontWeight="normal", orient="bottom", symbolType="stroke", symbolSize=400,
                symbolOpacity=1, symbolStrokeColor=self.ink,
            ),
            title=alt.TitleConfig(
                color=self.ink, subtitleColor=self.quiet, fontSize=12.5, subtitleFontSize=11, offset=8
            ),
            view=alt.ViewConfig(stroke=None),
        ).to_dict(validate=False)  # fmt: skip
        return made


THEMES = {
    "light": Theme(
        background="#ffffff", ink="#1b1f24", quiet="#58616b", grid="#e6e9ec",
        colours=("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#7a6a00", "#000000"),
    ),
    "dark": Theme(
        background="#14171a", ink="#e4e7eb", quiet="#a3adb8", grid="#2b3138",
        colours=("#4fb3ee", "#ff8a3d", "#3ad1a2", "#ec9fcb", "#9bd8ff", "#f2bd4b", "#d9cb4a", "#ffffff"),
    ),
}  # fmt: skip
