"""Quantities that a picture of a sweep shows: a final metric, the gap, the verdict, or steps to a threshold."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ncore.seeds import mean_of, median_of
from ncore.series import metric_and_layer
from ncore.sweeps.summary import COLUMNS, PREDICTED, Summary, best_of, name_of, rank_of

OverSeeds = Literal["mean", "median", "share"]
VERDICT, GAP, RANK = "verdict", "gap", "rank"
STEPS = re.compile(r"([A-Za-z0-9_][A-Za-z0-9_./:@+-]*)\s*<\s*([0-9.eE+-]+)")
SHARE = re.compile(r"verdict\s*=\s*([a-z0-9_]+)")
FAILED = "failed"
ROUNDING = 1e-12
"""Rounding of the relative gap: a smaller one is 0, so that it stretches no scale."""


@dataclass(frozen=True)
class Cell:
    """One combination and layer: the value over its seeds, lowest and highest of them, the prediction and its `name`
    (f*, predicted, or the structure that it is of), and the best known value.

    A category has a text as its value. Of a gap `name` is that of the objective it is to.
    """

    experiment: str
    point: Mapping[str, Any]
    layer: str
    value: float | str
    low: float | None = None
    high: float | None = None
    predicted: float | None = None
    name: str = PREDICTED
    best: float | None = None


@dataclass(frozen=True)
class Quantity:
    """`metric` at the end; below `bound`: the steps to it; `verdict`: the share of seeds that reached this one."""

    metric: str
    bound: float | None = None
    verdict: str | None = None

    @classmethod
    def parsed(cls, text: str) -> Quantity:
        """The quantity of a text such as `nc1`, `gap`, `verdict`, `verdict=zero`, `nc1 < 1e-6`. Raises ValueError."""
        share, steps = SHARE.fullmatch(text.strip()), STEPS.fullmatch(text.strip())
        if share is not None:
            return cls(VERDICT, verdict=share[1])
        if steps is None:
            return cls(text.strip())
        try:
            return cls(steps[1], bound=float(steps[2]))
        except ValueError:
            raise ValueError(f"must compare with a number; got {steps[2]!r}") from None

    @property
    def is_category(self) -> bool:
        return self.metric == VERDICT and self.verdict is None

    def title(self, seeds: OverSeeds, layer: str = "", names: Sequence[str] = ()) -> str:
        """The quantity in words, for the head of a picture; `names` are those of the predictions that are met."""
        of = f" of {layer}" if layer else ""
        if self.bound is not None:
            what = f"{self.metric}{of} < {self.bound:g}"
            return f"share of seeds that reach {what}" if seeds == "share" else f"steps to {what}"
        if self.verdict is not None:
            return f"share of seeds that reach {self.verdict.replace('_', ' ')}"
        if self.metric == GAP:
            known = [name for name in names if name != PREDICTED] or ["the predicted objective"]
            return f"relative gap to {' or '.join(known)} at the end"
        return f"{self.metric}{of} at the end"

    def name(self, seeds: OverSeeds) -> str:
        """Short, for an axis or a legend."""
        if self.bound is not None:
            return "share of seeds" if seeds == "share" else "steps"
        return "share of seeds" if self.verdict is not None else self.metric

    def cells(
        self, experiment: str, point: Mapping[str, Any], summary: Summary | None, status: str, layer: str | None,
        seeds: OverSeeds, steps: Mapping[str, Sequence[int]],
    ) -> list[Cell]:  # fmt: skip
        """The known values of one experiment; `steps` are those of `bound`, by experiment."""
        if summary is None:
            failed = self.is_category and status == FAILED
            return [Cell(experiment, point, "", FAILED)] if failed else []
        if self.bound is not None:
            return self._of_steps(experiment, point, summary, seeds, steps.get(experiment, ()))
        if self.metric == VERDICT:
            return self._of_verdict(experiment, point, summary)
        if self.metric == GAP:
            gaps = [one.get(GAP) for one in summary["verdict"]]
            values = [gap and (0.0 if abs(gap) < ROUNDING else gap) for gap in gaps]
            return _of_values(experiment, point, values, seeds, name_of(summary, "objective"))
        if self.metric == RANK and layer is None and summary["rank"] is not None:
            return _of_values(experiment, point, list(map(rank_of, summary["verdict"])), seeds)
        found = []
        for key, values in summary["levels"].items():
            metric, own = metric_and_layer(key)
            if metric != self.metric or (layer is not None and (own or "") != layer):
                continue
            known = dict(zip(COLUMNS, values, strict=True))
            value = known["median" if seeds == "median" else "mean"]
            if value is not None:
                ends = (known["low"], known["high"], known["predicted"])
                name = PREDICTED if known["predicted"] is None else name_of(summary, metric)
                found.append(Cell(experiment, point, own or "", value, *ends, name, best_of(summary, metric)))
        return found

    def _of_verdict(self, experiment: str, point: Mapping[str, Any], summary: Summary) -> list[Cell]:
        reached = [one["reached"] for one in summary["verdict"]]
        if not reached:
            return []
        if self.verdict is None:
            return [Cell(experiment, point, "", summary["reached"])]
        share = reached.count(self.verdict) / len(reached)
        return [Cell(experiment, point, "", share, share, share)]

    def _of_steps(
        self, experiment: str, point: Mapping[str, Any], summary: Summary, seeds: OverSeeds, steps: Sequence[int]
    ) -> list[Cell]:
        if seeds == "share":
            share = len(steps) / max(1, len(summary["verdict"]))
            return [Cell(experiment, point, "", share, share, share)]
        return _of_values(experiment, point, list(map(float, steps)), seeds)


def _of_values(
    experiment: str, point: Mapping[str, Any], values: Sequence[float | None], seeds: OverSeeds, name: str = PREDICTED
) -> list[Cell]:
    known = [value for value in values if value is not None]
    if not known:
        return []
    value = median_of(known) if seeds == "median" else mean_of(known)
    return [Cell(experiment, point, "", value, min(known), max(known), name=name)]


def together(values: Sequence[float | str], seeds: OverSeeds) -> float | str:
    """Several experiments as one value: mean or median; of categories the one that is there most often."""
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        counts = Counter(map(str, values))
        return max(sorted(counts), key=counts.__getitem__)
    return median_of(numbers) if seeds == "median" else mean_of(numbers)
