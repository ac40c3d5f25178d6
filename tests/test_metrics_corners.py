"""Where class means nearly coincide, many classes, missing ones, merged accumulators: against the slow versions."""

import math

import numpy as np
import pytest
import torch
from test_metrics import by_hand, numbers, same, sample

from ncore.metrics import Accumulator, measure, pairs
from ncore.metrics.samples import Samples


def accumulated(features, labels, classes, parts, seed=0):
    accumulator = Accumulator(classes)
    for part in np.array_split(np.random.default_rng(seed).permutation(len(labels)), parts):
        accumulator.update(features[part], labels[part])
    return accumulator


def corner(kind: str, spread: float, seed: int) -> tuple[np.ndarray, ...]:
    """Four classes of eight, in six dimensions, whose noise has mean zero in each class up to rounding."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(4), 8)
    half = rng.normal(size=(4, 4, 6))
    noise = np.concatenate([half, -half], axis=1).reshape(32, 6)
    means = rng.normal(size=(4, 6))
    if kind == "centre":
        means[3] = means[:3].mean(0)
    if kind == "near centre":
        means[3] = means[:3].mean(0) + 1e-9 * rng.normal(size=6)
    if kind == "twins":
        means[1] = means[0] + 1e-8 * rng.normal(size=6)
    features = means[labels] + spread * noise
    if kind == "loud":
        features[:, 0] = 1e6 * noise[:, 0]
    return features, labels, rng.normal(size=(4, 6)), rng.normal(size=4)


@pytest.mark.parametrize("offset", [0.0, 100.0])
@pytest.mark.parametrize("spread", [0.1, 1e-9])
@pytest.mark.parametrize("kind", ["centre", "near centre", "twins", "loud"])
def test_corners_are_right_to_nine_digits_or_undefined_alike(kind, spread, offset):
    features, labels, weight, bias = corner(kind, spread, seed=int(offset))
    features += offset
    expected = by_hand(features, labels, weight, bias)
    found = measure(features, labels, weight, bias)
    others = [accumulated(features, labels, 4, parts, parts).result(weight) for parts in (1, 5, 32)]
    if kind == "centre":  # all that remains of the fourth direction is rounding
        assert numbers(found) >= {"nc1_trace", "nc2_of", "nc2_etf", "cdnv", "norm_cv_h"}
        assert not numbers(found) & {"nc1", "angle_std", "angle_gap", "uniformity_mean", "unc3"}
    else:
        assert numbers(found) == set(found)
    for name in numbers(found):
        assert found[name] == pytest.approx(expected[name], rel=1e-9), name
    for other in others:
        assert numbers(other) == numbers(found) - {"nc4"}
        for name in numbers(other):
            assert other[name] == pytest.approx(expected[name], rel=1e-9), name


def test_means_that_are_the_same_are_so_in_any_order_and_batches():
    rng = np.random.default_rng(0)
    half = rng.normal(size=(100, 5))
    features = np.concatenate([half, half[::-1], rng.normal(size=(100, 5)) + 1])
    labels = np.repeat(np.arange(3), 100)
    for found in (measure(features, labels), *(accumulated(features, labels, 3, p).result() for p in (1, 7, 300))):
        assert math.isnan(found["cdnv"])
        assert math.isnan(found["uniformity_mean"])
        assert not math.isnan(found["nc1_trace"])
        assert found["nc1"] > 0  # on the one direction that there is
    features = np.concatenate([half, -half, half - half[0], half[0] - half])[:, :3]
    labels = np.concatenate([np.zeros(100, int), np.zeros(100, int), np.ones(100, int), np.ones(100, int)])
    labels[200:300] = 2  # classes 1 and 2 are opposite, so that class 0, with mean zero, is at the global mean
    for found in (measure(features, labels), *(accumulated(features, labels, 3, p).result() for p in (1, 9))):
        assert math.isnan(found["angle_std"])
        assert math.isnan(found["angle_gap"])


def slow(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> dict[str, float]:
    """All metrics by full matrices of NumPy."""
    k = len(weight)
    means = np.stack([features[labels == j].mean(0) for j in range(k)])
    c = means - means.mean(0)
    deviations = features - means[labels]
    norms = np.linalg.norm(c, axis=1)
    pair = ~np.eye(k, dtype=bool)
    cosines = (c @ c.T / norms[:, None] / norms[None, :])[pair]
    squared = np.square(c[:, None] - c[None]).sum(2)
    unit = c / norms[:, None]
    logs = -np.log(np.sqrt(np.square(unit[:, None] - unit[None]).sum(2)[pair]))
    v = np.array([np.square(deviations[labels == j]).sum(1).mean() for j in range(k)])
    gram = lambda m: m @ m.T / np.linalg.norm(m @ m.T)  # noqa: E731
    p = np.eye(k) - 1 / k
    aligned = (weight * c).sum(1) / norms / np.linalg.norm(weight, axis=1)
    return {
        "nc1": np.square(deviations @ np.linalg.pinv(c.T, rcond=1e-10).T).sum() / len(features),
        "nc1_trace": np.square(deviations).sum() / len(features) / (np.square(c).sum() / k),
        "nc2_of": np.linalg.norm(gram(means) - np.eye(k) / math.sqrt(k)),
        "nc2_etf": np.linalg.norm(gram(c) - p / math.sqrt(k - 1)),
        "angle_std": cosines.std(),
        "angle_gap": np.abs(cosines + 1 / (k - 1)).mean(),
        "cdnv": ((v[:, None] + v[None]) / 2 / np.where(pair, squared, np.inf)).sum() / k / (k - 1),
        "uniformity_mean": logs.mean(),
        "uniformity_var": logs.var(),
        "unc3": aligned.var(),
        "nc4": slow_nc4(features, labels, weight, bias),
    }


def slow_nc4(features: np.ndarray, labels: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> float:
    means = np.stack([features[labels == j].mean(0) for j in range(len(weight))])
    distances = np.square(features).sum(1)[:, None] - 2 * features @ means.T + np.square(means).sum(1)
    return np.mean((features @ weight.T + bias).argmax(1) != distances.argmin(1))


@pytest.mark.parametrize(("k", "d", "close"), [(150, 12, 0), (150, 200, 40), (600, 9, 0), (600, 9, 300)])
def test_many_classes_by_tiles_are_what_full_matrices_give(k, d, close, monkeypatch):
    """Tiles of 64; some classes of one sample, and `close` of them so near to each other that products would cancel."""
    monkeypatch.setattr(pairs, "TILE", 64)
    rng = np.random.default_rng(k + d)
    labels = rng.permutation(np.concatenate([np.arange(k), rng.integers(0, k // 2, size=3 * k)]))
    means = rng.normal(size=(k, d))
    means[:close] = means[0] + 1e-3 * means[:close]
    features, weight, bias = (
        means[labels] + 1e-2 * rng.normal(size=(len(labels), d)),
        rng.normal(size=(k, d)),
        means[:, 0],
    )
    expected, found = slow(features, labels, weight, bias), measure(features, labels, weight, bias)
    result = accumulated(features, labels, k, 9).result(weight)
    for name, value in expected.items():
        assert found[name] == pytest.approx(value, rel=1e-9), name
        assert name == "nc4" or result[name] == pytest.approx(value, rel=1e-9), name


def test_decisions_between_equal_scores_are_those_of_float64():
    """Weights that differ from the means by less than float32 can see."""
    features, labels, _, _ = sample(0.8, 0.0, n=200)
    means = np.stack([features[labels == k].mean(0) for k in range(4)])
    bias = -np.square(means).sum(1) / 2
    assert measure(features, labels, means, bias)["nc4"] == 0
    nudged = means + 1e-9 * np.random.default_rng(0).normal(size=means.shape)
    for weight, biases in ((nudged, bias), (0 * means, 0 * bias), (nudged, bias + 1e12), (1e30 * nudged, 1e30 * bias)):
        assert measure(features, labels, weight, biases)["nc4"] == slow_nc4(features, labels, weight, biases)
    single = torch.tensor(features, dtype=torch.float32)
    assert measure(single, labels, means, bias)["nc4"] == slow_nc4(single.double().numpy(), labels, means, bias)


@pytest.mark.parametrize("missing", [[3], [0], [1, 4, 5]])
def test_present_classes_are_measured_as_if_there_were_no_others(missing):
    features, labels, weight, bias = sample(0.4, 0.1, k=6, d=5)
    present = [k for k in range(6) if k not in missing]
    kept = np.isin(labels, present)
    features, labels, renamed = features[kept], labels[kept], np.searchsorted(present, labels[kept])
    options = {"weight_decay": 0.01, "feature_decay": 0.02, "ood": features[:3] + 1}
    expected = measure(features, renamed, weight[present], bias[present], **options)
    expected["absent_classes"] = len(missing)
    same(expected, measure(features, labels, weight, bias, classes="present", **options), 1e-12)
    result = accumulated(features, labels, 6, 4).result(weight, bias, classes="present", **options)
    same({name: value for name, value in expected.items() if name != "nc4"}, result, 1e-12)
    assert numbers(measure(features, labels, weight, bias, margin=False)) == {"nc0", "norm_cv_w"}
    unweighted = measure(features, labels + 10**12, classes="present")
    assert unweighted["absent_classes"] == 10**12 + labels.max() + 1 - len(present)
    assert unweighted["nc1"] == pytest.approx(expected["nc1"], rel=1e-12)


@pytest.mark.parametrize("offset", [0.0, 1e6])
@pytest.mark.parametrize("spread", [1.0, 1e-9])
def test_merged_accumulators_are_one_in_any_order(spread, offset):
    """One class comes only in the last part, and one part is empty."""
    features, labels, weight, bias = sample(spread, offset, n=40)
    order = np.argsort(labels == 2, kind="stable")
    features, labels = features[order], labels[order]
    expected = by_hand(features, labels, weight, bias)
    for places in ((0, 1, 2, 3), (3, 1, 0, 2), (2, 3, 1, 0)):
        parts = [Accumulator(4)]
        for rows in np.array_split(np.arange(len(labels)), 3):
            parts.append(accumulated(features[rows], labels[rows], 4, 2, seed=places[0]))
        total = parts[places[0]]
        for place in places[1:]:
            total.merge(parts[place])
        assert total.counts.sum() == len(labels)
        same({name: value for name, value in expected.items() if name != "nc4"}, total.result(weight), 1e-12)


def test_accumulators_that_do_not_fit_are_not_merged():
    one, other = Accumulator(3), Accumulator(4)
    for wrong, message in ((other, "other has 4 classes, must have 3"), ("x", "other is a str")):
        with pytest.raises(ValueError, match=message):
            one.merge(wrong)
    one.update(np.eye(3), np.arange(3))
    wide = Accumulator(3)
    wide.update(np.eye(3, 5), np.arange(3))
    with pytest.raises(ValueError, match="other has d = 5, must have d = 3"):
        one.merge(wide)


def test_samples_in_any_chunks_give_the_same_statistics(monkeypatch):
    from ncore.metrics import chunks as module

    features, labels, weight, bias = sample(1e-3, 1e3, n=50)
    expected = measure(features, labels, weight, bias)
    monkeypatch.setattr(module, "CHUNK_NUMBERS", 1)
    monkeypatch.setattr(module, "PART_NUMBERS", 200)
    assert len(list(Samples(torch.tensor(features), torch.tensor(labels), 4)._parts(0))) == 7
    same(expected, measure(features, labels, weight, bias), 1e-12)


def test_the_benchmark_agrees_with_its_slow_reference_at_its_smallest():
    """Ratios mean nothing here; `run` raises where what it times is not what the reference says."""
    from benchmarks import metrics as benchmark

    assert len(benchmark.run(smallest=True)) == 6
    with pytest.raises(AssertionError, match=r"nc1 is 1\.1, the slow reference has 1"):
        benchmark.compare({"nc1": 1.0}, {"nc1": 1.1})
