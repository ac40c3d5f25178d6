"""Pictures carry what was measured and what is predicted, in every form."""

import html
import math
import re
import tracemalloc
import xml.etree.ElementTree as ET
from statistics import median
from xml.sax.saxutils import escape

import altair as alt
import pytest
import vl_convert
from hypothesis import given
from hypothesis import strategies as st

import ncore.pictures
from ncore.pictures import curves
from ncore.pictures.axes import FLOOR, Abscissa, Ordinate, power_of
from ncore.pictures.comparison import Compared, Lens, comparison
from ncore.pictures.panels import PANELS
from ncore.pictures.points import MAX_POINTS, Thinner, curves_of
from ncore.pictures.setting import PictureSetting, setting_of
from ncore.pictures.sweep import Facet, View
from ncore.pictures.sweep_map import sweep_figure
from ncore.pictures.themes import THEMES, layout_of
from ncore.pictures.titles import distinct, shortened, width, wrapped
from ncore.presets import PRESETS
from ncore.series import as_series, framed
from ncore.spec import parse_spec, with_changes
from ncore.sweeps.quantity import Cell, Quantity
from ncore.sweeps.ruler import Ruler
from ncore.theory import predict
from ncore.train import train


def figure(series, setting, *rest, **more):
    return curves.figure(curves_of(series), setting, *rest, **more)


SHORT = {"optimizer.steps": 300, "measure.points": 12}


@pytest.fixture(scope="module")
def fig3():
    spec = parse_spec(with_changes(PRESETS["fig3"].spec, SHORT))
    return setting_of(spec, 300), as_series(list(train(spec)))


STARTS = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF", "json": b"{"}


def one_series(values, metric="nc1", layer="h1", seed=0):
    return {"metric": metric, "layer": layer, "seed": seed, "steps": list(range(len(values))), "values": values}


def rows_of(made):
    return [row for table in made["datasets"].values() for row in table]


def test_a_figure_carries_median_and_range_over_the_seeds_of_both_levels(fig3):
    setting, series = fig3
    rows = figure(series, setting, ["nc1"])["datasets"]["table1"]
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
    setting, series = fig3
    made = figure(series, setting)
    texts = {row["text"]: row["value"] for row in rows_of(made) if "text" in row}
    delta = math.sqrt(2 - 2 * math.sqrt(3 / 4))
    least = predict(parse_spec(PRESETS["fig3"].spec)).objective
    assert texts["f* = 0.05071"] == pytest.approx(least, rel=1e-11)
    assert texts["predicted = 0.5176"] == pytest.approx(delta, rel=1e-11)
    assert made["concat"][0]["title"] == "Objective, f* = 0.050708"


def test_the_gap_is_the_objective_above_its_prediction(fig3):
    setting, series = fig3
    rows = figure(series, setting, ["gap"])["datasets"]["table1"]
    objective = [one for one in series if one["metric"] == "objective"]
    for row in rows:
        values = [one["values"][one["steps"].index(row["step"])] for one in objective]
        assert row["value"] == pytest.approx(median(values) - setting.predicted["objective", None])


def test_every_panel_is_valid_vega_lite(fig3):
    setting, series = fig3
    made = figure(series, setting, list(PANELS), "dark", hover=True)
    svg = vl_convert.vegalite_to_svg(made)
    assert ET.fromstring(svg).tag == "{http://www.w3.org/2000/svg}svg"
    assert all(f">{escape(panel.title)}" in svg for panel in PANELS.values())
    assert alt.SCHEMA_URL.startswith(made["$schema"].removesuffix(".json"))
    few = {name: rows[:1] for name, rows in made["datasets"].items()}  # the check walks through every number
    several, flat = made["concat"][list(PANELS).index("nc2")], made["concat"][list(PANELS).index("nc4")]
    for chart in (several, flat):  # what panels differ in: several metrics and levels, powers; a linear axis
        alt.Chart.from_dict({**made, "concat": [chart], "datasets": few}, validate=True)


def test_a_panel_has_the_same_layer_in_the_same_colour_everywhere(fig3):
    setting, series = fig3
    scales = set(
        re.findall(r'"domain": (\["h1", "h2"\]), "range": (\[[^]]+\])', str(figure(series, setting)).replace("'", '"'))
    )
    assert len(scales) == 1


@pytest.mark.parametrize("seeds", [(0,), (0, 1, 2)])
def test_the_layers_of_a_network_stand_in_the_order_of_the_forward_pass_over_epochs(seeds):
    """Seeds are trained one after the other: the run's total is that of all."""
    model = {"kind": "mlp", "widths": [16] * 11}
    changes = {"model": model, "optimizer.epochs": 40, "optimizer.milestones": [], "seeds": list(seeds)}
    setting = setting_of(parse_spec(with_changes(PRESETS["fig5-mse-small"].spec, changes)), 400 * len(seeds))
    series = [
        {**one_series([3.0, 2.0, 1.0], "nc1", f"hidden{i + 1}", seed), "steps": [0, 200, 400]}
        for i in reversed(range(11))
        for seed in seeds
    ]
    made = figure(series, setting)
    alt.Chart.from_dict(made, validate=True)
    color = made["concat"][2]["layer"][0]["encoding"]["color"]
    assert color["scale"]["domain"] == [f"hidden{i + 1}" for i in range(11)]
    assert {row["epoch"] for row in made["datasets"]["table3"]} == {0, 20, 40}
    assert len(made["concat"]) == 6
    shares = comparison([Compared(setting, curves_of(series))], ["nc1"], Lens(by_share=True))
    assert {row["share of the run"] for row in rows_of(shares)} == {0, 0.5, 1}
    assert re.findall(r">(\d+)</text>", vl_convert.vegalite_to_svg(made))[:7] == [
        "0",
        "5",
        "10",
        "15",
        "20",
        "25",
        "30",
    ]


def test_undefined_zero_and_tiny_values_do_not_break_the_axes():
    setting = setting_of(parse_spec(PRESETS["fig1"].spec), 30_000)
    series = [
        one_series([None, 0.0, 1e-300, 0.5, math.inf, math.nan]),
        one_series([1.0], "objective", None),
        one_series([None, None], "nc3"),
    ]
    made = figure(series, setting)
    svg = vl_convert.vegalite_to_svg(made)
    assert svg.count(">nothing has been measured<") == 2  # nc2 and nc3
    assert "NaN" not in svg
    assert [row["value"] for row in rows_of(made) if row.get("layer")] == [FLOOR, FLOOR, 0.5]


def test_a_sweep_over_runs_that_diverged_is_drawn():
    huge, style = 1.7976931348623157e308, {"style": THEMES["light"], "layout": layout_of()}
    for values in ((huge, -huge), (huge, huge), (1e-300, huge), (-huge, 0.5)):
        for seeds in ([0, 1], list(range(20))):
            over, sizes = Ruler({"seeds": seeds}), Ruler({"K": [2, 3]})
            points = [{"seeds": one, "K": k} for one in seeds for k in sizes.values]
            cells = [Cell("e", point, "h1", *[values[i % 2]] * 3) for i, point in enumerate(points)]
            for view in (View(Quantity("nc1"), over, **style), View(Quantity("nc1"), over, sizes, **style)):
                drawn = vl_convert.vegalite_to_svg(sweep_figure([Facet("", cells)], view))
                assert "NaN" not in drawn
                assert "Infinity" not in drawn


def test_an_experiment_without_measurements_gives_a_picture_that_says_so():
    setting = setting_of(parse_spec(PRESETS["fig1"].spec), 0)
    for made in (figure([], setting), comparison([Compared(setting, {})], ["nc1"])):
        panels = len(made.get("concat", [made]))
        assert vl_convert.vegalite_to_svg(made).count(">nothing has been measured<") == panels


def test_a_single_point_is_seen():
    made = figure([one_series([0.5])], PictureSetting("one", layers=("h1",)), ["nc1"])
    assert "mark-symbol" in vl_convert.vegalite_to_svg(made)


@pytest.mark.parametrize("name", [r"\xi", r"\u", 'a\\"b', "'\\'", "C:\\x", 'q"q', "back\\"])
def test_a_name_with_backslashes_and_quotes_is_drawn_as_it_is(name):
    setting = PictureSetting("one", layers=(name,))
    series = [one_series([1.0, 2.0, 3.0], name, name)]
    compared = [Compared(setting, curves_of(series))]
    for made in (figure(series, setting, [name], hover=True), comparison(compared, [name], hover=True)):
        assert name in html.unescape(vl_convert.vegalite_to_svg(made))


def test_a_line_break_in_an_old_name_is_drawn():
    made = figure([one_series([1.0, 2.0], "a\nb")], PictureSetting("x"), ["a\nb"], hover=True)
    assert "mark-line" in vl_convert.vegalite_to_svg(made)


@given(st.integers(1, 400), st.integers(0, 399), st.integers(0, 2), st.sampled_from([1e9, 1e-9]), st.integers(4, 130))
def test_thinned_curves_keep_ends_and_spikes_of_every_seed_with_all_seeds_of_their_step(count, at, seed, spike, points):
    at %= count
    series = [one_series([1 + (step * 7919 + one) % 97 for step in range(count)], seed=one) for one in range(3)]
    series[seed]["values"][at] = spike
    (kept,) = curves_of(series, points).values()
    assert len(kept) <= points
    assert (kept[0].step, kept[-1].step) == (0, count - 1)
    assert spike in {value for point in kept for value in (point.low, point.high)}
    for point in kept:
        values = [one["values"][point.step] for one in series]
        assert point[1:] == (median(values), min(values), max(values), 3)
    assert [point.step for point in kept] == sorted({point.step for point in kept})


def test_a_picture_of_a_long_run_holds_few_steps_at_a_time_and_draws_few():
    thinner = Thinner(20_000)
    tracemalloc.start()
    for step in range(20_000):
        thinner.add(step, {("nc1", "h1"): [1 / (1 + step), 2.0]})
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    (kept,) = thinner.curves().values()
    assert len(kept) <= MAX_POINTS


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
    text = setting_of(parse_spec(PRESETS["fig4"].spec), 0).caption
    for part in ("M = 2", "σ = ReLU", "K = 4", "d = 20, 20", "n = 50", "λ_W = 0.0025, 0.005", "λ_H = 0.001",
                 "step 0.1", "100,000 steps", "3 seeds"):  # fmt: skip
        assert part in text


@pytest.mark.parametrize(("shown", "told"), [((), "3 seeds (median, range)"), ((1, 2), "2 seeds"), ((2,), "; seed 2")])
def test_captions_count_the_seeds_that_are_shown(shown, told):
    assert told in setting_of(parse_spec(PRESETS["fig3"].spec), 0, seeds=shown).caption


def test_the_pointer_shows_what_a_reader_knows_with_few_digits(fig3):
    setting, series = fig3
    rates, sizes = Ruler({"lr": [0.1, 0.1 + 0.2]}), Ruler({"K": [2, 3]})
    cells = [Cell("e", {"lr": lr, "K": k}, "h1", lr / 3, lr, lr) for lr in rates.values for k in sizes.values]
    style = {"style": THEMES["light"], "layout": layout_of()}
    pictures = [
        figure(series, setting, hover=True),
        comparison([Compared(setting, curves_of(series))], ["nc1"], hover=True),
        sweep_figure([Facet("", cells)], View(Quantity("nc1"), rates, **style)),
        sweep_figure([Facet("", cells)], View(Quantity("nc1"), rates, sizes, **style)),
    ]
    shown = [[(one["title"], one.get("format")) for one in found] for made in pictures for found in tooltips_of(made)]
    assert len(shown) == 7
    for channels in shown:
        titles = {title for title, _ in channels}
        assert titles <= {
            "layer",
            "curve",
            "step",
            "median",
            "lowest",
            "highest",
            "seeds",
            "experiment",
            "lr",
            "K",
            "nc1",
        }
        assert all(form == ".5~g" for title, form in channels if title in ("median", "lowest", "highest", "nc1", "lr"))
    assert [title for title, _ in shown[-1]] == ["lr", "K", "nc1"]


def tooltips_of(made):
    if isinstance(made, dict):
        own = [made["tooltip"]] if "tooltip" in made else []
        return own + [one for value in made.values() for one in tooltips_of(value)]
    return [one for value in made for one in tooltips_of(value)] if isinstance(made, list) else []


@given(st.text(st.sampled_from("ab c神경e\u0301\u200b🧠-…"), max_size=300), st.integers(8, 60), st.integers(1, 4))
def test_titles_are_wrapped_and_names_shortened_to_the_columns_that_letters_take(text, columns, lines):
    made = wrapped(text, columns, lines)
    assert len(made) <= lines
    assert all(width(line) <= columns for line in [*made, shortened(text, columns)])
    whole = "".join(text.split())
    if "…" not in text and not "".join(made).endswith("…"):
        assert "".join("".join(made).split()) == whole
    names = distinct([text, text, text + "x"], columns)
    assert len(set(names)) == 3


@pytest.mark.parametrize(("style", "legend"), [("screen", "bottom"), ("slides", "right"), ("paper", "direct")])
def test_a_figure_for_a_paper_has_the_sizes_that_are_asked_for(fig3, style, legend):
    setting, series = fig3
    asked = layout_of(style, width=222, height=111, fontsize=9.0, font="Liberation Serif", legend=legend, title="none")
    made = figure(series, setting, ["objective", "nc2"], layout=asked)
    alt.Chart.from_dict(made, validate=True)
    svg = vl_convert.vegalite_to_svg(made)
    assert 'font-family="Liberation Serif"' in svg
    assert "figure 3</text>" not in svg
    assert (">layer</text>" in svg) == (legend != "direct")
    assert (">h2, simplex ETF</text>" in svg) == (legend == "direct")
    assert {(one["width"], one["height"]) for one in made["concat"]} == {(222, 111)}


def test_ticks_are_powers_of_ten():
    assert [power_of(tick) for tick in (0, 1, 10, 1e-6, 3e4, 2e-12, 1.25e5)] == [
        ("0", ""), ("1", ""), ("10", ""), ("10", "−6"), ("3·10", "4"), ("2·10", "−12"), ("1.25·10", "5"),
    ]  # fmt: skip
    made = figure([one_series([10.0**-i for i in range(12)])], PictureSetting("one", steps=11), ["nc1"])
    texts = re.findall(r">([^<]+)</text>", vl_convert.vegalite_to_svg(made))
    assert {"10", "−6", "−10"} <= set(texts)
    assert not [text for text in texts if re.search(r"\de", text)]


@pytest.mark.parametrize(("form", "value"), [("log", 1.0), ("linear", 1.0), ("linear", 2.5e-7), ("linear", 3e12)])
def test_ticks_for_a_browser_are_readable_on_whichever_axis_it_makes_of_them(form, value):
    values = [10.0**-i for i in range(12)] if form == "log" else [value / 4, value]
    setting = PictureSetting("one", over=Abscissa(log=form == "log"))
    made = figure([one_series(values)], setting, ["nc1"], layout=layout_of(powers="text"))
    if form == "linear":  # as the dashboard does it
        for layer in made["concat"][0]["layer"]:
            layer["encoding"]["y"]["scale"] = {"type": "linear"}
            del layer["encoding"]["y"]["axis"]["values"]
    texts = re.findall(r">([^<]+)</text>", vl_convert.vegalite_to_svg(made))
    assert ("10⁻¹⁰" in texts) == (form == "log")
    assert {2.5e-7: "2·10⁻⁷", 3e12: "2·10¹²", 1.0: "1"}[value] in texts
    assert not [text for text in texts if re.search(r"\de|NaN|undefined", text)]


def test_a_comparison_counts_layers_from_the_last_and_shares_of_the_whole_run():
    def setting(name, layers):
        return PictureSetting(name, layers=layers, steps=8)

    short = [one_series([3.0, 2.0, 1.0], layer="h1")]
    deep = [one_series([9.0, 4.0, 1.0, 0.5, 0.2], layer=layer) for layer in ("layer1", "layer2")]
    compared = [(setting("a", ("h1",)), curves_of(short)), (setting("b", ("layer1", "layer2")), curves_of(deep))]
    made = comparison([Compared(*one) for one in compared], ["nc1"], Lens(by_share=True))
    alt.Chart.from_dict(made, validate=True)
    rows = made["datasets"]["table1"]
    depths = {(row["experiment"], row["layer"]): row["depth"] for row in rows}
    assert depths == {("a", "h1"): "last layer", ("b", "layer2"): "last layer", ("b", "layer1"): "1 before it"}
    assert max(row["share of the run"] for row in rows if row["experiment"] == "b") == 0.5


def test_a_figure_needs_no_service(tmp_path):
    spec = parse_spec(with_changes(PRESETS["fig3"].spec, SHORT))
    measured = list(train(spec))
    made = ncore.pictures.figure(spec, measured, panels=["nc1", "objective"], seeds=[0, 2], style="paper")
    frame = framed(as_series(measured), "polars")
    others = (as_series(measured), framed(as_series(measured), "records"), frame)
    for other in others:
        same = ncore.pictures.figure(spec, other, panels=["nc1", "objective"], seeds=[0, 2], style="paper")
        assert same.vega_lite == made.vega_lite
    for form, start in STARTS.items():
        assert made.save(tmp_path / f"p.{form}").read_bytes().startswith(start)
    assert made._repr_mimebundle_()["image/svg+xml"].startswith("<svg")
    assert ncore.pictures.figure("fig3", []).vega_lite["title"]["text"] == "figure 3"
    with pytest.raises(ValueError, match=r"\.svg, \.png"):
        made.save(tmp_path / "p.gif")
    with pytest.raises(ValueError, match=r"nc2.*got 'nc9'"):
        ncore.pictures.figure(spec, measured, panels=["nc9"])
    with pytest.raises(ValueError, match=r"seeds: must be out of 0, 1, 2; got 7"):
        ncore.pictures.figure(spec, measured, seeds=[7])
    with pytest.raises(TypeError, match="got int"):
        ncore.pictures.figure(spec, [1, 2])


@pytest.mark.parametrize("font", ['"', "a<b", "a>b", "a&b", 'x" onload="y', "a;b", "a{b}", "a\\b"])
def test_a_font_that_would_break_out_of_the_picture_is_refused(font):
    with pytest.raises(ValueError, match="font: must be a family of fonts"):
        layout_of(font=font)
    assert layout_of(font="'Noto Sans CJK', 明朝, A-1.5+").font.startswith("'Noto")
