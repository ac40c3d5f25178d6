"""Pictures over HTTP: every form, every choice, every bound, and whatever stands in old rows."""

import os
import signal

import pytest
from conftest import children_of
from sqlalchemy import create_engine, update
from test_pictures import SHORT, STARTS, rows_of

from api.database.tables import Experiment
from ncore.client.client import ApiError, Client


@pytest.fixture(scope="module")
def two(service):
    with Client(service.url) as client:
        yield [client.submit(name, SHORT).wait(progress=False, timeout_seconds=120) for name in ("fig3", "fig4")]


def asked(handle, path, **params):
    return handle._client.request("GET", path, params=params)


def test_the_service_draws_in_all_forms(two, tmp_path):
    for form, start in STARTS.items():
        assert two[0].plot(tmp_path / f"p.{form}").read_bytes().startswith(start)
    with pytest.raises(ApiError) as caught:
        two[0].plot(tmp_path / "p.gif")
    assert caught.value.errors[0]["field"] == "form"


def test_panel_layer_and_seed_choose(two):
    path = f"/experiments/{two[0].id}/plot"
    made = asked(two[0], f"{path}.json", panels="nc1, cdnv", layer="h2", seed=1).json()
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


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/experiments/{id}/plot.svg?" + "&".join(["panel=nc1"] * 400), "panel"),
        ("/experiments/{id}/plot.svg?" + "&".join(["layer=h1"] * 400), "layer"),
        ("/experiments/{id}/plot.svg?" + "&".join(["seed=1"] * 4000), "seed"),
        ("/experiments/{id}/plot.svg?width=1000000000", "width"),
        ("/experiments/{id}/plot.svg?style=pink", "style"),
        ("/experiments/{id}/plot.png?dpi=5000", "dpi"),
        ("/experiments/{id}/plot.png?dpi=1200&width=2000&height=2000&columns=4", "dpi"),
        ("/experiments/{id}/plot.png?panels=nc1,nc9", "panels"),
        ("/compare.svg?" + "&".join(["experiment={id}"] * 400), "experiment"),
        ("/compare.svg?experiment={id}&metric=a%01b", "metric"),
        ("/compare.svg?experiment={id}&metric=" + "a" * 1000, "metric"),
    ],
)
def test_every_parameter_of_a_picture_is_bounded(two, path, field):
    with pytest.raises(ApiError) as caught:
        two[0]._client.request("GET", path.format(id=two[0].id))
    assert caught.value.status == 422
    assert caught.value.errors[0]["field"].startswith(field)
    assert len(caught.value.errors[0]["message"]) < 400


def test_old_rows_with_odd_text_and_killed_processes_do_not_stop_the_service(service, two):
    made = two[0]
    with create_engine(service.settings.database).begin() as connection:
        renamed = update(Experiment).where(Experiment.id == made.id)
        connection.execute(renamed.values(name="a\x01b\x0b\x1b[31m\ufffe\uffff\u2028 <&", tags=["\x02"]))
    try:
        api = service.children["api"].process.pid
        for path in (f"/experiments/{made.id}/plot.{form}" for form in STARTS):
            assert asked(made, path).content
            for pid in children_of(api):
                os.kill(pid, signal.SIGKILL)
        assert asked(made, "/compare.svg", experiment=made.id).content
        assert asked(made, f"/experiments/{made.id}/export.zip").content
        assert service.children["api"].restarts == 0
        assert service.children["api"].process.pid == api
    finally:
        with create_engine(service.settings.database).begin() as connection:
            connection.execute(renamed.values(name="figure 3", tags=[]))


LARGEST = 1.7976931348623157e308
EXTREMES = {
    "largest": [LARGEST, LARGEST, LARGEST],
    "both signs": [-LARGEST, LARGEST, -LARGEST],
    "every size": [5e-324, 1.0, LARGEST],
    "none at first": [None, 1e200, 1e307],
    "falls": [LARGEST, 1.0, 5e-324],
}


@pytest.mark.parametrize("seeds", [2, 12])  # curves, and histograms too
def test_numbers_of_any_size_are_kept_compared_and_drawn(service, client, seeds):
    """As those of a run that diverges."""
    spec = {"model": {"kind": "external", "layers": ["a"]}, "theory": {"preset": "fig1"}}
    made = client.submit(spec)
    metrics = ["nc1", "nc2_of", "nc3", "loss", "objective"]
    columns = [[metric, "a"] if metric.startswith("nc") else metric for metric in metrics]
    rows = [[seed, step, *(values[step] for values in EXTREMES.values())] for seed in range(seeds) for step in range(3)]
    path = f"/experiments/{made.id}"
    client.request("POST", f"{path}/measurements", json={"columns": columns, "rows": rows})
    client.request("POST", f"{path}/finish", json={"status": "succeeded"})
    items = asked(made, f"{path}/metrics").json()["series"]
    assert {max(one["values"]) for one in items if one["metric"] == "nc1"} == {LARGEST}
    side = asked(made, "/compare", experiment=made.id, metric=metrics).json()["items"][0]["values"]
    assert {one["mean"] for one in side if one["metric"] in ("nc1", "loss")} == {LARGEST, 1e307}
    for name in ("plot.svg", "plot.png", "plot.json?each_seed=true", "plot.json?theme=dark&panel=nc1"):
        assert asked(made, f"{path}/{name}").content
    for over in ({}, {"x": "fraction"}, {"yscale": "linear"}, {"yscale": "log"}):
        assert asked(made, "/compare.svg", experiment=made.id, metric=metrics, **over).content
    for path in ("/theory", "", "/export.zip"):
        assert asked(made, f"/experiments/{made.id}{path}").content
