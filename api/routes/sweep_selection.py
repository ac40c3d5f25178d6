"""Order and filter of a sweep's table: names of metrics, axes and verdicts turned into SQL."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from operator import eq, ge, gt, le, lt, ne
from typing import Any

from sqlalchemy import ColumnElement, String, type_coerce

from api.database.sweeps import Selection
from api.database.tables import Experiment
from api.web.errors import refused
from ncore.faults import shortened
from ncore.series import key_of, metric_and_layer
from ncore.sweeps.summary import Summary

COMPARISONS: dict[str, Callable[[Any, Any], Any]] = {"<=": le, ">=": ge, "!=": ne, "<": lt, ">": gt, "=": eq}
TERM = re.compile(r"\s*([^\s<>=!]+)\s*(<=|>=|!=|==|<|>|=)\s*(.+?)\s*")
VERDICT_NUMBERS = ("gap", "rank")


class Columns:
    """Names to sort and filter a sweep's table by: `index`, `status`, `verdict`, `gap`, `rank`, axes, metrics.

    A metric is named as `nc1.h1`; without its layer the last one is meant. Of one that exists without a layer too,
    `rank.` is that.
    """

    def __init__(self, axes: Mapping[str, Sequence[Any]], summary: Summary | None) -> None:
        self._axes = axes
        self._levels = [metric_and_layer(key) for key in (summary or {}).get("levels", {})]
        self._is_known = summary is not None

    def number(self, field: str, name: str) -> ColumnElement[Any]:
        """The column of this name, for numbers. Raises the 422 naming `field`, the parameter that has it."""
        if name == "index":
            return Experiment.sweep_index + 0
        if name in VERDICT_NUMBERS:
            return Experiment.summary[name].as_float()
        if name in self._axes and self.is_number(name):
            return Experiment.point[name].as_float()
        key = self._key(name)
        if key is None:
            raise refused(field, f"must name one of {', '.join(self._names())}; got {shortened(name)}")
        return Experiment.summary[("levels", key, 0)].as_float()

    def column(self, field: str, name: str) -> ColumnElement[Any]:
        """The column of this name, of numbers or of texts."""
        if name == "status":
            return type_coerce(Experiment.status, String)
        if name == "verdict":
            return Experiment.summary["reached"].as_string()
        if name in self._axes and not self.is_number(name):
            return Experiment.point[name].as_string()
        return self.number(field, name)

    def is_number(self, path: str) -> bool:
        return all(isinstance(value, int | float) and not isinstance(value, bool) for value in self._axes[path])

    def is_text(self, name: str) -> bool:
        return name in ("status", "verdict") or (name in self._axes and not self.is_number(name))

    def _key(self, name: str) -> str | None:
        metric, dot, layer = name.partition(".")
        if not self._is_known:  # nothing has ended: nothing is found, whatever is asked for
            return key_of(metric, layer or None)
        bare = bool(dot) and not layer
        layers = [known for one, known in self._levels
                  if one == metric and (known is None if bare else not layer or known == layer)]  # fmt: skip
        return key_of(metric, layers[-1]) if layers else None

    def _names(self) -> list[str]:
        several = {metric for metric, layer in self._levels if layer is not None}
        bare = {metric: f"{metric}." if metric in several else metric for metric, _ in self._levels}
        metrics = [bare[metric] if layer is None else f"{metric}.{layer}" for metric, layer in self._levels]
        return ["index", "status", "verdict", *VERDICT_NUMBERS, *self._axes, *metrics]


def selection_of(columns: Columns, sort: str | None, where: str | None, status: str | None) -> Selection:
    """Raises the 422 naming the parameter that is wrong."""
    chosen = [Experiment.status == status] if status else []
    if where is not None:
        chosen += [_term(columns, text) for text in re.split(r"\s+and\s+", where.strip(), flags=re.IGNORECASE)]
    return Selection(chosen, _order(columns, sort) if sort else ())


def _order(columns: Columns, sort: str) -> list[ColumnElement[Any]]:
    """The order; unknown values come last in either direction."""
    column = columns.column("sort", sort.removeprefix("-"))
    return [column.is_(None), column.desc() if sort.startswith("-") else column]


def _term(columns: Columns, text: str) -> ColumnElement[bool]:
    found = TERM.fullmatch(text)
    if found is None:
        raise refused("where", f"must be like 'nc1.h1 < 1e-6 and verdict = zero'; got {shortened(text)}")
    name, sign, value = found[1], found[2].replace("==", "="), found[3].strip("'\"")
    if columns.is_text(name):
        if sign not in ("=", "!="):
            raise refused("where", f"{name} is a text: it takes = and !=, not {sign}")
        compared: Any = value
    else:
        compared = _number(name, value)
    made: ColumnElement[bool] = COMPARISONS[sign](columns.column("where", name), compared)
    return made


def _number(name: str, value: str) -> float:
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if number != number:  # noqa: PLR0124 (NaN)
        raise refused("where", f"{name} is compared with a number; got {shortened(value)}")
    return number
