"""Fields of a spec in the symbols of the theory, for axes and legends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

SYMBOLS = {
    "model.bias": "bias",
    "model.activation": "σ",
    "regularization.weights": "λ_W",
    "regularization.features": "λ_H",
    "regularization.bias": "λ_b",
    "optimizer.learning_rate": "step size η",
    "optimizer.momentum": "momentum μ",
    "optimizer.weight_decay": "weight decay",
    "optimizer.steps": "steps",
    "model.classes": "K",
    "model.samples_per_class": "n",
    "model.widths": "widths",
    "model.init_scale": "scale of the start",
    "model.temperature": "τ",
    "model.label_noise": "label noise",
    "loss.label_smoothing": "label smoothing α",
    "loss.gamma": "focal γ",
    "seeds": "seed",
}
ENTRIES = {"model.samples_per_class": "n_{}", "regularization.weights": "λ_W{}", "model.widths": "d_{}"}
"""Symbols of an entry of a list, counted from 1."""


MOST_NAMED = 3


def axis_title(columns: Mapping[str, Sequence[Any]]) -> str:
    """The title of paths that move together: joined by = where their values are the same."""
    first, *others = columns
    names = [symbol_of(path) for path in columns]
    names = names if len(names) <= MOST_NAMED else [*names[: MOST_NAMED - 1], "…"]
    return (" = " if all(list(columns[path]) == list(columns[first]) for path in others) else ", ").join(names)


def symbol_of(path: str) -> str:
    """The symbol of a dotted path; the path itself where it has none."""
    front, _, last = path.rpartition(".")
    if last.isdigit() and front in ENTRIES:
        return ENTRIES[front].format(int(last) + 1)
    return SYMBOLS.get(path, path)
