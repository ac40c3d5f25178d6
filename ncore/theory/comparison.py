"""Measured values beside predicted ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from pydantic import BaseModel

from ncore.series import Series
from ncore.theory import Prediction


class Comparison(BaseModel):
    """A quantity measured and predicted; `gap` is relative where the prediction is not 0, else the measured value."""

    quantity: str
    layer: str | None
    seed: int
    step: int
    measured: float | None
    predicted: float
    gap: float | None


def predicted_series(prediction: Prediction) -> dict[tuple[str, str | None], float]:
    """{(metric, layer): the value that the series tends to}: the prediction in the words of the metrics."""
    values = series_of_levels(prediction.levels)
    if prediction.objective is not None:
        values["objective", None] = prediction.objective
    for layer, norm in (prediction.feature_norm_sq or {}).items():
        values["feature_norm_sq", layer] = _mean(norm)
    if prediction.weight_norm_sq is not None:
        values["weight_norm_sq", None] = _mean(prediction.weight_norm_sq)
    return values


def series_of_levels(levels: Mapping[str, Mapping[str, float]]) -> dict[tuple[str, str | None], float]:
    """{metric: {layer, or "": value}} by metric and layer."""
    return {(metric, layer or None): value for metric, layers in levels.items() for layer, value in layers.items()}


def _mean(value: float | list[float]) -> float:
    return sum(value) / len(value) if isinstance(value, list) else value


def compare(prediction: Prediction, series: Sequence[Series]) -> list[Comparison]:
    """One row for each predicted series that has been measured, in the order of the prediction."""
    last = {(one["metric"], one["layer"], one["seed"]): (one["steps"][-1], one["values"][-1]) for one in series}
    seeds = sorted({one["seed"] for one in series})
    rows = []
    for (metric, layer), predicted in sorted(predicted_series(prediction).items(), key=_order):
        for seed in seeds:
            if (metric, layer, seed) not in last:
                continue
            step, measured = last[metric, layer, seed]
            gap = None if measured is None else (measured - predicted) / (predicted or 1.0)
            rows.append(
                Comparison(
                    quantity=metric, layer=layer, seed=seed, step=step, measured=measured, predicted=predicted, gap=gap
                )
            )
    return rows


def _order(item: tuple[tuple[str, str | None], float]) -> tuple[int, str, str]:
    (metric, layer), _ = item
    first = ("objective", "feature_norm_sq", "weight_norm_sq")
    return (first.index(metric) if metric in first else len(first), metric, layer or "")
