"""Every closed form against an independent optimiser (scipy's L-BFGS) on the objective as theory.md writes it."""

import math
import time

import mpmath
import numpy as np
import pytest
from scipy.optimize import OptimizeResult, minimize

from ncore.metrics import measure
from ncore.presets import PRESETS
from ncore.spec import UfmSpec, parse_spec
from ncore.theory import Prediction, local_minima, predict, value_at_zero


def a_spec(classes, n, widths, weights, features, bias=None, loss="mse", activation="identity") -> UfmSpec:
    model = {
        "classes": classes,
        "samples_per_class": n,
        "widths": widths,
        "bias": bias is not None,
        "activation": activation,
    }
    regularization = {"weights": weights, "features": features, "bias": bias or 0.0}
    spec = parse_spec({"model": model, "loss": loss, "regularization": regularization})
    assert isinstance(spec, UfmSpec)
    return spec


class Problem:
    """The objective and its gradient in plain numpy, features all free."""

    def __init__(self, spec: UfmSpec) -> None:
        self.spec, sizes = spec, spec.model.class_sizes
        self.k, self.n = spec.model.classes, sum(sizes)
        self.labels = np.repeat(np.arange(self.k), sizes)
        self.y = np.eye(self.k)[:, self.labels]
        widths = spec.model.widths
        self.shapes = [(widths[0], self.n), *zip((*widths[1:], self.k), widths, strict=True), (self.k, 1)]

    def parts(self, theta: np.ndarray) -> list[np.ndarray]:
        cuts = np.cumsum([a * b for a, b in self.shapes])[:-1]
        return [part.reshape(shape) for part, shape in zip(np.split(theta, cuts), self.shapes, strict=True)]

    def __call__(self, theta: np.ndarray) -> tuple[float, np.ndarray]:
        h, *weights, b = self.parts(theta)
        columns = [h]
        for w in weights[:-1]:
            z = w @ columns[-1]
            columns.append(np.maximum(z, 0) if self.spec.model.activation == "relu" else z)
        logits = weights[-1] @ columns[-1] + b
        if self.spec.loss == "mse":
            residual = logits - self.y
            value = (residual**2).sum() / (2 * self.n)
        else:
            shifted = logits - logits.max(0)
            log_sum = np.log(np.exp(shifted).sum(0))
            value = float((log_sum - shifted[self.labels, np.arange(self.n)]).mean())
            residual = np.exp(shifted - log_sum) - self.y
        back = residual / self.n
        decays, lam_h, lam_b = self.spec.weight_decays, self.spec.regularization.features, self.spec.regularization.bias
        value += (lam_h * (h**2).sum() + lam_b * (b**2).sum()) / 2
        value += sum(lam * (w**2).sum() for lam, w in zip(decays, weights, strict=True)) / 2
        grad_b = back.sum(1, keepdims=True) + lam_b * b if self.spec.model.bias else np.zeros_like(b)
        grads = []
        for j in reversed(range(len(weights))):
            grads.append(back @ columns[j].T + decays[j] * weights[j])
            back = weights[j].T @ back
            if j and self.spec.model.activation == "relu":
                back = back * (columns[j] > 0)
        grads = [back + lam_h * h, *grads[::-1], grad_b]
        return float(value), np.concatenate([grad.ravel() for grad in grads])

    @property
    def size(self) -> int:
        return sum(a * b for a, b in self.shapes)

    def descend(self, theta: np.ndarray) -> OptimizeResult:
        options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30}
        theta[-self.k :] *= self.spec.model.bias
        return minimize(self, theta, jac=True, method="L-BFGS-B", options=options)

    def minimum(self, starts: int = 6) -> tuple[float, list[np.ndarray]]:
        scales = (1.0, 0.5, 0.1) if len(self.spec.model.widths) > 1 else (1.0,)
        draws = [
            np.random.default_rng(seed).normal(size=self.size) * scales[seed % len(scales)] for seed in range(starts)
        ]
        ends = [self.descend(draw) for draw in draws]
        best = min(ends, key=lambda one: one.fun)
        for _ in range(3):  # a fresh memory of curvature takes the last digits
            best = min(best, self.descend(best.x.copy()), key=lambda one: one.fun)
        return best.fun, self.parts(best.x)

    def means(self, h: np.ndarray) -> np.ndarray:
        return np.stack([h[:, self.labels == j].mean(1) for j in range(self.k)], axis=1)


def lam(c: float, k: int, n: float, levels: int = 1) -> float:
    """One λ for all factors that gives the threshold quantity c (or γ)."""
    return c / k * n ** (-1 / (levels + 1))


SETTINGS = [
    *[a_spec(k, n, [d], lam(c, k, n) * r, lam(c, k, n) / r, b)
      for k, n, d, c, r, b in [
          (2, 3, 4, 0.2, 1.0, None), (3, 4, 3, 0.5, 3.0, None), (4, 3, 7, 0.8, 0.5, None), (5, 2, 6, 0.05, 1.0, None),
          (3, 4, 5, 1.2, 1.0, None), (2, 3, 4, 0.3, 2.0, 0.0), (4, 3, 6, 0.4, 1.0, 0.0), (4, 3, 3, 0.4, 1.0, 0.0),
          (3, 4, 5, 1.1, 1.0, 0.0), (3, 4, 5, 0.3, 1.0, 0.1), (3, 4, 5, 0.3, 2.0, 0.5), (4, 2, 5, 0.3, 1.0, 3.0),
          (4, 3, 4, 0.2, 0.5, 40.0), (4, 3, 2, 0.3, 1.0, None), (5, 2, 4, 0.5, 2.0, None), (5, 3, 3, 0.2, 1.0, 0.0),
          (3, 4, 5, 0.3, 1.0, 0.4286),
      ]],
    *[a_spec(len(sizes), sizes, [6], 0.03, 0.02) for sizes in ([2, 6, 3], [9, 1, 4], [12, 2])],
    *[a_spec(k, n, widths, [lam(c, k, n, len(widths))] * len(widths), lam(c, k, n, len(widths)), b)
      for k, n, widths, c, b in [
          (2, 3, [3, 4], 0.15, None), (3, 2, [4, 4], 0.25, None), (3, 3, [5, 3], 0.1, 0.0), (3, 2, [4, 4], 0.1, 0.5),
          (3, 2, [4, 5, 4], 0.1, None), (3, 3, [4, 4], 0.5, None), (3, 2, [4, 2], 0.2, None),
          (2, 3, [3, 3, 3], 0.1, 0.0),
      ]],
    *[a_spec(k, n, widths, [lam(c, k, n, len(widths)) * r, *[lam(c, k, n, len(widths))] * (len(widths) - 2),
                            lam(c, k, n, len(widths)) / r], lam(c, k, n, len(widths)), b)
      for k, n, widths, c, r, b in [
          (3, 2, [4, 4], 0.2, 1.5, 0.3), (3, 2, [4, 4], 0.2, 0.7, 2.0), (4, 1, [3, 5], 0.2, 1.0, 1.0),
          (4, 2, [2, 5], 0.1, 1.0, 0.5), (3, 1, [4, 3, 4], 0.12, 2.0, 0.8), (3, 2, [4, 4], 0.39, 1.0, None),
          (3, 2, [4, 4, 4], 0.3, 1.0, None), (4, 2, [4, 3], 0.15, 3.0, 0.0), (3, 1, [3, 3, 3, 3], 0.08, 1.0, None),
      ]],
    *[a_spec(len(sizes), sizes, widths, 0.02, 0.01, b)
      for sizes, widths, b in [
          ([2, 5, 3], [5, 5], None), ([1, 6, 3], [4, 4], None), ([2, 5, 3], [5, 2], None), ([1, 4, 2], [4, 4, 4], None),
          ([2, 5, 3], [5], 0.0), ([1, 7, 1, 4], [5], 0.0), ([2, 5, 3], [4, 4], 0.0), ([2, 5, 3, 3], [2], 0.0),
          ([3, 1, 4, 4], [5], None), ([20, 1, 1, 9], [4], None),
      ]],
    *[a_spec(k, n, [d], lam(c, k, n) * r, lam(c, k, n) / r, b, loss="cross_entropy")
      for k, n, d, c, r, b in [
          (2, 3, 3, 0.1, 1.0, None), (3, 4, 4, 0.3, 2.0, None), (4, 3, 3, 0.6, 1.0, 0.0), (3, 3, 5, 0.3, 0.5, 0.1),
          (3, 3, 5, 1.2, 1.0, None),
      ]],
]  # fmt: skip


def test_there_are_at_least_twenty_five_settings():
    assert len(SETTINGS) >= 25


@pytest.mark.parametrize(
    "spec", SETTINGS, ids=lambda s: f"{s.loss}-{s.model.widths}-{s.model.bias}-{s.model.class_sizes}"
)
def test_the_closed_form_is_what_an_independent_optimiser_finds(spec):
    problem, predicted = Problem(spec), predict(spec)
    value, (h, *weights, b) = problem.minimum(16 if len(spec.model.widths) > 1 else 4)
    assert value == pytest.approx(predicted.objective, rel=1e-9)
    assert predicted.global_minimum is True
    if predicted.gram is None:
        assert any("open" in note for note in predicted.notes)
        return
    near = {"rtol": 3e-5, "atol": 3e-5}
    product = problem.means(h)
    for w in weights:
        product = w @ product
    singular = np.linalg.svd(product, compute_uv=False)
    np.testing.assert_allclose(singular, predicted.singular_values, **near)
    np.testing.assert_allclose((weights[-1] ** 2).sum(1), predicted.weight_norm_sq, **near)
    np.testing.assert_allclose(weights[-1] @ weights[-1].T, predicted.weight_gram, **near)
    np.testing.assert_allclose(product, predicted.logits, **near)
    if spec.loss == "mse":
        np.testing.assert_allclose(b[:, 0], predicted.bias, **near)
    for j, w in enumerate(weights):
        layer, means = f"h{j + 1}", problem.means(h)
        np.testing.assert_allclose(means.T @ means, predicted.gram[layer], **near)
        np.testing.assert_allclose((means**2).sum(0), predicted.feature_norm_sq[layer], **near)
        found = measure(h.T, problem.labels, np.linalg.multi_dot([*weights[:j:-1], w, np.eye(len(h))]))
        for name, layers in predicted.levels.items():
            if layer in layers:
                assert found[name] == pytest.approx(layers[layer], abs=3e-4), name
        h = w @ h


@pytest.mark.parametrize(
    "spec",
    [
        a_spec(3, 2, [4, 4], [0.02, 0.01], 0.01),
        a_spec(4, 2, [5, 5, 5], 0.03, 0.02, bias=0.4),
        a_spec(3, 3, [4, 4], 0.01, 0.03, bias=0.0),
        a_spec(3, [2, 5, 3], [4, 4], 0.01, 0.02),
        a_spec(3, [2, 5, 3], [4, 4], 0.01, 0.02, bias=0.0),
    ],
    ids=["no bias", "deep, bias", "free bias", "unequal", "unequal, free bias"],
)
def test_every_rung_of_the_ladder_is_a_local_minimum(spec):
    """Descent from starts of low rank ends on rungs, on most of them, and comes back to them after a small push."""
    problem, rungs, found = Problem(spec), local_minima(spec), set()
    assert rungs[0][1] == pytest.approx(value_at_zero(spec), rel=1e-14)
    assert min(f for _, f in rungs) == pytest.approx(predict(spec).objective, rel=1e-14)
    for seed in range(40):
        rng = np.random.default_rng(seed)
        start = rng.normal(size=problem.size) * 0.6
        h, w, *_ = problem.parts(start)
        h[seed % (problem.k + 1) :] = w[:, seed % (problem.k + 1) :] = 0
        end = problem.descend(start)
        h, *weights, _ = problem.parts(end.x)
        product = np.linalg.multi_dot([*weights[::-1], problem.means(h)])
        singular = np.linalg.svd(product, compute_uv=False)
        on = int((singular > 1e-3 * max(singular[0], 1e-3)).sum())
        assert any(on == r and end.fun == pytest.approx(f, rel=1e-7) for r, f in rungs), (on, end.fun)
        back = problem.descend(end.x + rng.normal(size=problem.size) * 1e-3)
        assert back.fun == pytest.approx(end.fun, rel=1e-7)
        found.add(round(end.fun, 6))
    assert len(found) >= problem.k


def test_a_relu_model_attains_the_of_value_and_nothing_better_for_four_classes():
    spec = a_spec(4, 2, [5, 5], [lam(0.1, 4, 2, 2)] * 2, lam(0.1, 4, 2, 2), activation="relu")
    predicted = predict(spec)
    value, _ = Problem(spec).minimum(60)
    assert predicted.global_minimum is None  # never beaten, not proven
    assert value == pytest.approx(predicted.objective, rel=1e-6)


def test_a_class_mean_at_the_centre_has_no_predicted_angle():
    """Width 1: one direction, that of the two large classes, is on, and the means of the other three are equal."""
    levels = predict(a_spec(5, [8, 8, 6, 6, 5], [1], 0.02, 0.02, 0.0)).levels
    assert levels["norm_cv_h"]["h1"] == pytest.approx(math.sqrt(3 / 2), rel=1e-12)  # lengths (1, 1, 0, 0, 0)
    assert not {"angle_std", "angle_gap", "nc1", "cdnv"} & levels.keys()


def test_the_figures_of_the_paper():
    values = {name: predict(parse_spec(PRESETS[name].spec)) for name in ("fig1", "fig2", "fig3", "fig4")}
    c = 4 * math.sqrt(50 * 0.005 * 0.005)
    assert values["fig1"].objective == pytest.approx(c - c**2 / 2, rel=1e-14)
    assert values["fig1"].objective == pytest.approx(0.13142, abs=5e-6)
    assert values["fig2"].objective == pytest.approx(0.75 * (c - c**2 / 2), rel=1e-14)
    assert values["fig1"].levels["nc3_centered"]["h1"] == pytest.approx(0.517638, abs=5e-7)
    assert values["fig2"].levels["nc2_of"]["h1"] == pytest.approx(0.517638, abs=5e-7)
    assert values["fig3"].threshold.critical == pytest.approx(2 ** (-4 / 3), rel=1e-14)
    assert [value.regime for value in values.values()] == ["orthogonal_frame", "simplex_etf"] + ["orthogonal_frame"] * 2
    assert "h1" not in values["fig4"].levels["nc2_of"]


@pytest.mark.parametrize(
    "spec",
    [
        a_spec(3, [2, 3, 4], [5], 0.01, 0.01, bias=0.1),
        a_spec(3, 4, [5, 5], 0.01, 0.01, loss="cross_entropy"),
        a_spec(3, [2, 3, 4], [5, 5], 0.01, 0.01, loss="cross_entropy"),
        a_spec(3, [2, 3, 4], [1], 0.01, 0.01, loss="cross_entropy"),
        a_spec(5, 4, [2], 0.01, 0.01, loss="cross_entropy"),
        a_spec(3, 4, [5, 5], 0.01, 0.01, bias=0.0, activation="relu"),
        a_spec(3, [2, 3, 4], [5, 5], 0.01, 0.01, activation="relu"),
        a_spec(5, 4, [5, 3], 0.01, 0.01, activation="relu"),
        parse_spec({"model": {"kind": "mlp"}, "data": {"name": "digits"}}),
    ],
    ids=lambda s: f"{s.model.kind}-{s.loss}",
)
def test_what_is_not_known_is_null_and_a_note_says_why(spec):
    predicted = predict(spec)
    assert predicted.regime == "not_known"
    assert predicted.objective is predicted.gram is predicted.global_minimum is None
    assert len(predicted.notes) == 1


def test_a_missing_regulariser_leaves_the_norms_open():
    predicted = predict(a_spec(3, 4, [5], 0.01, 0.0))
    assert (predicted.regime, predicted.objective, predicted.feature_norm_sq) == ("unregularised", 0.0, None)
    assert predict(a_spec(3, 4, [5], 0.01, 0.0, loss="cross_entropy")).objective == 0.0


def test_a_relu_model_has_the_of_value_at_features_that_are_no_frame():
    """H₁ of Gram matrix ‖h₁‖² S, S PSD with unit diagonal and off-diagonals ≤ 0: here K = 4 as two antipodal pairs."""
    spec = a_spec(4, 1, [4, 4], 0.03, 0.02, activation="relu")
    predicted, problem = predict(spec), Problem(spec)
    (last,), h1, h2 = set(predicted.weight_norm_sq), predicted.feature_norm_sq["h1"], predicted.feature_norm_sq["h2"]
    pairs = np.array([[1, -1, 0, 0], [0, 0, 1, -1], [0, 0, 0, 0], [0, 0, 0, 0]]) * math.sqrt(h1)
    parts = [pairs, pairs.T * math.sqrt(h2) / h1, np.eye(4) * math.sqrt(last), np.zeros((4, 1))]
    value, gradient = problem(np.concatenate([part.ravel() for part in parts]))
    assert value == pytest.approx(predicted.objective, rel=1e-14)
    assert np.abs(gradient).max() < 1e-15
    found = measure(pairs.T, np.arange(4), parts[2] @ parts[1])
    assert found["nc2_of"] > 0.1
    assert "h1" not in predicted.levels["nc2_of"]
    assert predicted.levels["nc1"]["h1"] == 0.0


@pytest.mark.parametrize(
    "spec",
    [
        a_spec(5, 4, [6, 6], [lam(0.38, 5, 4, 2)] * 2, lam(0.38, 5, 4, 2), activation="relu"),
        a_spec(3, 4, [4, 4, 4], 0.01, 0.01, activation="relu"),
        a_spec(4, 2, [5, 5], 1.0, 1.0, activation="relu"),
        a_spec(40, 2, [50, 50], 1e-5, 1e-5, activation="relu"),
    ],
    ids=["K = 5", "M = 3", "zero", "K = 40"],
)
def test_a_relu_model_claims_a_global_minimum_only_where_none_better_is_to_be_feared(spec):
    predicted = predict(spec)
    assert predicted.global_minimum is None
    assert predicted.objective is not None
    assert any("not known" in note for note in predicted.notes)


def test_a_first_layer_needs_no_relu():
    """M = 1: the activation stands between layers only."""
    linear, relu = (predict(a_spec(3, 4, [5], 0.01, 0.02, activation=one)) for one in ("identity", "relu"))
    assert linear == relu


@pytest.mark.parametrize("c", [1e-3, 1e-7, 1e-12])
@pytest.mark.parametrize("levels", [1, 2, 5])
def test_tiny_regularisers_keep_their_digits(c, levels):
    """Against the root in 50 digits."""
    spec = a_spec(4, 7, [5] * levels, lam(c, 4, 7, levels), lam(c, 4, 7, levels))
    with mpmath.workdps(50):
        product = mpmath.mpf(spec.regularization.features)
        for decay in spec.weight_decays:
            product *= mpmath.mpf(decay)
        gamma, power = 4 * mpmath.root(7 * product, levels + 1), mpmath.mpf(levels - 1) / (levels + 1)
        t = mpmath.findroot(lambda t: t * (1 - t) ** power - gamma, gamma)
        value = t * (1 + levels * (1 - t)) / 2
        assert abs(predict(spec).objective / value - 1) < 1e-14


@pytest.mark.parametrize("levels", [1, 2, 3, 8])
def test_the_threshold_is_where_the_frame_stops_to_beat_zero(levels):
    def at(factor: float) -> Prediction:
        level = lam(critical * factor, 3, 5, levels)
        return predict(a_spec(3, 5, [4] * levels, level, level))

    critical = predict(a_spec(3, 5, [4] * levels, 0.01, 0.01)).threshold.critical
    below, above = at(1 - 1e-9), at(1 + 1e-9)
    assert (below.regime, above.regime) == ("orthogonal_frame", "zero")
    assert below.objective == pytest.approx(0.5, abs=1e-8)
    assert above.objective == 0.5
    assert "nc1" not in above.levels  # 0/0


def test_past_the_threshold_a_deep_model_has_frames_as_local_minima_above_zero():
    level = lam(0.4, 3, 2, 2)
    spec = a_spec(3, 2, [4, 4], level, level)
    assert predict(spec).regime == "zero"
    values = [f for _, f in local_minima(spec)]
    assert len(values) == 4
    assert values == sorted(values)
    assert values[0] == 0.5
    assert values[1] > 0.5
    beyond = lam(0.5, 3, 2, 2)
    assert local_minima(a_spec(3, 2, [4, 4], beyond, beyond)) == [(0, 0.5)]


def test_a_missing_regulariser_leaves_minimum_and_frame_open():
    for spec in (a_spec(3, 4, [5, 5], [0.0, 0.1], 0.1), a_spec(3, [4, 2, 2], [5], 0.1, 0.0)):
        predicted = predict(spec)
        assert (predicted.objective, predicted.gram, predicted.global_minimum) == (0.0, None, None)
        assert any("infimum" in note for note in predicted.notes)
    narrow = predict(a_spec(4, 3, [2], 0.0, 0.0))
    assert narrow.objective == pytest.approx(0.25)  # the best approximation of rank 2


def test_very_many_classes_are_answered_at_once():
    for sizes in (10, list(range(1, 10_001))):
        began = time.perf_counter()
        predicted = predict(a_spec(10_000, sizes, [10_000], 1e-6, 1e-6))
        assert len(predicted.model_dump_json()) < 10**6
        assert predicted.gram is None
        assert any("up to K" in note for note in predicted.notes)
        assert time.perf_counter() - began < 2
