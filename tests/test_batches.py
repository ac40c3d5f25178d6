"""Experiments that are trained as one batch: the numbers of each are its own, and so is what becomes of it."""

import math
import os
import signal
import threading

import pytest
from conftest import DATABASES, settings_for, wait_for
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from api.database import claims, sessions, states
from api.database.clock import from_now
from api.database.tables import Experiment, LogLine, MeasurementRow, Sweep, WorkerRow, now
from api.service import running
from api.settings import get_settings
from api.store import FINAL, get_store
from api.submission import row_of
from ncore.client import Client
from ncore.estimate import most_together
from ncore.run import Diverged
from ncore.series import key_of
from ncore.spec import parse_spec, with_changes
from ncore.train import begin, begin_together, train
from ncore.ufm.together import joined, kin, split
from worker import job, lease, training

BASE = {
    "model": {"kind": "ufm", "classes": 4, "samples_per_class": 12, "widths": [6]},
    "optimizer": {"steps": 300},
    "measure": {"points": 8},
}
on_sqlite = pytest.mark.parametrize("tables", ["sqlite"], indirect=True)


def spec(**changes):
    return parse_spec(with_changes(BASE, {name.replace("__", "."): value for name, value in changes.items()}))


def close(found, expected) -> bool:
    """Equal but for the rounding of two ways to multiply: of numbers that are not themselves rounding errors."""
    if found is None or expected is None or math.isnan(expected):
        return found is None or expected is None or math.isnan(found)
    return math.isclose(found, expected, rel_tol=1e-12, abs_tol=1e-13)


def series(run, count: int) -> list[dict]:
    """{(seed, step): values} of each experiment."""
    found = [{} for _ in range(count)]
    while not run.done:
        for m in run.advance(0.01):
            found[m.experiment][m.seed, m.step] = m.values
    return found


def assert_alike(found, expected) -> None:
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert found[key].keys() == values.keys()
        for name, value in values.items():
            assert close(found[key][name], value), (key, name, found[key][name], value)


DECAYS = [{"regularization__weights": 0.001 * i, "regularization__features": 0.004 / i} for i in range(1, 18)]
ALIKE = {
    "decays": DECAYS,
    "few": DECAYS[:3],
    "rates, momentum, starts, seeds": [
        {"optimizer__learning_rate": 0.02 + 0.002 * i, "optimizer__momentum": 0.05 * i}
        | {"model__init_scale": 0.5 + i / 9, "seeds": [i, 2 * i + 1]}
        for i in range(17)
    ],
    "class sizes": [{"model__samples_per_class": [12 + i, 5, 30, 2 * i + 1]} for i in range(17)],
    "a bias, two levels": [
        {"model__widths": [6, 5], "model__bias": True, "regularization__bias": 0.01 * i}
        | {"optimizer__learning_rate": 0.05 + 0.001 * i}
        for i in range(17)
    ],
    "relu": [
        {"model__activation": "relu", "model__widths": [6, 5], "regularization__weights": 0.001 * i} for i in range(4)
    ],
    "smoothing": [{"loss": {"kind": "cross_entropy", "label_smoothing": 0.02 * i}} for i in range(4)],
    "focal": [{"loss": {"kind": "focal", "gamma": 0.7 * i}, "optimizer__learning_rate": 0.3} for i in range(17)],
    "focal, two levels": [{"loss": {"kind": "focal", "gamma": 0.5 + i}, "model__widths": [6, 5]} for i in range(4)],
    "temperature": [{"loss": "cross_entropy", "model__normalized": True, "model__temperature": 1 + i,
                     "optimizer__learning_rate": 1 + i} for i in range(4)],
    "a fixed classifier": [{"model__classifier": "etf", "model__classifier_norm": 1 + i / 4} for i in range(4)],
}  # fmt: skip


@pytest.mark.parametrize("name", ALIKE)
def test_the_numbers_of_a_batch_are_those_of_each_experiment_alone(name):
    specs = [spec(**changes) for changes in ALIKE[name]]
    assert all(kin(one) == kin(specs[0]) for one in specs)
    found = series(begin_together(specs), len(specs))
    for one, of_batch in zip(specs, found, strict=True):
        assert_alike(of_batch, {(m.seed, m.step): m.values for m in train(one)})


@pytest.mark.parametrize("name", ["rates, momentum, starts, seeds", "class sizes", "relu"])
def test_a_batch_goes_on_from_the_checkpoints_of_its_parts_whoever_has_left(name):
    specs = [spec(**changes) for changes in ALIKE[name]]
    whole, half = series(begin_together(specs), len(specs)), begin_together(specs)
    while half.step < 100:
        half.advance(0)
    parts = split(half.checkpoint(), [len(one.seeds) for one in specs])
    assert [part["labels"].shape[-1] for part in parts] == [sum(one.model.class_sizes) for one in specs]
    stay = range(0, len(specs), 2)
    rest = series(begin_together([specs[i] for i in stay], joined([parts[i] for i in stay])), len(stay))
    alone = series(begin(specs[1], checkpoint=parts[1]), 1)
    for i, found in [*zip(stay, rest, strict=True), (1, alone[0])]:
        assert found
        assert_alike(found, {key: values for key, values in whole[i].items() if key in found})


def test_who_diverges_in_a_batch_says_what_it_says_alone_and_harms_nobody():
    specs = [spec(optimizer__learning_rate=0.1 if i % 2 else 10.0**i, seeds=[i, 7]) for i in (1, 2, 3, 4)]
    run = begin_together(specs)
    found = series(run, 4)
    assert sorted(run.diverged) == [1, 3]
    for i in (1, 3):
        with pytest.raises(Diverged) as told:
            list(train(specs[i]))
        assert str(run.diverged[i]) == str(told.value)
    for i in (0, 2):
        assert_alike(found[i], {(m.seed, m.step): m.values for m in train(specs[i])})


@pytest.mark.parametrize(
    "changes",
    [
        {"model__widths": [7]},
        {"model__bias": True},
        {"optimizer__steps": 301},
        {"measure__points": 9},
        {"precision": "float32"},
        {"seeds": [0, 1]},
        {"device": "cpu"},
        {"loss": "cross_entropy"},
        {"optimizer__form": "full"},
        {"model__samples_per_class": 1},
        {"model__targets": [[1, 0, 0, 0], [0, 1, 0, 0]]},
    ],
)
def test_what_differs_in_more_than_numbers_is_not_trained_together(changes):
    assert kin(spec(**changes)) != kin(spec())


def test_a_batch_fills_the_caches_and_one_of_large_experiments_is_one():
    sizes = [most_together(spec(model__widths=[width])) for width in (4, 20, 100, 5000)]
    assert sizes == sorted(sizes, reverse=True)
    assert (sizes[0] > 100, sizes[-1]) == (True, 1)
    assert most_together(spec(model__samples_per_class=10**6, model__widths=[20])) <= 16  # by memory


def put(specs, **more) -> list[str]:
    with sessions.writing() as session:
        if "sweep_id" in more:
            session.add(Sweep(id=more["sweep_id"], name="", base={}, axes={}, total=len(specs)))
        return [row_of(session, one, **{"sweep_index": i, **more}).id for i, one in enumerate(specs)]


def claimed(kind: str = "cpu", worker: str = "here:1") -> list[Experiment]:
    with sessions.writing() as session:
        return claims.claim(session, worker, kind)


def many(count: int, **changes):
    return [spec(regularization__weights=0.001 * (i + 1), **changes) for i in range(count)]


@pytest.fixture
def sweep(tables):
    """Twelve members that can be trained together, with three between them that cannot."""
    wide = many(3, model__widths=[8])
    narrow = many(12)
    ids = put([*narrow[:5], *wide, *narrow[5:]], sweep_id="s")
    return [*ids[:5], *ids[8:]], ids[5:8]


def test_a_worker_takes_its_share_of_what_is_alike_in_the_order_of_the_queue(sweep):
    alike, others = sweep
    with sessions.writing() as session:
        for name in ("a:1", "a:2", "a:3"):
            about = {"kind": "cpu", "device": "x", "memory_bytes": 1, "used_bytes": 0, "version": "0"}
            session.merge(WorkerRow(id=name, **about)).seen_at = from_now()
    taken = [[row.id for row in claimed()] for _ in range(4)]
    assert taken[0] == alike[:4]
    assert taken[1:3] == [alike[4:7], others[:1]]
    with sessions.reading() as session:
        told = session.scalars(select(LogLine.detail).where(LogLine.event == "started").order_by(LogLine.id)).all()
    assert told[0] == "trained with 3 others in one batch"


@on_sqlite
def test_one_that_was_submitted_by_itself_goes_before_a_sweep_of_its_priority(sweep):
    put([spec(name="mine")])
    put([spec(name="urgent", priority=1)], sweep_id="t")
    put([spec(name="low", priority=-1)])
    assert [claimed()[0].name for _ in range(2)] == ["urgent", "mine"]
    assert len(claimed()) == 12


@on_sqlite
def test_the_last_attempt_is_made_alone(sweep):
    alike, _ = sweep
    with sessions.writing() as session:
        for which in (alike[0], alike[3]):
            session.get(Experiment, which).crashes = 2
    assert [[row.id for row in claimed()] for _ in range(2)] == [[alike[0]], [*alike[1:3], *alike[4:]]]


def rows(experiment_id: str) -> dict:
    with sessions.reading() as session:
        found = list(session.scalars(select(MeasurementRow).where(MeasurementRow.experiment_id == experiment_id)))
    assert len({row.seq for row in found}) == len(found)  # what is measured again after a loss leaves a gap
    return {(row.seed, row.step): row.values for row in found}


def experiment(experiment_id: str) -> Experiment:
    with sessions.reading() as session:
        return session.get(Experiment, experiment_id)


def assert_whole(experiment_id: str) -> None:
    """Row, measurements, verdict, file and log of an experiment that has succeeded, as it has them alone."""
    row = experiment(experiment_id)
    assert (row.status, row.step, row.error, row.lease_until) == ("succeeded", row.total, None, None)
    expected, stored = list(train(row.spec)), rows(experiment_id)
    named = {(m.seed, m.step): {key_of(*key): value for key, value in m.values.items()} for m in expected}
    assert_alike(stored, named)
    assert [verdict["seed"] for verdict in row.result["verdict"]] == row.spec["seeds"]
    assert list(get_store().sizes(experiment_id)) == [FINAL]


def run_until(holds, act) -> None:
    """Runs what is claimed next, and acts once `holds`."""
    running = threading.Thread(target=job.Job(claimed()).run)
    running.start()
    try:
        wait_for("the moment to act", holds, 60)
        act()
        running.join(60)
        assert not running.is_alive()
    finally:
        lease.stop_asked.set()
        running.join(60)
        lease.stop_asked.clear()


@pytest.fixture
def often(monkeypatch):
    """A look around at every step boundary, and a checkpoint at each look."""
    monkeypatch.setenv("NCORE_CHECKPOINT_SECONDS", "0")
    monkeypatch.setenv("NCORE_HEARTBEAT_SECONDS", "0.05")
    monkeypatch.setattr(training, "SLICE_SECONDS", 0.0)


def test_each_of_a_batch_has_its_own_end_and_the_others_go_on_with_the_same_numbers(often, tables, monkeypatch):
    """One diverges, one is cancelled, one is lost to another worker; then the worker stops, and another goes on."""
    specs = many(8, optimizer__steps=20_000)
    specs[1] = spec(optimizer__steps=20_000, optimizer__learning_rate=1e6)
    ids = put(specs, sweep_id="s")

    def some_leave() -> None:
        with sessions.writing() as session:
            states.request_cancel(session, Experiment.id == ids[2])
        with sessions.writing() as session:  # one row a transaction: a worker locks its rows in the order of their ids
            session.get(Experiment, ids[3]).attempt += 1
        wait_for("the cancelled one", lambda: experiment(ids[2]).status == "cancelled")
        lease.stop_asked.set()

    run_until(lambda: rows(ids[0]), some_leave)
    assert [experiment(one).status for one in ids[:4]] == ["queued", "failed", "cancelled", "running"]
    assert "diverged" in experiment(ids[1]).error
    monkeypatch.setattr(training, "SLICE_SECONDS", 0.2)
    monkeypatch.setenv("NCORE_CHECKPOINT_SECONDS", "20")
    get_settings.cache_clear()
    with sessions.writing() as session:
        assert states.retry(session, ids[2])
        lost = session.get(Experiment, ids[3])
        lost.status, lost.queued_at = "queued", now()
    together = claimed()
    assert {row.id for row in together} == {*ids[4:], ids[0], ids[2], ids[3]}
    job.Job(together).run()
    for one in ids[:1] + ids[2:]:
        assert_whole(one)


@on_sqlite
def test_one_whose_file_cannot_be_written_fails_alone(tables):
    ids = put(many(4), sweep_id="s")
    root = get_store().root
    root.mkdir(parents=True)
    (root / ids[2]).touch()
    job.Job(claimed()).run()
    assert [experiment(one).status for one in ids] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert "cannot be written" in experiment(ids[2]).error
    assert_whole(ids[3])


@on_sqlite
def test_a_batch_gives_way_to_what_comes_before_it_and_goes_on_later(tables, monkeypatch):
    monkeypatch.setattr(job, "GIVE_WAY_SECONDS", 0.0)
    ids = put(many(3, optimizer__steps=10**6), sweep_id="s")
    (mine,) = put([spec()])
    with sessions.writing() as session:
        session.get(Experiment, mine).status = "draft"
    together = claimed()
    with sessions.writing() as session:
        row = session.get(Experiment, mine)
        row.status, row.queued_at = "queued", from_now(-1)
    job.Job(together).run()
    assert {experiment(one).status for one in ids} == {"queued"}
    assert [row.id for row in claimed()] == [mine]
    assert {row.id for row in claimed()} == set(ids)


def killed_in_the_middle(service, client, count: int, steps: int) -> None:
    """The child that trains a batch is killed; what was submitted by itself meanwhile comes before the rest."""
    base = with_changes(BASE, {"optimizer.steps": steps, "measure.points": 20})
    made = client.sweep(base, {"regularization.weights": [0.001 + 1e-5 * i for i in range(count)]})
    first = client.experiment(made.data["items"][0]["experiment"])
    wait_for("the middle of the batch", lambda: first.refresh().data["progress"]["step"] > 0)
    os.kill(int(first.data["worker"].partition(":")[2]), signal.SIGKILL)
    client.submit(spec().model_dump(mode="json")).wait(progress=False, timeout_seconds=60)
    assert made.refresh().data["statuses"].get("succeeded", 0) < count
    made.wait(progress=False, timeout_seconds=60 + count)
    assert_whole_sweep(service.settings.database, made.id, count)


def assert_whole_sweep(database: str, sweep_id: str, count: int) -> None:
    """Every experiment of it has succeeded once, with each measurement once; some were begun more than once."""
    of_sweep = Experiment.sweep_id == sweep_id
    ids = select(Experiment.id).where(of_sweep)
    engine = sessions.make_engine(database)
    try:
        with Session(engine) as session:
            rows = session.scalars(select(Experiment).where(of_sweep)).all()
            ends = session.execute(
                select(LogLine.experiment_id, func.count())
                .where(LogLine.experiment_id.in_(ids), LogLine.event == "succeeded")
                .group_by(LogLine.experiment_id)
            ).all()
            one = MeasurementRow.seq
            numbers = select(MeasurementRow.experiment_id, func.count(one.distinct()), func.count())
            stored = session.execute(
                numbers.where(MeasurementRow.experiment_id.in_(ids)).group_by(MeasurementRow.experiment_id)
            ).all()
            last = session.scalars(
                select(MeasurementRow).where(MeasurementRow.experiment_id == rows[-1].id).order_by(MeasurementRow.seq)
            ).all()
    finally:
        engine.dispose()
    assert [(row.status, len(row.result["verdict"])) for row in rows] == [("succeeded", 1)] * count
    assert sorted(tuple(row) for row in ends) == sorted((row.id, 1) for row in rows)
    expected = list(train(rows[-1].spec))
    assert {tuple(row[1:]) for row in stored} == {(len(expected),) * 2}
    assert len(stored) == count
    named = {(m.seed, m.step): {key_of(*key): value for key, value in m.values.items()} for m in expected}
    assert_alike({(row.seed, row.step): row.values for row in last}, named)
    assert any(row.attempt > 1 for row in rows)


def test_a_batch_whose_worker_is_killed_in_the_middle_loses_and_doubles_nothing(service, client):
    killed_in_the_middle(service, client, 40, 30_000)


@pytest.mark.nightly
@pytest.mark.parametrize("kind", DATABASES)
def test_a_thousand_whose_worker_is_killed_lose_and_double_nothing(kind, request, tmp_path):
    with running(settings_for(kind, tmp_path, request)) as service, Client(service.url) as client:
        killed_in_the_middle(service, client, 1000, 20_000)


@pytest.mark.nightly
@pytest.mark.timeout(1800)
def test_three_workers_share_ten_thousand_on_postgresql_and_a_real_broker(request, tmp_path):
    settings = settings_for("postgresql", tmp_path, request, workers=3, threads=1, lease_seconds=10.0)
    base = with_changes(BASE, {"optimizer.steps": 200, "measure.points": 3})
    decays = [0.001 * 1.02**i for i in range(100)]
    with running(settings) as service, Client(service.url) as client:
        wait_for("three workers", lambda: len(client.request("GET", "/workers").json()["items"]) == 3)
        made = client.sweep(base, {"regularization.weights": decays, "regularization.features": decays})
        made.wait(progress=False, timeout_seconds=1500)
        engine = sessions.make_engine(settings.database)
        try:
            with Session(engine) as session:
                shares = session.execute(
                    select(Experiment.worker, func.count(), func.max(Experiment.attempt), func.max(Experiment.last_seq))
                    .where(Experiment.sweep_id == made.id, Experiment.status == "succeeded")
                    .group_by(Experiment.worker)
                ).all()
        finally:
            engine.dispose()
    assert sum(row[1] for row in shares) == 10_000
    assert {tuple(row[2:]) for row in shares} == {(1, 3)}
    assert sorted(row[1] > 1000 for row in shares) == [True] * 3
