"""Pictures carry what was measured and what is predicted, in every form."""

import math
import re
import xml.etree.ElementTree as ET
import zlib
from statistics import median

import altair as alt
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

from ncore.client import ApiError, Client
from ncore.pictures import curves
from ncore.pictures.axes import FLOOR, Ordinate
from ncore.pictures.panels import PANELS
from ncore.pictures.subject import Subject, subject_of
from ncore.presets import PRESETS
from ncore.series import as_series
from ncore.spec import parse_spec, with_changes
from ncore.theory import predict
from ncore.train import train

SHORT = {"optimizer.steps": 300, "measure.points": 12}


@pytest.fixture(scope="module")
def fig3():
    spec = parse_spec(with_changes(PRESETS["fig3"].spec, SHORT))
    return subject_of(spec, 300), as_series(list(train(spec)))


def one_series(values, metric="nc1", layer="h1", seed=0):
    return {"metric": metric, "layer": layer, "seed": seed, "steps": list(range(len(values))), "values": values}


def rows_of(made):
    return [row for table in made["datasets"].values() for row in table]


def test_a_figure_carries_median_and_range_over_the_seeds_of_both_levels(fig3):
    subject, series = fig3
    rows = curves.figure(series, subject, ["nc1"])["datasets"]["table1"]
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
    subject, series = fig3
    made = curves.figure(series, subject)
    texts = {row["text"]: row["value"] for row in rows_of(made) if "text" in row}
    delta = math.sqrt(2 - 2 * math.sqrt(3 / 4))
    least = predict(parse_spec(PRESETS["fig3"].spec)).objective
    assert texts["f* = 0.05071"] == pytest.approx(least, rel=1e-11)
    assert texts["predicted = 0.5176"] == pytest.approx(delta, rel=1e-11)
    assert made["concat"][0]["title"] == "Objective, f* = 0.050708"


def test_the_gap_is_the_objective_above_its_prediction(fig3):
    subject, series = fig3
    rows = curves.figure(series, subject, ["gap"])["datasets"]["table1"]
    objective = [one for one in series if one["metric"] == "objective"]
    for row in rows:
        values = [one["values"][one["steps"].index(row["step"])] for one in objective]
        assert row["value"] == pytest.approx(median(values) - subject.predicted["objective", None])


@pytest.mark.parametrize("panel", PANELS)
def test_every_panel_is_valid_vega_lite_in_both_themes(fig3, panel):
    subject, series = fig3
    for theme, hover in (("light", True), ("dark", False)):
        made = curves.figure(series, subject, [panel], theme, hover=hover)
        alt.Chart.from_dict(made, validate=True)
        svg = ET.fromstring(vl_convert.vegalite_to_svg(made))
        assert svg.tag == "{http://www.w3.org/2000/svg}svg"


def test_a_panel_has_the_same_layer_in_the_same_colour_everywhere(fig3):
    subject, series = fig3
    scales = set(
        re.findall(
            r'"domain": (\["h1", "h2"\]), "range": (\[[^]]+\])', str(curves.figure(series, subject)).replace("'", '"')
        )
    )
    assert len(scales) == 1


def test_the_layers_of_a_network_stand_in_the_order_of_the_forward_pass_over_epochs():
    model = {"kind": "mlp", "widths": [16] * 11}
    changes = {"model": model, "optimizer.epochs": 40, "optimizer.milestones": []}
    subject = subject_of(parse_spec(with_changes(PRESETS["fig5-mse-small"].spec, changes)), 400)
    series = [
        {**one_series([3.0, 2.0, 1.0], "nc1", f"hidden{i + 1}"), "steps": [0, 20, 40]} for i in reversed(range(11))
    ]
    made = curves.figure(series, subject)
    alt.Chart.from_dict(made, validate=True)
    color = made["concat"][2]["layer"][0]["encoding"]["color"]
    assert color["scale"]["domain"] == [f"hidden{i + 1}" for i in range(11)]
    assert {row["epoch"] for row in made["datasets"]["table3"]} == {0, 2, 4}
    assert len(made["concat"]) == 6


def test_undefined_zero_and_tiny_values_do_not_break_the_axes():
    subject = subject_of(parse_spec(PRESETS["fig1"].spec), 30_000)
    series = [
        one_series([None, 0.0, 1e-300, 0.5, math.inf, math.nan]),
        one_series([1.0], "objective", None),
        one_series([None, None], "nc3"),
    ]
    made = curves.figure(series, subject)
    svg = vl_convert.vegalite_to_svg(made)
    assert svg.count(">nothing has been measured<") == 2  # nc2 and nc3
    assert "NaN" not in svg
    assert [row["value"] for row in rows_of(made) if row.get("layer")] == [FLOOR, FLOOR, 0.5]


def test_an_experiment_without_measurements_gives_a_picture_that_says_so():
    subject = subject_of(parse_spec(PRESETS["fig1"].spec), 0)
    for made in (curves.figure([], subject), curves.comparison([(subject, [])], "nc1")):
        panels = len(made.get("concat", [made]))
        assert vl_convert.vegalite_to_svg(made).count(">nothing has been measured<") == panels


def test_a_single_point_is_seen():
    made = curves.figure([one_series([0.5])], Subject("one", layers=("h1",)), ["nc1"])
    assert 'aria-roledescription="point"' in vl_convert.vegalite_to_svg(made)


def test_a_long_series_is_thinned_and_keeps_its_ends():
    made = curves.figure([one_series([1 / (1 + step) for step in range(5000)])], Subject("long"), ["nc1"])
    rows = made["datasets"]["table1"]
    assert len(rows) == curves.MAX_POINTS
    assert (rows[0]["step"], rows[-1]["step"]) == (0, 4999)


def test_the_fonts_of_the_pictures_are_there_on_every_machine(fig3):
    """vl-convert brings Liberation Sans along; another font in the file would be this machine's."""
    subject, series = fig3
    pdf = vl_convert.vegalite_to_pdf(curves.figure(series, subject, list(PANELS)))
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    plain = [zlib.decompressobj().decompress(one) for one in streams if one[:1] == b"x"]
    fonts = set(re.findall(rb"/BaseFont\s*/\w+\+([\w-]+)", b"".join([pdf, *plain])))
    assert fonts == {b"LiberationSans", b"LiberationSans-Bold"}
    assert "href" not in vl_convert.vegalite_to_svg(curves.figure(series, subject))


@given(st.floats(-31, 5), st.floats(0, 36))
def test_a_log_axis_has_readable_ticks_over_any_range(low, decades):
    """Two to nine of them, ascending, inside; and the values are inside with room to spare."""
    values = [10**low, 10 ** (low + decades)]
    y = Ordinate.over("y", values, log=True)
    ticks = y.ticks()
    assert 2 <= len(ticks) <= 9
    assert ticks == sorted(set(ticks))
    assert y.low <= ticks[0] <= ticks[-1] <= y.high
    assert 0 < y.height(values[0]) <= y.height(values[1]) < 1


def test_captions_name_the_setting_in_the_paper_s_symbols():
    text = subject_of(parse_spec(PRESETS["fig4"].spec), 0).caption
    for part in ("M = 2", "σ = ReLU", "K = 4", "d = 20, 20", "n = 50", "λ_W = 0.0025, 0.005", "λ_H = 0.001",
                 "step 0.1", "100,000 steps", "3 seeds"):  # fmt: skip
        assert part in text


def test_a_comparison_counts_layers_from_the_last_and_shares_of_the_whole_run():
    def subject(name, layers):
        return Subject(name, layers=layers, steps=8)

    short = [one_series([3.0, 2.0, 1.0], layer="h1")]
    deep = [one_series([9.0, 4.0, 1.0, 0.5, 0.2], layer=layer) for layer in ("layer1", "layer2")]
    drawn = [(subject("a", ("h1",)), short), (subject("b", ("layer1", "layer2")), deep)]
    made = curves.comparison(drawn, "nc1", by_share=True)
    alt.Chart.from_dict(made, validate=True)
    rows = made["datasets"]["table1"]
    depths = {(row["experiment"], row["layer"]): row["depth"] for row in rows}
    assert depths == {("a", "h1"): "last layer", ("b", "layer2"): "last layer", ("b", "layer1"): "1 before it"}
    assert max(row["share of the run"] for row in rows if row["experiment"] == "b") == 0.5


@pytest.fixture(scope="module")
def two(service):
    with Client(service.url) as client:
        yield [client.submit(name, SHORT).wait(progress=False, timeout_seconds=120) for name in ("fig3", "fig4")]


def asked(handle, path, **params):
    return handle._client.request("GET", path, params=params)


def test_the_service_draws_in_all_forms(two, tmp_path):
    starts = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF", "json": b"{"}
    for form, start in starts.items():
        assert two[0].plot(tmp_path / f"p.{form}").read_bytes().startswith(start)
    with pytest.raises(ApiError) as caught:
        two[0].plot(tmp_path / "p.gif")
    assert caught.value.errors[0]["field"] == "form"


def test_panel_layer_and_seed_choose(two):
    path = f"/experiments/{two[0].id}/plot"
    made = asked(two[0], f"{path}.json", panel=["nc1", "cdnv"], layer="h2", seed=1).json()
    rows = rows_of(made)
    assert {row["layer"] for row in rows} == {"h2"}
    assert {row["seeds"] for row in rows} == {1}


@pytest.mark.parametrize(
    ("field", "value", "allowed"),
    [
        ("panel", "nc9", "nc1"),
        ("theme", "pink", "dark"),
        ("seed", "x", ""),
        ("seed", "7", "0, 1, 2"),
        ("layer", "h7", "h2"),
    ],
)
def test_what_cannot_be_drawn_is_named_with_what_can(two, field, value, allowed):
    with pytest.raises(ApiError) as caught:
        asked(two[0], f"/experiments/{two[0].id}/plot.svg", **{field: value})
    assert caught.value.status == 422
    assert caught.value.errors[0]["field"].startswith(field)
    assert allowed in caught.value.errors[0]["message"]


def test_a_comparison_lays_experiments_over_each_other(two):
    ids = [one.id for one in two]
    rows = asked(two[0], "/compare.json", experiment=ids, metric="nc1", x="fraction").json()["datasets"]["table1"]
    for name in ("figure 3", "figure 4"):
        assert max(row["share of the run"] for row in rows if row["experiment"] == name) == 1
    for form in ("svg", "png", "pdf"):
        assert asked(two[0], f"/compare.{form}", experiment=ids).content
    same = asked(two[0], "/compare.json", experiment=[ids[0], ids[0]]).json()
    assert {row["experiment"] for row in same["datasets"]["table1"]} == {"figure 3"}
    with pytest.raises(ApiError) as caught:
        asked(two[0], "/compare.svg", experiment="nothing")
    assert caught.value.status == 404
    with pytest.raises(ApiError, match="nc2_etf") as caught:
        asked(two[0], "/compare.svg", experiment=ids, metric="nc9")
    assert caught.value.errors[0]["field"] == "metric"
