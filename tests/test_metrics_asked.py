"""Metrics that come where what they need is given, against what their formulas say by another way."""

import numpy as np
import pytest
from scipy.optimize import minimize
from test_metrics import sample
from torch import as_tensor

from ncore.metrics import Accumulator, measure
from ncore.metrics.balance import balance
from ncore.metrics.margin import margin


def both(features, labels, weight, bias, **options):
    accumulator = Accumulator(len(weight))
    for part in np.array_split(np.arange(len(labels)), 3):
        accumulator.update(features[part], labels[part])
    return measure(features, labels, weight, bias, **options), accumulator.result(weight, bias, **options)


@pytest.mark.parametrize("decay", [0.0, 0.01, 3.0])
@pytest.mark.parametrize("has_bias", [True, False])
def test_the_central_path_adds_up_to_the_objective_whose_minimum_its_first_two_are(decay, has_bias):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), (5, 9, 2, 7))
    features, weight, bias = rng.normal(size=(23, 3)) + 1, rng.normal(size=(4, 3)), rng.normal(size=4)

    def objective(parameters):
        w, b = parameters[:12].reshape(4, 3), parameters[12:] if has_bias else np.zeros(4)
        residual = features @ w.T + b - np.eye(4)[labels]
        return np.square(residual).sum() / 46 + decay / 2 * (np.square(w).sum() + np.square(b).sum())

    here = objective(np.concatenate([weight.ravel(), bias] if has_bias else [weight.ravel()]))
    best = minimize(objective, np.zeros(16 if has_bias else 12), method="BFGS", options={"gtol": 1e-9}).fun
    for found in both(features, labels, weight, bias if has_bias else None, weight_decay=decay):
        assert found["lnc1"] + found["lnc23"] + found["lnc_perp"] == pytest.approx(here, rel=1e-12)
        assert found["lnc1"] + found["lnc23"] == pytest.approx(best, rel=1e-7)
        assert min(found["lnc1"], found["lnc23"], found["lnc_perp"]) >= 0


def test_features_without_spread_have_no_within_class_loss():
    labels, means = np.repeat(np.arange(3), 4), np.eye(3, 5)
    weight = np.eye(3, 5)
    for found in both(means[labels], labels, weight, None, weight_decay=0.0):
        assert [found[name] for name in ("lnc1", "lnc23", "lnc_perp")] == pytest.approx([0, 0, 0], abs=1e-28)


def test_balance_is_zero_at_the_minimum_of_a_linear_ufm_and_not_elsewhere():
    """M = 1: λ_W WᵀW = λ_H H Hᵀ."""
    decay, of_features, n = 0.02, 0.005, 6
    rng = np.random.default_rng(0)
    h = np.linalg.qr(rng.normal(size=(8, 4)))[0].T
    weight, labels = np.sqrt(n * of_features / decay) * h, np.repeat(np.arange(4), n)
    for found in both(h[labels], labels, weight, None, weight_decay=decay, feature_decay=of_features):
        assert found["balance"] < 1e-15
    features = h[labels] + 0.1 * rng.normal(size=(24, 8))
    gram = features.T @ features
    expected = np.linalg.norm(4 * weight.T @ weight - gram) / np.linalg.norm(gram)
    for found in both(features, labels, weight, None, weight_decay=decay, feature_decay=of_features):
        assert found["balance"] == pytest.approx(expected, rel=1e-12)
    stack = balance(as_tensor(np.stack([weight, 2 * weight])), as_tensor(np.stack([gram, gram])), 4.0)
    assert stack[0] == pytest.approx(expected, rel=1e-12)


def test_nc5_is_the_cosine_to_the_mean_of_what_is_outside():
    features, labels, weight, bias = sample(0.3, 0.2)
    ood = np.random.default_rng(5).normal(size=(7, 6)).astype(np.float32)
    means = np.stack([features[labels == k].mean(0) for k in range(4)])
    outside = ood.astype(float).mean(0)
    expected = np.abs(means @ outside / np.linalg.norm(means, axis=1) / np.linalg.norm(outside)).mean()
    for found in both(features, labels, weight, bias, ood=ood):
        assert found["nc5"] == pytest.approx(expected, rel=1e-12)
    assert measure(1e-200 * features, labels, ood=ood)["nc5"] == pytest.approx(expected, rel=1e-12)
    assert np.isnan(measure(features, labels, ood=0 * ood)["nc5"])


def hull_distance(point: np.ndarray, others: np.ndarray) -> float:
    """By another optimiser."""
    start = np.full(len(others), 1 / len(others))
    found = minimize(
        lambda shares: np.square(shares @ others - point).sum(),
        start,
        jac=lambda shares: 2 * others @ (shares @ others - point),
        method="SLSQP",
        bounds=[(0, 1)] * len(others),
        constraints={"type": "eq", "fun": lambda shares: shares.sum() - 1},
        options={"ftol": 1e-15, "maxiter": 1000},
    )
    return np.sqrt(found.fun)


@pytest.mark.parametrize(("k", "d", "scale"), [(7, 3, 1.0), (12, 4, 1e-9), (5, 2, 1e100)])
def test_margin_is_the_smallest_distance_to_the_hull_of_the_others(k, d, scale):
    features, labels, weight, _ = sample(0.3, 0.2, k=k, d=d)
    weight /= np.linalg.norm(weight, axis=1, keepdims=True)
    expected = min(hull_distance(weight[j], np.delete(weight, j, axis=0)) for j in range(k))
    for found in both(features, labels, scale * weight, None):
        assert found["margin"] == pytest.approx(scale * expected, rel=1e-6, abs=1e-7 * scale)
    assert "margin" not in measure(features, labels, weight, margin=False)


def test_margin_of_known_figures():
    hexagon = np.exp(2j * np.pi * np.arange(6) / 6)
    assert float(margin(as_tensor(np.stack([hexagon.real, hexagon.imag], 1)))) == pytest.approx(0.5, rel=1e-12)
    square = np.array([[1.0, 1], [1, -1], [-1, 1], [-1, -1], [0.2, 0.1]])
    assert float(margin(as_tensor(square))) == pytest.approx(0, abs=1e-12)
    features, labels, weight, _ = sample(0.3, 0.2)
    assert "margin" not in measure(features, labels, weight)  # K ≤ d + 1
    simplex = np.eye(4, 6)
    assert measure(features, labels, simplex, margin=True)["margin"] == pytest.approx(np.sqrt(4 / 3), rel=1e-12)


def test_ranks_and_uniformity_of_the_two_frames():
    labels, frame = np.arange(8) % 4, np.eye(4, 6)
    found = measure(frame[labels], labels)
    assert [found[name] for name in ("rank", "effective_rank", "stable_rank")] == pytest.approx([4, 4, 4], rel=1e-12)
    found = measure((frame - frame.mean(0))[labels], labels)
    assert [found[name] for name in ("rank", "effective_rank", "stable_rank")] == pytest.approx([3, 3, 3], rel=1e-7)
    assert found["uniformity_mean"] == pytest.approx(-np.log(2 * 4 / 3) / 2, rel=1e-12)
    assert found["uniformity_var"] == pytest.approx(0, abs=1e-28)
    assert measure(frame[labels], labels, frame)["nc0"] == pytest.approx(2, rel=1e-15)
    assert measure(frame[labels], labels, frame - frame.mean(0))["unc3"] == pytest.approx(0, abs=1e-30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"classes": "some"}, "classes is 'some', must be 'all' or 'present'"),
        ({"classes": 4}, "classes is 4"),
        ({"weight_decay": -1}, "weight_decay is -1, must be a number ≥ 0"),
        ({"weight_decay": "much"}, "weight_decay is 'much'"),
        ({"weight_decay": float("nan")}, "weight_decay is nan"),
        ({"weight_decay": 0.1, "feature_decay": 0}, "feature_decay is 0, must be a number > 0"),
        ({"feature_decay": 0.1}, "feature_decay is given without weight_decay"),
        ({"ood": np.zeros((3, 5))}, r"ood has shape \(3, 5\), must be \(M, d\) with d = 6"),
        ({"ood": "cats"}, "ood is a str"),
        ({"margin": "yes"}, "margin is 'yes'"),
    ],
)
def test_a_bad_option_is_named(options, message):
    features, labels, weight, _ = sample(0.3, 0.2)
    accumulator = Accumulator(4)
    accumulator.update(features, labels)
    with pytest.raises(ValueError, match=message):
        measure(features, labels, weight, **options)
    with pytest.raises(ValueError, match=message):
        accumulator.result(weight, **options)


def test_an_option_without_the_weight_it_needs_is_named():
    features, labels, _, _ = sample(0.3, 0.2)
    for options in ({"weight_decay": 0.1}, {"margin": True}):
        with pytest.raises(ValueError, match=f"{next(iter(options))} is given without weight"):
            measure(features, labels, **options)
