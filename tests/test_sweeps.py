"""Sweeps: all combinations or none, a table of final metrics beside predictions, pictures of them."""

import csv
import io
import uuid

import httpx
import pytest
from conftest import both_databases
from test_cli import ncore

from ncore.client import ApiError
from ncore.spec import parse_spec
from ncore.theory import predict

BASE = {"preset": "fig1", "set": {"optimizer.steps": 4000, "measure.points": 5, "seeds": [0, 1]}}
DECAYS, SIZES = [0.002, 0.005, 0.02], [5, 50]
MANY = {"seeds": [[i] for i in range(200)], "loss": ["mse"] * 60}
AXES = {"regularization.features": DECAYS, "model.samples_per_class": SIZES}


@pytest.fixture(scope="module")
def swept(service):
    from ncore.client import Client

    with Client(service.url) as client:
        yield client.sweep(BASE, AXES, name="decay and size").wait(progress=False, timeout_seconds=120)


@both_databases
def test_every_combination_is_run_in_the_order_of_the_axes(swept, client):
    points = [tuple(item["point"].values()) for item in swept.data["items"]]
    assert points == [(decay, size) for decay in DECAYS for size in SIZES]
    assert (swept.data["statuses"], swept.data["total"], swept.data["progress"]) == ({"succeeded": 6}, 6, 1.0)
    spec = client.experiment(swept.data["items"][3]["experiment"]).data["spec"]
    assert (spec["regularization"]["features"], spec["model"]["samples_per_class"]) == (0.005, 50)
    assert spec["name"] == "figure 1: features = 0.005, samples_per_class = 50"


@both_databases
def test_the_table_has_the_final_metrics_over_the_seeds_beside_the_prediction(swept, client):
    for item in swept.data["items"]:
        experiment = client.experiment(item["experiment"])
        finals = [
            one["value"]
            for seed in experiment.result["final"]
            for one in seed["metrics"]
            if (one["metric"], one["layer"]) == ("objective", None)
        ]
        level = next(one for one in item["metrics"] if one["metric"] == "objective")
        assert (level["low"], level["high"]) == (min(finals), max(finals))
        assert level["mean"] == pytest.approx(sum(finals) / 2, rel=1e-15)
        assert level["predicted"] == predict(parse_spec(experiment.data["spec"])).objective
        assert len(item["verdict"]) == 2


@both_databases
def test_metrics_and_combinations_are_chosen_and_come_as_csv(swept, service):
    url = f"{service.url}/sweeps/{swept.id}"
    some = httpx.get(url, params={"metric": "nc1", "layer": "h1", "offset": 2, "limit": 2}).json()
    assert [item["point"] for item in some["items"]] == [item["point"] for item in swept.data["items"][2:4]]
    assert {(one["metric"], one["layer"]) for item in some["items"] for one in item["metrics"]} == {("nc1", "h1")}
    rows = list(csv.DictReader(io.StringIO(httpx.get(url, params={"metric": "nc1", "format": "csv"}).text)))
    assert [float(row["mean"]) for row in rows] == [
        next(one["mean"] for one in item["metrics"] if one["metric"] == "nc1") for item in swept.data["items"]
    ]
    assert rows[0]["regularization.features"] == "0.002"


@both_databases
def test_a_page_of_the_table_says_what_may_be_chosen_and_the_csv_has_all_pages(swept, service):
    url = f"{service.url}/sweeps/{swept.id}"
    page = httpx.get(url, params={"metric": "nc1", "offset": 4, "limit": 1}).json()
    levels = [(one["metric"], one["layer"]) for one in swept.data["items"][4]["metrics"]]
    told = [(metric, layer) for metric, layers in page["measured"].items() for layer in layers or [None]]
    assert {(metric, layer or None) for metric, layer in told} == set(levels)
    assert page["measured"]["rank"] == ["", *page["measured"]["nc1"]]  # without a layer it is that of W H
    for sort in ("rank.", "-rank.h1"):
        alone = {"metric": "rank", "layer": sort.rpartition(".")[2], "sort": sort}
        found = httpx.get(url, params=alone).raise_for_status().json()["items"]
        assert {one["layer"] for item in found for one in item["metrics"]} == {alone["layer"] or None}
        drawn = httpx.get(f"{url}/plot.json", params={"metric": "rank", "layer": alone["layer"], "y": "none"})
        assert {row["layer"] for row in rows_of(drawn.raise_for_status().json())} == {alone["layer"]}
    assert httpx.get(url, params={"offset": 99}).json()["measured"] == page["measured"]
    rows = list(csv.DictReader(io.StringIO(httpx.get(url, params={"format": "csv"}).text)))
    assert len(rows) == 6 * len(levels)
    some = httpx.get(url, params={"format": "csv", "metric": "nc1", "offset": 1, "limit": 4}).text.splitlines()
    assert [line.split(",")[2] for line in some[1:]] == [item["experiment"] for item in swept.data["items"][1:5]]


def test_a_csv_longer_than_what_is_read_at_once_is_whole(client):
    endless = {"preset": "fig1", "set": {"optimizer.steps": 10**8, "measure.points": 5}}
    made = client.sweep(endless, {"seeds": [[i] for i in range(2100)]}).cancel()
    rows = list(csv.DictReader(io.StringIO(client.request("GET", f"/sweeps/{made.id}", params={"format": "csv"}).text)))
    assert [row["seeds"] for row in rows] == [f"[{i}]" for i in range(2100)]
    assert len(made.refresh().data["items"]) == 2000


@both_databases
def test_the_list_says_how_far_each_is(swept, client):
    made = client.sweep({"preset": "fig1", "set": {"optimizer.steps": 10**8}}, {"seeds": [[0], [1]]}, name="endless")
    try:
        newest, *others = client.request("GET", "/sweeps").json()["items"]
        assert (newest["id"], newest["name"], sum(newest["statuses"].values())) == (made.id, "endless", 2)
        assert newest["progress"] < 1
        earlier = next(one for one in others if one["id"] == swept.id)
        assert (earlier["statuses"], earlier["progress"]) == ({"succeeded": 6}, 1.0)
    finally:
        made.cancel().wait(progress=False, timeout_seconds=60)


def rows_of(chart):
    return [row for layer in chart.get("layer", [chart]) for row in layer.get("data", {}).get("values", [])] or next(
        iter(chart.get("datasets", {"": chart.get("data", {}).get("values", [])}).values())
    )


def test_a_line_over_one_axis_is_the_mean_over_the_other_with_the_prediction(client):
    sweep = client.sweep(BASE, {"regularization.features": DECAYS}).wait(progress=False, timeout_seconds=120)
    chart = client.request("GET", f"/sweeps/{sweep.id}/plot.json", params={"metric": "objective"}).json()
    rows = rows_of(chart)
    assert [row["x"] for row in rows] == DECAYS
    for row, item in zip(rows, sweep.data["items"], strict=True):
        level = next(one for one in item["metrics"] if one["metric"] == "objective")
        assert (row["value"], row["predicted"]) == (level["mean"], level["predicted"])
    assert chart["title"] == "objective at the end, f* dotted"
    levels = client.request("GET", f"/sweeps/{sweep.id}", params={"metric": "objective"}).json()["items"]
    assert {level["predicted_name"] for item in levels for level in item["metrics"]} == {"f*"}


def test_two_axes_are_a_heat_map(swept, client, tmp_path):
    chart = client.request("GET", f"/sweeps/{swept.id}/plot.json", params={"metric": "objective"}).json()
    expected = {
        (str(item["point"]["regularization.features"]), str(item["point"]["model.samples_per_class"])): next(
            one["mean"] for one in item["metrics"] if one["metric"] == "objective"
        )
        for item in swept.data["items"]
    }
    assert {(row["x"], row["y"]): row["value"] for row in rows_of(chart)} == expected
    for form, head in (("svg", b"<svg"), ("png", b"\x89PNG"), ("pdf", b"%PDF")):
        assert swept.plot(tmp_path / f"x.{form}", metric="nc1", theme="dark").read_bytes().startswith(head)


def test_values_over_decades_are_drawn_on_a_log_axis_though_zero_is_predicted(client):
    decays = [0.005, 0.01, 0.02, 0.03, 0.04]
    sweep = client.sweep(BASE, {"regularization.features": decays}).wait(progress=False, timeout_seconds=120)
    chart = client.request("GET", f"/sweeps/{sweep.id}/plot.json", params={"metric": "nc1"}).json()
    rows = rows_of(chart)
    assert chart["title"] == "nc1 at the end, predicted: 0"  # f* at all of them
    assert {layer["encoding"]["y"]["scale"]["type"] for layer in chart["layer"]} == {"log"}
    low, high = chart["layer"][0]["encoding"]["y"]["scale"]["domain"]
    assert low < min(row["low"] for row in rows) < max(row["high"] for row in rows) / 1e3 < high


def test_of_many_values_a_heat_map_labels_some_and_shows_the_last_level(client):
    base = {"preset": "fig3", "set": {"optimizer.steps": 2, "measure.points": 2, "seeds": [0]}}
    axes = {"model.init_scale": [0.1 * (i + 1) for i in range(25)], "model.classes": [2, 3]}
    sweep = client.sweep(base, axes).wait(progress=False, timeout_seconds=120)
    chart = client.request("GET", f"/sweeps/{sweep.id}/plot.json", params={"metric": "nc1"}).json()
    assert (chart["title"], len(rows_of(chart))) == ("nc1 of h2 at the end", 50)
    assert chart["encoding"]["x"]["axis"]["values"] == [str(value) for value in axes["model.init_scale"][::2]]
    assert chart["encoding"]["y"]["axis"]["values"] == ["2", "3"]


def test_what_cannot_be_drawn_is_named(swept, service):
    for query, field, allowed in (
        ({"metric": "nc9"}, "metric", "nc1"),
        ({"layer": "h7"}, "layer", "h1"),
        ({"x": "seeds"}, "x", "regularization.features"),
        ({"x": "model.samples_per_class", "y": "model.samples_per_class"}, "y", "regularization.features"),
    ):
        answer = httpx.get(f"{service.url}/sweeps/{swept.id}/plot.svg", params=query)
        assert answer.status_code == 422
        fault = answer.json()["errors"][0]
        assert fault["field"] == field
        assert allowed in fault["message"]
    assert httpx.get(f"{service.url}/sweeps/nothing/plot.svg").status_code == 404


@both_databases
@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"base": {"preset": "fig1"}, "axes": {}}, "axes", "at least 1"),
        ({"base": {"preset": "fig1"}, "axes": {"seeds": []}}, "axes.seeds", "at least 1"),
        ({"base": {"preset": "fig9"}, "axes": {"seeds": [[1]]}}, "preset", "fig1"),
        ({"base": {"preset": "fig1"}, "axes": {"optimizer.steps": [5, -1]}}, "axes.optimizer.steps", "-1"),
        ({"base": {"preset": "fig1"}, "axes": {"optimizer.speed": [5]}}, "axes.optimizer.speed", "unknown"),
        ({"base": {"model": {}}, "axes": {"loss": ["mse"]}}, "base.model.classes", "required"),
        ({"base": {"preset": "fig1"}, "axes": MANY}, "axes", "12000"),
        ({"base": {"preset": "fig1"}, "axes": {"loss": ["mse"]}, "axis": 1}, "axis", ""),
        ([], "body", "object"),
    ],
)  # fmt: skip
def test_a_bad_sweep_is_refused_and_nothing_of_it_is_queued(client, body, field, told):
    before = client.request("GET", "/experiments", params={"limit": 1}).json()["items"]
    with pytest.raises(ApiError) as caught:
        client.request("POST", "/sweeps", json=body)
    assert caught.value.status == 422
    assert any(fault["field"] == field and told in fault["message"] for fault in caught.value.errors), (
        caught.value.errors
    )
    with pytest.raises(ApiError) as estimated:
        client.request("POST", "/sweeps/estimate", json=body)
    assert estimated.value.errors == caught.value.errors
    assert [one["id"] for one in client.request("GET", "/experiments", params={"limit": 1}).json()["items"]] == [
        one["id"] for one in before
    ]


@both_databases
def test_the_same_key_gives_the_same_sweep_and_another_body_a_conflict(service):
    url, headers = f"{service.url}/sweeps", {"Idempotency-Key": str(uuid.uuid4())}
    body = {"base": {"preset": "fig1", "set": {"optimizer.steps": 10}}, "axes": {"seeds": [[1], [2]]}}
    first, second = (httpx.post(url, json=body, headers=headers) for _ in range(2))
    assert (first.status_code, second.status_code) == (201, 200)
    assert first.json()["id"] == second.json()["id"]
    assert first.headers["Location"] == f"/sweeps/{first.json()['id']}"
    assert httpx.post(url, json={**body, "name": "other"}, headers=headers).status_code == 409
    assert first.json()["id"] in [one["id"] for one in httpx.get(url).json()["items"]]


@both_databases
def test_a_sweep_of_a_thousand_is_cancelled_as_a_whole_and_stands_in_nobodys_way(client):
    endless = {"preset": "fig1", "set": {"optimizer.steps": 10**8, "measure.points": 5, "priority": -1}}
    sweep = client.sweep(endless, {"seeds": [[i] for i in range(1000)]})
    try:
        assert sum(sweep.data["statuses"].values()) == 1000
        new = client.submit("fig1", {"optimizer.steps": 50, "measure.points": 5})
        client.experiment(running_of(client, sweep)).cancel()  # the worker is free again: who is next?
        assert new.wait(progress=False, timeout_seconds=60).status == "succeeded"
    finally:
        sweep.cancel()
    assert sweep.wait(progress=False, timeout_seconds=60).data["statuses"] == {"cancelled": 1000}


def running_of(client, sweep) -> str:
    from conftest import wait_for

    def found():
        return [item["experiment"] for item in sweep.refresh(limit=2).data["items"] if item["status"] == "running"]

    wait_for("the first to run", lambda: bool(found()))
    return found()[0]


def test_the_command_shows_the_table_and_saves_the_picture(service, tmp_path):
    words = ["sweep", "fig1", "--set", "optimizer.steps=500", "--set", "measure.points=5", "--wait"]
    picture = tmp_path / "x.svg"
    done = ncore(
        *words, "--axis", "regularization.features=[0.005, 0.02]", "--out", str(picture), env={"NCORE_URL": service.url}
    )
    assert done.returncode == 0, done.stderr
    assert "0.131421" in done.stdout
    assert ("f*" in done.stdout, "predicted" in done.stdout) == (True, False)
    assert picture.read_text().startswith("<svg")
    wrong = ncore(*words, "--axis", "regularization.features=0.005", env={"NCORE_URL": service.url})
    assert (wrong.returncode, "must be PATH=[value, …]" in wrong.stderr) == (2, True)
