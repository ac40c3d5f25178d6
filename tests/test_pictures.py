"""Pictures carry what was measured and what is predicted, in every form."""

import math
import xml.etree.ElementTree as ET
from statistics import median

import pytest
import vl_convert

from api import pictures
from api.caption import caption
from api.client import ApiError, Client
from api.local import as_series
from api.panels import PANELS, UFM_PANELS
from api.theory import predicted_series
from ncore.presets import PRESETS
from ncore.spec import parse_spec, with_changes
from ncore.theory import predict
from ncore.train import train

SHORT = {"optimizer.steps": 300, "measure.points": 12}


@pytest.fixture(scope="module")
def fig3():
    spec = parse_spec(with_changes(PRESETS["fig3"].spec, SHORT))
    return spec, as_series(list(train(spec)))


def drawn(spec, series, panels=UFM_PANELS, theme="light"):
    return pictures.figure(series, predicted_series(predict(spec)), panels, spec.name, caption(spec), theme)


def test_a_figure_carries_median_and_range_over_the_seeds_of_both_levels(fig3):
    spec, series = fig3
    rows = drawn(spec, series, ["nc1"])["datasets"]["table1"]
    assert {row["layer"] for row in rows} == {"h1", "h2"}
    for row in rows:
        values = [
            one["values"][one["steps"].index(row["step"])]
            for one in series
            if (one["metric"], one["layer"]) == ("nc1", row["layer"])
        ]
        assert len(values) == row["seeds"] == 3
        assert (row["low"], row["value"], row["high"]) == (min(values), median(values), max(values))


def test_predicted_levels_are_the_theory_s(fig3):
    spec, series = fig3
    tables = drawn(spec, series)["datasets"]
    texts = {row["text"]: row["value"] for rows in tables.values() for row in rows if "text" in row}
    delta = math.sqrt(2 - 2 * math.sqrt(3 / 4))
    assert texts["f* = 0.05071"] == pytest.approx(predict(spec).objective, rel=1e-11)
    assert texts["predicted = 0.5176"] == pytest.approx(delta, rel=1e-11)


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("panel", [panel.name for panel in PANELS])
def test_every_panel_is_drawn_in_both_themes(fig3, panel, theme):
    spec, series = fig3
    svg = ET.fromstring(vl_convert.vegalite_to_svg(drawn(spec, series, [panel], theme)))
    assert svg.tag == "{http://www.w3.org/2000/svg}svg"


def test_undefined_zero_and_tiny_values_do_not_break_the_axes():
    spec = parse_spec(PRESETS["fig1"].spec)
    series = [
        {"metric": "nc1", "layer": "h1", "seed": 0, "steps": [0, 1, 2, 3], "values": [None, 0.0, 1e-300, 0.5]},
        {"metric": "objective", "layer": None, "seed": 0, "steps": [0], "values": [1.0]},
        {"metric": "nc3", "layer": "h1", "seed": 0, "steps": [0, 1], "values": [None, None]},
    ]
    made = drawn(spec, series)
    assert "nothing has been measured" in vl_convert.vegalite_to_svg(made)
    lowest = min(row["value"] for row in made["datasets"]["table3"])
    assert lowest == pictures.FLOOR


def test_an_experiment_without_measurements_gives_a_picture_that_says_so():
    spec = parse_spec(PRESETS["fig1"].spec)
    assert vl_convert.vegalite_to_svg(drawn(spec, [])).count(">nothing has been measured<") == 4


def test_a_long_series_is_thinned_and_keeps_its_ends():
    steps = list(range(5000))
    series = [
        {
            "metric": "nc1",
            "layer": "h1",
            "seed": 0,
            "steps": steps,
            "values": [1 / (1 + step) for step in steps],
        }
    ]
    rows = drawn(parse_spec(PRESETS["fig1"].spec), series, ["nc1"])["datasets"]["table1"]
    assert len(rows) == pictures.MAX_POINTS
    assert (rows[0]["step"], rows[-1]["step"]) == (0, 4999)


def test_captions_name_the_setting_in_the_paper_s_symbols():
    text = caption(parse_spec(PRESETS["fig4"].spec))
    for part in ("M = 2", "σ = ReLU", "K = 4", "d = 20, 20", "n = 50", "λ_W = 0.0025, 0.005", "λ_H = 0.001", "3 seeds"):
        assert part in text


@pytest.fixture(scope="module")
def two(service):
    with Client(service.url) as client:
        yield [client.submit(name, SHORT).wait(progress=False, timeout_seconds=60) for name in ("fig3", "fig4")]


def test_the_service_draws_in_all_forms(two, tmp_path):
    starts = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF", "json": b"{"}
    for form, start in starts.items():
        assert two[0].plot(tmp_path / f"p.{form}").read_bytes().startswith(start)
    with pytest.raises(ApiError) as caught:
        two[0].plot(tmp_path / "p.gif")
    assert caught.value.errors[0]["field"] == "form"


def test_panel_layer_and_seed_choose(two):
    params = {"panel": ["nc1", "cdnv"], "layer": "h2", "seed": 1}
    made = two[0]._client.request("GET", f"/experiments/{two[0].id}/plot.json", params=params).json()
    rows = [row for table in made["datasets"].values() for row in table]
    assert {row["layer"] for row in rows} == {"h2"}
    assert {row["seeds"] for row in rows} == {1}
    for name, value in (("panel", "nc9"), ("theme", "pink"), ("seed", "x")):
        with pytest.raises(ApiError) as caught:
            two[0]._client.request("GET", f"/experiments/{two[0].id}/plot.svg", params={name: value})
        assert caught.value.status == 422
        assert caught.value.errors[0]["field"].startswith(name)


def test_a_comparison_lays_experiments_over_each_other(two):
    params = {"experiment": [one.id for one in two], "metric": "nc1", "x": "fraction"}
    made = two[0]._client.request("GET", "/compare.json", params=params).json()
    rows = made["datasets"]["table1"]
    assert {row["experiment"] for row in rows} == {"figure 3", "figure 4"}
    assert {max(row["step"] for row in rows if row["experiment"] == name) for name in ("figure 3", "figure 4")} == {1.0}
    for form in ("svg", "png", "pdf"):
        assert two[0]._client.request("GET", f"/compare.{form}", params=params).content
    with pytest.raises(ApiError) as caught:
        two[0]._client.request("GET", "/compare.svg", params={"experiment": "nothing"})
    assert caught.value.status == 404
