"""Who takes what: priorities, GPU and CPU workers; what /workers shows; how a worker dies."""

import os
import signal
import subprocess
import sys
import time
from datetime import timedelta

import httpx
import pytest
from conftest import settings_for, wait_for
from sqlalchemy import delete, update

from api.database import claims, sessions, states, workers
from api.database.tables import Experiment, Sweep, WorkerRow, now
from api.service import running
from api.submission import values_of
from ncore.client import Client
from ncore.estimate import wants_gpu
from ncore.presets import PRESETS
from ncore.spec import parse_spec, with_changes
from worker import gpus

QUICK = {"optimizer.steps": 50, "measure.points": 5}
ENDLESS = {"optimizer.steps": 10**8, "measure.points": 10}


def put(name: str, priority: int = 0, queue: str = "cpu", **spec: object) -> None:
    with sessions.writing() as session:
        row = Experiment(id=name, name=name, kind="ufm", tags=[], spec=spec, priority=priority, queue=queue)
        session.add(row)


def seen(name: str, kind: str, ago: timedelta, gpus: int | None = None, up: timedelta = timedelta(0)) -> None:
    """A worker's last heartbeat, so long ago, after it had been `up`."""
    with sessions.writing() as session:
        about = {"device": "x", "memory_bytes": 1, "used_bytes": 0, "version": "0", "started_at": now() - ago - up}
        count = int(kind == "gpu") if gpus is None else gpus
        session.merge(WorkerRow(id=name, kind=kind, seen_at=now() - ago, gpus=count, **about))


def taken(kind: str, gpu_grace_over: bool = True, gpus: int = 1) -> list[str]:
    """What a worker of this kind takes, until nothing is left for it."""
    names = []
    while True:
        with sessions.writing() as session:
            rows = claims.claim(session, "here:1", kind, gpu_grace_over, gpus)
        if not rows:
            return names
        names += [row.id for row in rows]


def test_the_place_in_the_queue_is_how_many_are_taken_before(tables):
    """By claiming them one after the other: priorities, members of sweeps, equal times."""
    at = now()
    with sessions.writing() as session:
        session.add(Sweep(id="many", name="", base={}, axes={}, total=0))
        session.flush()
        session.add_all(
            Experiment(
                id=f"{(7 * i) % 24:02}", name="", kind="ufm", tags=[], spec={}, priority=i % 3,
                sweep_id="many" if i % 4 < 2 else None, queued_at=at + timedelta(seconds=i % 5),
            )
            for i in range(24)
        )  # fmt: skip
    put("elsewhere", priority=9, queue="gpu")
    with sessions.reading() as session:
        places = {row.id: sum(claims.before(session, row).values()) for row in session.query(Experiment)}
    assert places.pop("elsewhere") == 0
    order = [name for name in taken("cpu") if name != "elsewhere"]
    assert [places[name] for name in order] == list(range(24))


def test_the_highest_priority_goes_first_and_a_new_one_before_thousands_of_lower_ones(tables):
    with sessions.writing() as session:
        many = [
            Experiment(id=f"low {i:04}", name="low", kind="ufm", tags=[], spec={}, priority=-1) for i in range(3000)
        ]
        session.add_all(many)
    put("new")
    put("urgent", priority=50)
    put("newer")
    began = time.perf_counter()
    assert [claimed() for _ in range(4)] == ["urgent", "new", "newer", "low 0000"]
    assert time.perf_counter() - began < 2


def claimed() -> str:
    with sessions.writing() as session:
        (row,) = claims.claim(session, "here:1", "cpu")
        return row.id


def test_a_gpu_worker_takes_small_ones_last_and_a_cpu_worker_leaves_large_ones_to_it(tables):
    for name, queue in (("small", "cpu"), ("large", "gpu"), ("large too", "gpu")):
        put(name, queue=queue)
    seen("gpu:1", "gpu", timedelta(0))
    assert taken("cpu") == ["small"]
    put("small too")
    assert taken("gpu") == ["large", "large too", "small too"]


def test_a_cpu_worker_takes_large_ones_where_no_gpu_worker_has_ever_been(tables):
    put("large", queue="gpu")
    assert taken("cpu", gpu_grace_over=False) == ["large"]


def test_a_cpu_worker_waits_a_while_for_a_gpu_worker_that_has_been_there(tables):
    put("large", queue="gpu")
    seen("gpu:1", "gpu", timedelta(days=2))
    assert taken("cpu", gpu_grace_over=False) == []
    assert taken("cpu", gpu_grace_over=True) == ["large"]


SEVERAL = {"four": 4, "two": 2, "three": 3}
A_WHILE, DAYS = timedelta(seconds=400), timedelta(days=3)
"""Longer than NCORE_GPU_WAIT_SECONDS; within what workers are remembered."""


def put_several() -> None:
    """Experiments for several devices, and one for one."""
    for name, devices in SEVERAL.items():
        put(name, queue="gpus", devices=devices)
    put("one", queue="gpu", devices=1)


def test_a_worker_takes_what_asks_for_no_more_gpus_than_it_has_and_the_cpu_all_where_there_is_none(tables):
    put_several()
    seen("gpu:1", "gpu", timedelta(0), gpus=1)
    assert taken("cpu") == []
    assert taken("gpu", gpus=1) == ["one"]
    assert taken("gpu", gpus=3) == ["two", "three"]
    seen("gpu:1", "gpu", A_WHILE)
    assert taken("cpu") == ["four"]


def test_a_batch_gives_way_to_nothing_that_its_worker_could_not_take(tables):
    put("running", queue="gpu")
    put("large", queue="gpus", priority=5, devices=3)
    with sessions.writing() as session:
        session.execute(update(Experiment).values(queued_at=now() - timedelta(seconds=9)))
        running = session.get_one(Experiment, "running")
        awaited = {gpus: claims.is_awaited(session, running, "gpu", gpus) for gpus in (1, 2, 3, 4)}
        assert awaited == {1: False, 2: False, 3: True, 4: True}


FLEETS = {
    "no GPU worker": ([("cpu:1", 0, timedelta(0), DAYS)], set()),
    "one that is too small": ([("gpu:1", 2, timedelta(0), timedelta(0))], {"four", "three"}),
    "one that is large enough is away for a short time": (
        [("gpu:1", 2, timedelta(0), DAYS), ("gpu:2", 4, timedelta(seconds=99), DAYS)], set(),
    ),
    "it is away for long": ([("gpu:1", 2, timedelta(0), DAYS), ("gpu:2", 4, A_WHILE, DAYS)], {"four", "three"}),
    "all were away and come back one by one": (
        [("gpu:1", 1, timedelta(0), timedelta(seconds=1)), ("gpu:2", 3, DAYS, DAYS)], {"four"},
    ),
    "none of them is alive": ([("gpu:1", 1, A_WHILE, DAYS)], set()),
}  # fmt: skip


def test_what_asks_for_more_gpus_than_any_worker_has_fails_by_name(tables):
    put_several()
    for fleet, (there, lost) in FLEETS.items():
        with sessions.writing() as session:
            session.execute(update(Experiment).values(status="queued", error=None))
            session.execute(delete(WorkerRow))
        for name, count, ago, up in there:
            seen(name, name[:3], ago, count, up)
        with sessions.writing() as session:
            states.fail_too_large(session)
            failed = {row.id: row.error for row in session.query(Experiment) if row.status == "failed"}
        largest = "3 GPUs" if "one by one" in fleet else "2 GPUs"
        words = f"devices; the largest worker has {largest}"
        assert failed == {name: f"devices: asks for {SEVERAL[name]} {words}" for name in lost}, fleet


def test_an_experiment_is_queued_by_the_devices_that_it_asks_for():
    body = {"model": {"kind": "resnet"}, "data": {"name": "synthetic"}}
    for changes, queue in (
        ({}, "gpu"),
        ({"devices": 3}, "gpus"),
        ({"devices": 3, "device": "cuda"}, "gpus"),
        ({"devices": 3, "device": "cpu"}, "cpu"),
        ({"devices": 3, "model": {"kind": "mlp"}}, "cpu"),
    ):
        assert values_of(parse_spec(with_changes(body, changes)))["queue"] == queue


def test_workers_that_went_without_a_word_are_forgotten_gpu_workers_later(tables):
    for name, kind, ago in (("a", "cpu", 2), ("b", "gpu", 2), ("c", "gpu", 24 * 40), ("d", "cpu", 0)):
        seen(name, kind, timedelta(hours=ago))
    with sessions.writing() as session:
        workers.forget_lost_workers(session)
        assert {row.id for row in session.query(WorkerRow)} == {"b", "d"}


def test_what_wants_a_gpu():
    small = PRESETS["fig1"].spec
    large = with_changes(small, {"model": {"classes": 100, "samples_per_class": 500, "widths": [512]}})
    for spec, expected in (
        (small, False),
        ({**small, "device": "cuda"}, True),
        (large, True),
        ({**large, "device": "cpu"}, False),
        (PRESETS["fig5-mse"].spec, True),
        (with_changes(PRESETS["fig5-mse"].spec, {"model": {"kind": "mlp"}}), False),
    ):
        assert wants_gpu(parse_spec(spec)) is expected


def test_gpus_are_named_by_index_and_a_wrong_one_is_named(monkeypatch):
    visible = ["0", "3"]
    assert gpus.chosen_of(visible, "auto") == ["0", "3"]
    assert gpus.chosen_of(visible, "1") == ["3"]
    assert gpus.chosen_of(visible, " 1 + 0 ") == ["3+0"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert gpus.settle(gpus.listed(",".join(["3+0", "1"])), 0) == "gpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "3,0"
    assert gpus.settle(gpus.listed("none"), 0) == "cpu"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
    assert gpus.chosen("none") == []
    for names, heard in (([], ["cpu"]), (["0"], ["cpu", "gpu"]), (["0", "3+1"], ["cpu", "gpu", "gpus"])):
        assert gpus.queues(names) == heard
    for wrong, message in (
        ("2", "shows 2 GPUs"),
        ("1,1", "different indexes"),
        ("0+0", "different indexes"),
        ("all", "got 'all'"),
        ("", "got ''"),
    ):
        with pytest.raises(gpus.GpuError, match=f"NCORE_GPUS: .*{message}"):
            gpus.chosen_of(visible, wrong)


def test_a_worker_that_is_asked_for_gpus_that_are_not_there_says_so_and_ends(tmp_path):
    env = {**os.environ, "NCORE_HOME": str(tmp_path), "NCORE_GPUS": "97"}
    ended = subprocess.run([sys.executable, "-m", "worker"], env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 2
    assert "NCORE_GPUS: '97' was asked for" in ended.stderr


def test_workers_are_shown_with_what_they_run(service, client):
    made = client.submit("fig1", ENDLESS)
    wait_for("the start", lambda: made.refresh().status == "running")
    items = httpx.get(f"{service.url}/workers").json()["items"]
    one = next(item for item in items if item["id"] == made.data["worker"])
    assert (one["experiment"], one["running"], one["kind"], one["alive"]) == (made.id, 1, "cpu", True)
    assert 0 < one["used_bytes"] < one["memory_bytes"]
    made.cancel()


def test_a_worker_that_runs_a_batch_is_shown_once(service, client):
    made = client.sweep("fig1", {"seeds": [[i] for i in range(5)]}, ENDLESS)
    wait_for("the start", lambda: made.refresh().data["statuses"] == {"running": 5})
    items = httpx.get(f"{service.url}/workers").json()["items"]
    assert len({item["id"] for item in items}) == len(items)
    assert [item["running"] for item in items if item["running"]] == [5]
    made.cancel()


@pytest.mark.nightly
def test_a_killed_child_costs_no_waiting_for_the_lease_and_its_end_is_reported(request, tmp_path):
    still = {"max_attempts": 2, "checkpoint_seconds": 1000.0}
    settings = settings_for("sqlite", tmp_path, request, workers=2, lease_seconds=60.0, **still)
    with running(settings) as service, Client(service.url) as client:
        made = client.submit("fig1", {**ENDLESS, "measure.points": 2})
        wait_for("its only measurement", lambda: made.series(metric="objective") != [])
        for attempt in (1, 2):
            wait_for(
                "the start", lambda a=attempt: made.refresh().data["attempt"] == a and made.status == "running", 20
            )
            os.kill(int(made.data["worker"].partition(":")[2]), signal.SIGKILL)
        wait_for("the end", lambda: made.refresh().status == "failed", 20)
        assert "lost 2 times" in made.data["error"]
        assert "its worker ended by signal 9 (SIGKILL)" in made.data["error"]
        lines = httpx.get(f"{service.url}/experiments/{made.id}/logs").json()
        assert [(line["event"], line["attempt"]) for line in lines["items"]] == [
            ("submitted", 0),
            ("started", 1),
            ("worker lost", 1),
            ("started", 2),
            ("failed", 2),
        ]
        later = httpx.get(f"{service.url}/experiments/{made.id}/logs", params={"since": lines["items"][3]["id"]}).json()
        assert [line["event"] for line in later["items"]] == ["failed"]


@pytest.mark.nightly
def test_an_experiment_that_outgrows_the_workers_memory_fails_alone(request, tmp_path):
    settings = settings_for("sqlite", tmp_path, request, worker_memory_bytes=3 * 2**30)
    with running(settings) as service, Client(service.url) as client:
        first = client.submit("fig1", QUICK).wait(progress=False, timeout_seconds=60)
        worker = first.data["worker"]
        large = {"model.samples_per_class": 100_000, "model.widths": [400], "optimizer.form": "full", **QUICK}
        made = client.submit("fig1", large)
        wait_for("the end", lambda: made.refresh().status == "failed", 60)
        assert made.data["error"].startswith("out of memory: ")
        assert "this worker's limit: 3 GiB" in made.data["error"]
        assert made.data["attempt"] == 1
        after = client.submit("fig1", QUICK).wait(progress=False, timeout_seconds=60)
        assert after.data["worker"] == worker  # the same process


SLOW_START = """
import sys, time
if any("spawn_main" in word for word in sys.orig_argv):  # a child of a worker
    time.sleep(6)
"""


@pytest.mark.nightly
def test_a_child_that_takes_long_to_start_is_waited_for(request, tmp_path, monkeypatch):
    """Its modules may lie on a slow disk; Celery gives it 4 seconds."""
    (tmp_path / "site").mkdir()
    (tmp_path / "site" / "sitecustomize.py").write_text(SLOW_START)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path / 'site'}:{os.environ.get('PYTHONPATH', '')}")
    with running(settings_for("sqlite", tmp_path, request)) as service, Client(service.url) as client:
        made = client.submit("fig1", ENDLESS)
        wait_for("the start", lambda: made.refresh().status == "running", 60)
        os.kill(int(made.data["worker"].partition(":")[2]), signal.SIGKILL)
        wait_for("the next attempt", lambda: made.refresh().data["attempt"] == 2, 60)
        assert "Timed out" not in (tmp_path / "logs" / "worker-1.log").read_text()
        made.cancel()


@pytest.mark.nightly
def test_two_api_processes_and_three_workers_share_one_database(request, tmp_path):
    shared = {"artifacts": str(tmp_path / "artifacts")}
    settings = settings_for("postgresql", tmp_path / "one", request, workers=2, **shared)
    with running(settings) as first:
        other = settings.model_copy(update={"home": tmp_path / "two", "workers": 1, "broker_url": settings.broker})
        with running(other) as second, Client(first.url) as one, Client(second.url) as two:
            made = [  # of different shapes, so that each is trained alone
                client.submit("fig1", {"optimizer.steps": 20_000, "model.widths": [20 + i]})
                for i, client in enumerate((one, two) * 8)
            ]
            for experiment in made:
                assert experiment.wait(progress=False, timeout_seconds=90).data["attempt"] == 1
            assert len({experiment.data["worker"] for experiment in made}) == 3
            assert [item["id"] for item in one.request("GET", "/experiments").json()["items"]] == [
                item["id"] for item in two.request("GET", "/experiments").json()["items"]
            ]
