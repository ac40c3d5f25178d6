"""Verdicts of real short runs, and of last measurements made by hand where a run would take long."""

import math
import re

import pytest

from ncore.presets import PRESETS
from ncore.run import Measurement
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


def test_cross_entropy_ends_at_the_simplex_etf_or_at_zero():
    changes = {"loss": "cross_entropy", "seeds": [0, 1], "model.samples_per_class": 5, "optimizer.learning_rate": 1.0}
    for bias in (False, True):
        found = of_run(
            "fig1", **changes, **{"model.bias": bias, "regularization.weights": 0.02, "optimizer.steps": 6000}
        )
        assert [one["reached"] for one in found] == ["simplex_etf"] * 2
        assert all(one["rank"] == 3 and abs(one["gap"]) < 1e-8 for one in found)
    found = of_run("fig1", **changes, **{"regularization.weights": 0.2, "regularization.features": 0.2})
    assert [(one["reached"], one["rank"]) for one in found] == [("zero", 0)] * 2


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
    assert one["objective"] is one["gap"] is None  # the row and the answer are JSON


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


def synthetic(spec, **values) -> dict:
    (one,) = verdicts(
        spec, [Measurement(0, 1, {(k, None) if k in GLOBAL else (k, "h2"): v for k, v in values.items()})]
    )
    return one


GLOBAL = ("objective", "rank", "grad_norm", "dead_samples", "vanished_samples")


def test_every_rung_is_named_with_a_bias_too():
    spec = parse_spec(with_changes(PRESETS["fig3"].spec, {"model.bias": True}))
    star = predict(spec).objective
    for rank, objective in local_minima(spec):
        one = synthetic(spec, objective=objective, rank=float(rank), nc1=0.0, nc2_of=0.517638, nc2_etf=0.0)
        assert one["reached"] == ("zero" if rank == 0 else "rank_deficient" if rank < 3 else "simplex_etf")
        assert one["gap"] == pytest.approx(objective / star - 1, abs=1e-15)


def test_a_frame_that_is_only_a_local_minimum_is_named_and_said_to_be_one():
    """γ_c < γ: the orthogonal frame still holds a run that begins near it."""
    spec = parse_spec(with_changes(PRESETS["fig3"].spec, {"regularization.weights": [0.1414, 0.1414]}))
    assert predict(spec).threshold.value > predict(spec).threshold.critical
    (rank, objective) = local_minima(spec)[-1]
    assert rank == 4
    one = synthetic(spec, objective=objective, rank=4.0, nc1=0.0, nc2_of=0.0, nc2_etf=0.0)
    assert one["reached"] == "orthogonal_frame"
    assert "local minimum" in one["note"]


def test_a_single_layer_stuck_at_zero_is_at_a_saddle():
    spec = parse_spec(PRESETS["fig1"].spec)
    (one,) = verdicts(spec, [Measurement(0, 1, {("objective", None): 0.5, ("rank", None): 0.0})])
    assert one["reached"] == "zero"
    assert "saddle" in one["note"]


def test_metrics_that_are_nan_or_absent_decide_nothing():
    spec = parse_spec(PRESETS["fig4"].spec)
    star, nan = predict(spec).objective, math.nan
    one = synthetic(spec, objective=star, rank=nan, nc1=nan, nc2_of=nan, nc2_etf=nan, dead_samples=nan)
    assert (one["reached"], one["rank"], one["dead_samples"]) == ("not_converged", None, None)
    assert synthetic(spec, objective=star)["reached"] == "not_converged"


def test_what_is_not_predicted_is_between_once_it_is_at_rest():
    sizes = {"model.samples_per_class": [50, 40, 60, 30], "model.bias": True, "regularization.bias": 0.1}
    (early,) = of_run("fig1", seeds=[0], **sizes, **{"optimizer.steps": 50})
    (late,) = of_run("fig1", seeds=[0], **sizes)
    assert (early["reached"], late["reached"]) == ("not_converged", "between")
    assert early["predicted"] is late["gap"] is None
    assert "at rest" in late["note"]


def test_unequal_classes_with_a_free_bias_meet_their_prediction():
    (one,) = of_run("fig1", seeds=[0], **{"model.samples_per_class": [50, 40, 60, 30], "model.bias": True})
    assert one["reached"] == "between"
    assert one["gap"] == pytest.approx(0, abs=1e-9)


def test_widths_below_the_number_of_classes_reach_their_minimum():
    (one,) = of_run("fig1", seeds=[0], **{"model.widths": [3]})
    assert (one["reached"], one["rank"]) == ("rank_deficient", 3)
    assert one["gap"] == pytest.approx(0, abs=1e-8)


def test_frames_of_very_many_classes_are_distinguished():
    """δ_K falls like K^{−1/2}: at K = 10⁴ the frames are 0.01 apart."""
    spec = parse_spec({"model": {"kind": "resnet"}, "data": {"name": "mnist"}})
    delta = math.sqrt(2 - 2 * math.sqrt(1 - 1e-4))
    for of, frame in ((0.0, "orthogonal_frame"), (delta, "simplex_etf"), (delta / 2, "between")):
        values = {("nc1", "layer4"): 0.0, ("nc2_etf", "layer4"): 0.0, ("nc2_of", "layer4"): of}
        (one,) = verdicts(spec, [Measurement(0, 1, values | {("objective", None): 0.1})], 10_000)
        assert one["reached"] == frame


def of_ranks(spec, inner, **values) -> dict:
    """A verdict on a measurement with these ranks of W_jH_j below the last, put together by hand."""
    known = {("rank_before", f"h{j + 2}"): float(rank) for j, rank in enumerate(inner)}
    known |= {(name, None): float(value) for name, value in values.items()}
    return verdicts(spec, [Measurement(0, 1, known)])[0]


def test_deep_relu_models_are_named_by_their_ranks_and_findings_are_said_to_be_ones():
    spec = parse_spec(PRESETS["low-rank-bias"].spec)
    predicted = predict(spec)
    frame, best = predicted.objective, predicted.better_known.objective
    assert predicted.global_minimum is False
    assert best < frame
    graph = of_ranks(spec, (5, 5, 5), rank=10, objective=best)
    assert graph["reached"] == "srg_like"
    assert "finding" not in graph["note"]
    low = of_ranks(spec, (6, 6, 9), rank=10, objective=(best + frame) / 2)
    assert low["reached"] == "low_rank"
    assert "6, 6, 9" in low["note"]
    assert "finding" in of_ranks(spec, (6, 6, 9), rank=10, objective=0.99 * best)["note"]
    other = of_ranks(spec, (10, 10, 10), rank=10, objective=0.99 * best)
    assert (other["reached"], "finding" in other["note"]) == ("other", True)
    frame_of_all = of_ranks(spec, (10, 10, 10), rank=10, objective=frame)
    assert frame_of_all["reached"] == "orthogonal_frame"
    assert "not the global minimum" in frame_of_all["note"]
    ladder = dict(local_minima(spec))
    assert of_ranks(spec, (4, 4, 4), rank=4, objective=ladder[4])["reached"] == "rank_deficient"


def test_the_minority_collapse_preset_shows_it_and_smaller_regularisers_do_not():
    (collapsed,) = of_run("minority-collapse", seeds=[0])
    assert (collapsed["reached"], collapsed["rank"]) == ("minority_collapse", 3)
    assert collapsed["gap"] < 1e-3
    changes = {"regularization.weights": 0.02, "regularization.features": 0.0005}
    apart = predict(parse_spec(with_changes(PRESETS["minority-collapse"].spec, changes)))
    assert (apart.regime, apart.rank) == ("unequal_classes", 5)


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (
            {"loss": "cross_entropy", "model.classes": 6, "model.widths": [6, 6]},
            {"antipodal_pairs", "simplex_etf", "zero"},
        ),
        ({"loss": "cross_entropy", "model.classes": 5, "model.widths": [5, 5, 5]}, {"k_gon", "orthogonal_simplices"}),
    ],
)
def test_candidates_of_deep_cross_entropy_are_named(changes, names):
    """Each candidate's value is named; in between nothing is, and below all of them it is a finding."""
    spec = parse_spec(
        with_changes(PRESETS["fig3"].spec, {"loss": "cross_entropy", **changes, "regularization.weights": 0.01})
    )
    known = predict(spec)
    assert known.objective is known.global_minimum is None
    assert of_ranks(spec, (), rank=3, objective=known.better_known.objective)["reached"] in names
    below = of_ranks(spec, (), rank=3, objective=0.9 * known.better_known.objective)
    assert (below["reached"], "finding" in below["note"]) == ("other", True)


def test_structures_on_spheres_are_named():
    for width, name in ((2, "k_gon"), (3, "orthogonal_simplices"), (4, "simplex_etf")):
        body = {
            "model": {"classes": 5, "samples_per_class": 2, "widths": [width], "normalized": True, "temperature": 4.0}
        }
        spec = parse_spec({**body, "loss": "cross_entropy"})
        known = predict(spec)
        best = known.objective or known.better_known.objective
        assert of_ranks(spec, (), rank=width, objective=best)["reached"] == name


def test_label_noise_is_judged_by_the_labels_that_were_given():
    (one,) = of_run("fig2", seeds=[0], **{"model.label_noise": 0.24, "optimizer.steps": 20_000})
    assert one["reached"] == "simplex_etf"
    assert abs(one["gap"]) < 1e-5
