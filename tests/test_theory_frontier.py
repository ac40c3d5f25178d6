"""Every formula beyond the paper against an independent optimiser (scipy's L-BFGS with autograd) on its objective."""

import itertools
import math

import numpy as np
import pytest
import torch
from optimum import float64, least, norms
from torch.nn.functional import cross_entropy, log_softmax

from ncore.kinds.losses import CrossEntropy, Focal, Mse
from ncore.theory.convex_cross_entropy import (
    TOLERANCE,
    collapse_threshold,
    seli,
    solve_cross_entropy,
    zero_threshold,
)
from ncore.theory.deep_relu import best_known, graph_value, is_optimal, kappa, of_value, three_value
from ncore.theory.direction import critical
from ncore.theory.etf_losses import (
    critical_product,
    fixed_head,
    free_head,
    smoothed_gap,
)

FIXTURES = (float64,)


# --- cross-entropy, classes of any size ---

CONVEX = [
    ([40, 20, 10, 2], 0.01, 0.002, None, 0.0),
    ([50, 50, 10, 10], 0.005, 0.005, None, 0.0),
    ([60, 10, 10, 10, 10], 0.01, 0.001, 0.1, 0.0),
    ([9, 9, 1, 1, 1], 0.05, 0.03, None, 0.0),
    ([9, 9, 1, 1, 1], 0.05, 0.03, 0.0, 0.0),
    ([12, 5, 2], 0.02, 0.01, 0.0, 0.0),
    ([12, 5, 2], 0.02, 0.01, 2.0, 0.1),
    ([7, 7, 7], 0.02, 0.01, None, 0.2),
    ([15, 3, 3, 1], 0.01, 0.02, None, 0.15),
    ([30, 1], 0.02, 0.01, 0.3, 0.0),
]


@pytest.mark.parametrize(("sizes", "w", "h", "b", "smoothing"), CONVEX)
def test_the_convex_solution_is_what_an_independent_optimiser_finds(sizes, w, h, b, smoothing):
    k, total = len(sizes), sum(sizes)
    n = torch.tensor(sizes, dtype=torch.float64)

    def objective(weight, means, bias):  # samples of a class are equal at the minimum: each mean counts n_k times
        logits = (weight @ means).T + bias * (b is not None)
        loss = cross_entropy(logits, torch.arange(k), reduction="none", label_smoothing=smoothing)
        return (n / total) @ loss + norms((w, weight), (h, means * n.sqrt()), (b or 0.0, bias))

    value, (weight, means, bias) = least(objective, [(k, k), (k, k), (k,)], rounds=4)
    solved = solve_cross_entropy(sizes, w, h, b, smoothing)
    assert solved.residual <= TOLERANCE
    assert solved.objective == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose(solved.feature_norm_sq, (means**2).sum(0), rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(solved.weight_norm_sq, (weight**2).sum(1), rtol=2e-5, atol=1e-7)
    np.testing.assert_allclose(solved.left @ solved.right.T, solved.logits, atol=1e-5)
    if b is not None:
        np.testing.assert_allclose(solved.bias, bias - bias.mean(), atol=2e-5)
    for size in set(sizes):
        places = [j for j in range(k) if sizes[j] == size]
        gaps = [float(torch.dist(weight[i], weight[j])) for i, j in itertools.combinations(places, 2)]
        assert all((gap < 1e-4) == (size in solved.collapsed) for gap in gaps)


def test_the_convex_solution_has_the_values_of_the_page():
    values = [solve_cross_entropy(sizes, w, h, b, s) for sizes, w, h, b, s in CONVEX[:3]]
    expected = [0.262123007594, 0.355834796422, 0.270952998915]
    np.testing.assert_allclose([value.objective for value in values], expected, atol=6e-13)
    np.testing.assert_allclose(
        values[0].feature_norm_sq, [1.229024251, 1.530791001, 1.853918672, 2.587604309], rtol=1e-7
    )
    np.testing.assert_allclose(values[2].bias, [0.158292904, *[-0.039573226] * 4], rtol=1e-7)


@pytest.mark.parametrize("bias", [None, *(pytest.param(bias, marks=pytest.mark.nightly) for bias in (0.0, 0.1))])
def test_a_hundred_different_classes_are_solved_to_the_certificate(bias):
    sizes = [round(500 * 0.01 ** (k / 99)) + k % 3 for k in range(100)]
    solved = solve_cross_entropy(sizes, 1e-4, 1e-5, bias)
    assert solved.residual <= TOLERANCE
    assert solved.rank == 99


@pytest.mark.parametrize("sizes", [[4, 4, 4], [20, 7, 3], [30, 2, 2, 2]])
@pytest.mark.parametrize("bias", [None, 0.0])
def test_all_is_zero_from_the_threshold_on(sizes, bias):
    mu = zero_threshold(sizes, bias is not None)
    ranks = [solve_cross_entropy(sizes, mu * factor, mu * factor, bias).rank for factor in (0.98, 1.02)]
    assert ranks[0] > 0
    assert ranks[1] == 0


@pytest.mark.parametrize("bias", [None, 0.0, 0.5])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_small_classes_collapse_at_the_threshold(bias, smoothing):
    sizes = [40, 40, 9, 4, 4, 4]
    root = math.sqrt(collapse_threshold(4, sum(sizes), smoothing))
    for factor, together in ((0.97, False), (1.03, True)):
        solved = solve_cross_entropy(sizes, root * factor, root * factor, bias, smoothing)
        gap = np.abs(solved.logits[4, 4] - solved.logits[5, 4])
        assert (gap < 1e-9) == together == (solved.collapsed == (4,))
        assert solved.residual <= TOLERANCE


def test_the_solution_tends_to_seli():
    sizes = [30, 30, 5, 5, 1]
    gram_w, gram_h = seli(sizes)
    seen = []
    for decay in (1e-3, 1e-5, 1e-7):
        solved = solve_cross_entropy(sizes, decay, decay)
        pairs = ((solved.left @ solved.left.T, gram_w), (solved.right @ solved.right.T, gram_h))
        seen.append(max(np.linalg.norm(a / np.linalg.norm(a) - b / np.linalg.norm(b)) for a, b in pairs))
    assert seen[0] > seen[1] > seen[2]
    assert seen[2] < 0.12


def smoothed_cross_entropy(k, smoothing=0.0):
    return CrossEntropy(label_smoothing=smoothing).profile(k)


def focal(k, gamma):
    return Focal(gamma=gamma).profile(k)


def squared(k):
    return Mse().profile(k)


# --- losses and heads along a simplex ETF ---


def focal_loss(logits, labels, gamma):
    log_p = log_softmax(logits, 1)[torch.arange(len(labels)), labels]
    return (-((1 - log_p.exp()) ** gamma) * log_p).mean()


def test_losses_have_the_values_of_the_page():
    smooth = free_head(smoothed_cross_entropy(4, 0.1), 50, 0.005, 0.005)
    assert (smooth.logit, smooth.objective) == pytest.approx((2.6077540617, 0.671927447158), rel=1e-10)
    focused = free_head(focal(4, 2.0), 50, 0.005, 0.005)
    assert (focused.logit, focused.objective) == pytest.approx((1.7446242359, 0.234882854856), rel=1e-10)
    fixed = fixed_head(smoothed_cross_entropy(4), 20, 0.001, 1.0)
    assert (math.sqrt(fixed.feature_norm_sq), fixed.objective) == pytest.approx(
        (3.0916069111, 0.143064159581), rel=1e-10
    )
    assert math.sqrt(fixed_head(squared(4), 20, 0.001, 1.0).feature_norm_sq) == pytest.approx(0.7389162562, rel=1e-9)


@pytest.mark.parametrize(
    ("k", "n", "w", "h", "smoothing", "gamma"),
    [
        (3, 2, 0.02, 0.01, 0.1, 0.0), (5, 3, 0.01, 0.03, 0.3, 0.0), (2, 4, 0.05, 0.02, 0.05, 0.0),
        (3, 2, 0.2, 0.2, 0.6, 0.0), (3, 2, 0.02, 0.01, 0.0, 2.0), (4, 3, 0.01, 0.005, 0.0, 1.0),
        (2, 3, 0.01, 0.02, 0.0, 3.5), (5, 1, 0.03, 0.03, 0.0, 0.5),
    ],
)  # fmt: skip
def test_a_free_head(k, n, w, h, smoothing, gamma):
    labels = torch.arange(k).repeat_interleave(n)

    def objective(weight, features):
        logits = features @ weight.T
        loss = focal_loss(logits, labels, gamma) if gamma else cross_entropy(logits, labels, label_smoothing=smoothing)
        return loss + norms((w, weight), (h, features))

    value, (weight, features) = least(objective, [(k, k), (k * n, k)], starts=8)
    known = free_head(focal(k, gamma) if gamma else smoothed_cross_entropy(k, smoothing), n, w, h)
    assert known.objective == pytest.approx(value, rel=1e-9)
    np.testing.assert_allclose((features**2).sum(1), known.feature_norm_sq, rtol=1e-4, atol=1e-7)
    np.testing.assert_allclose((weight**2).sum(1), known.weight_norm_sq, rtol=1e-4, atol=1e-7)
    if not gamma:
        assert known.logit == pytest.approx(smoothed_gap(k, k * math.sqrt(n * w * h), smoothing), rel=1e-12)


@pytest.mark.parametrize("profile", [smoothed_cross_entropy(4, 0.2), focal(3, 2.0), focal(5, 0.5), focal(10, 4.0)])
def test_zero_is_best_from_the_critical_product_on(profile):
    for factor, on in ((0.999, True), (1.001, False)):
        decay = critical_product(profile) * factor / profile.classes
        assert (free_head(profile, 1, decay, decay).logit > 0) == on


@pytest.mark.parametrize(
    ("k", "sizes", "h", "s", "loss"),
    [
        (3, [2, 2, 2], 0.01, 1.0, "cross_entropy"), (4, [3, 1, 2, 2], 0.005, 2.0, "cross_entropy"),
        (5, [1] * 5, 0.05, 0.5, "mse"), (3, [4, 1, 2], 0.02, 3.0, "mse"), (4, [1] * 4, 0.02, 1.5, "focal"),
        (3, [2] * 3, 0.01, 1.0, "smooth"),
    ],
)  # fmt: skip
def test_a_fixed_head(k, sizes, h, s, loss):
    labels = torch.arange(k).repeat_interleave(torch.tensor(sizes))
    weight = s * math.sqrt(k / (k - 1)) * (torch.eye(k) - 1 / k)

    def objective(features):
        logits = features @ weight.T
        data = {
            "cross_entropy": lambda: cross_entropy(logits, labels),
            "smooth": lambda: cross_entropy(logits, labels, label_smoothing=0.2),
            "focal": lambda: focal_loss(logits, labels, 2.0),
            "mse": lambda: ((logits - torch.eye(k)[labels]) ** 2).sum() / (2 * len(labels)),
        }
        return data[loss]() + norms((h, features))

    profiles = {"cross_entropy": smoothed_cross_entropy(k), "mse": squared(k), "focal": focal(k, 2.0)}
    value, (features,) = least(objective, [(sum(sizes), k)])
    known = fixed_head(profiles.get(loss, smoothed_cross_entropy(k, 0.2)), sum(sizes), h, s)
    assert known.objective == pytest.approx(value, rel=1e-10)
    expected = math.sqrt(known.feature_norm_sq) * weight[labels] / s
    np.testing.assert_allclose(features, expected, atol=1e-5)


# --- ReLU ---


def relu_objective(k, levels, gamma):
    decay = gamma / k

    def objective(features, *weights):
        for weight in weights[:-1]:
            features = torch.relu(weight @ features)
        return ((weights[-1] @ features - torch.eye(k)) ** 2).sum() / (2 * k)

    return lambda features, *weights: objective(features, *weights) + norms(*((decay, p) for p in (features, *weights)))


@pytest.mark.parametrize(
    ("vertices", "levels", "gamma"), [(4, 4, 0.05), (4, 3, 0.08), (4, 5, 0.1), (5, 4, 0.03), (7, 6, 0.02)]
)
def test_the_graph_solution_has_its_value(vertices, levels, gamma):
    """The best scale of each factor of the explicit solution. (It is a saddle: free descent from it goes lower.)"""
    edges = list(itertools.combinations(range(vertices), 2))
    k, r = len(edges), vertices
    incidence = np.array([[float(v in edge) for edge in edges] for v in range(r)])
    u, sigma, vt = np.linalg.svd(incidence, full_matrices=False)
    features, first = np.sqrt(sigma)[:, None] * vt, u * np.sqrt(sigma)
    last = (incidence.T @ incidence - 1) @ np.linalg.pinv(incidence)  # BᵀB − J, after which ReLU leaves the identity
    factors = [features, first, *[np.eye(r)] * (levels - 3), last, np.eye(k)]
    whole = relu_objective(k, levels, gamma)
    value, _ = least(
        lambda scales: whole(*(s * torch.as_tensor(f) for s, f in zip(scales, factors, strict=True))),
        [(levels + 1,)],
        first=[np.full(levels + 1, 0.7)],
    )
    assert value == pytest.approx(graph_value(r, gamma, levels), rel=1e-10)


def test_kappa_and_the_values_of_the_page():
    assert [kappa(4, m) for m in (3, 4, 5)] == pytest.approx([1.0561037220, 0.9632677196, 0.9059563967], rel=1e-10)
    assert of_value(0.05, 4) == pytest.approx(0.1237102041, abs=5e-11)
    assert graph_value(4, 0.05, 4) == pytest.approx(0.1192131207, abs=5e-11)
    assert three_value(0.1051832949, 4) == pytest.approx(0.2488438257, abs=5e-11)
    assert of_value(0.1051832949, 4) == pytest.approx(0.2570278733, abs=5e-11)


@pytest.mark.parametrize(("levels", "gamma"), [(4, 0.05), (5, 0.06)])
def test_the_block_of_three_is_reached_by_descent_on_the_whole_model(levels, gamma):
    """K = 3 and widths that leave it room; and with one class more on its own, K = 4."""
    shapes = [(4, 3), *[(4, 4)] * (levels - 1), (3, 4)]
    frame = np.zeros((4, 3))
    frame[:2] = [[1, 0, 0.9], [0, 1, 0.9]]
    rows = np.zeros((4, 4))
    rows[:, :2] = [[0.8, -0.8], [-0.8, 0.8], [0.7, 0.1], [0.1, 0.7]]
    shown = np.maximum(rows @ frame, 0)
    middle = [np.diag([1.0, 1, 0, 0])] * (levels - 2)
    first = [frame, *middle, rows, 0.9 * np.linalg.pinv(shown, rcond=1e-3)]
    value, parts = least(relu_objective(3, levels, gamma), shapes, first=first, rounds=1)
    assert three_value(gamma, levels) * (1 - 1e-9) <= value  # plain descent stops where some ReLU is just at 0
    assert value == pytest.approx(three_value(gamma, levels), rel=2e-4)
    assert three_value(gamma, levels) < of_value(gamma, levels)
    assert np.linalg.matrix_rank(parts[1] @ parts[0], 1e-4) == 2
    four = best_known(4, levels, gamma)
    assert four.objective == pytest.approx((3 * three_value(gamma, levels) + of_value(gamma, levels)) / 4, rel=1e-12)


@pytest.mark.parametrize("levels", [4, 6, 16])
def test_the_block_of_three_is_found_at_every_regularisation(levels):
    """For small γ the fit is exact and only norms count: the values are a share of OF's that no longer changes."""
    shares = [three_value(gamma, levels) / of_value(gamma, levels) for gamma in (1e-9, 1e-7, 1e-5, 1e-3, 0.03)]
    assert shares[1:3] == pytest.approx([shares[0]] * 2, rel=1e-5)
    assert all(after <= before * (1 + 1e-7) for before, after in itertools.pairwise(shares))
    assert three_value(0.01, levels) < three_value(0.01, levels, neurons=3) < of_value(0.01, levels)


def test_what_is_proven_of_relu_and_what_is_not():
    assert all(is_optimal(2, levels, gamma) is True for levels in (2, 3, 4, 7) for gamma in (0.05, 0.2, 0.9))
    assert all(is_optimal(k, levels, 0.05) is False for k in (3, 4, 6, 10) for levels in (4, 5, 6))
    assert all(is_optimal(k, levels, 0.05) is None for k in (3, 5, 10) for levels in (2, 3))
    assert is_optimal(3, 2, critical(2) + 0.01) is None


def test_two_classes_of_a_deep_relu_model_end_at_the_orthogonal_frame_or_above():
    for gamma in (0.1, 0.22):
        shapes = [(3, 2), (3, 3), (3, 3), (3, 3), (2, 3)]
        value, _ = least(relu_objective(2, 4, gamma), shapes, starts=12, scale=0.9)
        assert value >= of_value(gamma, 4) * (1 - 1e-9)


def test_narrow_widths_admit_fewer_classes():
    assert best_known(6, 4, 0.05, (4, 4, 4, 6)).structure == "SRG of 6 classes"
    below = best_known(3, 3, 0.1, (2, 2, 2))
    assert below.objective == pytest.approx((2 * of_value(0.1, 3) + 0.5) / 3, rel=1e-12)
    value, _ = least(relu_objective(3, 3, 0.1), [(2, 3), (2, 2), (2, 2), (3, 2)], starts=20)
    assert value <= below.objective * (1 + 1e-9)
