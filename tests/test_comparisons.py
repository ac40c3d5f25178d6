"""Many experiments beside each other: what differs, colours along a parameter, scales, files; verdicts in words."""

import csv
import io
from dataclasses import replace

import pytest

from ncore.client.client import ApiError
from ncore.differences import differing, number_of
from ncore.meanings import MEANINGS
from ncore.pictures.comparison import Compared, Lens, comparison, labels
from ncore.pictures.files import rendered
from ncore.pictures.points import CurvePoint
from ncore.pictures.setting import PictureSetting
from ncore.pictures.sweep import VERDICTS

DECAYS = [0.001, 0.002, 0.004]


def made(parameters, name="x", named=False, predicted=None, value=1.0, steps=100):
    setting = PictureSetting(name, layers=("h1",), predicted=predicted or {}, steps=steps)
    points = [CurvePoint(step, value / (1 + step), value / (2 + step), value, 2) for step in (0, 10, steps)]
    return Compared(setting, {("nc1", "h1"): points, ("objective", None): points}, parameters, named)


def of_decays(values, **more):
    return [made({"regularization.features": value}, **more) for value in values]


def colour(picture):
    return next(layer["encoding"]["color"] for layer in picture["layer"] if layer["mark"]["type"] == "line")


def test_only_what_differs_is_listed():
    """Lists and missing fields too; a number of equal entries is that number."""
    specs = [{"name": "a", "model": {"d": [2, 2], "k": 4}}, {"name": "b", "model": {"d": [3, 3], "k": 4, "tau": 1}}]
    assert differing(specs) == {"model.d": [[2, 2], [3, 3]], "model.tau": [None, 1]}
    assert [number_of(one) for one in (3, [2, 2], [2, 3], True, "2", None, [])] == [3, 2, None, None, None, None, None]


@pytest.mark.parametrize(
    ("experiments", "expected"),
    [
        (of_decays([0.1, 0.2]), ["λ_H = 0.1", "λ_H = 0.2"]),
        ([made({"model.bias": one}, "same") for one in (True, False)], ["bias = yes", "bias = no"]),
        ([made({"model.bias": one}, name, True) for one, name in ((True, "a"), (False, "b"))], ["a", "b"]),
        ([made({}, "same"), made({}, "same")], ["same", "same (2)"]),
        ([made({f"model.{c}": i for c in "abcd"}, str(i)) for i in range(2)], ["0", "1"]),
    ],
)
def test_a_legend_names_differences_only(experiments, expected):
    assert labels(experiments) == expected


def test_colours_are_a_ramp_along_the_parameter_that_varies_and_names_where_it_does_not():
    ramp = colour(comparison(of_decays([0.1, 0.2, 0.3]), ["nc1"]))
    assert (ramp["type"], ramp["title"], ramp["scale"]["domain"]) == ("quantitative", "λ_H", [0.1, 0.3])
    assert ramp["scale"]["type"] == "linear"
    assert colour(comparison(of_decays([1e-4, 1e-3, 1e-1]), ["nc1"]))["scale"]["type"] == "log"
    assert colour(comparison(of_decays([0.1, 0.2]), ["nc1"]))["type"] == "nominal"
    own = colour(comparison(of_decays([0.1, 0.2, 0.3]), ["nc1"], Lens(color="experiment")))
    assert own["scale"]["domain"] == ["λ_H = 0.1", "λ_H = 0.2", "λ_H = 0.3"]
    texts = [made({"model.activation": one, "seeds": [i]}) for i, one in enumerate(("relu", "relu", "identity"))]
    assert colour(comparison(texts, ["nc1"], Lens(color="model.activation")))["scale"]["domain"] == ["relu", "identity"]


@pytest.mark.parametrize(("by_share", "usual"), [(False, "symlog"), (True, "linear")])
@pytest.mark.parametrize("is_log", [None, True, False])
def test_both_axes_are_logarithmic_or_linear(by_share, usual, is_log):
    picture = comparison(of_decays([1, 2]), ["nc1"], Lens(by_share, x_log=is_log, y_log=is_log))
    line = next(layer for layer in picture["layer"] if layer["mark"]["type"] == "line")["encoding"]
    x, y = line["x"]["scale"].get("type", "linear"), line["y"]["scale"]["type"]
    assert x == {None: usual, True: "symlog", False: "linear"}[is_log]
    assert y == {None: "log", True: "log", False: "linear"}[is_log]
    assert rendered(picture, "svg").startswith(b"<svg")
    ticks = line["x"]["axis"].get("values", [0, 1])
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 6


def test_each_metric_is_a_panel_and_each_experiment_has_its_prediction_in_its_colour():
    many = [replace(one, setting=replace(one.setting, predicted={("objective", None): (i + 1) / 1000}))
            for i, one in enumerate(of_decays([0.1 * (i + 1) for i in range(12)]))]  # fmt: skip
    picture = comparison(many, ["nc1", "objective", "gap"])
    assert [chart["title"].split(":")[0] for chart in picture["concat"]] == [
        "NC1", "Objective", "Objective above its predicted value",
    ]  # fmt: skip
    rules = [layer for layer in picture["concat"][1]["layer"] if layer["mark"]["type"] == "rule"]
    assert len(rules) == 1
    rows = picture["datasets"][rules[0]["data"]["name"]]
    assert {(row["shade"], row["value"]) for row in rows} == {
        (number_of(one.parameters["regularization.features"]), one.setting.predicted["objective", None]) for one in many
    }
    few = comparison(many[:2], ["objective"])
    told = [row["text"] for rows in few["datasets"].values() for row in rows if "text" in row]
    assert set(told) == {"f* = 0.001", "f* = 0.002"}


@pytest.fixture(scope="module")
def swept(service):
    from ncore.client import Client

    short = {"optimizer.steps": 60, "measure.points": 4, "seeds": [0, 1]}
    with Client(service.url) as client:
        client.sweep("fig3", {"regularization.features": DECAYS}, short, "lens").wait(progress=False)
        yield (
            client,
            [
                one.id
                for one in client.experiments(q="figure 3", limit=50)
                if one.data["spec"]["optimizer"]["steps"] == 60
            ],
        )


def test_the_table_has_what_differs_and_the_final_values_beside_the_predicted_ones(swept):
    client, ids = swept
    found = client.request("GET", "/compare", params={"experiment": ids, "metric": ["objective", "nc1"]}).json()
    assert found["parameters"] == ["regularization.features"]
    assert sorted(item["label"] for item in found["items"]) == [f"λ_H = {value}" for value in DECAYS]
    assert set(found["measured"]["nc1"]) == {"h1", "h2"}
    for item in found["items"]:
        theory = client.experiment(item["id"]).theory()
        own = {(one["metric"], one["layer"]): one for one in item["values"]}
        assert set(own) == {("objective", None), ("nc1", "h1"), ("nc1", "h2")}
        assert own["objective", None]["predicted"] == theory["prediction"]["objective"]
        ends = [one["measured"] for one in theory["comparison"] if one["quantity"] == "objective"]
        assert own["objective", None]["mean"] == pytest.approx(sum(ends) / 2)


def test_the_file_has_a_row_for_each_point_that_is_drawn(swept):
    client, ids = swept
    asked = {"experiment": ids, "metric": ["nc1", "objective"], "layer": "h2"}
    text = client.request("GET", "/compare.csv", params=asked).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert {row["experiment"] for row in rows} == set(ids)
    assert {(row["metric"], row["layer"]) for row in rows} == {("nc1", "h2"), ("objective", "")}
    drawn = client.request("GET", "/compare.json", params=asked).json()
    lines = [chart["layer"][i]["data"]["name"] for chart in drawn["concat"] for i in (0,)]
    assert sorted(float(row["median"]) for row in rows) == pytest.approx(
        sorted(one["value"] for name in lines for one in drawn["datasets"][name])
    )
    assert {float(row["regularization.features"]) for row in rows} == set(DECAYS)


@pytest.mark.parametrize(
    ("params", "field", "allowed"),
    [
        ({"color": "model.classes"}, "color", "experiment, regularization.features"),
        ({"metric": ["nc1", "nc9"]}, "metric", "nc2_etf"),
        ({"xscale": "sqrt"}, "xscale", "linear"),
        ({"experiment": ["x"] * 201}, "experiment", "at most 200"),
    ],
)
def test_what_cannot_be_compared_is_refused_by_name(swept, params, field, allowed):
    client, ids = swept
    with pytest.raises(ApiError) as caught:
        client.request("GET", "/compare.svg", params={"experiment": ids, **params})
    assert caught.value.status == 422
    assert caught.value.errors[0]["field"].startswith(field)
    assert allowed in caught.value.errors[0]["message"]


def test_every_verdict_that_the_code_gives_is_defined(swept):
    client, _ = swept
    shown = {one["verdict"] for one in client.request("GET", "/verdicts").json()["items"]}
    assert shown == set(MEANINGS)
    assert set(VERDICTS) - {"failed"} <= shown
