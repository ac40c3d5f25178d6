"""Closed forms at settings that are drawn at random, against L-BFGS on the objective as it is written."""

import itertools
import math

import numpy as np
import pytest
import torch
from optimum import float64, least, written_objective
from torch.nn.functional import normalize

from ncore.spec import UfmSpec, parse_spec
from ncore.theory import predict
from ncore.ufm.start import make_start

FIXTURES = (float64,)
DRAWS = range(8)
SHORT_OF = 1e-6
"""Relative distance at which L-BFGS counts as having arrived."""
BELOW = 1e-9


def decay(rng, low=0.003, high=0.08):
    return float(np.exp(rng.uniform(math.log(low), math.log(high))))


def a_model(rng, *, levels=1, unequal=False, least_width=None, most_classes=5):
    classes = int(rng.integers(2, most_classes + 1))
    sizes = [int(n) for n in rng.integers(1, 8, classes)] if unequal else int(rng.integers(1, 4))
    low = classes if least_width is None else least_width(classes)
    widths = [int(rng.integers(low, classes + 3)) for _ in range(levels)]
    return {"classes": classes, "samples_per_class": sizes, "widths": widths}


def a_bias(rng, finite=True):
    kind = int(rng.integers(0, 3 if finite else 2))
    return {"bias": kind > 0}, float(rng.uniform(0.05, 2.0)) if kind == 2 else 0.0


def a_body(rng, model, loss="mse", of_bias=0.0):
    weights = [decay(rng) for _ in model["widths"]]
    return {
        "model": model,
        "loss": loss,
        "regularization": {"weights": weights, "features": decay(rng), "bias": of_bias},
    }


def a_loss(rng, kinds):
    kind = kinds[int(rng.integers(len(kinds)))]
    return {
        "mse": "mse",
        "plain": "cross_entropy",
        "smooth": {"kind": "cross_entropy", "label_smoothing": float(rng.uniform(0.02, 0.5))},
        "focal": {"kind": "focal", "gamma": float(rng.uniform(0.2, 4))},
    }[kind]


def linear(rng):
    unequal, levels = bool(rng.integers(2)), int(rng.integers(1, 4))
    bias, of_bias = a_bias(rng, finite=not unequal)
    model = a_model(rng, levels=levels, unequal=unequal, least_width=lambda k: max(1, k - 2))
    return a_body(rng, model | bias, of_bias=of_bias)


def cross_entropy(rng):
    bias, of_bias = a_bias(rng)
    return a_body(rng, a_model(rng, unequal=bool(rng.integers(2))) | bias, a_loss(rng, ["plain", "smooth"]), of_bias)


def focal(rng):
    return a_body(rng, a_model(rng, least_width=lambda k: k - 1), a_loss(rng, ["focal"]))


def fixed_head(rng):
    head = {"classifier": "etf", "classifier_norm": float(rng.uniform(0.3, 4))}
    model = a_model(rng, unequal=bool(rng.integers(2)), least_width=lambda k: max(1, k - 1))
    return a_body(rng, model | head, a_loss(rng, ["mse", "plain", "smooth", "focal"]))


def normalized(rng):
    model = a_model(rng, least_width=lambda k: max(1, k - 1), most_classes=6)
    if rng.integers(2):
        model["widths"] = [2]
    model |= {"normalized": True, "temperature": float(rng.uniform(0.5, 8)), "samples_per_class": 1}
    return {"model": model, "loss": "cross_entropy"}


def targets(rng):
    model = a_model(rng, levels=int(rng.integers(1, 4)), unequal=True, least_width=lambda _: 1)
    rows = rng.normal(size=(int(rng.integers(1, 4)), model["classes"])) * rng.uniform(0.3, 2)
    return a_body(rng, model | {"targets": rows.tolist()} | a_bias(rng, finite=False)[0])


def two_classes_of_relu(rng):
    model = a_model(rng, levels=int(rng.integers(2, 5)), most_classes=2) | {"activation": "relu"}
    model["widths"] = [8 for _ in model["widths"]]  # in narrow ones most starts die
    return a_body(rng, model)


def label_noise(rng):
    model = a_model(rng) | {"samples_per_class": 6, "label_noise": float(rng.uniform(0.1, 0.6))}
    return a_body(rng, model, a_loss(rng, ["mse", "plain"]))


FAMILIES = [linear, cross_entropy, focal, fixed_head, normalized, targets, two_classes_of_relu, label_noise]


def descent(spec: UfmSpec, starts: int):
    """The lowest value that L-BFGS finds, with the class means of its first level, the last weight, and W H̄."""
    start, model = make_start(spec, 0), spec.model
    labels = start.labels if start.given is None else start.given
    widths = [*model.widths, model.outputs]
    shapes = [(widths[0], len(labels)), *((after, before) for before, after in itertools.pairwise(widths))]
    head = start.weights[-1] if model.classifier == "etf" else None
    shapes = shapes[:-1] if head is not None else shapes

    def objective(features, *rest):
        *weights, bias = [*rest[:-1], *([] if head is None else [head]), rest[-1]]
        if model.normalized:
            features, weights = normalize(features, dim=0), [normalize(weights[0])]
        return written_objective(spec, features, weights, bias * model.bias, labels)

    value, parts = least(objective, [*shapes, (model.outputs,)], starts=starts, scale=0.8)
    columns = normalize(parts[0], dim=0) if model.normalized else parts[0]
    weights = [*parts[1:-1], *([] if head is None else [head])]
    weights = [normalize(weights[0])] if model.normalized else weights
    means = torch.stack([columns[:, labels == k].mean(1) for k in range(model.classes)], dim=1)
    logits = means
    for j, weight in enumerate(weights):
        logits = weight @ logits
        logits = logits.relu() if model.activation == "relu" and j < len(weights) - 1 else logits
    return value, means, weights[-1], logits


@pytest.mark.nightly
@pytest.mark.parametrize("draw", DRAWS)
@pytest.mark.parametrize("family", FAMILIES)
def test_the_prediction_is_the_least_value_that_descent_finds(family, draw):
    """Nothing lies below a proven minimum, and descent from several starts arrives at it, with its norms."""
    spec = parse_spec(family(np.random.default_rng([FAMILIES.index(family), draw])))
    known = predict(spec)
    assert known.regime != "not_known", spec
    value, means, weight, logits = descent(spec, 6)
    if value > known.objective * (1 + SHORT_OF):
        value, means, weight, logits = descent(spec, 40)
    if known.global_minimum:
        assert value >= known.objective * (1 - BELOW), spec
    assert value == pytest.approx(known.objective, rel=SHORT_OF), spec
    norm = (known.feature_norm_sq or {}).get("h1")
    if norm is not None:
        expected = norm if isinstance(norm, list) else [norm] * spec.model.classes
        np.testing.assert_allclose((means**2).sum(0), expected, rtol=5e-3, atol=1e-4)
    if known.regime != "k_gon":  # whose order on the circle is free
        found = {"h1": means.T @ means, "W": weight @ weight.T, "W H": logits}
        for name in found.keys() & known.matrices.keys():
            expected = known.matrices[name]
            near = {"rtol": 5e-3, "atol": 5e-3 * np.abs(expected).max() + 1e-4}
            np.testing.assert_allclose(found[name], expected, err_msg=name, **near)
