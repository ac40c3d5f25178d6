"""Label noise at full collapse: features sit at the mean of the label they were given, metrics use the true one.

A share p of every class is flipped evenly to the others. With the given labels' centred means at a simplex (an ETF, or
an orthogonal frame centred) the true classes' means shrink by ρ = 1 − pK/(K−1), so nc1_trace = ρ^{−2} − 1 and
nc1 = (K−1)/K of that, for MSE and cross-entropy alike (derived).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ncore.spec import UfmSpec
from ncore.theory.frames import frame_metrics
from ncore.theory.prediction import Prediction

Array = NDArray[np.float64]


class NoisyCollapse(NamedTuple):
    nc1: float
    nc1_trace: float


def noisy_collapse(classes: int, share: float) -> NoisyCollapse:
    """nc1 and nc1_trace by the true labels; p = (K−1)/K, where the means meet, has none (ValueError)."""
    shrink = 1 - share * classes / (classes - 1)
    if shrink == 0:
        raise ValueError(f"A share of {share} = (K − 1)/K leaves all true class means equal: nc1 is not defined.")
    trace = shrink**-2 - 1
    return NoisyCollapse((classes - 1) / classes * trace, trace)


def noisy_collapse_of_counts(counts: Array) -> NoisyCollapse:
    """The same where flips are not quite even: `counts`[k, j] samples of true class k were given label j."""
    return collapse_of(np.eye(len(counts)) - 1 / len(counts), counts)


def collapse_of(means: Array, counts: Array) -> NoisyCollapse:
    """nc1 and nc1_trace of the true classes when every sample sits at the mean (columns of `means`) of its label."""
    sizes, total, classes = counts.sum(axis=1), counts.sum(), len(counts)
    true = means @ (counts / sizes[:, None]).T
    within = (means * counts.sum(axis=0)) @ means.T / total - (true * sizes) @ true.T / total
    centred = true - true.mean(axis=1, keepdims=True)
    between = centred @ centred.T / classes
    return NoisyCollapse(
        float(np.trace(within @ np.linalg.pinv(between, rcond=1e-10, hermitian=True))) / classes,
        float(np.trace(within) / np.trace(between)),
    )


EVEN = "By the true labels nothing collapses: features sit at the mean of the label that was given (series …_given)."


def with_label_noise(spec: UfmSpec, predict: Callable[[UfmSpec], Prediction]) -> Prediction:
    """The prediction for the labels as given, its metrics as the true labels see them (and …_given as those do)."""
    model = spec.model
    if all(row[k] == size for k, (row, size) in enumerate(zip(model.given_labels, model.class_sizes, strict=True))):
        note = f"model.label_noise = {model.label_noise:g} flips no label of so few samples a class."
        known = predict(spec.model_copy(update={"model": model.model_copy(update={"label_noise": 0.0})}))
        return known.model_copy(update={"notes": [note, *known.notes]})
    clean = model.model_copy(update={"label_noise": 0.0, "samples_per_class": model.given_sizes})
    known = predict(spec.model_copy(update={"model": clean}))
    layered = {name: values for name, values in known.levels.items() if "" not in values}
    levels = {name: values for name, values in known.levels.items() if "" in values}
    levels |= {f"{name}_given": values for name, values in layered.items()}
    counts = np.array(model.given_labels, dtype=float)
    for layer, gram in (known.gram or {}).items():
        for name, value in _by_true_labels(np.array(gram), counts).items():
            levels[name] = levels.get(name, {}) | {layer: value}
    return known.model_copy(
        update={
            "levels": levels,
            "feature_norm_sq": None,
            "gram": None,
            "logits": None,
            "notes": [*known.notes, EVEN],
        }
    )


def _by_true_labels(gram: Array, counts: Array) -> dict[str, float]:
    """nc1, nc1_trace and nc2 of the true classes, from the Gram matrix of the given labels' means."""
    values, vectors = np.linalg.eigh(gram)
    if not values[-1] > 0:
        return {}
    means = np.sqrt(np.maximum(values, 0.0))[:, None] * vectors.T
    collapse = collapse_of(means, counts)
    true = means @ (counts / counts.sum(axis=1, keepdims=True)).T
    frames = frame_metrics(true, true.T)
    return {"nc1": collapse.nc1, "nc1_trace": collapse.nc1_trace} | {
        name: frames[name] for name in ("nc2_of", "nc2_etf") if name in frames
    }
