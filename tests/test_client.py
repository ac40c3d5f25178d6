"""The client against the real service, over connections that break too."""

import json
import time

import polars as pl
import pytest
from conftest import full_disk
from wire import Wire

from ncore.client import ApiError, Client, ExperimentFailed, NotReached, body_of
from ncore.series import framed

SHORT = {"optimizer.steps": 400, "measure.points": 20, "seeds": [0, 1]}
LONG = {"optimizer.steps": 10**8, "measure.points": 50, "seeds": [0]}


@pytest.fixture(scope="module")
def ended(service):
    with Client(service.url) as client:
        yield client.submit("fig1", SHORT).wait(progress=False, timeout_seconds=120)


@pytest.fixture
def wire(service):
    made = Wire(service.url)
    yield made
    made.close()


def test_a_lost_answer_to_a_post_makes_no_second_experiment(wire, client):
    wire.cut_answers = 2
    name = f"lost answer {time.time_ns()}"
    with Client(wire.url) as shaky:
        made = shaky.submit("fig1", {**SHORT, "name": name})
    assert wire.connections >= 3
    assert [one.id for one in client.experiments(q=name)] == [made.id]


def test_events_go_on_where_the_stream_broke(wire, ended):
    wire.cut_after_bytes = 2000
    with Client(wire.url) as shaky:
        seen = list(shaky.experiment(ended.id).events())
    assert wire.connections >= 2
    numbers = [data["seq"] for kind, data in seen if kind == "measurement"]
    assert numbers == sorted(set(numbers))
    assert len(numbers) == sum(len(one["steps"]) for one in ended.series(metric="objective"))
    assert seen[-1] == ("end", {"status": "succeeded"})


def test_events_begin_behind_the_one_that_was_seen_last(ended):
    numbers = [data["seq"] for kind, data in ended.events(last_event_id=7) if kind == "measurement"]
    assert min(numbers) == 8


def test_of_an_answer_that_finds_no_room_nothing_is_left(client, ended, tmp_path):
    asked = f"/experiments/{ended.id}/metrics", tmp_path / "metrics.json"
    with full_disk(2000), pytest.raises(OSError, match="File too large"):
        client.transport.save(*asked)
    assert list(tmp_path.iterdir()) == []
    assert client.transport.save(*asked).stat().st_size > 2000


def test_what_must_not_be_sent_twice_is_not(wire, ended):
    with Client(wire.url) as shaky:
        handle = shaky.experiment(ended.id)
        wire.cut_answers = 1
        with pytest.raises(NotReached):
            handle.retry()
        assert handle.refresh().status == "succeeded"


def test_a_service_that_never_answered_is_reported_at_once_with_what_to_do():
    began = time.monotonic()
    with pytest.raises(NotReached, match=r"no service answers at http://127.0.0.1:9 .*ncore up"):
        Client("http://127.0.0.1:9").submit("fig1")
    assert time.monotonic() - began < 5


def test_a_service_that_is_silent_is_named_and_a_sweep_is_waited_for_and_sent_once(wire):
    wire.delay_seconds = 1.0
    with Client(wire.url, timeout_seconds=0.4, patience_seconds=0) as hasty:
        with pytest.raises(NotReached, match=f"what is at {wire.url} has not answered in time"):
            hasty.presets()
        before = wire.connections
        made = hasty.sweep("fig1", {"regularization.weights": [0.01, 0.02]}, SHORT)
        assert made.data["total"] == 2
        made.cancel()
    assert wire.connections == before + 1


@pytest.mark.parametrize("url", ["127.0.0.1:8000", "nowhere", "http://127.0.0.1:port"])
def test_an_address_that_is_none_is_named(url):
    with pytest.raises(ValueError, match="must be like"):
        Client(url).presets()


def test_refusals_carry_the_fields_of_the_problem(client):
    with pytest.raises(ApiError) as caught:
        client.submit("fig1", {"model.classes": 1, "loss": "hinge"})
    assert caught.value.status == 422
    assert caught.value.title.startswith("Unprocessable")
    assert {fault["field"] for fault in caught.value.errors} == {"model.classes", "loss"}
    with pytest.raises(ApiError) as caught:
        client.experiment("nothing")
    assert (caught.value.status, str(caught.value)) == (404, "there is no experiment 'nothing'")


def test_wait_raises_with_the_reason_of_a_failure(client):
    with pytest.raises(ExperimentFailed, match=r"is failed: diverged.*lower optimizer.learning_rate"):
        client.submit("fig1", {**SHORT, "optimizer.learning_rate": 1e9}).wait(progress=False, timeout_seconds=60)


def test_wait_gives_up_cancel_stops_retry_goes_on_and_delete_forgets(client):
    made = client.submit("fig1", LONG)
    with pytest.raises(TimeoutError, match="after 0"):
        made.wait(progress=False, timeout_seconds=0)
    made.cancel()
    with pytest.raises(ExperimentFailed, match="is cancelled"):
        made.wait(progress=False, timeout_seconds=60)
    assert made.retry().status == "queued"
    made.cancel()
    with pytest.raises(ExperimentFailed):
        made.wait(progress=False, timeout_seconds=60)
    made.delete()
    with pytest.raises(ApiError, match="no experiment"):
        made.refresh()


def test_metrics_are_a_frame_with_a_row_for_each_point(ended):
    frame = ended.metrics("polars", metric=["objective", "nc1"])
    series = ended.series(metric=["objective", "nc1"])
    assert frame.height == sum(len(one["steps"]) for one in series)
    assert frame.schema["layer"] == pl.String
    for one in series:
        rows = frame.filter(
            pl.col("metric") == one["metric"], pl.col("seed") == one["seed"], pl.col("layer").eq_missing(one["layer"])
        )
        assert rows["step"].to_list() == one["steps"]
        assert rows["value"].to_list() == one["values"]
    assert ended.metrics("records", metric="nc1") == frame.filter(pl.col("metric") == "nc1").to_dicts()


def test_frames_know_their_types_without_any_or_with_late_values():
    """Many points without a layer and without a value come first; and an experiment may have no points yet."""
    late = [
        {"metric": "a", "layer": None, "seed": 0, "steps": list(range(500)), "values": [None] * 500},
        {"metric": "b", "layer": "h1", "seed": 0, "steps": [0], "values": [1.5]},
    ]
    frame = framed(late, "polars")
    assert frame.row(-1) == ("b", "h1", 0, 0, 1.5)
    assert framed([], "polars").schema == frame.schema
    assert framed([], "records") == []
    with pytest.raises(ValueError, match="must be pandas, polars or records"):
        framed([], "excel")


def test_listing_goes_over_pages_up_to_the_limit(client, ended):
    tag = f"page-{time.time_ns()}"
    made = [client.submit("fig1", {**SHORT, "optimizer.steps": 2, "tags": [tag]}).id for _ in range(3)]
    assert [one.id for one in client.experiments(tag=tag)] == made[::-1]
    assert [one.id for one in client.experiments(limit=2, tag=tag)] == made[:0:-1]


def test_theory_and_presets_of_the_service(client):
    c = 4 * (50 * 0.005 * 0.005) ** 0.5
    assert client.theory("fig1")["objective"] == pytest.approx(c - c * c / 2)
    assert "fig1" in {preset["name"] for preset in client.presets()}


def test_a_body_is_a_preset_a_file_or_a_spec_with_changes(tmp_path):
    path = tmp_path / "spec.json"
    path.write_text(json.dumps({"model": {"classes": 3}}))
    assert body_of(path, {"model.classes": 4, "name": "x"}) == {"model": {"classes": 4}, "name": "x"}
    preset = {"preset": "fig1", "set": {"name": "x", "optimizer.steps": 5}}
    assert body_of("fig1", preset["set"]) == preset
    assert body_of({"preset": "fig1", "set": {"name": "x"}}, {"optimizer.steps": 5}) == preset
    path.write_text("[1]")
    with pytest.raises(ValueError, match="must hold a JSON object"):
        body_of(path)
