"""The experiments over HTTP, on the real service with either database."""

import concurrent.futures
import uuid

import httpx
import numpy as np
import polars
import pytest
import safetensors.torch
from conftest import both_databases, wait_for

from ncore.client import ApiError, Client, ExperimentFailed
from ncore.metrics import measure
from ncore.presets import PRESETS
from ncore.spec import parse_spec, with_changes
from ncore.train import train

pytestmark = both_databases


QUICK = {"optimizer.steps": 400, "measure.points": 20, "seeds": [0, 1]}


def refusal(client: Client, body: object) -> dict:
    with pytest.raises(ApiError) as caught:
        client.request("POST", "/experiments", json=body)
    assert caught.value.status == 422
    return {error["field"]: error["message"] for error in caught.value.errors}


def test_an_experiment_runs_to_its_end_and_its_series_are_those_of_the_engine(client):
    made = client.submit("fig1", QUICK)
    assert made.status == "queued"
    done = made.wait(progress=False, timeout_seconds=60)
    assert done.data["progress"] == {"step": 400, "total": 400, "eta_seconds": None}
    assert (done.data["attempt"], done.data["device"], done.data["error"]) == (1, "cpu", None)
    assert done.data["created_at"] <= done.data["started_at"] <= done.data["finished_at"]
    stored = {
        (s["metric"], s["layer"], s["seed"]): dict(zip(s["steps"], s["values"], strict=True)) for s in done.series()
    }
    count = 0
    for m in train(parse_spec(with_changes(PRESETS["fig1"].spec, QUICK))):
        for (metric, layer), value in m.values.items():
            assert stored[metric, layer, m.seed][m.step] == value
            count += 1
    assert count == sum(len(series) for series in stored.values())
    assert done.result["engine"] == "sample_free"
    assert [verdict["seed"] for verdict in done.result["verdict"]] == [0, 1]


def test_the_location_of_a_new_experiment_answers(client):
    answer = client.request("POST", "/experiments", json={"preset": "fig2", "set": {"optimizer.steps": 10}})
    assert answer.status_code == 201
    assert client.request("GET", answer.headers["Location"]).json()["id"] == answer.json()["id"]


@pytest.mark.parametrize(
    ("path", "value", "field", "words"),
    [
        ("colour", 1, "colour", "unknown field"),
        ("model.classes", 1, "model.classes", "greater than or equal to 2; got 1"),
        ("regularization.features", -0.1, "regularization.features", "greater than or equal to 0; got -0.1"),
        ("model.samples_per_class", 0, "model.samples_per_class", "greater than or equal to 1; got 0"),
        ("model.widths", [], "model.widths", "at least 1"),
        ("model.samples_per_class", [3, 4], "model.samples_per_class", "list of classes = 4"),
        ("regularization.weights", [0.1, 0.1], "regularization.weights", "len(model.widths) = 1"),
        ("seeds", [3, 3], "seeds", "must not repeat"),
        ("device", "tpu", "device", "got 'tpu'"),
        ("model.kind", "gcn", "model.kind", "must be one of ufm"),
        ("model.samples_per_class", 10**8, "model", "the limit is NCORE_MAX_MEMORY_BYTES"),
    ],
)
def test_a_bad_spec_is_refused_naming_field_value_and_what_is_allowed(client, path, value, field, words):
    changes = {path: value} | ({"optimizer.form": "full"} if value == 10**8 else {})
    faults = refusal(client, with_changes(PRESETS["fig1"].spec, changes))
    assert words in faults[field]


def test_a_bad_preset_request_is_refused(client):
    assert "must be one of fig1" in refusal(client, {"preset": "fig99"})["preset"]
    assert "unknown field" in refusal(client, {"preset": "fig1", "name": "x"})["name"]
    assert refusal(client, {"preset": "fig1", "set": {"optimizer.steps": 0}}).keys() == {"optimizer.steps"}
    assert refusal(client, {"preset": "fig1", "set": {"name.x": 0}}).keys() == {"name.x"}
    assert refusal(client, [1, 2]).keys() == {""}


def test_a_body_that_is_no_json_is_refused_and_the_service_goes_on(client):
    with pytest.raises(ApiError) as caught:
        client.request("POST", "/experiments", content=b"{no json", headers={"Content-Type": "application/json"})
    assert caught.value.status == 422
    assert "not JSON" in str(caught.value)
    assert client.request("GET", "/readyz").json() == {"status": "ready"}


def test_a_learning_rate_of_a_billion_fails_with_the_advice(client):
    made = client.submit("fig1", {**QUICK, "optimizer.learning_rate": 1e9})
    with pytest.raises(ExperimentFailed, match=r"lower optimizer\.learning_rate"):
        made.wait(progress=False, timeout_seconds=60)
    assert made.data["result"] is None
    assert made.series(metric="objective")[0]["steps"][0] == 0


def test_one_shape_of_errors_for_routes_methods_and_ids(client):
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("PUT", "/experiments", 405),
        ("GET", "/experiments/x", 404),
    ):
        answer = httpx.request(method, f"{client.url}{path}")
        assert answer.status_code == status
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json().keys() == {"type", "title", "status", "detail", "errors"}
        assert answer.json()["status"] == status
    assert httpx.options(f"{client.url}/sweeps/estimate").headers["Allow"] == "POST"  # what a sweep's id has is not its


def test_fifty_identical_requests_at_once_make_one_experiment(client):
    key, body = str(uuid.uuid4()), {"preset": "fig1", "set": {**QUICK, "name": "only one"}}

    def post(_: int) -> httpx.Response:
        return httpx.post(f"{client.url}/experiments", json=body, headers={"Idempotency-Key": key}, timeout=60)

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    assert sorted({answer.status_code for answer in answers}) == [200, 201]
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert [answer.status_code for answer in answers].count(201) == 1
    other = httpx.post(f"{client.url}/experiments", json={"preset": "fig2"}, headers={"Idempotency-Key": key})
    assert other.status_code == 409
    assert other.json()["errors"][0]["field"] == "Idempotency-Key"


def test_eight_writers_and_twenty_readers_at_once_are_all_served(client):
    tag = uuid.uuid4().hex

    def write(number: int) -> list[str]:
        changes = {"optimizer.steps": 1, "seeds": [0], "tags": [tag], "name": f"writer {number}"}
        return [client.submit("fig1", changes).id for _ in range(5)]

    def read(_: int) -> None:
        for _ in range(10):
            client.request("GET", "/experiments", params={"limit": 20})

    with concurrent.futures.ThreadPoolExecutor(28) as pool:
        writers = [pool.submit(write, i) for i in range(8)]
        readers = [pool.submit(read, i) for i in range(20)]
        made = [experiment_id for writer in writers for experiment_id in writer.result()]
        for reader in readers:
            reader.result()
    assert sorted(one.id for one in client.experiments(tag=tag)) == sorted(made)
    assert len(set(made)) == 40


def test_the_list_is_filtered_and_paged_newest_first(client):
    tag = uuid.uuid4().hex
    ids = [client.submit("fig1", {**QUICK, "name": f"Paged {i} 100%", "tags": [tag]}).id for i in range(5)]
    assert [one.id for one in client.experiments(tag=tag)] == ids[::-1]
    first = client.request("GET", "/experiments", params={"tag": tag, "limit": 2}).json()
    second = client.request(
        "GET", "/experiments", params={"tag": tag, "limit": 9, "cursor": first["next_cursor"]}
    ).json()
    assert [one["id"] for one in first["items"] + second["items"]] == ids[::-1]
    assert second["next_cursor"] is None
    assert [one.id for one in client.experiments(tag=tag, q="paged 3 100%")] == [ids[3]]
    assert not list(client.experiments(tag=tag, q="paged _"))
    assert not list(client.experiments(tag=tag[:-1]))
    assert not list(client.experiments(tag=tag, kind="resnet"))
    for field, value in (("limit", 201), ("cursor", "?"), ("status", "done")):
        with pytest.raises(ApiError) as caught:
            client.request("GET", "/experiments", params={field: value})
        assert [error["field"] for error in caught.value.errors] == [field]


@pytest.fixture(scope="module")
def finished(service):
    with Client(service.url) as made:
        yield made.submit("fig3", QUICK).wait(progress=False, timeout_seconds=60)


def test_series_are_filtered(finished):
    some = finished.series(metric=["nc1", "nc3"], layer="h2", seed=1)
    assert {(s["metric"], s["layer"], s["seed"]) for s in some} == {("nc1", "h2", 1), ("nc3", "h2", 1)}
    assert {s["layer"] for s in finished.series(layer="")} == {None}
    assert finished.series(metric="nothing") == []


def test_since_gives_only_what_came_later(finished):
    path = f"/experiments/{finished.id}/metrics"
    whole = finished._client.request("GET", path).json()
    assert finished._client.request("GET", path, params={"since": whole["next"]}).json()["series"] == []
    half = finished._client.request("GET", path, params={"since": 10}).json()
    assert half["next"] == whole["next"] == 40
    assert sum(len(s["steps"]) for s in half["series"] if s["metric"] == "objective") == 30


def test_thinned_series_keep_ends_and_extremes(finished):
    for whole, thin in zip(finished.series(), finished.series(max_points=8), strict=True):
        assert len(thin["steps"]) <= 8
        pairs = set(zip(whole["steps"], whole["values"], strict=True))
        assert set(zip(thin["steps"], thin["values"], strict=True)) <= pairs
        assert (thin["steps"][0], thin["steps"][-1]) == (0, 400)
        assert max(thin["values"]) == max(whole["values"])
        assert min(thin["values"]) == min(whole["values"])


def test_all_formats_carry_the_same_points(finished, tmp_path):
    points = finished.metrics()
    assert points.columns == ["metric", "layer", "seed", "step", "value"]
    csv = polars.read_csv(finished.download(tmp_path / "a.csv", "csv"), infer_schema_length=None)
    lines = polars.read_ndjson(finished.download(tmp_path / "a.ndjson", "ndjson"), infer_schema_length=None)
    parquet = polars.read_parquet(finished.download(tmp_path / "a.parquet", "parquet"))
    for frame in (csv, lines, parquet):
        assert len(frame) == len(points) > 500
        assert frame["metric"].to_list() == points["metric"].to_list()
        assert frame["step"].to_list() == points["step"].to_list()
        np.testing.assert_array_equal(frame["value"].to_numpy(), points["value"].to_numpy())


def test_theory_stands_beside_the_last_measurement(finished, client):
    theory = finished.theory()
    row = next(row for row in theory["comparison"] if row["quantity"] == "objective" and row["seed"] == 0)
    assert row["predicted"] == theory["prediction"]["objective"] == client.theory("fig3")["objective"]
    measured = next(s for s in finished.series(metric="objective", seed=0))
    assert (row["measured"], row["step"]) == (measured["values"][-1], 400)
    assert row["gap"] == pytest.approx(row["measured"] / row["predicted"] - 1)


def test_events_bring_every_measurement_once_and_resume_after_any(finished):
    events = list(finished.events())
    assert [kind for kind, _ in events if kind != "status"] == ["measurement"] * 40 + ["end"]
    assert [data["seq"] for kind, data in events if kind == "measurement"] == list(range(1, 41))
    later = [data["seq"] for kind, data in finished.events(last_event_id=25) if kind == "measurement"]
    assert later == list(range(26, 41))


def test_events_arrive_while_it_runs(client):
    made = client.submit("fig1", {"seeds": [0], "optimizer.steps": 400_000, "measure.points": 2000})
    statuses, seen = [], 0
    for kind, data in made.events():
        if kind == "measurement":
            seen += 1
        elif data["status"] not in statuses:
            statuses.append(data["status"])
        if seen == 50 and made.refresh().status == "running":
            made.cancel()
    assert statuses[-1] == "cancelled"
    assert "running" in statuses
    assert 50 <= seen < 2000


def test_a_running_experiment_is_cancelled_within_two_seconds_and_goes_on_by_retry(client):
    made = client.submit("fig1", {"seeds": [0], "optimizer.steps": 1_500_000, "measure.points": 300})
    wait_for("progress", lambda: made.refresh().data["progress"]["step"] > 1000)
    with pytest.raises(ApiError) as caught:
        made.delete()
    assert caught.value.status == 409
    made.cancel()
    wait_for("the cancellation", lambda: made.refresh().status == "cancelled", seconds=2.5)
    at = made.data["progress"]["step"]
    assert 0 < at < 1_500_000
    assert made.series(metric="objective")[0]["steps"][0] == 0
    made.retry()
    wait_for("more progress", lambda: made.refresh().data["progress"]["step"] > at)
    assert made.data["attempt"] == 2
    made.cancel()
    wait_for("the cancellation", lambda: made.refresh().status == "cancelled")
    made.delete()
    with pytest.raises(ApiError) as caught:
        made.refresh()
    assert caught.value.status == 404


def test_what_has_ended_is_neither_cancelled_nor_retried(finished):
    for action in (finished.cancel, finished.retry):
        with pytest.raises(ApiError) as caught:
            action()
        assert caught.value.status == 409


def test_weights_and_features_of_the_end_can_be_downloaded_and_measured(finished, tmp_path):
    path = f"/experiments/{finished.id}/artifacts"
    (item,) = finished._client.request("GET", path).json()["items"]
    content = finished._client.request("GET", f"{path}/{item['name']}").content
    assert (item["name"], item["bytes"]) == ("final.safetensors", len(content))
    state = safetensors.torch.load(content)
    again = measure(state["H"][1].T, state["labels"][1], state["W_2"][1] @ state["W_1"][1])
    for metric in ("nc1", "nc2_of", "nc3", "cdnv"):
        (stored,) = finished.series(metric=metric, layer="h1", seed=1)
        assert again[metric] == pytest.approx(stored["values"][-1], rel=1e-9)
    with pytest.raises(ApiError) as caught:
        finished._client.request("GET", f"{path}/..%2F..%2Fncore.db")
    assert caught.value.status == 404


def test_presets_are_served_whole(client):
    assert [preset["name"] for preset in client.presets()] == list(PRESETS)
    for name, preset in PRESETS.items():
        assert client.request("GET", f"/presets/{name}").json()["spec"] == preset.spec


def test_a_download_goes_on_where_it_broke_off(finished):
    url = f"{finished._client.url}/experiments/{finished.id}/artifacts/final.safetensors"
    whole = httpx.get(url)
    size, tag = len(whole.content), whole.headers["ETag"]
    assert whole.headers["Accept-Ranges"] == "bytes"
    for asked, part in (
        ("bytes=0-9", slice(0, 10)),
        ("bytes=7-", slice(7, None)),
        ("bytes=-5", slice(-5, None)),
        (f"bytes=3-{10 * size}", slice(3, None)),
        (f"bytes=-{10 * size}", slice(None)),
    ):
        for condition in ({}, {"If-Range": tag}):
            answer = httpx.get(url, headers={"Range": asked, **condition})
            assert (answer.status_code, answer.content) == (206, whole.content[part])
            begin = range(size)[part].start
            assert answer.headers["Content-Range"] == f"bytes {begin}-{begin + len(answer.content) - 1}/{size}"
    for headers in (
        {"Range": "bytes=0-1,4-5"},
        {"Range": "bytes=9-5"},
        {"Range": "bytes=-"},
        {"Range": "lines=1-2"},
        {"Range": "bytes=0-9", "If-Range": '"other"'},
        {"Range": "bytes=0-9", "If-Range": "Wed, 21 Oct 2015 07:28:00 GMT"},
    ):
        answer = httpx.get(url, headers=headers)
        assert (answer.status_code, answer.content) == (200, whole.content)
    for asked in (f"bytes={size}-", "bytes=-0"):
        refused = httpx.get(url, headers={"Range": asked})
        assert (refused.status_code, refused.headers["Content-Range"]) == (416, f"bytes */{size}")
