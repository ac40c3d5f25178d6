"""Parts are killed in the middle: nothing is lost, nothing is doubled, nothing is left running."""

import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import httpx
import pytest
import redis
from conftest import (
    children_of,
    kill_tree,
    open_folder,
    quick_settings,
    settings_for,
    started_postgresql,
    wait_for,
)
from sqlalchemy.orm import Session

from api.database.sessions import make_engine
from api.database.tables import Experiment
from api.service import environment, free_port, running
from ncore.client import Client
from ncore.presets import PRESETS
from ncore.spec import parse_spec, with_changes
from ncore.train import train

LONG = {"seeds": [0, 1], "optimizer.steps": 600_000, "measure.points": 80}
ENDLESS = {"seeds": [0], "optimizer.steps": 999_990_000, "measure.points": 100_000, "measure.spacing": "linear"}
"""Measured every 10,000 steps, some times a second."""


@pytest.fixture(scope="module")
def breakable(request, tmp_path_factory):
    """A service with two workers, and its client; what a test kills is up again for the next one."""
    kind = getattr(request, "param", "sqlite")
    settings = settings_for(kind, tmp_path_factory.mktemp("breakable"), request, workers=2, max_attempts=10)
    with running(settings) as service, Client(service.url) as client:
        yield service, client


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@cache
def uninterrupted() -> dict[tuple[str, str | None, int], dict[int, float | None]]:
    """What LONG gives where nothing happens to it: values by metric, layer and seed, and by step."""
    found = {}
    for m in train(parse_spec(with_changes(PRESETS["fig1"].spec, LONG))):
        for key, value in m.values.items():
            found.setdefault((*key, m.seed), {})[m.step] = value
    return found


def assert_equals_an_uninterrupted_run(experiment) -> None:
    stored = {}
    for s in experiment.series():
        assert len(set(s["steps"])) == len(s["steps"])
        stored[s["metric"], s["layer"], s["seed"]] = dict(zip(s["steps"], s["values"], strict=True))
    assert stored == uninterrupted()


@pytest.mark.parametrize("breakable", ["sqlite", pytest.param("postgresql", marks=pytest.mark.nightly)], indirect=True)
def test_workers_broker_and_api_are_killed_and_no_point_is_missing_or_doubled(breakable):
    service, client = breakable
    made = [client.submit("fig1", {**LONG, "name": f"killed {i}"}) for i in range(3)]
    wait_for("progress", lambda: made[0].refresh().data["progress"]["step"] > 5000, 90)
    for name in (running_at(service, made[0]), "broker", "worker-2", "api", "worker-1"):
        kill_tree(service.children[name].process.pid)
        if name == "broker":
            wait_for("the broker", lambda: service.children["broker"].restarts > 0)
        time.sleep(1.0)
    wait_for("the API", lambda: is_up(service.url))
    for one in made:
        wait_for(f"the end of {one.id}", lambda one=one: one.refresh().status == "succeeded", seconds=180)
        assert_equals_an_uninterrupted_run(one)
    assert sum(one.data["attempt"] for one in made) > 3


def running_at(service, experiment) -> str:
    """The name of the worker that runs it."""
    pid = int(experiment.data["worker"].partition(":")[2])
    return next(
        name
        for name, child in service.children.items()
        if name.startswith("worker") and pid in children_of(child.process.pid)
    )


def is_up(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def test_a_database_that_goes_down_and_comes_back_costs_no_attempt(tmp_path):
    with open_folder() as folder, started_postgresql(folder) as database:
        settings = quick_settings(tmp_path, database.get_uri())
        with running(settings) as service, Client(service.url) as client:
            made = client.submit("fig1", LONG)
            wait_for("progress", lambda: made.refresh().data["progress"]["step"] > 5000)
            os.kill(database.get_pid(), signal.SIGQUIT)  # at once, as in a crash
            wait_for("the loss to be seen", lambda: not is_up(service.url))
            refused = httpx.post(f"{service.url}/experiments", json={"preset": "fig1"}, timeout=30)
            assert (refused.status_code, refused.json()["status"]) == (503, 503)
            assert httpx.get(f"{service.url}/healthz").status_code == 200
            assert "ncore_database_up 0.0" in httpx.get(f"{service.url}/metrics").text
            time.sleep(settings.lease_seconds)
            database.ensure_postgres_running()
            wait_for("the end", lambda: is_up(service.url) and made.refresh().status == "succeeded", seconds=90)
            assert made.data["attempt"] == 1
            assert_equals_an_uninterrupted_run(made)


def test_a_worker_whose_parent_is_killed_leaves_no_pool_behind(breakable):
    service, client = breakable
    made = client.submit("fig1", ENDLESS)
    wait_for("a running experiment", lambda: made.refresh().status == "running", 90)
    parent = service.children[running_at(service, made)].process.pid
    pool = children_of(parent)
    os.kill(parent, signal.SIGKILL)
    wait_for("the end of the pool", lambda: not any(is_alive(pid) for pid in pool), seconds=10)
    wait_for("the next attempt", lambda: made.refresh().data["attempt"] == 2, 90)
    made.cancel()


@pytest.mark.nightly
def test_a_flushed_broker_loses_no_experiment(breakable):
    service, client = breakable
    busy = [client.submit("fig1", {**ENDLESS, "model.widths": [20 + i]}) for i in range(2)]  # of two shapes: no batch
    wait_for("work for both workers", lambda: all(one.refresh().status == "running" for one in busy), 90)
    queued = [client.submit("fig1", {"optimizer.steps": 100, "measure.points": 5}) for _ in range(3)]
    redis.Redis.from_url(service.settings.broker.replace("redis+socket://", "unix://")).flushall()
    for one in busy:
        one.cancel()
    for one in queued:
        assert one.wait(progress=False, timeout_seconds=60).data["attempt"] == 1


@pytest.mark.nightly
def test_an_experiment_that_kills_its_worker_three_times_has_failed_and_others_go_on(request, tmp_path):
    settings = settings_for("sqlite", tmp_path, request, lease_seconds=1.5, checkpoint_seconds=1000.0)
    with running(settings) as service, Client(service.url) as client:
        made = client.submit("fig1", {**ENDLESS, "measure.points": 2})
        wait_for("the first measurement", lambda: made.series(metric="objective") != [])
        for attempt in (1, 2, 3):
            wait_for(
                f"attempt {attempt}", lambda a=attempt: made.refresh().data["attempt"] == a and made.status == "running"
            )
            kill_tree(service.children["worker-1"].process.pid)
        wait_for("the failure", lambda: made.refresh().status == "failed")
        assert "lost 3 times without progress between" in made.data["error"]
        assert client.submit("fig1", {"optimizer.steps": 50}).wait(progress=False, timeout_seconds=60)


@contextmanager
def rows_of(settings):
    """What gives the row of an experiment, also while a worker that is stopped holds a lock of the database."""
    engine = make_engine(settings.database)
    read_only = engine.execution_options(ncore_read=True)

    def row_of(experiment) -> Experiment:
        with Session(read_only) as session:
            return session.get(Experiment, experiment.id)

    try:
        yield row_of
    finally:
        engine.dispose()


def kill_its_worker(experiment) -> None:
    """SIGKILL for the child of the pool that runs it, which its parent tells at once."""
    os.kill(int(experiment.refresh().data["worker"].partition(":")[2]), signal.SIGKILL)


@pytest.mark.nightly
@pytest.mark.parametrize(("kept", "database"), [("measurements", "postgresql"), ("checkpoints", "sqlite")])
def test_crashes_with_progress_between_them_are_not_summed_up(kept, database, request, tmp_path):
    by_measurements = kept == "measurements"
    checkpoint_seconds = 1000.0 if by_measurements else 0.2
    settings = settings_for(database, tmp_path, request, max_attempts=2, checkpoint_seconds=checkpoint_seconds)
    with rows_of(settings) as row_of, running(settings) as service, Client(service.url) as client:
        made, reached = client.submit("fig1", ENDLESS if by_measurements else {**ENDLESS, "measure.points": 2}), 0
        for attempt in (1, 2):
            wait_for(f"progress of attempt {attempt}", lambda least=reached: row_of(made).kept_step > least)
            row = row_of(made)
            assert (row.attempt, row.crashes, row.lost_workers) == (attempt, 0, attempt - 1)
            kill_its_worker(made)
            wait_for("the loss", lambda a=attempt: row_of(made).lost_workers == a, seconds=10)
            row = row_of(made)
            assert (row.crashes, row.status != "failed") == (1, True)
            reached = row.kept_step
        wait_for("the next attempt", lambda: made.refresh().data["attempt"] == 3)
        assert "ncore_lost_workers_total 2.0" in httpx.get(f"{service.url}/metrics").text
        made.cancel()


@pytest.mark.nightly
@pytest.mark.parametrize("database", ["sqlite"])
def test_measuring_the_same_again_from_an_old_checkpoint_is_no_progress(database, request, tmp_path):
    settings = settings_for(database, tmp_path, request)
    checkpoint, old = tmp_path / "experiments", tmp_path / "old.pt"
    with rows_of(settings) as row_of, running(settings) as service, Client(service.url) as client:
        made = client.submit("fig1", ENDLESS)
        checkpoint = checkpoint / made.id / "checkpoint.pt"
        wait_for("a checkpoint", checkpoint.exists)
        shutil.copy(checkpoint, old)
        begin = row_of(made).kept_step
        wait_for("ten times as many steps", lambda: row_of(made).kept_step > 10 * begin, seconds=60)
        for crash in (1, 2, 3):
            worker = int(made.refresh().data["worker"].partition(":")[2])
            os.kill(worker, signal.SIGSTOP)  # so that the checkpoint is the old one when it is read again
            row = row_of(made)
            assert (row.attempt, row.crashes) == (crash, crash - 1)
            shutil.copy(old, checkpoint)
            os.kill(worker, signal.SIGKILL)
            wait_for("the loss", lambda c=crash: row_of(made).lost_workers == c, seconds=10)
            if crash < 3:
                wait_for("the same once more", lambda seq=row.last_seq: row_of(made).last_seq > seq)
        assert made.refresh().status == "failed"
        assert "lost 3 times without progress between" in made.data["error"]
        steps = made.series(metric="objective")[0]["steps"]
        assert steps == [10_000 * i for i in range(len(steps))]
        made.retry()
        wait_for("the next attempt", lambda: made.refresh().data["attempt"] == 4)
        assert row_of(made).crashes == 0
        made.cancel()


def test_a_worker_that_is_told_to_stop_gives_its_experiment_back_with_a_checkpoint(breakable):
    service, client = breakable
    made = client.submit("fig1", LONG)
    wait_for("progress", lambda: made.refresh().data["progress"]["step"] > 5000, 90)
    service.children[running_at(service, made)].process.terminate()
    wait_for("the next attempt", lambda: made.refresh().data["attempt"] == 2, 90)
    assert made.data["progress"]["step"] > 5000  # it went on from there
    made.wait(progress=False, timeout_seconds=60)
    assert_equals_an_uninterrupted_run(made)


@pytest.mark.parametrize(
    "how", [signal.SIGKILL, *(pytest.param(how, marks=pytest.mark.nightly) for how in (signal.SIGINT, signal.SIGTERM))]
)
def test_the_service_ends_with_its_parent_and_leaves_no_process_behind(how, request, tmp_path):
    port = free_port("127.0.0.1")
    settings = settings_for("sqlite", tmp_path, request)
    env = {**os.environ, **environment(settings)}
    command = [sys.executable, "-m", "api", "up", "--port", str(port)]
    parent = subprocess.Popen(command, env=env, stdout=subprocess.PIPE)
    wait_for("the service", lambda: is_up(f"http://127.0.0.1:{port}"), 90)
    with Client(f"http://127.0.0.1:{port}") as client:
        made = client.submit("fig1", LONG)
        wait_for("a running experiment", lambda: made.refresh().status == "running", 90)
    everyone = children_of(parent.pid)
    assert len(everyone) >= 4
    parent.send_signal(how)
    parent.wait(30)
    parent.stdout.close()
    wait_for("the end of all", lambda: not any(is_alive(pid) for pid in everyone), seconds=15)
