"""Axes of the pictures: steps with step 0 on a log axis, values over any number of decades, readable ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ncore.pictures.themes import DIGIT_WIDTH, Layout

Channel = dict[str, Any]
"""A Vega-Lite encoding channel."""
FLOOR = 1e-32
"""Log axes go no lower; smaller values, which are rounding, are drawn at the floor."""
CEILING = 1e90
"""No picture goes higher, nor below its negative: larger values, of a run that diverged, are drawn at it."""
MARGIN = 0.04
"""Room above and below the curves, as a share of the height."""
LEAST_RATIO = 1.02
"""A log axis covers at least this ratio: what hardly moves looks like it."""
HIGHEST_TICK = 0.97
"""Share of the height above which a tick's label would push the panel's title up, out of the row of titles."""
MOST_TICKS = 6
NUMBER_LABEL = "format(datum.value, abs(datum.value) < 1e5 ? '.6~g' : '.4~s')"
"""Plain digits: an axis rounds a `format` of its own to the distance of its ticks, which makes 1e+1 of 10."""
_POWER = "floor(log(abs(datum.value)) / LN10 + 1e-9)"
_RAISED = "substring('⁰¹²³⁴⁵⁶⁷⁸⁹', {0}, {0} + 1)".format
POWER_LABEL = (
    f"datum.value == 0 || (abs(datum.value) >= 1e-3 && abs(datum.value) < 1e4) ? {NUMBER_LABEL} : "
    f"replace(format(datum.value / pow(10, {_POWER}), '.4~g') + '·10', regexp('^1·'), '') "
    f"+ ({_POWER} < 0 ? '⁻' : '') + (abs({_POWER}) > 9 ? {_RAISED(f'floor(abs({_POWER}) / 10)')} : '') "
    f"+ {_RAISED(f'abs({_POWER}) % 10')}"
)
"""The label of `power_of` with raised digits, which browsers have fonts for; for any number, as on a linear axis."""
EXPONENT_SIZE, EXPONENT_RISE = 0.75, 0.38
"""Size and rise of the digits of a power, in units of the font's size."""
TICK_PIXELS = 7
"""Pixels from an axis to its labels."""


def bounded(value: float) -> float:
    """A value as pictures know it: scales are made of differences and ratios, which have to be numbers too."""
    return max(-CEILING, min(CEILING, value))


@dataclass(frozen=True)
class Abscissa:
    """The x axis of the curves: `unit` steps are one of `title`."""

    title: str = "step"
    unit: float = 1.0
    log: bool = True
    least: float = 1.0
    """Distances below it are drawn alike on a log axis, on which 0 has a place, too."""

    def channel(self, last: float, layout: Layout) -> Channel:
        """Logarithmic axes are symlog, so that step 0 has a place; their ticks are those of `ticks`."""
        scale: dict[str, Any] = {"domain": [0, last or 1], "nice": False}
        axis: dict[str, Any] = {"labelFlush": False, "labelExpr": NUMBER_LABEL, "tickCount": 8}
        if self.log:
            scale |= {"type": "symlog", "constant": self.least}
            axis = {"labelFlush": False, "labelExpr": POWER_LABEL, "values": self.ticks(last)}
            if self.draws_powers(last, layout):
                axis |= {"labels": False, "minExtent": 20}
        return {"field": self.title, "type": "quantitative", "title": self.title, "scale": scale, "axis": axis}

    def ticks(self, last: float) -> list[float]:
        """Ticks of a log axis: 0, 1, 10, 100, … units of `least`."""
        first, powers = round(math.log10(self.least)), int(math.log10(max(last / self.least, 1)) + 1e-9)
        return [0, *(10**power if power >= 0 else float(f"1e{power}") for power in range(first, first + powers + 1))]

    def draws_powers(self, last: float, layout: Layout) -> bool:
        """Whether the ticks' labels are powers of ten that are drawn as texts of their own."""
        return self.log and last >= 1e4 and layout.powers == "drawn"


SHARE = Abscissa("share of the run", log=False, least=1e-3)


@dataclass(frozen=True)
class Ordinate:
    """The values from `low` to `high`, margins included."""

    title: str
    low: float
    high: float
    log: bool

    @classmethod
    def over(cls, title: str, values: Sequence[float], log: bool) -> Ordinate:
        """An axis for these values; a log one only where some of them are positive."""
        log = log and max(values) > 0
        low, high = (math.log10(max(edge(values), FLOOR)) if log else edge(values) for edge in (min, max))
        least = math.log10(LEAST_RATIO) if log else 0.1
        if high - low < least:
            low, high = (low + high - least) / 2, (low + high + least) / 2
        low, high = low - MARGIN * (high - low), high + MARGIN * (high - low)
        return cls(title, 10**low if log else low, 10**high if log else high, log)

    def drawn(self, value: float) -> float:
        return max(value, FLOOR) if self.log else value

    def height(self, value: float) -> float:
        """Where a value lies between the lower (0) and the upper end (1)."""
        low, high, at = (math.log10(v) for v in (self.low, self.high, value)) if self.log else (
            self.low, self.high, value
        )  # fmt: skip
        return (at - low) / (high - low)

    def channel(self, field: str, layout: Layout) -> Channel:
        scale = {"type": "log" if self.log else "linear", "domain": [self.low, self.high], "nice": False}
        axis: dict[str, Any] = {"labelExpr": NUMBER_LABEL, "tickCount": 5}
        if self.log:
            axis = {"labelExpr": POWER_LABEL, "values": self.ticks()}
        if self.draws_powers(layout):
            widest = max(sum(_widths(tick, layout)) for tick in self.ticks())
            axis |= {"labels": False, "minExtent": math.ceil(TICK_PIXELS + widest)}
        return {"field": field, "type": "quantitative", "title": self.title, "scale": scale, "axis": axis}

    def draws_powers(self, layout: Layout) -> bool:
        """Whether the ticks' labels are powers of ten that are drawn as texts of their own."""
        return self.log and layout.powers == "drawn" and not all(1e-3 <= tick < 1e4 for tick in self.ticks())

    def ticks(self) -> list[float]:
        """Ticks of a log axis: powers of ten; over few decades 1, 2, 5 or 1, 3 of each; within a decade, even steps."""
        decades = math.log10(self.high / self.low)
        inside = _even_ticks(self.low, self.high) if decades < 0.8 else self._powers(decades)
        lower = [tick for tick in inside if self.height(tick) <= HIGHEST_TICK]
        return lower if len(lower) > 1 else inside

    def _powers(self, decades: float) -> list[float]:
        powers = range(math.floor(math.log10(self.low)), math.ceil(math.log10(self.high)) + 1)
        every = max(1, math.ceil(decades / MOST_TICKS))
        digits = (1, 2, 5) if decades < 1.6 else (1, 3) if decades < 3 else (1,)
        ticks = [float(f"{digit}e{power}") for power in powers if power % every == 0 for digit in digits]
        return [tick for tick in ticks if self.low <= tick <= self.high]


def _even_ticks(low: float, high: float) -> list[float]:
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(digit * power for digit in (1, 2, 5, 10) if digit * power >= rough)
    return [float(f"{i * step:.12g}") for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


def power_of(tick: float) -> tuple[str, str]:
    """The label of a tick: ("10", "−6") for 1e-6, ("3·10", "4") for 3e4; 0, 1 and 10 as they are."""
    if tick in (0, 1, 10):
        return f"{tick:g}", ""
    mantissa, _, power = f"{tick:.4e}".partition("e")
    digits, exponent = f"{float(mantissa):g}", str(int(power)).replace("-", "−")
    return ("10" if digits == "1" else f"{digits}·10"), exponent


def _widths(tick: float, layout: Layout) -> tuple[float, float]:
    """Pixels that the two parts of a power take."""
    base, exponent = power_of(tick)
    size = DIGIT_WIDTH * layout.label_size
    return size * (len(base) - 0.5 * base.count("·")), size * EXPONENT_SIZE * len(exponent)


def powers_beside(y: Ordinate, layout: Layout) -> list[dict[str, Any]]:
    """Rows of the labels left of a log axis: {"value", "base", "exponent", "base_dx", "exponent_dx"}.

    Powers are written as two texts: fonts that every machine has lack the raised digits from 4 on.
    """
    rows = []
    for tick in y.ticks():
        base, exponent = power_of(tick)
        right = -TICK_PIXELS - _widths(tick, layout)[1]
        rows.append({"value": tick, "base": base, "exponent": exponent, "base_dx": right, "exponent_dx": right})
    return rows


def powers_below(x: Abscissa, last: float, layout: Layout) -> list[dict[str, Any]]:
    """Rows of the labels below a log axis, centred at their ticks."""
    rows = []
    for tick in x.ticks(last):
        base, exponent = power_of(tick)
        widths = _widths(tick, layout)
        middle = widths[0] - sum(widths) / 2
        rows.append({x.title: tick, "base": base, "exponent": exponent, "base_dx": middle, "exponent_dx": middle})
    return rows
