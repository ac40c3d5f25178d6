"""How long experiments wait and take: against the slow obvious search, and null where nothing is known."""

import random
from datetime import timedelta

import pytest

from api.database import sessions
from api.database.clock import from_now
from api.database.durations import time_to_do
from api.database.tables import Experiment, WorkerRow, now
from api.routes.estimate import estimate_spec
from api.routes.experiments import get_place
from api.submission import row_of
from ncore.estimate import memory_bytes
from ncore.presets import spec_of


def test_work_that_is_shared_ends_when_the_time_of_all_workers_suffices():
    drawn = random.Random(0)
    for _ in range(200):
        free_in, work = (
            [drawn.uniform(0, 9) for _ in range(drawn.randint(1, 5))],
            drawn.choice([0, drawn.uniform(0, 30)]),
        )
        low, high = min(free_in), 100.0
        for _ in range(60):
            middle = (low + high) / 2
            enough = sum(max(0, middle - begin) for begin in free_in) >= work
            low, high = (low, middle) if enough else (middle, high)
        assert time_to_do(work, free_in) == pytest.approx(high, abs=1e-9)
    assert time_to_do(0, []) is None


def put(experiment_id, status="queued", kind="ufm", **values):
    with sessions.writing() as session:
        session.add(Experiment(id=experiment_id, name="", kind=kind, tags=[], spec={}, status=status, **values))


def works(name, kind="cpu", gpus=0):
    about = {"kind": kind, "gpus": gpus, "device": "x", "memory_bytes": 1, "used_bytes": 0, "version": "0"}
    with sessions.writing() as session:
        session.merge(WorkerRow(id=name, **about)).seen_at = from_now()


def wait_of(experiment_id):
    return get_place(experiment_id).starts_in_seconds


def test_the_wait_is_estimated_from_what_runs_and_what_has_ended_and_is_null_where_nothing_is_known(tables):
    at = now()
    put("first", queued_at=at)
    put("second", queued_at=at + timedelta(seconds=1))
    assert wait_of("first") is None  # nobody is there to take it
    works("a")
    assert (wait_of("first"), wait_of("second")) == (0, None)  # how long the first takes is not known
    for i in range(4):  # trained as one batch: each takes a quarter of it
        put(
            f"of a batch {i}", "succeeded", attempt=1, worker="a", started_at=at, finished_at=at + timedelta(seconds=20)
        )
    assert (wait_of("first"), wait_of("second")) == (0, 5)
    put("runs", "running", worker="a")
    assert wait_of("first") is None  # until it has gone some way
    with sessions.writing() as session:
        session.get(Experiment, "runs").eta_seconds = 7.0
    assert (wait_of("first"), wait_of("second")) == (7, 12)
    works("b")
    put("long", "running", worker="b", eta_seconds=9.0)
    assert wait_of("second") == (5 + 7 + 9) / 2
    put("of another kind", kind="resnet", queued_at=at - timedelta(seconds=1))
    assert (wait_of("of another kind"), wait_of("first")) == (7, None)
    assert get_place("runs").before is None
    assert wait_of("runs") is None
    put("for two GPUs", queue="gpus", queued_at=at)
    works("one GPU", "gpu", 1)
    assert wait_of("for two GPUs") is None
    works("two GPUs", "gpu", 2)
    assert wait_of("for two GPUs") == 0


def test_the_time_of_a_spec_is_estimated_from_those_of_its_shape(tables):
    at, body = now(), {"preset": "fig1", "set": {"optimizer.steps": 1000}}
    assert estimate_spec(body).seconds is None
    for values in (
        {"optimizer.steps": 2000},
        {"optimizer.steps": 4000, "regularization.features": 0.5},
        {"seeds": [0]},
    ):
        with sessions.writing() as session:
            row = row_of(session, spec_of({"preset": "fig1", "set": values}), started_at=at, attempt=1, worker="a")
            row.status, row.finished_at = "succeeded", at + timedelta(seconds=12)  # two as one batch, and another shape
    estimate = estimate_spec(body)
    assert estimate.seconds == pytest.approx(12 / 6000 * 1000)
    assert estimate.memory_bytes == memory_bytes(spec_of(body)) < estimate.memory_limit_bytes
    assert estimate_spec({"preset": "fig1", "set": {"model.classes": 5}}).seconds is None
    assert estimate_spec({"preset": "fig5-mse-small"}).seconds is None
