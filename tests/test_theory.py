"""Every closed form against an independent optimiser (scipy's L-BFGS) on the objective as theory.md writes it."""

import math

import numpy as np
import pytest
from scipy.optimize import minimize

from ncore.presets import PRESETS
from ncore.spec import UfmSpec, parse_spec
from ncore.theory import predict


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

    def minimum(self, starts: int = 6) -> tuple[float, list[np.ndarray]]:
        size = sum(a * b for a, b in self.shapes)
        options = {"maxiter": 20_000, "maxfun": 40_000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30}
        found = []
        for seed in range(starts):
            theta = np.random.default_rng(seed).normal(size=size)
            theta[-self.k :] = 0
            found.append(minimize(self, theta, jac=True, method="L-BFGS-B", options=options))
        best = min(found, key=lambda one: one.fun)
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
    a_spec(3, [2, 5, 3], [5, 5], 0.02, 0.02),
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
    assert value == pytest.approx(predicted.objective, rel=1e-6)
    product = problem.means(h)
    for w in weights:
        product = w @ product
    singular = np.linalg.svd(product, compute_uv=False)
    if predicted.gram is None:
        assert any("open" in note for note in predicted.notes)
        return
    near = {"rtol": 2e-3, "atol": 2e-3}
    np.testing.assert_allclose(singular[: spec.model.classes], predicted.singular_values[: len(singular)], **near)
    np.testing.assert_allclose((weights[-1] ** 2).sum(1), predicted.weight_norm_sq, **near)
    for j in range(len(weights)):
        means = problem.means(h)
        np.testing.assert_allclose(means.T @ means, predicted.gram[f"h{j + 1}"], **near)
        np.testing.assert_allclose((means**2).sum(0), predicted.feature_norm_sq[f"h{j + 1}"], **near)
        h = weights[j] @ h
    if spec.loss == "mse":
        np.testing.assert_allclose(b[:, 0], predicted.bias, **near)


def test_a_relu_model_attains_the_of_value_and_nothing_better_for_four_classes():
    spec = a_spec(4, 2, [5, 5], [lam(0.1, 4, 2, 2)] * 2, lam(0.1, 4, 2, 2), activation="relu")
    predicted = predict(spec)
    value, _ = Problem(spec).minimum(60)
    assert predicted.global_minimum is True
    assert value == pytest.approx(predicted.objective, rel=1e-6)


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
        a_spec(3, [2, 3, 4], [5], 0.01, 0.01, bias=0.0),
        a_spec(3, 4, [5, 5], 0.01, 0.01, loss="cross_entropy"),
        a_spec(3, [2, 3, 4], [5], 0.01, 0.01, loss="cross_entropy"),
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


def test_a_relu_model_of_many_classes_claims_no_global_minimum():
    spec = a_spec(5, 4, [6, 6], [lam(0.38, 5, 4, 2)] * 2, lam(0.38, 5, 4, 2), activation="relu")
    assert predict(spec).global_minimum is None
    assert predict(spec).objective is not None
