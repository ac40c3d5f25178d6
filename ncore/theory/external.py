"""Predictions for an experiment that is measured elsewhere: those of the UFM that its owner names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

from ncore.spec import ExternalSpec, UfmSpec
from ncore.theory.prediction import Prediction, unknown

T = TypeVar("T")


def beside_external(spec: ExternalSpec, predict: Callable[[UfmSpec], Prediction]) -> Prediction:
    """The prediction for `spec.theory`, its levels named as the layers beside which they stand, the last first."""
    if spec.theory is None:
        return unknown("No model was named to stand beside this experiment (field theory).")
    found = predict(spec.theory)
    names = _beside(spec)
    notes = [f"{level} of the model stands beside layer {layer}." for level, layer in names.items() if level != layer]
    changes = {
        "levels": {metric: _renamed(values, names) for metric, values in found.levels.items()},
        "feature_norm_sq": found.feature_norm_sq and _renamed(found.feature_norm_sq, names),
        "gram": found.gram and _renamed(found.gram, names),
        "limits": {
            name: {metric: _renamed(values, names) for metric, values in levels.items()}
            for name, levels in found.limits.items()
        },
        "notes": [*notes, *found.notes],
    }
    return found.model_copy(update=changes)


def _beside(spec: ExternalSpec) -> dict[str, str]:
    """{level of the model: layer}, as far as there are layers."""
    assert spec.theory is not None  # noqa: S101 (for the type checker)
    levels, layers = [f"h{j + 1}" for j in range(len(spec.theory.model.widths))], spec.model.layers
    if set(levels) & set(layers):
        return {}
    return dict(zip(levels[::-1], layers[::-1], strict=False))


def _renamed(values: Mapping[str, T], names: Mapping[str, str]) -> dict[str, T]:
    return {names.get(level, level): value for level, value in values.items()}
