"""Verdicts of real short runs, and of last measurements made by hand where a run would take long."""

import math
import re

import pytest

from ncore.measurement import Measurement
from ncore.presets import PRESETS
from ncore.spec import parse_spec, with_changes
from ncore.theory import local_minima, predict
from ncore.train import train
from ncore.verdict import verdicts


def of_run(name: str, **changes) -> list[dict]:
    spec = parse_spec(with_changes(PRESETS[name].spec, {"measure.points": 2, **changes}))
    return verdicts(spec, [m for m in train(spec) if m.step == spec.optimizer.steps])


def test_the_frames_of_figures_one_to_three():
    for name, frame in (("fig1", "orthogonal_frame"), ("fig2", "simplex_etf"), ("fig3", "orthogonal_frame")):
        found = of_run(name)
        assert [one["reached"] for one in found] == [frame] * 3
        assert [one["seed"] for one in found] == [0, 1, 2]
        assert all(abs(one["gap"]) < 1e-5 for one in found)


def test_a_finite_bias_decay_ends_between_the_frames():
    (one,) = of_run("fig2", seeds=[0], **{"regularization.bias": 0.3})
    assert one["reached"] == "between"
    assert one["gap"] == pytest.approx(0, abs=1e-8)


def test_zero_above_the_threshold():
    (one,) = of_run("fig1", seeds=[0], **{"regularization.features": 0.5})
    assert one["reached"] == "zero"


def test_a_short_run_has_not_converged():
    (one,) = of_run("fig1", seeds=[0], **{"optimizer.steps": 100})
    assert one["reached"] == "not_converged"
    assert one["gap"] > 1


def test_rank_deficient_minima_are_named_with_their_rank_and_lie_on_the_ladder():
    """A very small start of a deep model leaves directions switched off (theory.md)."""
    changes = {"model.init_scale": 0.01, "model.widths": [20, 20, 20], "regularization.weights": 0.01}
    changes |= {"regularization.features": 0.01, "optimizer.steps": 20_000}
    spec = parse_spec(with_changes(PRESETS["fig3"].spec, {**changes, "measure.points": 2}))
    found = of_run("fig3", **changes)
    assert all(one["reached"] == "zero" for one in found)
    values = {("objective", None): 0.0, ("rank", None): 3.0, ("nc1", "h3"): 0.0}
    objective = next(f for r, f in local_minima(spec) if r == 3)
    (one,) = verdicts(spec, [Measurement(0, 1, values | {("objective", None): objective})])
    assert (one["reached"], one["rank"]) == ("rank_deficient", 3)
    star = predict(spec).objective
    assert objective == pytest.approx(3 / 4 * star + 1 / 4 / 2)
    (one,) = verdicts(spec, [Measurement(0, 1, values | {("objective", None): 1.1 * objective})])
    assert one["reached"] == "not_converged"


def test_dead_samples_are_counted():
    found = of_run("fig4", seeds=[4], **{"model.init_scale": 0.1, "optimizer.steps": 30_000})
    assert found[0]["reached"] == "dead_samples"
    dead, vanished = (int(number) for number in re.findall(r"\d+", found[0]["note"]))
    assert found[0]["dead_samples"] == dead
    assert dead + vanished >= 1
    assert found[0]["gap"] > 0.01  # each of them costs about 1/(2N)


def test_unequal_classes_end_at_orthogonal_means_or_lose_the_small_ones():
    (one,) = of_run("fig1", seeds=[0], **{"model.samples_per_class": [50, 40, 60, 30]})
    assert one["reached"] == "between"
    assert "unequal" in one["note"]
    (one,) = of_run("fig1", seeds=[0], **{"model.samples_per_class": [100, 90, 3, 80], "regularization.features": 0.02})
    assert (one["reached"], one["rank"]) == ("rank_deficient", 3)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_numbers_that_are_not_finite_have_diverged(value):
    spec = parse_spec(PRESETS["fig1"].spec)
    (one,) = verdicts(spec, [Measurement(0, 10, {("objective", None): value, ("rank", None): math.nan})])
    assert (one["reached"], one["rank"]) == ("diverged", None)


def test_a_network_is_judged_by_its_last_layer_and_needs_the_number_of_classes():
    spec = parse_spec({"model": {"kind": "resnet"}, "data": {"name": "mnist"}})
    delta = math.sqrt(2 - 2 * math.sqrt(9 / 10))
    values = {
        ("objective", None): 0.1,
        ("nc1", "layer4"): 0.01,
        ("nc2_etf", "layer4"): 1e-3,
        ("nc2_of", "layer4"): delta,
    }
    assert verdicts(spec, [Measurement(0, 1, values)], 10)[0]["reached"] == "simplex_etf"
    assert verdicts(spec, [Measurement(0, 1, values | {("nc1", "layer4"): 0.5})], 10)[0]["reached"] == "not_converged"
    with pytest.raises(ValueError, match="classes"):
        verdicts(spec, [Measurement(0, 1, values)])
