"""Histograms over seeds, the names of the known values that pictures draw as lines, and sweeps over one axis: lines
with boundaries, verdicts that are counted, nothing at all."""

import math

import pytest
import vl_convert

import ncore.pictures
from ncore.pictures import curves
from ncore.pictures.histogram import ends_of
from ncore.pictures.points import curves_of
from ncore.pictures.setting import PictureSetting, setting_of
from ncore.pictures.sweep import VERDICTS, Facet, View, words
from ncore.pictures.sweep_map import sweep_figure
from ncore.pictures.themes import THEMES, layout_of
from ncore.presets import PRESETS, as_spec
from ncore.spec import parse_spec, with_changes
from ncore.sweeps.quantity import Cell, Quantity
from ncore.sweeps.ruler import Ruler
from ncore.theory import predict


def one_series(values, metric="nc1", layer="h1", seed=0):
    return {"metric": metric, "layer": layer, "seed": seed, "steps": list(range(len(values))), "values": values}


def test_the_histogram_counts_every_seed_once_beside_the_prediction():
    spec = parse_spec(with_changes(PRESETS["fig3"].spec, {"seeds": list(range(40))}))
    least = predict(spec).objective
    ends = [least + [0, 0.004, 0.011][seed % 3] for seed in range(40)]
    series = [
        one
        for seed in range(40)
        for one in (one_series([1.0, ends[seed]], "objective", None, seed), one_series([4, 3], "rank", "h1", seed),
                    one_series([4, 2 + seed % 2], "rank", "h2", seed))
    ]  # fmt: skip
    made = ncore.pictures.figure(spec, series).vega_lite
    titles = [chart["title"] for chart in made["concat"]]
    assert titles[-2:] == ["Final objective over the seeds", "Final ranks over the seeds"]
    objective, ranks = (made["datasets"][chart["layer"][0]["data"]["name"]] for chart in made["concat"][-2:])
    counted = sorted((row["from"], row["seeds"]) for row in objective)
    assert [seeds for _, seeds in counted] == [14, 13, 13]
    for value in set(ends):
        assert sum(row["from"] - 1e-3 <= value <= row["to"] + 1e-3 for row in objective) == 1
    assert {(row["layer"], round((row["from"] + row["to"]) / 2), row["seeds"]) for row in ranks} == {
        ("h1", 3, 40), ("h2", 2, 20), ("h2", 3, 20),
    }  # fmt: skip
    rule = made["concat"][-2]["layer"][1]["data"]["name"]
    assert [row["from"] for row in made["datasets"][rule]] == [pytest.approx(least)]
    assert len(ncore.pictures.figure("fig3", series).vega_lite["concat"]) == 4
    vl_convert.vegalite_to_svg(made)


DEEP = {"model": {"classes": 4, "samples_per_class": 5, "widths": [6] * 4, "activation": "relu"}}
POLYGON = {"loss": "cross_entropy", "model": {"classes": 6, "samples_per_class": 1, "widths": [2], "normalized": True}}
PAIRS = {"loss": "cross_entropy", "model": {"classes": 6, "samples_per_class": 1, "widths": [6, 6]}}


@pytest.mark.parametrize(
    ("spec", "names", "dashed"),
    [
        ("fig1", {"f*"}, set()), ("fig4", {"f of OF"}, set()), (DEEP, {"f of OF"}, {"best known"}),
        (POLYGON, {"f of K-gon"}, set()), (PAIRS, set(), {"best known"}),
        (DEEP | {"regularization": {"weights": 2.0, "features": 2.0}}, {"f of zero"}, set()),
    ],
)  # fmt: skip
def test_lines_are_named_for_what_they_are(spec, names, dashed):
    """Only a proven minimum is f*; the best known value stands beside what is predicted, and in histograms too."""
    known = predict(spec)
    assert (known.objective_name == "f*") == (known.global_minimum is True)
    setting = setting_of(as_spec(spec), 0)
    series = [one_series([1.0, 0.3 + seed], "objective", None, seed) for seed in range(9)]
    made = curves.figure(curves_of(series), setting, ["objective", "histogram"], ends=ends_of(series))
    for chart in made["concat"]:
        used = [part["data"]["name"] for part in chart["layer"] if part["mark"]["type"] == "rule"]
        rules = [row for table in used for row in made["datasets"][table]]
        for told, is_dashed in ((names, False), (dashed, True)):
            assert {row["text"].split(" =")[0] for row in rows_with(rules, is_dashed)} == told
    assert ("f* =" in made["concat"][0]["title"]) == (names == {"f*"})
    vl_convert.vegalite_to_svg(made)
    assert predict({**DEEP, "regularization": {"weights": 0}}).objective_name == "inf f"


def rows_with(rules, dashed):
    return [row for row in rules if row.get("dashed", False) == dashed]


DECAY = "regularization.features"
STYLE = {"style": THEMES["light"], "layout": layout_of()}


def view(metric, values, path=DECAY):
    return View(Quantity.parsed(metric), Ruler({path: values}), **STYLE)


def cells(values, path=DECAY, layer="h1", predicted=None):
    """A cell for each place, {place: value}, or several for its several values."""
    lists = {place: found if isinstance(found, list) else [found] for place, found in values.items()}
    pairs = [(place, value) for place, found in lists.items() for value in found]
    ends = [(value, value) if isinstance(value, float) else (None, None) for _, value in pairs]
    return [Cell(str(i), {path: place}, layer, value, *ends[i], predicted) for i, (place, value) in enumerate(pairs)]


@pytest.mark.parametrize("decades", [0, 8])
def test_a_sweep_over_many_seeds_is_a_histogram(decades):
    values = [10.0 ** (-decades * (seed % 3)) * (2 + seed % 2) for seed in range(20)]
    found = cells(dict(enumerate(values)), "seeds", predicted=2.0)
    made = sweep_figure([Facet("", found)], view("nc1", list(range(20)), "seeds"))
    bars, *lines = list(made["datasets"].values())
    assert sum(row["seeds"] for row in bars) == 20
    at = [math.log10(value) if decades else value for value in values]
    for place in set(at):
        assert sum(row["seeds"] for row in bars if row["from"] - 0.5 <= place <= row["to"] + 0.5) >= at.count(place)
    assert [row["text"] for table in lines for row in table] == ["predicted = 2"]
    vl_convert.vegalite_to_svg(made)


def test_what_is_zero_throughout_has_no_axis():
    made = curves.figure(curves_of([one_series([0.0, 0.0])]), PictureSetting("one", layers=("h1",)), ["nc1"])
    assert "zero throughout" in str(made)


def tables_of(chart):
    return list(chart["datasets"].values())


@pytest.mark.parametrize(("metric", "path", "values"), [
    ("nc1", DECAY, [0.1, 0.2]), ("verdict", DECAY, [0.1, 0.2]), ("nc1", "seeds", [[i] for i in range(20)]),
])  # fmt: skip
def test_before_anything_has_ended_the_picture_says_so(metric, path, values):
    chart = sweep_figure([Facet("", [])], view(metric, values, path))
    assert tables_of(chart) == [[{"text": "nothing has ended yet"}]]
    assert vl_convert.vegalite_to_svg(chart).startswith("<svg")


def test_verdicts_over_one_axis_are_counted_each_in_its_own_colour_everywhere():
    found = cells({0.1: ["zero", "between", "zero"], 0.2: ["failed"], 0.3: ["of a later version"]})
    chart = sweep_figure([Facet("", found)], view("verdict", [0.1, 0.2, 0.3, 0.4]))
    (rows,) = tables_of(chart)
    assert {(row["x"], row["value"]): row["experiments"] for row in rows} == {
        ("0.1", "zero"): 2, ("0.1", "between"): 1, ("0.2", "failed"): 1, ("0.3", "of a later version"): 1,
    }  # fmt: skip
    assert chart["encoding"]["x"]["scale"]["domain"] == ["0.1", "0.2", "0.3", "0.4"]  # nothing has ended at the last
    drawn = chart["encoding"]["color"]["scale"]
    colours = dict(zip(drawn["domain"], drawn["range"], strict=True))
    assert list(colours) == ["between", "zero", "failed", "of a later version"]
    alone = sweep_figure([Facet("", cells({0.1: [*VERDICTS]}))], view("verdict", [0.1]))["encoding"]["color"]["scale"]
    everywhere = dict(zip(alone["domain"], alone["range"], strict=True))
    assert list(everywhere) == [words(name) for name in VERDICTS]
    assert {name: everywhere[name] for name in ("between", "zero", "failed")}.items() <= colours.items()
    assert vl_convert.vegalite_to_svg(chart).startswith("<svg")


def test_boundaries_cross_a_line_where_theory_has_them_and_zero_is_not_drawn_over_decades():
    decays = [0.01, 0.02, 0.03]
    found = [*cells({0.01: 1.0, 0.02: [1e-3, 4e-3], 0.03: 1e-6}, predicted=0.0), *cells({0.02: 0.5}, layer="h2")]
    chart = sweep_figure([Facet("", found, crossings=[("c", "c = 1", 1.0), ("b", "λ_b", 2.5)])], view("nc1", decays))
    rows, rules, *_ = tables_of(chart)
    assert [(row["x"], row["layer"], row["value"], row["low"], row["high"], row["predicted"]) for row in rows] == [
        (0.01, "h1", 1.0, 1.0, 1.0, None), (0.02, "h1", 2.5e-3, 1e-3, 4e-3, None), (0.03, "h1", 1e-6, 1e-6, 1e-6, None),
        (0.02, "h2", 0.5, 0.5, 0.5, None),
    ]  # fmt: skip
    assert [(pytest.approx(row["x"]), row["label"]) for row in rules] == [(0.015, "c = 1"), (0.03, "λ_b")]
    assert chart["title"] == "nc1 at the end, predicted: 0"
    flat = sweep_figure([Facet("", cells({0.01: 1.0, 0.02: 2.0}, predicted=0.0))], view("nc1", decays))
    assert flat["title"] == "nc1 at the end, predicted dotted"
    assert [row["predicted"] for row in tables_of(flat)[0]] == [0.0, 0.0]
    assert vl_convert.vegalite_to_svg(chart).startswith("<svg")


def test_an_axis_of_names_has_a_place_for_each_and_no_boundaries():
    found = cells({"mse": 1.0, "cross_entropy": 3.0}, "loss")
    losses = view("nc1", ["mse", "cross_entropy"], "loss")
    chart = sweep_figure([Facet("", found, crossings=[("c", "c = 1", 0.5)])], losses)
    assert [row["x"] for row in tables_of(chart)[0]] == ["mse", "cross_entropy"]
    assert {part["encoding"]["x"]["type"] for part in chart["layer"]} == {"nominal"}
    assert len(tables_of(chart)) == 1
