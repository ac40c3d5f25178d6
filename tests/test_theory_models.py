"""Normalised features, depth, targets, laws and what `predict` says of them: against an optimiser and identities."""

import itertools
import math

import numpy as np
import pytest
import torch
from optimum import float64, least, norms
from torch.nn.functional import cross_entropy, log_softmax, normalize

from ncore.metrics import measure
from ncore.spec import parse_spec, with_changes
from ncore.theory import boundary_curves, predict
from ncore.theory.boundaries import Threshold, crossings, curve
from ncore.theory.contrastive import contrastive_minimum
from ncore.theory.convex_cross_entropy import (
    TOLERANCE,
)
from ncore.theory.deep_cross_entropy import candidates
from ncore.theory.label_noise import noisy_collapse, noisy_collapse_of_counts
from ncore.theory.nc0 import nc0_factors
from ncore.theory.normalized import normalized_minimum
from ncore.theory.packing import Block, pack
from ncore.theory.targets import solve_targets

FIXTURES = (float64,)


# --- normalised features, deep cross-entropy, targets ---


@pytest.mark.parametrize(
    ("k", "d", "tau"),
    [(3, 2, 1.0), (4, 3, 4.0), (6, 2, 2.0), (5, 2, 6.0), (7, 2, 0.7), (5, 3, 5.0), (4, 2, 3.0), (6, 4, 3.0)],
)
def test_normalised_features(k, d, tau):
    def objective(weight, features):
        return cross_entropy(tau * normalize(features) @ normalize(weight).T, torch.arange(k))

    value, _ = least(objective, [(k, d), (k, d)], starts=5, rounds=1)
    known = normalized_minimum(k, d, tau)
    assert known.objective == pytest.approx(value, rel=1e-9)
    assert known.proven == (d >= k - 1)
    assert normalized_minimum(9, 4, tau) is None


def test_normalised_features_have_the_values_of_the_page():
    assert normalized_minimum(3, 2, 1.0).objective == pytest.approx(0.368981135401, abs=1e-12)
    assert normalized_minimum(6, 2, 2.0).objective == pytest.approx(0.617155944313, abs=1e-12)
    best = normalized_minimum(5, 3, 5.0)
    assert (best.objective, best.sizes) == (pytest.approx(0.016708761219, abs=1e-12), (3, 2))


@pytest.mark.parametrize(
    ("k", "levels", "scale"), [(3, 2, 0.01), (4, 2, 0.01), (4, 2, 0.013), (6, 2, 0.01), (5, 3, 0.01)]
)
def test_deep_cross_entropy_ends_at_the_best_candidate(k, levels, scale):
    def objective(features, *weights):
        product = torch.linalg.multi_dot([*weights[::-1], features])
        return cross_entropy(product.T, torch.arange(k)) + norms(*((scale, part) for part in (features, *weights)))

    value, _ = least(objective, [(k, k)] * (levels + 1), starts=8, scale=0.8, rounds=1)
    best, *_ = candidates(k, levels, scale)
    assert best.objective == pytest.approx(value, rel=1e-7)


def test_deep_cross_entropy_has_the_values_of_the_page():
    by_name = {one.structure: one.objective for one in candidates(6, 2, 0.01)}
    assert (by_name["antipodal_pairs"], by_name["simplex_etf"]) == pytest.approx(
        (0.2354634308, 0.2522386656), abs=5e-11
    )
    assert candidates(5, 3, 0.01)[0].structure == "k_gon"
    assert candidates(5, 3, 0.01)[0].objective == pytest.approx(0.1829795706, abs=5e-11)
    names = [
        {one.structure: one.objective for one in candidates(4, 2, 0.0117604980793 + step)} for step in (-1e-9, 1e-9)
    ]
    assert [by["simplex_etf"] < by["antipodal_pairs"] for by in names] == [True, False]
    assert candidates(6, 2, 0.01, width=2)[0].structure == "k_gon"
    assert candidates(6, 2, 5.0)[0].structure == "zero"


def waves(t, n):
    return np.array(
        [[math.sin(1 + 3 * i + 0.7 * j) + 0.3 * math.cos(2 * j * (i + 1)) for j in range(n)] for i in range(t)]
    )


ROWS = [[1.0, -1.0, 0.0, 0.0], [0.0, 0.5, 0.5, -1.0]]
OFFSET = [[1.0, -1.0, 0.0, 0.0], [0.0, 0.0, 1.0, -1.0], [0.4, 0.4, 0.4, 0.4]]


@pytest.mark.parametrize(
    ("targets", "sizes", "ws", "h", "b", "d"),
    [
        (waves(2, 12), [1] * 12, [0.01], 0.002, 0.0, 4), (waves(3, 8), [1] * 8, [0.01, 0.01, 0.02], 0.01, 0.0, 4),
        (waves(2, 6), [1, 3, 2, 1, 1, 2], [0.02, 0.01], 0.01, None, 4),
        (np.array(ROWS), [2, 2, 1, 3], [0.03], 0.01, 0.0, 3),
        (np.array(ROWS), [2] * 4, [0.02, 0.02], 0.01, None, 1), (np.array(OFFSET), [2] * 4, [0.02], 0.03, 0.5, 4),
        pytest.param(np.array(OFFSET), [1] * 4, [0.02, 0.01], 0.01, 0.3, 4, marks=pytest.mark.nightly),
        (np.eye(3), [2] * 3, [0.02], 0.01, 0.4, 4),
        (np.array(ROWS) * 0.01, [2] * 4, [0.3], 0.1, None, 3),
    ],
)  # fmt: skip
def test_any_targets(targets, sizes, ws, h, b, d):
    n, total = torch.tensor(sizes, dtype=torch.float64), sum(sizes)
    y = torch.as_tensor(targets)

    def objective(means, *rest):
        *weights, bias = rest
        logits = torch.linalg.multi_dot([*weights[::-1], means]) + bias[:, None] * (b is not None)
        data = (((logits - y) ** 2) * n).sum() / (2 * total)
        return data + norms((h, means * n.sqrt()), (b or 0.0, bias), *zip(ws, weights, strict=True))

    shapes = [(d, len(sizes)), *[(d, d)] * (len(ws) - 1), (len(y), d), (len(y),)]
    value, (means, *weights, bias) = least(objective, shapes, starts=6, rounds=2)
    known = solve_targets(targets, sizes, ws, h, b, width=d)
    assert known.objective == pytest.approx(value, rel=1e-9)
    if b is not None:
        np.testing.assert_allclose(known.bias, bias, atol=2e-5)
    if known.unique:
        last = known.left * known.factor(ws[-1])
        np.testing.assert_allclose(last @ last.T, weights[-1] @ weights[-1].T, atol=5e-5)
        spread = known.right * known.factor(h)
        np.testing.assert_allclose(spread @ spread.T, (means * n.sqrt()).T @ (means * n.sqrt()), atol=5e-5)


def test_targets_have_the_values_of_the_page_and_say_where_nothing_is_known():
    assert solve_targets(waves(2, 12), [1] * 12, [0.01], 0.002, 0.0).objective == pytest.approx(
        0.019362354769, abs=1e-12
    )
    deep = solve_targets(waves(3, 15), [1] * 15, [0.01, 0.01, 0.02], 0.01, 0.0)
    assert deep.objective == pytest.approx(0.095557463848, abs=1e-12)
    assert solve_targets(waves(2, 12), [1] * 12, [0.01], 0.002, 0.3) is None


# --- laws and identities ---


@pytest.mark.parametrize(("momentum", "nesterov"), [(0.0, False), (0.9, False), (0.9, True), (0.5, True)])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_nc0_follows_a_network(momentum, nesterov, smoothing):
    """The updates are those of torch's documentation; the engine's own runs are tested against the law elsewhere."""
    torch.manual_seed(1)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4)).double()
    x, y, weight = torch.randn(40, 6), torch.randint(0, 4, (40,)), model[2].weight
    buffers = [torch.zeros_like(p) for p in model.parameters()]
    rates = [0.3 * 0.97**step for step in range(80)]
    start, seen = weight.detach().sum(0), []
    for rate in rates:
        rows = torch.randint(0, 40, (8,))
        loss = cross_entropy(model(x[rows]), y[rows], label_smoothing=smoothing)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        with torch.no_grad():
            for p, v, gradient in zip(model.parameters(), buffers, gradients, strict=True):
                pull = gradient + 0.02 * p
                v.mul_(momentum).add_(pull)
                p.sub_(rate * (pull + momentum * v if nesterov else v))
        seen.append(weight.detach().sum(0))
    law = nc0_factors(rates, 0.02, momentum=momentum, nesterov=nesterov)
    np.testing.assert_allclose(seen, np.outer(law[1:], start), rtol=1e-10, atol=1e-12)


def test_nc0_of_other_optimisers():
    rates = [0.1, 0.2, 0.05]
    decoupled = [1.0, 0.99, 0.99 * 0.98, 0.99 * 0.98 * 0.995]
    assert nc0_factors(rates, 0.1, optimizer="sgdw", momentum=0.9) == pytest.approx(decoupled, rel=1e-14)
    assert nc0_factors(rates, 0.1, optimizer="gd") == nc0_factors(rates, 0.1)
    assert nc0_factors(rates, 0.1, optimizer="adam") is nc0_factors(rates, 0.1, optimizer="adamw") is None


@pytest.mark.parametrize("frame", ["etf", "of"])
@pytest.mark.parametrize(("k", "flipped"), [(4, 1), (3, 2), (5, 3)])
def test_label_noise(frame, k, flipped):
    """`flipped` samples of each class go to each other class."""
    n = 20
    given = np.concatenate(
        [[k0] * (n - flipped * (k - 1)) + [j for j in range(k) if j != k0] * flipped for k0 in range(k)]
    )
    true = np.repeat(np.arange(k), n)
    means = np.eye(k) - (1 / k if frame == "etf" else 0)
    found = measure(means[given], true, means)
    known = noisy_collapse(k, flipped * (k - 1) / n)
    assert (found["nc1"], found["nc1_trace"]) == pytest.approx(known, rel=1e-10)
    counts = np.array([[np.sum((true == a) & (given == b)) for b in range(k)] for a in range(k)], dtype=float)
    assert noisy_collapse_of_counts(counts) == pytest.approx(known, rel=1e-10)


def test_label_noise_that_is_not_even():
    counts = np.array([[8.0, 1, 1], [2, 8, 0], [0, 1, 9]])
    given = np.concatenate([np.repeat(np.arange(3), row.astype(int)) for row in counts])
    found = measure((np.eye(3) - 1 / 3)[given], np.repeat(np.arange(3), 10), np.eye(3) - 1 / 3)
    assert noisy_collapse_of_counts(counts) == pytest.approx((found["nc1"], found["nc1_trace"]), rel=1e-10)


@pytest.mark.parametrize(("k", "n", "radius"), [(3, 3, 1.0), (4, 2, 1.5), (2, 3, 0.7)])
def test_the_contrastive_loss(k, n, radius):
    labels = torch.arange(k).repeat_interleave(n)
    same = (labels[:, None] == labels) & ~torch.eye(k * n, dtype=torch.bool)

    def objective(features):
        h = radius * normalize(features)
        log_p = log_softmax((h @ h.T).masked_fill(torch.eye(k * n, dtype=torch.bool), -1e9), 1)
        return -log_p[same].mean()

    assert contrastive_minimum(k, n, radius) == pytest.approx(least(objective, [(k * n, k)])[0], rel=1e-9)


def test_packing_is_the_best_of_all_packings():
    rng = np.random.default_rng(5)
    for _ in range(30):
        blocks = [
            Block(
                str(i), int(rng.integers(1, 4)), float(rng.normal()), (int(rng.integers(0, 3)), int(rng.integers(0, 3)))
            )
            for i in range(4)
        ]
        limits, classes = (int(rng.integers(0, 6)), int(rng.integers(0, 6))), 6
        values = [
            sum(b.value for b in some)
            for size in range(1, classes + 1)
            for some in itertools.combinations_with_replacement(blocks, size)
            if sum(b.classes for b in some) == classes
            and all(sum(b.takes[i] for b in some) <= limits[i] for i in range(2))
        ]
        found = pack(blocks, classes, limits)
        assert (found is None) == (not values)
        if found:
            assert found.value == pytest.approx(min(values), rel=1e-12)
            assert sum(blocks[int(name)].classes * count for name, count in found.blocks.items()) == classes


def test_boundaries_are_found_as_curves():
    xs, ys = [1e-3, 1e-2], np.geomspace(1e-4, 10, 60).tolist()
    for x, y in curve(lambda x, y: Threshold(name="xy", value=5, critical=2500 * x * y).excess, xs, ys):
        assert 2500 * x * y == pytest.approx(5, rel=1e-12)
    assert crossings(lambda a: Threshold(name="a", value=a, critical=1.0).excess, [0.0, 1.0, 2.0]) == [1.0]
    assert crossings(lambda a: a - 0.7, [0.0, 0.5, 1.0]) == pytest.approx([0.7], rel=1e-14)
    assert curve(lambda x, y: None, xs, ys) == []


# --- through predict(spec) ---


def a_body(**model):
    return {"model": {"classes": 4, "samples_per_class": 5, "widths": [6], **model}}


@pytest.mark.nightly
def test_every_boundary_is_where_the_prediction_changes():
    """The points of each curve, a little to either side: another regime, or a gap that closes."""
    xs, ys = [0.003, 0.01], np.geomspace(1e-5, 100, 50).tolist()
    weights, features, bias = ("regularization.weights", "regularization.features", "regularization.bias")
    cases = [
        (a_body(), weights, features, "c"),
        (a_body(widths=[6, 6]), weights, features, "gamma"),
        (a_body(bias=True), weights, bias, "lambda_b"),
        (a_body() | {"loss": {"kind": "cross_entropy", "label_smoothing": 0.2}}, weights, features, "c"),
        (a_body() | {"loss": {"kind": "focal"}}, weights, features, "c"),
        (a_body(samples_per_class=[20, 20, 3, 3]) | {"loss": "cross_entropy"}, weights, features, "n_B"),
        (a_body(samples_per_class=[20, 20, 3, 3]) | {"loss": "cross_entropy"}, weights, features, "mu"),
        (a_body(samples_per_class=[20, 12, 9, 3]), weights, features, "n_B"),
    ]
    for body, x, y, name in cases:
        points = boundary_curves(body, x, y, xs, ys)[name]
        assert len(points) == 2
        for at_x, at_y in points:
            sides = [predict(parse_spec(with_changes(body, {x: at_x, y: at_y * f}))).regime for f in (0.995, 1.005)]
            assert sides[0] != sides[1], (name, sides)


def test_one_hot_targets_are_the_plain_model():
    for extra in (
        {},
        {"bias": True},
        {"widths": [6, 5]},
        {"widths": [6, 5], "bias": True, "samples_per_class": [3, 5, 2, 2]},
    ):
        plain = predict(parse_spec(a_body(**extra)))
        given = predict(parse_spec(a_body(**extra, targets=np.eye(4).tolist())))
        assert given.objective == pytest.approx(plain.objective, rel=1e-13)
        for layer, gram in plain.gram.items():
            np.testing.assert_allclose(given.gram[layer], gram, atol=1e-12)
        for name, layers in plain.levels.items():
            assert given.levels[name] == pytest.approx(layers, abs=1e-9), name


def test_what_is_only_best_known_is_never_an_objective():
    bodies = [
        a_body(widths=[6, 6]) | {"loss": "cross_entropy"},
        a_body(classes=5, widths=[3], normalized=True) | {"loss": "cross_entropy"},
        a_body(classes=8, widths=[5, 5], activation="relu"),
    ]
    for body in bodies:
        predicted = predict(parse_spec(body))
        assert predicted.objective is predicted.global_minimum is None
        assert predicted.better_known.objective > 0
        assert predicted.better_known.source
    deep = predict(parse_spec(a_body(widths=[8] * 4, activation="relu", samples_per_class=1)))
    assert deep.global_minimum is False
    assert deep.better_known.objective < deep.objective


def test_unequal_cross_entropy_shows_its_certificate_and_the_limit():
    body = a_body(samples_per_class=[30, 10, 10, 2]) | {"loss": "cross_entropy"}
    predicted = predict(parse_spec(body))
    assert predicted.certificate <= TOLERANCE
    assert predicted.global_minimum is True
    assert set(predicted.limits["SELI"]) >= {"nc2_etf", "norm_cv_h"}
    tiny = {"regularization.weights": 1e-7, "regularization.features": 1e-7}
    near = predict(parse_spec(with_changes(body, tiny)))
    for name in ("norm_cv_h", "nc2_etf"):
        limit = predicted.limits["SELI"][name]["h1"]
        gaps = [abs(one.levels[name]["h1"] - limit) for one in (near, predicted)]
        assert gaps[0] < gaps[1]


def test_a_width_below_the_rank_of_the_solution_is_not_known_and_one_above_it_is():
    body = {"loss": "cross_entropy", "regularization": {"weights": 0.05, "features": 0.01}}
    collapsed = {"classes": 5, "samples_per_class": [24, 20, 1, 1, 1]}
    rank = predict(parse_spec({**body, **a_body(**collapsed)})).rank
    assert rank < 4
    assert predict(parse_spec({**body, **a_body(**collapsed, widths=[rank])})).rank == rank
    assert predict(parse_spec({**body, **a_body(**collapsed, widths=[rank - 1])})).regime == "not_known"
