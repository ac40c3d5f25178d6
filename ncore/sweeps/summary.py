"""Summaries of experiments for tables and pictures of a sweep: final values over the seeds, predictions, verdicts.

It is made once, when the experiment ends, so that neither predictions nor means are computed at each look.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ncore.seeds import mean_of, median_of
from ncore.series import key_of
from ncore.theory import Prediction
from ncore.theory.comparison import predicted_series

Summary = dict[str, Any]
COLUMNS = ("mean", "low", "high", "median", "predicted")
"""Names of the entries that `levels` has for each metric and layer, in this order; null where undefined."""
PREDICTED = "predicted"
UFM_LEVEL = re.compile(r"h(\d+)")


def summary_of(
    prediction: Prediction, final: Sequence[Mapping[str, Any]], verdict: Sequence[Mapping[str, Any]]
) -> Summary:
    """{"levels": {"metric layer": values in the order of COLUMNS}, "known", "verdict": […], "reached", "rank", "gap"}.

    `reached` is what most seeds have reached, `rank` and `gap` are medians over the seeds. The levels of a UFM stand in
    the order of the forward pass. `known`: the names of the predicted values, and the best known objective.
    """
    known = predicted_series(prediction)
    found: dict[tuple[str, str | None], list[float]] = {}
    for seed in final:
        for one in seed["metrics"]:
            values = found.setdefault((one["metric"], one["layer"]), [])
            if one["value"] is not None and math.isfinite(one["value"]):
                values.append(one["value"])
    levels = {key_of(*key): [*_over(found[key]), known.get(key)] for key in sorted(found, key=depth)}
    better = prediction.better_known
    names = {
        "objective": prediction.name_of("objective"),
        "others": prediction.name_of(""),
        "best": None if better is None else better.objective,
    }
    return {"levels": levels, "known": names, "verdict": verdict, **_of_verdict(verdict)}


def name_of(summary: Mapping[str, Any], metric: str) -> str:
    """The name of the predicted value of a metric; earlier versions kept none."""
    name: str = summary.get("known", {}).get("objective" if metric == "objective" else "others", PREDICTED)
    return name


def best_of(summary: Mapping[str, Any], metric: str) -> float | None:
    """The best known value, where there is one beside the predicted one or in its place."""
    best: float | None = summary.get("known", {}).get("best") if metric == "objective" else None
    return best


def _over(values: Sequence[float]) -> list[float | None]:
    """Mean, lowest, highest and median."""
    return [mean_of(values), min(values), max(values), median_of(values)] if values else [None] * 4


def _of_verdict(verdict: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    reached = Counter(one["reached"] for one in verdict)
    numbers = {"rank": list(map(rank_of, verdict)), "gap": [one.get("gap") for one in verdict]}
    known = {name: [value for value in values if value is not None] for name, values in numbers.items()}
    return {
        "reached": max(sorted(reached), key=reached.__getitem__) if reached else None,
        **{name: median_of(values) if values else None for name, values in known.items()},
    }


def rank_of(verdict: Mapping[str, Any]) -> int | None:
    """The rank that a seed ended at; 0 at zero, where the numerical rank is that of what is left of the start."""
    rank: int | None = verdict.get("rank")
    return 0 if verdict["reached"] == "zero" else rank


def depth(key: tuple[str, str | None]) -> int:
    """Puts the levels in the order of the forward pass: those of a UFM are measured from the last one on."""
    level = UFM_LEVEL.fullmatch(key[1] or "")
    return int(level[1]) if level else 0
