"""The metrics against a slow, obvious version in 50 digits, their invariances, and the edges of their definition."""

import math
import warnings

import numpy as np
import pytest
import torch
from mpmath import mp, mpf

from ncore.metrics import (
    METRICS,
    WEIGHT_METRICS,
    Accumulator,
    level_metrics,
    measure,
)
from ncore.metrics.statistics import ClassStatistics

OF_FEATURES = set(METRICS)
OF_WEIGHT = set(WEIGHT_METRICS)
WITHOUT_MEANS = {"norm_cv_w", "nc0"}
"""What needs nothing of the features."""
OF_EQUAL_MEANS = {"nc2_of", "nc3", "rank", "effective_rank", "stable_rank", *WITHOUT_MEANS}
"""What is defined where all class means are the same: it is not centred."""

mp.dps = 50


def by_hand(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> dict[str, float]:
    """theory.md, word by word, in 50 digits: Σ_B⁺ = V D⁻¹ Vᵀ on the rank K − 1 through (CᵀC)'s inverse on a basis."""
    n, d = features.shape
    k = len(weight)
    x = [[mpf(float(v)) for v in row] for row in features]
    w = mp.matrix([[mpf(float(v)) for v in row] for row in weight])
    b = [mpf(float(v)) for v in bias]
    groups = [[x[i] for i in range(n) if labels[i] == c] for c in range(k)]
    means = [[sum(col) / len(g) for col in zip(*g, strict=True)] for g in groups]
    centre = [sum(col) / k for col in zip(*means, strict=True)]
    c = mp.matrix([[means[j][i] - centre[i] for j in range(k)] for i in range(d)])
    h = mp.matrix([[means[j][i] for j in range(k)] for i in range(d)])
    # Σ_B⁺ = K (C Cᵀ)⁺; C E has full column rank for E the first K − 1 columns less the last, and the same range
    e = c[:, : k - 1]
    inverse = mp.inverse(e.T * e)
    cc = c * c.T
    project = e * inverse * e.T  # onto the range of C
    pinv = project * mp.inverse(cc + (mp.eye(d) - project)) * project
    dev = [[x[i][q] - means[labels[i]][q] for q in range(d)] for i in range(n)]
    sw = mp.matrix(d, d)
    for row in dev:
        v = mp.matrix(row)
        sw += v * v.T
    sw /= n
    tr = lambda m: sum(m[i, i] for i in range(m.rows))  # noqa: E731
    fro = lambda m: mp.sqrt(sum(v**2 for v in m))  # noqa: E731
    unit = lambda m: m / fro(m)  # noqa: E731
    p = mp.eye(k) - mp.ones(k) / k
    norms = [mp.sqrt(sum(c[i, j] ** 2 for i in range(d))) for j in range(k)]
    rows = [mp.sqrt(sum(w[j, i] ** 2 for i in range(d))) for j in range(k)]
    gram = c.T * c
    pairs = [(i, j) for i in range(k) for j in range(k) if i != j]
    cosines = [gram[i, j] / (norms[i] * norms[j]) for i, j in pairs]
    mean = lambda v: sum(v) / len(v)  # noqa: E731
    std = lambda v: mp.sqrt(mean([(a - mean(v)) ** 2 for a in v]))  # noqa: E731
    v = [mean([sum(dev[i][q] ** 2 for q in range(d)) for i in range(n) if labels[i] == j]) for j in range(k)]
    apart = lambda i, j: sum((means[i][q] - means[j][q]) ** 2 for q in range(d))  # noqa: E731
    wrong = 0
    for row in x:
        scores = [sum(w[j, q] * row[q] for q in range(d)) + b[j] for j in range(k)]
        distances = [sum((row[q] - means[j][q]) ** 2 for q in range(d)) for j in range(k)]
        wrong += scores.index(max(scores)) != distances.index(min(distances))
    singular = list(mp.svd_r(h, compute_uv=False))
    shares = [q / sum(singular) for q in singular]
    unit_means = [[c[i, j] / norms[j] for i in range(d)] for j in range(k)]
    between = lambda i, j: mp.sqrt(sum((a - e) ** 2 for a, e in zip(unit_means[i], unit_means[j], strict=True)))  # noqa: E731
    logs = [-mp.log(between(i, j)) for i, j in pairs]
    aligned = [sum(w[j, i] * c[i, j] for i in range(d)) / rows[j] / norms[j] for j in range(k)]
    values = {
        "nc0": mp.sqrt(sum(sum(w[j, i] for j in range(k)) ** 2 for i in range(d))),
        "unc3": std(aligned) ** 2,
        "rank": mpf(sum(q > singular[0] / 1000 for q in singular)),
        "effective_rank": mp.exp(-sum(q * mp.log(q) for q in shares)),
        "stable_rank": sum(q**2 for q in singular) / singular[0] ** 2,
        "uniformity_mean": mean(logs),
        "uniformity_var": std(logs) ** 2,
        "nc1": tr(sw * pinv * k) / k,
        "nc1_trace": tr(sw) / (tr(cc) / k),
        "nc2_of": fro(unit(h.T * h) - mp.eye(k) / mp.sqrt(k)),
        "nc2_etf": fro(unit(gram) - p / mp.sqrt(k - 1)),
        "nc3": fro(unit(w) - unit(h.T)),
        "nc3_centered": fro(unit(w) - unit(c.T)),
        "norm_cv_h": std(norms) / mean(norms),
        "norm_cv_w": std(rows) / mean(rows),
        "angle_std": std(cosines),
        "angle_gap": mean([abs(a + mpf(1) / (k - 1)) for a in cosines]),
        "cdnv": mean([(v[i] + v[j]) / (2 * apart(i, j)) for i, j in pairs]),
        "nc4": mpf(wrong) / n,
    }
    return {name: float(value) for name, value in values.items()}


def sample(spread: float, offset: float, seed: int = 0, k: int = 4, n: int = 9, d: int = 6) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.repeat(np.arange(k), n))
    features = rng.normal(size=(k, d))[labels] + spread * rng.normal(size=(k * n, d)) + offset
    return features, labels, rng.normal(size=(k, d)), rng.normal(size=k)


def same(one: dict[str, float], other: dict[str, float], rel: float = 1e-9) -> None:
    """Relative, whatever the size; what is exactly 0 by definition may be rounding (two classes have one angle)."""
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert other[name] == pytest.approx(value, rel=rel, abs=0 if abs(value) > 1e-30 else 1e-15), name


def numbers(found: dict[str, float]) -> set[str]:
    """The names of what is not NaN."""
    return {name for name, value in found.items() if not math.isnan(value)}


@pytest.mark.parametrize("offset", [0.0, 1e3, 1e6])
@pytest.mark.parametrize("spread", [1.0, 1e-6, 1e-9])
def test_measure_and_the_accumulator_equal_the_slow_version_to_twelve_digits(spread, offset):
    """The oracle gets the same float64 numbers, so digits that the offset has rounded off are missing on both sides."""
    features, labels, weight, bias = sample(spread, offset)
    expected, found = by_hand(features, labels, weight, bias), measure(features, labels, weight, bias)
    same(expected, found, 1e-12)
    accumulator = Accumulator(4)
    for part in np.array_split(np.arange(len(labels)), 7):
        accumulator.update(features[part], labels[part])
    result = accumulator.result(weight)
    same({name: value for name, value in expected.items() if name != "nc4"}, result, 1e-12)


@pytest.mark.parametrize(
    ("k", "d", "sizes"), [(2, 3, (5, 2)), (3, 2, (1, 6, 3)), (5, 4, (4, 1, 2, 7, 3)), (7, 9, (3,) * 7)]
)
def test_unequal_classes_and_other_shapes_equal_the_slow_version(k, d, sizes):
    rng = np.random.default_rng(k)
    labels = rng.permutation(np.repeat(np.arange(k), sizes))
    features = rng.normal(size=(k, d))[labels] + 0.1 * rng.normal(size=(len(labels), d))
    weight, bias = rng.normal(size=(k, d)), 0.1 * rng.normal(size=k)
    same(by_hand(features, labels, weight, bias), measure(features, labels, weight, bias), 1e-12)


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e-120, 1e-80, 1e80, 1e120, 1e170, 1e300])
def test_features_of_any_scale_that_float64_holds_are_measured(scale):
    """Their squares and fourth powers are not numbers of float64."""
    features, labels, weight, bias = sample(0.4, 0.3)
    expected = measure(features, labels, weight, bias)
    same(expected | {"nc0": expected["nc0"] / scale}, measure(features * scale, labels, weight / scale, bias))
    same(expected, measure(features * scale, labels, weight, bias * scale))
    one, other = measure(torch.tensor(features).float(), labels), torch.tensor(features).float() * 2.0**100
    same(one, measure(other, labels))


def test_float32_features_are_measured_as_the_numbers_that_they_are():
    """Near collapse at an offset, where float32 sums are off by orders of magnitude."""
    features, labels, weight, bias = sample(1e-3, 100.0, n=3000, d=16)
    single = features.astype(np.float32)
    exact, found = measure(single.astype(np.float64), labels, weight, bias), measure(single, labels, weight, bias)
    for name, value in exact.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_float_type_of_torch_and_numpy(kind):
    features, labels, weight, bias = (torch.as_tensor(part) for part in sample(0.3, 0.0))
    rounded = features.to(kind)
    for name, value in measure(rounded.double(), labels, weight, bias).items():
        assert measure(rounded, labels, weight, bias)[name] == pytest.approx(value, rel=1e-12)
    assert measure(rounded.double().numpy(), labels.numpy(), weight.numpy(), bias.numpy()) == measure(
        rounded.double(), labels, weight, bias
    )


def test_invariant_to_rotation_permutation_and_scale():
    features, labels, weight, bias = sample(0.4, 0.3)
    before = measure(features, labels, weight, bias)
    rotation = np.linalg.qr(np.random.default_rng(1).normal(size=(6, 6)))[0]
    same(before, measure(features @ rotation, labels, weight @ rotation, bias))
    order = np.random.default_rng(2).permutation(len(labels))
    same(before, measure(features[order], labels[order], weight, bias))
    classes = np.array([2, 0, 3, 1])
    renamed = np.argsort(classes)
    same(before, measure(features, renamed[labels], weight[classes], bias[classes]))
    same(before | {"nc0": before["nc0"] * 1e-5}, measure(features * 1e5, labels, weight * 1e-5, bias))


def test_the_offset_matters_only_to_what_is_not_centred():
    features, labels, weight, bias = sample(0.4, 0.0)
    before, after = measure(features, labels, weight, bias), measure(features + 2.0, labels, weight, bias)
    changed = {name for name, value in before.items() if after[name] != pytest.approx(value, rel=1e-9)}
    not_centred = {"nc2_of", "nc3", "effective_rank", "stable_rank"}
    assert not_centred <= changed <= not_centred | {"nc4", "rank"}


def test_what_needs_a_missing_argument_is_absent():
    features, labels, weight, bias = sample(0.4, 0.0)
    assert set(measure(features, labels)) == OF_FEATURES
    assert set(measure(features, labels, weight)) == OF_FEATURES | OF_WEIGHT | {"nc4"}
    assert measure(features, labels, weight, bias)["nc4"] != measure(features, labels, weight, 50 * bias)["nc4"]


def test_undefined_is_nan_and_never_a_number():
    zeros, labels = np.zeros((12, 5)), np.arange(12) % 3
    assert numbers(measure(zeros, labels, np.zeros((3, 5)))) == {"nc0"}
    equal_means = measure(np.ones((12, 5)), labels, np.ones((3, 5)))
    assert math.isnan(equal_means["nc1"])
    assert math.isnan(equal_means["nc4"])
    assert not math.isnan(equal_means["nc2_of"])  # not centred: defined
    one_class = measure(np.random.default_rng(0).normal(size=(5, 3)), np.zeros(5, dtype=int), np.ones((1, 3)))
    assert numbers(one_class) == {"nc0"}


@pytest.mark.parametrize(("value", "k", "n"), [(0.1, 3, 4), (0.1, 7, 11), (1 / 3, 6, 5), (1e6 + 0.1, 3, 1)])
def test_equal_means_do_not_differ_by_rounding(value, k, n):
    """The mean of k equal numbers is not always that number: 3 · 0.1 / 3 is 0.10000000000000002."""
    labels, weight = np.arange(k * n) % k, np.random.default_rng(0).normal(size=(k, 5))
    found = measure(np.full((k * n, 5), value), labels, weight, margin=False)
    assert numbers(found) == OF_EQUAL_MEANS
    accumulator = Accumulator(k)
    accumulator.update(np.full((k * n, 5), value), labels)
    assert math.isnan(accumulator.result()["nc2_etf"])
    counts, means = torch.full((k,), float(n), dtype=torch.float64), torch.full((5, k), value, dtype=torch.float64)
    root = torch.ones(5, 8, dtype=torch.float64)
    found = level_metrics(ClassStatistics.from_root(counts, means, root, counts), torch.as_tensor(weight))
    assert numbers(found) == OF_EQUAL_MEANS


def test_classes_of_many_chunks_in_any_order_and_layout():
    """A chunk holds 512 rows of 512; the classes have 1400, 513, 512 and 75 samples."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), (1400, 513, 512, 75))
    features, weight = rng.normal(size=(4, 512))[labels] + 0.5 * rng.normal(size=(2500, 512)), rng.normal(size=(4, 512))
    means = np.stack([features[labels == k].mean(0) for k in range(4)])
    c = (means - means.mean(0)).T
    deviations = features - means[labels]
    distances = np.stack([np.square(features - mean).sum(1) for mean in means], axis=1)
    expected = {
        "nc1": np.square(deviations @ np.linalg.pinv(c, rcond=1e-10).T).sum() / 2500,
        "nc1_trace": np.square(deviations).sum() / 2500 / (np.square(c).sum() / 4),
        "nc4": np.mean((features @ weight.T).argmax(1) != distances.argmin(1)),
    }
    order = rng.permutation(2500)
    for x, y in (
        (features, labels),
        (features[order], labels[order]),
        (np.asfortranarray(features[order]), labels[order]),
    ):
        found = measure(x, y, weight)
        same(expected, {name: found[name] for name in expected}, 1e-12)


def test_one_mean_at_the_centre_has_no_angle_and_two_equal_means_no_distance():
    labels, weight = np.array([0, 0, 1, 1, 2, 2]), np.eye(3, 2)
    line = np.array([[-1.0, 0.5], [-1.0, -0.5], [0.0, 0.5], [0.0, -0.5], [1.0, 0.5], [1.0, -0.5]])
    found = measure(line, labels, weight)
    assert math.isnan(found["angle_std"])
    assert math.isnan(found["angle_gap"])
    assert found["norm_cv_h"] == pytest.approx(math.sqrt(0.5), rel=1e-14)
    assert found["nc1"] == 0.0  # all variance is across the line that the means span
    assert found["nc1_trace"] == pytest.approx(0.25 / (2 / 3), rel=1e-14)
    twins = np.array([[1.0, 1.0], [1.0, -1.0], [1.0, 2.0], [1.0, -2.0], [-2.0, 0.0], [-2.0, 0.0]])
    found = measure(twins, labels, weight)
    assert math.isnan(found["cdnv"])
    assert found["nc1_trace"] == pytest.approx((10 / 6) / (6 / 3), rel=1e-14)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_sample_that_is_not_finite_makes_its_means_undefined(value):
    features, labels, weight, bias = sample(0.4, 0.0)
    features[3, 2] = value
    assert numbers(measure(features, labels, weight, bias)) == WITHOUT_MEANS
    accumulator = Accumulator(4)
    accumulator.update(features, labels)
    assert numbers(accumulator.result(weight)) == WITHOUT_MEANS


def test_a_weight_that_is_not_finite_leaves_the_features_metrics():
    features, labels, weight, bias = sample(0.4, 0.0)
    weight[1, 1] = math.inf
    found = measure(features, labels, weight, bias)
    assert numbers(found) == OF_FEATURES


def test_two_classes_and_one_sample_a_class():
    features, labels, weight, bias = sample(0.5, 0.0, k=2)
    same(by_hand(features, labels, weight, bias), measure(features, labels, weight, bias))
    features, labels, weight, bias = sample(0.5, 0.0, n=1)
    found = measure(features, labels, weight, bias)
    assert (found["nc1"], found["nc1_trace"], found["cdnv"]) == (0.0, 0.0, 0.0)
    assert found["nc2_etf"] == pytest.approx(by_hand(features, labels, weight, bias)["nc2_etf"], rel=1e-9)


def test_an_empty_class_makes_what_depends_on_its_mean_undefined():
    features, labels, _, _ = sample(0.4, 0.0)
    weight = np.random.default_rng(0).normal(size=(5, 6))  # a fifth class without samples
    found = measure(features, labels, weight)
    assert numbers(found) == WITHOUT_MEANS
    assert found["norm_cv_w"] > 0


def test_a_label_beyond_all_samples_is_a_class_without_samples_and_takes_no_memory():
    found = measure(np.ones((3, 2)), np.array([0, 1, 2**31 - 1]))
    assert set(found) == OF_FEATURES
    assert numbers(found) == set()


def test_the_accumulator_waits_for_a_class_that_comes_late():
    features, labels, weight, _ = sample(0.4, 0.0)
    accumulator, late = Accumulator(4), labels == 3
    accumulator.update(features[~late], labels[~late])
    assert numbers(accumulator.result(weight)) == WITHOUT_MEANS
    accumulator.update(features[late], labels[late])
    expected = measure(features, labels, weight)
    same({name: value for name, value in expected.items() if name != "nc4"}, accumulator.result(weight), 1e-12)


def test_more_classes_than_features():
    features, labels, weight, bias = sample(0.2, 0.0, k=6, d=3)
    found = measure(features, labels, weight, bias)
    c = np.stack([features[labels == j].mean(0) for j in range(6)]).T
    c -= c.mean(1, keepdims=True)
    inverse = np.linalg.pinv(c @ c.T / 6)
    within = sum(np.cov(features[labels == j].T, bias=True) for j in range(6)) / 6
    assert found["nc1"] == pytest.approx(np.trace(within @ inverse) / 6, rel=1e-9)


def test_a_batch_measures_each_member_for_itself_and_nan_stays_where_it_is():
    rng = torch.Generator().manual_seed(0)
    means = torch.randn(3, 5, 4, dtype=torch.float64, generator=rng)
    root = torch.randn(3, 5, 7, dtype=torch.float64, generator=rng)
    weight = torch.randn(3, 4, 5, dtype=torch.float64, generator=rng)
    means[1] = 0
    means[2, 0, 0] = torch.nan
    counts = torch.full((3, 4), 10.0, dtype=torch.float64)
    within = torch.ones(3, 4, dtype=torch.float64)
    batch = level_metrics(ClassStatistics.from_root(counts, means, root, within), weight)
    alone = level_metrics(ClassStatistics.from_root(counts[0], means[0], root[0], within[0]), weight[0])
    for name, value in batch.items():
        assert value.shape == (3,)
        assert float(value[0]) == pytest.approx(float(alone[name]), rel=1e-12)
        if name not in ("norm_cv_w", "nc0"):  # of the weight alone
            assert bool(value[1:].isnan().all()), name


def test_numpy_arrays_of_any_layout_are_read_without_a_warning():
    features, labels, weight, bias = sample(0.1, 0.0)
    expected = measure(features, labels, weight, bias)
    locked = features.copy()
    locked.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for same_numbers in (
            locked,
            features.astype(">f8"),
            features.astype(np.longdouble),
            np.asfortranarray(features),
        ):
            same(expected, measure(same_numbers, labels.astype(np.uint8), weight, bias), 1e-14)
        same(expected, measure(features[::-1], labels[::-1].astype(">i2"), weight, bias), 1e-12)
        same(expected, measure(torch.tensor(features, requires_grad=True), torch.tensor(labels), weight, bias), 1e-14)


def test_measuring_warns_of_nothing():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measure(*sample(0.1, 0.0))
