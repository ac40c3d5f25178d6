"""Experiments that are measured elsewhere, over HTTP: one resource with the others, whatever is sent."""

import json
import math

import httpx
import pytest
from conftest import both_databases, wait_for

SPEC = {"name": "my CNN", "tags": ["mine"], "model": {"kind": "external", "classes": 3, "layers": ["conv", "last one"]}}
ROWS = {
    "columns": ["loss", ["nc1", "conv"], ["nc1", "last one"], "my metric".replace(" ", "-")],
    "rows": [[0, 0, 1.5, 0.2, 0.3, 1], [0, 10, 0.5, None, 0.1, 2], [7, 0, 1.25, 0.5, 0.25, 3]],
}


@pytest.fixture(scope="module")
def http(service):
    with httpx.Client(base_url=service.url, timeout=30) as made:
        yield made


def made(http, **more):
    answer = http.post("/experiments", json=SPEC | more)
    assert answer.status_code == 201, answer.text
    return answer.json()


def post(http, item, call, body=None):
    return http.post(f"/experiments/{item['id']}/{call}", json=body)


def points(http, item):
    found = http.get(f"/experiments/{item['id']}/metrics").json()["series"]
    return {
        (one["metric"], one["layer"], one["seed"], step): value
        for one in found
        for step, value in zip(one["steps"], one["values"], strict=True)
    }


@both_databases
def test_an_experiment_from_outside_is_a_row_like_any_other(service):
    with httpx.Client(base_url=service.url, timeout=30) as http:
        item = made(http, theory={"preset": "fig1", "set": {"model.classes": 3}})
        assert (item["status"], item["source"], item["attempt"]) == ("running", "external", 1)
        assert item["started_at"] is not None
        first = post(http, item, "measurements", ROWS).json()
        assert (first["status"], first["stored"], first["kept"]) == ("running", 3, 0)
        assert post(http, item, "measurements", ROWS).json()["stored"] == 0  # again: nothing changes
        more = {"columns": ["test-accuracy"], "rows": [[0, 10, 0.75], [0, 20, 0.8]]}
        assert post(http, item, "measurements", more).json()["stored"] == 2
        expected = {
            (*((c, None) if isinstance(c, str) else c), row[0], row[1]): value
            for table in (ROWS, more)
            for row in table["rows"]
            for c, value in zip(table["columns"], row[2:], strict=True)
        }
        assert points(http, item) == expected
        spec = http.get(f"/experiments/{item['id']}").json()["spec"]
        assert (spec["seeds"], spec["model"]["layers"]) == ([0, 7], ["conv", "last one"])
        assert spec["model"]["metrics"] == ["loss", "nc1", "my-metric", "test-accuracy"]
        done = post(http, item, "finish").json()
        assert (done["status"], done["progress"]) == ("succeeded", {"step": 20, "total": 20, "eta_seconds": None})
        assert [(one["seed"], one["step"]) for one in done["result"]["final"]] == [(0, 20), (7, 0)]
        assert post(http, item, "finish").json() == done
        listed = http.get("/experiments", params={"kind": "external", "q": "my cnn", "columns": ["source"]}).json()
        assert {"id": item["id"], "source": "external"} in listed["items"]


def test_pictures_exports_events_and_theory_take_it_as_any_other(http):
    item = made(http, theory="fig4")
    post(http, item, "measurements", ROWS)
    path = f"/experiments/{item['id']}"
    found = http.get(f"{path}/theory").json()
    assert "h2 of the model stands beside layer last one." in found["prediction"]["notes"]
    compared = [one for one in found["comparison"] if one["quantity"] == "nc1"]
    assert {(one["layer"], one["seed"], one["measured"]) for one in compared} >= {("last one", 7, 0.25)}
    picture = http.get(f"{path}/plot.json").json()
    assert [panel["title"] for panel in picture["concat"]] == [
        "Data term", "NC1: within-class variability", "my-metric",
    ]  # fmt: skip
    assert http.get(f"{path}/plot.svg").content.startswith(b"<svg")
    assert http.get("/compare.svg", params={"experiment": item["id"], "metric": "my-metric"}).status_code == 200
    assert "2,conv" not in http.get(f"{path}/metrics", params={"format": "csv"}).text
    assert http.get(f"{path}/export.zip").content.startswith(b"PK")
    post(http, item, "finish", {"status": "failed", "reason": "CUDA out of memory"})
    events = http.get(f"{path}/events").text
    assert events.count("event: measurement") == 3
    assert http.get(path).json()["error"] == "CUDA out of memory"
    log = [line["event"] for line in http.get(f"{path}/logs").json()["items"]]
    assert (log[0], log[-1]) == ("submitted", "failed")


def test_a_verdict_says_as_much_as_the_metrics_allow(http):
    # δ_3 = √(2 − 2√(2/3)) is how far a simplex ETF of three classes is from an orthogonal frame
    delta = math.sqrt(2 - 2 * math.sqrt(2 / 3))
    names = [[name, "last one"] for name in ("nc1", "nc2_of", "nc2_etf")]
    cases = {
        "simplex_etf": [0, 5, 1e-4, delta, 1e-4],
        "orthogonal_frame": [1, 5, 1e-4, 1e-4, 1e-4],
        "not_converged": [2, 5, 3.0, 1.0, 1.0],
        "diverged": [3, 5, 1e-4, delta, 1e-4],
    }
    item = made(http)
    post(http, item, "measurements", {"columns": names, "rows": list(cases.values())})
    later = [[0, 6, 0.1], [3, 5, None], [4, 1, 0.5]]  # of seed 0 the frame is in a row before the last
    post(http, item, "measurements", {"columns": ["loss"], "rows": later})
    found = {one["seed"]: one for one in post(http, item, "finish").json()["result"]["verdict"]}
    assert [found[seed]["reached"] for seed in range(5)] == [*cases, None]
    assert found[4]["note"] == "no verdict: the last measurement has no nc1, nc2_of, nc2_etf of a layer"


def test_a_silent_one_is_lost_and_goes_on_with_the_same_id(http):
    item = made(http)
    path = f"/experiments/{item['id']}"
    wait_for("its lease to end", lambda: http.get(path).json()["status"] == "lost", seconds=20)
    assert item["id"] in {one["id"] for one in http.get("/experiments", params={"status": "lost"}).json()["items"]}
    assert 'ncore_experiments{status="lost"}' in http.get("/metrics").text
    assert post(http, item, "heartbeat").json()["status"] == "running"
    again = http.get(path).json()
    assert (again["status"], again["attempt"]) == ("running", 2)
    assert post(http, item, "measurements", {"rows": []}).json()["status"] == "running"
    assert http.delete(path).status_code == 409
    assert post(http, item, "cancel").json()["status"] == "cancelled"
    told = post(http, item, "measurements", ROWS).json()
    assert (told["status"], told["stored"]) == ("cancelled", 3)  # what was logged before the loop knew it
    assert post(http, item, "finish").json()["status"] == "cancelled"
    assert post(http, item, "retry").json()["status"] == "running"
    assert post(http, item, "finish", {"status": "failed"}).status_code == 200
    assert http.delete(path).status_code == 204
    assert post(http, item, "heartbeat").status_code == 404


def test_what_is_stored_is_not_written_over(http):
    item = made(http)
    post(http, item, "measurements", ROWS)
    other = {"columns": ["loss", "new"], "rows": [[0, 0, 1.5, 1.0], [0, 10, 9.0, 1.0], [1, 1, 0.1, 1.0]]}
    refused = post(http, item, "measurements", other)
    assert refused.status_code == 409
    assert "seed 0, step 10 has loss 0.5 already, and not 9.0" in refused.json()["detail"]
    before = points(http, item)
    assert not any("new" in key for key in before)
    kept = post(http, item, "measurements", other | {"on_conflict": "keep"}).json()
    assert (kept["stored"], kept["kept"]) == (3, 1)
    after = points(http, item)
    assert after["loss", None, 0, 10] == 0.5
    assert after["new", None, 0, 10] == 1.0
    post(http, item, "finish")
    assert post(http, item, "measurements", ROWS).json()["stored"] == 0
    late = post(http, item, "measurements", {"columns": ["loss"], "rows": [[0, 99, 0.1]]})
    assert (late.status_code, points(http, item)) == (409, after)
    assert post(http, item, "finish", {"status": "failed", "reason": "late"}).status_code == 409


LONG = "x" * 65
HOSTILE = [
    ({}, "rows"),
    ([], ""),
    (None, ""),
    ({"rows": {}}, "rows"),
    ({"rows": [], "lines": 1}, "lines"),
    ({"columns": ["a"] * 1_001, "rows": []}, "columns"),
    ({"columns": [f"m{i}" for i in range(300)], "rows": [[0, 0] + [1] * 300]}, "columns"),
    ({"columns": [["nc1", f"l{i}"] for i in range(70)], "rows": [[0, 0] + [1] * 70]}, "columns"),
    ({"columns": ["a"], "rows": [[seed, 0, 1] for seed in range(1_025)]}, "rows"),
    ({"columns": ["a"], "rows": [[0, i, 1] for i in range(10_001)]}, "rows"),
    ({"columns": ["a", "a"], "rows": []}, "columns.1"),
    ({"columns": ["a", ["a"]], "rows": []}, "columns.1"),
    ({"columns": [LONG], "rows": []}, "columns.0"),
    ({"columns": [["a", LONG]], "rows": []}, "columns.0"),
    ({"columns": [["a", ""]], "rows": []}, "columns.0"),
    ({"columns": ["two words"], "rows": []}, "columns.0"),
    ({"columns": ["a\n"], "rows": []}, "columns.0"),
    ({"columns": [["a", "\u0000"]], "rows": []}, "columns.0"),
    ({"columns": ["\ud800"], "rows": []}, ""),
    ({"columns": [3], "rows": []}, "columns.0"),
    ({"columns": [["a", "b", "c"]], "rows": []}, "columns.0"),
    ({"columns": [["a", {}]], "rows": []}, "columns.0"),
    ({"rows": [[0, 0]]}, "columns"),
    ({"columns": ["a"], "rows": [[0, 0]]}, "rows.0"),
    ({"columns": ["a"], "rows": [[0, 0, 1, 2]]}, "rows.0"),
    ({"columns": ["a"], "rows": ["001"]}, "rows.0"),
    ({"columns": ["a"], "rows": [[0, 0, 1], [0, 1, "1"]]}, "rows.1.2"),
    ({"columns": ["a"], "rows": [[0, 0, True]]}, "rows.0.2"),
    ({"columns": ["a"], "rows": [[0, 0, [1]]]}, "rows.0.2"),
    ({"columns": ["a"], "rows": [[-1, 0, 1]]}, "rows.0.0"),
    ({"columns": ["a"], "rows": [[2**63, 0, 1]]}, "rows.0.0"),
    ({"columns": ["a"], "rows": [[None, 0, 1]]}, "rows.0.0"),
    ({"columns": ["a"], "rows": [[0, -1, 1]]}, "rows.0.1"),
    ({"columns": ["a"], "rows": [[0, 2**31, 1]]}, "rows.0.1"),
    ({"columns": ["a"], "rows": [[0, 1.5, 1]]}, "rows.0.1"),
    ({"columns": ["a"], "rows": [[0, True, 1]]}, "rows.0.1"),
    ({"columns": ["a"], "rows": [[0, 10**400, 1]]}, None),
    ({"columns": ["a"], "rows": [[0, 0, math.nan]]}, ""),
    ({"columns": ["a"], "rows": [[0, 0, math.inf]]}, ""),
    ({"columns": ["a"], "rows": [[0, 0, 1], [0, 0, 2]]}, "rows.1"),
    ({"columns": ["a"], "rows": [], "on_conflict": "overwrite"}, "on_conflict"),
]


def test_hostile_rows_are_refused_by_name_and_nothing_is_left_behind(http):
    item = made(http)
    for body, field in HOSTILE:
        content = json.dumps(body) if body is not None else ""
        answer = http.post(f"/experiments/{item['id']}/measurements", content=content)
        assert answer.status_code == 422, (content[:100], answer.text)
        assert field is None or field in [one["field"] for one in answer.json()["errors"]], (content[:100], answer.text)
        assert not answer.json()["detail"].startswith(":"), answer.text
    deep = "[" * 5_000 + "]" * 5_000
    assert http.post(f"/experiments/{item['id']}/measurements", content=deep).status_code == 422
    assert points(http, item) == {}
    assert http.get(f"/experiments/{item['id']}").json()["spec"]["model"]["metrics"] == []


@pytest.mark.parametrize(
    ("more", "field"),
    [
        ({"optimizer": {"steps": 3}}, "optimizer"),
        ({"data": {"name": "mnist"}}, "data"),
        ({"loss": "mse"}, "loss"),
        ({"model": {"kind": "external", "classes": 1}}, "model.classes"),
        ({"model": {"kind": "external", "steps": 0}}, "model.steps"),
        ({"model": {"kind": "external", "layers": [LONG]}}, "model.layers.0"),
        ({"model": {"kind": "external", "layers": ["l"] * 65}}, "model.layers"),
        ({"model": {"kind": "external", "widths": [3]}}, "model.widths"),
        ({"model": {"kind": "external", "config": [1]}}, "model.config"),
        ({"model": {"kind": "external", "config": {"a": "x" * 70_000}}}, "model.config"),
        ({"model": {"kind": "external", "config": {"a": "\u0000"}}}, "model.config.a"),
        ({"theory": {"model": {"kind": "resnet"}, "data": {"name": "mnist"}}}, "theory.data"),
        ({"theory": {"preset": "fig77"}}, "theory.preset"),
    ],
)
def test_fields_that_make_no_sense_there_are_refused(http, more, field):
    answer = http.post("/experiments", json=SPEC | more)
    assert answer.status_code == 422
    assert field in [one["field"] for one in answer.json()["errors"]], answer.text


def test_only_external_ones_take_measurements_and_none_is_swept_or_run_here(http, client):
    run = client.submit("fig1", {"optimizer.steps": 20, "measure.points": 3})
    for call, body in (("measurements", ROWS), ("heartbeat", None), ("finish", {})):
        answer = http.post(f"/experiments/{run.id}/{call}", json=body)
        assert (answer.status_code, "is not external" in answer.json()["detail"]) == (409, True)
        assert http.post(f"/experiments/nowhere/{call}", json=body).status_code == 404
    assert run.refresh().data["source"] == "service"
    sweep = http.post("/sweeps", json={"base": SPEC, "axes": {"model.classes": [2, 3]}})
    assert sweep.status_code == 422
    assert "must not be external" in sweep.json()["detail"]


def test_an_ending_is_checked(http):
    item = made(http)
    for body, field in (
        ({"status": "lost"}, "status"),
        ({"status": "failed", "reason": "x" * 2001}, "reason"),
        ({"status": "failed", "reason": "a\u0000"}, "reason"),
        ({"reason": "none"}, "reason"),
        ({"why": 1}, "why"),
    ):
        answer = post(http, item, "finish", body)
        assert answer.status_code == 422, body
        assert field in [one["field"] for one in answer.json()["errors"]]
    assert http.get(f"/experiments/{item['id']}").json()["status"] in ("running", "lost")
