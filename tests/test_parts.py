"""What is large is written and deleted in parts, in the sight of nobody, and what was broken off is finished."""

from datetime import timedelta

import httpx
import pytest
from conftest import fresh_database
from fastapi import Response
from sqlalchemy import event, func, select

from api.database import measurements, migrating, parts, states
from api.database.sessions import get_engine, reading, writing
from api.database.sweeps import advances
from api.database.tables import Experiment, LogLine, MeasurementRow, Sweep, new_id, now
from api.removal import Remover
from api.routes import sweeps
from api.routes.listing import list_experiments
from api.settings import get_settings
from api.shown import find
from api.store import get_store
from api.submission import row_of
from api.web.errors import Problem
from ncore.presets import PRESETS
from ncore.spec import parse_spec

SPEC = parse_spec(PRESETS["fig1"].spec)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path, monkeypatch):
    """The database of this process."""
    monkeypatch.setenv("NCORE_HOME", str(tmp_path))
    monkeypatch.setenv("NCORE_DATABASE_URL", fresh_database(request.param, tmp_path, request))
    cached = (get_settings, get_engine, get_store)
    for one in cached:
        one.cache_clear()
    migrating.migrate()
    yield
    get_engine().dispose()
    migrating.migrated.clear()
    for one in cached:
        one.cache_clear()


def made(rows: int = 0, **values: object) -> str:
    with writing() as session:
        row = row_of(session, SPEC, **values)
        session.flush()
        session.add_all(
            MeasurementRow(experiment_id=row.id, seed=0, step=i, seq=i + 1, values={"nc1 h1": 0.5}) for i in range(rows)
        )
        return row.id


def count(table) -> int:
    with reading() as session:
        return session.scalar(select(func.count()).select_from(table))


def test_a_deleted_experiment_is_gone_at_once_and_its_rows_in_short_parts(database):
    own, _ = made(3 * parts.PART_ROWS, idempotency_key="k"), made(5)
    get_store().save(own, "checkpoint.pt", lambda path: path.write_bytes(b"x"))
    with writing() as session:
        assert parts.take_out(session, Experiment.id == own) == 1
    with reading() as session, pytest.raises(Problem, match="there is no experiment"):
        find(session, own)
    made(idempotency_key="k")  # the key is free again
    steps = 0
    while True:
        with writing() as session:
            before = count(MeasurementRow)
            left = parts.delete_part(session, own)
        assert before - count(MeasurementRow) <= parts.PART_ROWS
        steps += 1
        if not left:
            break
    assert steps == 3
    assert (count(MeasurementRow), count(Experiment), count(LogLine)) == (5, 2, 2)


def test_what_a_request_has_left_is_finished_by_the_next_round(database):
    sweep_id = new_id()
    young = made(sweep_id=sweep_id)
    old = made(sweep_id=sweep_id, created_at=now() - timedelta(hours=1))
    taken = made(10, status=parts.DELETING)
    get_store().save(taken, "checkpoint.pt", lambda path: path.write_bytes(b"x"))
    Remover()._round()
    with reading() as session:
        assert list(session.scalars(select(Experiment.id))) == [young]
        assert session.get(Experiment, old) is None
    assert get_store().sizes(taken) == {}
    assert count(MeasurementRow) == 0


def test_experiments_are_in_no_list_and_no_queue_while_their_sweep_is_not_there(database):
    sweep = Sweep(id=new_id(), name="", base={}, axes={"loss": ["mse"]}, total=1)
    own = made(sweep_id=sweep.id)

    def seen() -> list[bool]:
        with writing() as session:
            due = states.to_send_again(session)["cpu"] == [own]
            claimed = states.claim(session, "w", "cpu") is not None
            session.rollback()
        with reading() as session:
            counted = advances(session, [sweep.id])[sweep.id].statuses == {"queued": 1}
        return [due, claimed, counted, own in list_experiments().body.decode()]

    assert seen() == [False] * 4
    with reading() as session, pytest.raises(Problem, match="there is no experiment"):
        find(session, own)
    with writing() as session:
        session.add(sweep)
    assert seen() == [True] * 4
    with writing() as session:
        parts.forget_empty_sweep(session, sweep.id)
        assert session.get(Sweep, sweep.id) is not None
        parts.take_out(session, Experiment.id == own)
        parts.forget_empty_sweep(session, sweep.id)
        assert session.get(Sweep, sweep.id) is None
    assert seen() == [False] * 4


def test_no_transaction_of_a_sweep_changes_many_experiments(database, monkeypatch):
    """However large it is: each part is bounded, and all parts together do the whole."""
    monkeypatch.setattr(parts, "PART_EXPERIMENTS", 3)
    monkeypatch.setattr(sweeps, "WRITTEN", 3)
    changed: list[int] = []
    monkeypatch.setattr(sweeps, "wake", lambda rows: None)
    really = states._changed

    def counted(*change) -> int:  # sqlite3 counts no rows that an update returns
        changed.append(really(*change))
        return changed[-1]

    monkeypatch.setattr(states, "_changed", counted)

    @event.listens_for(get_engine(), "after_cursor_execute")
    def count_changes(connection, cursor, statement, *_):
        if statement.startswith(("UPDATE experiments", "DELETE", "INSERT INTO experiments")) and cursor.rowcount > 0:
            changed.append(cursor.rowcount)

    base = {"preset": "fig1", "set": {"optimizer.steps": 5}}
    made = sweeps.submit_sweep({"base": base, "axes": {"seeds": [[i] for i in range(8)]}}, Response())
    assert made.statuses == {"queued": 8}
    with writing() as session:
        running = states.claim(session, "w", "cpu").id
    cancelled = sweeps.cancel_sweep(made.id)
    assert cancelled.statuses == {"cancelled": 7, "running": 1}
    with writing() as session:
        assert states.renew(session, running, 1) == (True, True)
        states.finish(session, running, 1, "cancelled")
    assert sum(changed) >= 16
    sweeps.delete_sweep(made.id)
    assert max(changed) <= 3
    with reading() as session:
        assert set(session.scalars(select(Experiment.status))) == {parts.DELETING}
        assert session.scalars(select(Sweep.id)).all() == []


def test_a_sweep_is_deleted_with_its_experiments_once_none_runs(client):
    base = {"preset": "fig1", "set": {"optimizer.steps": 10**9, "priority": -5}}
    sweep = client.sweep(base, {"seeds": [[0], [1], [2]]})
    ids = [item["experiment"] for item in sweep.data["items"]]
    sweep.cancel()
    sweep.wait(progress=False, timeout_seconds=60)
    assert client.request("DELETE", f"/sweeps/{sweep.id}").status_code == 204
    for path in (f"/sweeps/{sweep.id}", *(f"/experiments/{one}" for one in ids)):
        assert httpx.get(f"{client.url}{path}").status_code == 404
    assert sweep.id not in [one["id"] for one in client.request("GET", "/sweeps").json()["items"]]
    alone = client.sweep(base, {"seeds": [[3]]})
    alone.cancel()
    alone.wait(progress=False, timeout_seconds=60)
    client.experiment(alone.data["items"][0]["experiment"]).delete()
    assert httpx.get(f"{client.url}/sweeps/{alone.id}").status_code == 404  # no ghost of it


def test_series_read_seed_by_seed_are_those_that_are_read_at_once(database, monkeypatch):
    own = made()
    with writing() as session:
        session.add_all(
            MeasurementRow(
                experiment_id=own,
                seed=seed,
                step=step,
                seq=1 + 3 * step + seed,
                values={"nc1 h1": step / 3, "loss": None if step == 5 else 1.0, **({"rank": 2.0} if step % 2 else {})},
            )
            for seed in range(3)
            for step in range(40)
        )
    for since, metrics, layers in ((0, [], []), (50, [], []), (0, ["rank", "nc1"], []), (0, [], [""])):
        with reading() as session:
            whole, last = measurements.load(session, own, since, metrics, layers)
        assert last == 120
        for few in (0, 10**6):
            monkeypatch.setattr(measurements, "FEW_ROWS", few)
            found = measurements.series_of(own, [0, 1, 2], 120, since, metrics, layers)
            assert sorted(map(repr, found)) == sorted(map(repr, whole))
    assert list(measurements.series_of(own, [2], 30, 0, ["loss"], [])) == [
        {"metric": "loss", "layer": None, "seed": 2, "steps": list(range(10)), "values": [1.0] * 5 + [None] + [1.0] * 4}
    ]
