"""What a sweep may ask for: axes, zips and samples, what is refused of them, where theory's boundaries lie, how an
adaptive one goes on; and that the presets' runs lie on the side that theory says."""

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from api.web.bodies import parsed, sound
from ncore.client.bodies import sweep_body
from ncore.pictures.axes import Ordinate
from ncore.pictures.marks import beside
from ncore.pictures.sweep import Facet, View
from ncore.pictures.sweep_map import sweep_figure
from ncore.pictures.themes import THEMES, Layout
from ncore.spec import SpecError, with_changes
from ncore.sweeps.boundary import Theory, crossings, curves
from ncore.sweeps.plan import Plan, Refine, SweepRequest
from ncore.sweeps.presets import SWEEPS, expanded
from ncore.sweeps.quantity import Cell, Quantity
from ncore.sweeps.refine import Refinement, key_of
from ncore.sweeps.ruler import Ruler
from ncore.sweeps.summary import summary_of
from ncore.theory import boundaries_of, predict
from ncore.train import outcome
from ncore.ufm.run import UfmRun

W, H = "regularization.weights", "regularization.features"
BASE = {"preset": "fig1", "set": {"model.samples_per_class": 10, "model.widths": [8]}}


def plan(**forms) -> Plan:
    return Plan(parsed(SweepRequest, expanded(sound({"base": BASE, **forms} if "preset" not in forms else forms))))


def fault_of(**forms) -> dict:
    with pytest.raises(SpecError) as caught:
        specs_of(forms)
    return caught.value.errors[0]


def specs_of(forms) -> list:
    made = plan(**forms)
    return [made.spec(point) for point in made.points()]


def log(low, high, points):
    return {"from": low, "to": high, "points": points, "spacing": "log"}


@given(
    st.floats(1e-6, 1e6), st.floats(1e-6, 1e6), st.integers(2, 40), st.sampled_from(["log", "linear"])
)  # fmt: skip
@settings(max_examples=50, deadline=None)
def test_a_range_has_its_ends_and_equal_steps_or_ratios(low, high, points, spacing):
    if low == high:
        return
    axis = {"from": low, "to": high, "points": points, "spacing": spacing}
    values = plan(axes={"model.init_scale": axis}).axes["model.init_scale"]
    assert (values[0], values[-1]) == (low, high)
    shown = [math.log(value) for value in values] if spacing == "log" else values
    steps = [other - one for one, other in pairwise(shown)]
    assert steps == pytest.approx([(shown[-1] - shown[0]) / (len(values) - 1)] * len(steps), rel=1e-6, abs=1e-11)


def test_every_value_meets_every_other_paths_move_together_and_samples_fill_their_box():
    made = plan(axes={"seeds": {"from": 0, "to": 2, "points": 3}}, zip={W: log(0.01, 1, 3), H: [0.1, 0.2, 0.3]})
    points = list(made.points())
    assert [tuple(point.values()) for point in points[:4]] == [
        (0, 0.01, 0.1), (0, 0.1, 0.2), (0, 1.0, 0.3), (1, 0.01, 0.1),
    ]  # fmt: skip
    spec = made.spec(points[5])
    assert (spec.seeds, spec.regularization.weights, spec.regularization.features) == ((1,), 1.0, 0.3)
    box = {
        W: {"from": 0.001, "to": 1, "spacing": "log"},
        "loss": ["mse", "cross_entropy"],
        "model.classes": {"from": 2, "to": 9},
    }
    for method in ("random", "sobol"):
        sample = {"points": 128, "method": method, "box": box, "seed": 3}
        drawn = list(plan(sample=sample).points())
        assert drawn == list(plan(sample=sample).points())
        assert {point["loss"] for point in drawn} == {"mse", "cross_entropy"}
        assert all(0.001 <= point[W] <= 1 and point["model.classes"] in range(2, 10) for point in drawn)
    quarters = [int(4 * (math.log10(point[W]) + 3) / 3) for point in drawn]
    assert [quarters.count(i) for i in range(4)] == [32] * 4  # Sobol's points are even


def test_whole_numbers_are_rounded_where_a_field_takes_no_others_and_entries_of_lists_are_paths():
    values = plan(axes={"model.samples_per_class": log(1, 100, 30)}).axes["model.samples_per_class"]
    assert all(isinstance(value, int) for value in values)
    assert values == sorted(set(values))
    base = {"preset": "minority-collapse"}
    made = plan(base=base, zip={f"model.samples_per_class.{i}": {"from": 2, "to": 4, "points": 3} for i in (4, 5)})
    assert made.spec(list(made.points())[1]).model.class_sizes == (100, 100, 100, 5, 3, 3)
    with pytest.raises(SpecError, match="no entry '9'"):
        with_changes({"a": [1, 2]}, {"a.9": 1})


RANGE = {"from": 0.001, "to": 0.1, "points": 5}


@pytest.mark.parametrize(
    ("forms", "field", "told"),
    [
        ({"axes": {"regularization.feature": [1]}}, "axes.regularization.feature", "unknown field"),
        ({"axes": {W: []}}, f"axes.{W}", "at least 1"),
        ({"axes": {W: 0.1}}, f"axes.{W}", "list of values or an object"),
        ({"axes": {W: {**RANGE, "points": 10**7}}}, f"axes.{W}.points", "10000000"),
        ({"axes": {W: {**RANGE, "points": 1}}}, f"axes.{W}.points", "2"),
        ({"axes": {W: {**RANGE, "from": 0, "spacing": "log"}}}, f"axes.{W}.from", "above 0"),
        ({"axes": {W: {**RANGE, "to": -1, "spacing": "log"}}}, f"axes.{W}.to", "above 0"),
        ({"axes": {W: {**RANGE, "to": 0.001}}}, f"axes.{W}.to", "differ"),
        ({"axes": {W: {**RANGE, "step": 1}}}, f"axes.{W}.step", "unknown field"),
        ({"axes": {W: {"from": 1, "points": 3}}}, f"axes.{W}.to", "required"),
        ({"axes": {W: {**RANGE, "spacing": "cubic"}}}, f"axes.{W}.spacing", "'linear' or 'log'"),
        ({"axes": {W: {**RANGE, "from": -1}}}, f"axes.{W}", "-1"),
        ({"axes": {W: [0.1, 0.2, 0.1]}}, f"axes.{W}", "twice"),
        ({"axes": {W: RANGE, "name": ["a"]}}, "axes.name", "no axis"),
        ({"axes": {W: RANGE, "regularization": [{}]}}, "axes.regularization", f"axes.{W}"),
        ({"axes": {W: RANGE}, "zip": {W: [1], H: [1]}}, f"zip.{W}", f"axes.{W}"),
        ({"zip": {W: [1, 2], H: [1, 2, 3]}}, f"zip.{H}", "must have 2 values"),
        ({"zip": [{W: [1, 2]}, {H: [1], "seeds": [1, 2]}]}, "zip.1.seeds", "must have 1"),
        ({"sample": {"points": 10**7, "box": {W: RANGE}}}, "sample.points", "10000000"),
        ({"sample": {"points": 4, "box": {}}}, "sample.box", "at least 1"),
        ({"sample": {"points": 4, "box": {W: {"from": 0, "to": 1, "spacing": "log"}}}}, f"sample.box.{W}.from", "0"),
        ({"sample": {"points": 4, "method": "halton", "box": {W: [1]}}}, "sample.method", "halton"),
        ({}, "axes", "at least 1"),
        ({"axes": {W: {**RANGE, "points": 5000}}, "zip": {H: {**RANGE, "points": 3}}}, "axes", "15000"),
        ({"axes": {W: RANGE}, "refine": {"metric": "nc1"}}, "refine.metric", "nc1"),
        ({"axes": {W: [1, 2]}, "refine": {"metric": "rank"}}, f"axes.{W}", "range"),
        ({"axes": {W: RANGE, H: RANGE}, "refine": {"metric": "rank", "budget": 20}}, "refine.budget", "25"),
        ({"axes": {W: RANGE}, "zip": {H: [1], "seeds": [1]}, "refine": {"metric": "rank"}}, "refine", "neither zip"),
        ({"preset": "phase-plane"}, "preset", "phase-plain"),
        ({"preset": "phase-plain", "set": {W: 1}}, W, "moved by an axis"),
        ({"preset": "phase-plain", "set": {"optimizer.stepz": 1}}, "base.optimizer.stepz", "unknown field"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_axis(forms, field, told):
    fault = fault_of(**forms)
    assert fault["field"] == field
    assert told in fault["message"]


def test_a_client_takes_every_form_and_a_name_means_what_it_meant():
    assert sweep_body("phase-plain", None, {"seeds": [1]}, "", {}) == {"preset": "phase-plain", "set": {"seeds": [1]}}
    both = sweep_body("minority-collapse", {"seeds": range(2)}, None, "n", {"refine": None})
    assert both == {"axes": {"seeds": [0, 1]}, "name": "n", "base": {"preset": "minority-collapse", "set": {}}}
    assert sweep_body(BASE, None, None, "", {"zip": {W: (1, 2)}})["zip"] == {W: [1, 2]}


def ruler(*paths, low=0.02, high=0.32, points=9) -> Ruler:
    values = [low * (high / low) ** (i / (points - 1)) for i in range(points)]
    return Ruler(dict.fromkeys(paths, values))


def test_the_boundary_of_the_plain_model_is_c_equal_to_1_wherever_the_cells_are():
    x, y = ruler(W), ruler(H, low=0.01, high=0.5, points=6)
    (found,) = curves(Theory(plan(axes={W: [1]}).body, {}), x, y)
    assert (found.name, found.label) == ("c", "c = 1")
    places = [place for piece in found.pieces for place in piece]
    assert len(places) > 10
    for u, v in places:
        decay_w, decay_h = x.point(u)[W], y.point(v)[H]
        assert 4 * math.sqrt(10 * decay_w * decay_h) == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("swapped", [False, True])
def test_the_boundary_of_the_small_classes_is_found_over_whole_numbers_whichever_axis_has_them(swapped):
    sizes = Ruler({f"model.samples_per_class.{i}": list(range(2, 40, 6)) for i in (3, 4, 5)})
    decays = ruler(W, H, low=0.003, high=0.03)
    body = plan(base={"preset": "minority-collapse"}, axes={"seeds": [1]}).body
    found = curves(Theory(body, {}), *((decays, sizes) if swapped else (sizes, decays)))
    (curve,) = [one for one in found if one.name == "n_B"]
    for place in (place for piece in curve.pieces for place in piece):
        n, decay = (sizes.point(place[swapped])[sizes.path], decays.point(place[not swapped])[W])
        assert ((300 + 3 * n) * decay) ** 2 == pytest.approx(n, rel=1e-5)


def test_over_depths_each_has_its_own_threshold_and_over_one_axis_it_is_a_place():
    body = plan(preset="phase-deep").body
    depths = Ruler({"model.widths": [[8], [8, 8], [8, 8, 8]]})
    decays = ruler(W, H, low=0.05, high=0.8, points=12)
    found = {one.name: one for one in curves(Theory(body, {}), depths, decays)}
    at = [decays.point(piece[0][1])[W] for name in ("c", "gamma") for piece in found[name].pieces]
    critical = [(1 / m) * ((m - 1) / m) ** ((m - 1) / (m + 1)) for m in (1, 2, 3)]
    assert at == pytest.approx([value / 2 for value in critical], rel=1e-5)  # γ = 2λ with K = 2, n = 1
    ((name, _, place),) = crossings(Theory(body, {"model.widths": [8, 8]}), decays)
    assert (name, decays.point(place)[W]) == ("gamma", pytest.approx(critical[1] / 2, rel=1e-5))


def test_an_adaptive_sweep_finds_a_boundary_to_a_hundredth_with_a_tenth_of_the_runs():
    made = plan(axes={W: log(0.01, 0.1, 9), H: log(0.01, 0.1, 9)}, refine={"metric": "rank", "budget": 2000})
    refinement = Refinement(made, Refine(metric="rank", budget=2000))

    def side(point):
        return float(point[W] * point[H] ** 2 < 3e-5)

    known = {key_of(point): side(point) for point in made.points()}
    points, rounds = list(made.points()), 0
    while due := refinement.due(known):
        assert not {key_of(point) for point in due} & known.keys()
        points += due
        known |= {key_of(point): side(point) for point in due}
        rounds += 1
    assert rounds == 4
    assert len(points) <= 600  # of a grid of 128 x 128
    places = {(point[W], point[H]): side(point) for point in points}
    for decay in (0.0142, 0.0298, 0.061):  # near the boundary two neighbours a hundredth apart differ
        near = [(math.log10(w / decay), math.log10(h**2 * decay / 3e-5) / 2, at) for (w, h), at in places.items()]
        near = [one for one in near if max(abs(one[0]), abs(one[1])) < 0.02]
        assert any(one[2] != other[2] and math.dist(one[:2], other[:2]) < 0.01 for one in near for other in near)
    assert refinement.due(known) == []


def test_an_adaptive_sweep_stops_at_whole_numbers_and_at_its_budget():
    sizes = "model.samples_per_class"
    made = plan(axes={sizes: {"from": 2, "to": 50, "points": 5}}, refine={"metric": "rank"})
    refinement, known = Refinement(made, Refine(metric="rank", budget=500)), {}
    due = list(made.points())
    while due:
        known |= {key_of(point): float(point[sizes] < 23) for point in due}
        due = refinement.due(known)
    assert {f"[({sizes!r}, {n})]" for n in (22, 23)} <= known.keys()
    first = {key_of(point): float(point[sizes] < 23) for point in made.points()}
    assert len(Refinement(made, Refine(metric="rank", budget=6)).due(first)) == 1


SMALL = {
    "phase-plain": {"axes": {W: log(0.02, 0.32, 6), H: [0.05, 0.11]}},
    "phase-bias": {"axes": {"regularization.bias": log(0.02, 3, 6)}, "zip": {W: [0.008, 0.03], H: [0.008, 0.03]}},
    "phase-deep": {"axes": {"model.widths": [[32, 32]]}, "zip": {W: log(0.07, 0.5, 6), H: log(0.07, 0.5, 6)}},
    "smoothing": {"axes": {"loss.label_smoothing": [0.0, 0.3, 0.6]}, "zip": {W: [0.02, 0.04], H: [0.02, 0.04]}},
    **{
        f"minority-collapse {loss}": {
            "axes": {"loss": [loss], "model.samples_per_class": [[100] * 3 + [10] * 3]},
            "zip": {path: [0.005, 0.009, 0.0102, 0.018] for path in (W, H)},  # critical: √10/330 = 0.00958
        }
        for loss in ("mse", "cross_entropy")
    },
}
BEYOND = {
    "phase-plain": lambda one: one["reached"] == "zero",
    "phase-bias": lambda one: one["reached"] != "simplex_etf",
    "phase-deep": lambda one: one["objective"] > 0.5 - 1e-9,
    "smoothing": lambda one: one["reached"] == "zero",
    "minority-collapse": lambda one: one["rank"] > 3,
}
CLOSE = 0.02
"""Relative distance to a boundary at which descent is too slow for these numbers of steps."""


LONG = "minority-collapse cross_entropy"


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.nightly) if n == LONG else n for n in SMALL])
def test_the_measured_boundary_of_a_preset_lies_on_the_predicted_one(name):
    preset = name.split()[0]
    body = {**SWEEPS[preset].body, **SMALL[name]}
    body["picture"] = {}
    made = Plan(parsed(SweepRequest, body))
    specs = [made.spec(point) for point in made.points()]
    run = UfmRun([(spec, 0) for spec in specs], "cpu")
    last = []
    while not run.done:
        last = run.advance() or last
    sides = []
    for spec, measurement in zip(specs, last, strict=True):
        excess = {one.name: one.excess for one in boundaries_of(spec)}
        excess = excess.get("lambda_b", next(iter(excess.values())))
        if abs(excess) > CLOSE:
            (verdict,) = outcome(spec, run, [measurement])["verdict"]
            sides.append((excess > 0, BEYOND[preset](verdict)))
    assert all(predicted == measured for predicted, measured in sides)
    assert {predicted for predicted, _ in sides} == {True, False}


def test_every_preset_is_a_good_sweep_of_a_bearable_size():
    for name, preset in SWEEPS.items():
        made = Plan(parsed(SweepRequest, expanded({"preset": name, "set": {"priority": 1}})))
        assert made.total <= 400
        for point in made.points():
            assert made.spec(point).priority == 1
        assert preset.name == name


def test_a_summary_has_the_seeds_predictions_and_what_most_have_reached():
    spec = plan(axes={"seeds": [0]}).spec({"seeds": [0, 1, 2]})
    values = {"nc1": [4.0, 1.0, None], "objective": [0.2, 0.3, 0.7]}
    layers = {"nc1": "h1", "objective": None}
    final = [
        {"seed": i, "metrics": [{"metric": m, "layer": layers[m], "value": values[m][i]} for m in values]}
        for i in range(3)
    ]
    verdict = [{"reached": r, "rank": 4, "gap": g} for r, g in (("zero", 0.1), ("between", 0.2), ("zero", 0.4))]
    found = summary_of(predict(spec), final, verdict)
    assert found["levels"]["nc1 h1"][:4] == [2.5, 1.0, 4.0, 2.5]
    assert found["levels"]["objective"] == [pytest.approx(0.4), 0.2, 0.7, 0.3, predict(spec).objective]
    assert (found["reached"], found["rank"], found["gap"]) == ("zero", 0, 0.2)


@pytest.mark.parametrize(
    ("metric", "seeds", "expected"),
    [
        ("nc1", "median", [3.0]),
        ("nc1", "mean", [2.0]),
        ("gap", "mean", [0.25]),
        ("verdict", "mean", ["zero"]),
        ("verdict=zero", "mean", [0.5]),
        ("rank", "median", [2.0]),
        ("nc1 < 1e-6", "mean", [150.0]),
        ("nc1<1e-6", "share", [1.0]),
        ("nc7", "mean", []),
    ],
)  # fmt: skip
def test_a_quantity_is_read_of_what_is_kept_of_an_experiment(metric, seeds, expected):
    verdict = [{"reached": "zero", "rank": 4, "gap": 0.5}, {"reached": "between", "rank": 4, "gap": 0.0}]
    summary = {
        "levels": {"nc1 h1": [2.0, 1.0, 5.0, 3.0, None]},
        "verdict": verdict,
        "reached": "zero",
        "rank": 2.0,
        "gap": 0.25,
    }
    cells = Quantity.parsed(metric).cells("id", {}, summary, "succeeded", None, seeds, {"id": [100, 200]})
    assert [cell.value for cell in cells] == expected


def test_a_map_opens_single_experiments_writes_small_grids_and_draws_boundaries_over_the_cells():
    x, y = ruler(W, points=4), ruler(H, points=4)
    view = View(Quantity("objective"), x, y, style=THEMES["light"], layout=Layout())
    cells = [Cell(f"{a} {b}", {W: a, H: b}, "", a * b, a * b, a * b) for a in x.values for b in y.values]
    lines = curves(Theory(plan(axes={W: [1]}).body, {}), x, y)
    chart = sweep_figure([Facet("", cells, curves=lines)], view)
    first = next(iter(chart["datasets"].values()))
    assert {row["experiment"] for row in first} == {cell.experiment for cell in cells}
    marks = [layer.get("mark", {}) for layer in chart["layer"]]
    kinds = [mark if isinstance(mark, str) else mark.get("type") for mark in marks]
    assert (kinds[0], kinds[-1], kinds.count("line")) == ("rect", "text", 2)
    assert chart["encoding"]["x"]["title"] == "λ_W"


@pytest.mark.parametrize("values", [[0.3171, 0.2631], [0.5, 0.5001, 0.502], [0.9, 0.1], [0.262, 0.261]])
def test_labels_of_predicted_levels_never_cover_each_other(values):
    layout = Layout()
    y = Ordinate.over("NC3", [0.26, 1.3, *values], log=True)
    lines = [(1 - y.height(value)) * layout.height for value in values]
    places = sorted(beside(lines, layout))
    assert all(other - one >= layout.label_size for one, other in pairwise(places))
    assert all(0 <= place <= layout.height for place in places)
