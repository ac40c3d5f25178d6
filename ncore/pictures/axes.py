"""Axes of the pictures: steps with step 0 on a log axis, values over any number of decades, readable ticks."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt

FLOOR = 1e-32
"""Log axes go no lower; smaller values, which are rounding, are drawn at the floor."""
MARGIN = 0.04
"""Room above and below the curves, as a share of the height."""
LEAST_RATIO = 1.02
"""A log axis covers at least this ratio: what hardly moves looks like it."""
MOST_TICKS = 6
STEP_LABEL = "format(datum.value, datum.value < 1000 ? '~g' : '~s')"
PLAIN_LABEL = "format(datum.value, '.4~g')"
POWER_LABEL = (
    "datum.value == 0 || datum.value == 1 ? format(datum.value, 'd') : replace(format(datum.value, '.3~e'), 'e+', 'e')"
)
"""1e−6, not 10 with a raised −6: raised digits are missing in the fonts that every machine has."""


@dataclass(frozen=True)
class Abscissa:
    """What the curves run over: `unit` steps are one of `title`."""

    title: str = "step"
    unit: float = 1.0
    log: bool = True

    def axis(self, last: float) -> alt.X:
        """Logarithmic axes are symlog: 0, 1, 10, 100, … are ticks."""
        field = f"{self.title}:Q"
        if not self.log:
            return alt.X(
                field,
                title=self.title,
                scale=alt.Scale(domain=[0, last or 1], nice=False),
                axis=alt.Axis(labelFlush=False, format="~g", tickCount=8),
            )
        values = [0, *(10**power for power in range(int(math.log10(max(last, 1))) + 1))]
        axis = alt.Axis(values=values, labelExpr=STEP_LABEL, labelFlush=False)
        scale = alt.Scale(type="symlog", constant=1, domain=[0, last or 1], nice=False)
        return alt.X(field, title=self.title, scale=scale, axis=axis)


SHARE = Abscissa("share of the run", log=False)


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

    def axis(self, field: str) -> alt.Y:
        scale = alt.Scale(
            type="log" if self.log else "linear", domain=[self.low, self.high], nice=False, zero=alt.Undefined
        )
        axis = self._log_axis() if self.log else alt.Axis(format="~g", tickCount=5)
        return alt.Y(f"{field}:Q", title=self.title, scale=scale, axis=axis)

    def _log_axis(self) -> alt.Axis:
        ticks = self.ticks()
        is_plain = all(1e-3 <= tick < 1e4 for tick in ticks)
        return alt.Axis(values=ticks, labelExpr=PLAIN_LABEL if is_plain else POWER_LABEL)

    def ticks(self) -> list[float]:
        """Of a log axis: powers of ten, over few decades 1, 2, 5 or 1, 3 of each, over less than one evenly spaced."""
        decades = math.log10(self.high / self.low)
        if decades < 0.8:
            return _even_ticks(self.low, self.high)
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
