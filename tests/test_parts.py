"""What is large is written and deleted in parts, in the sight of nobody, and what was broken off is finished."""

import json
from datetime import timedelta

import httpx
import pytest
from conftest import fresh_database
from sqlalchemy import event, func, select, update

from api import refining, sweep_submission
from api.database import claims, curves, measurements, migrating, parts, states
from api.database.sessions import get_engine, reading, writing
from api.database.sweeps import advances, first_succeeded, rows_of, steps_below
from api.database.sweeps import count as count_of
from api.database.tables import Experiment, LogLine, MeasurementRow, Sweep, new_id, now
from api.removal import Remover
from api.routes import experiments, sweeps
from api.routes.listing import Filter, list_experiments
from api.routes.sweep_selection import Columns, selection_of
from api.settings import get_settings
from api.shown import find
from api.store import get_store
from api.submission import row_of
from api.web.errors import Problem
from ncore.presets import PRESETS
from ncore.spec import parse_spec
from ncore.theory import predict

SPEC = parse_spec(PRESETS["fig1"].spec)


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request, tmp_path, monkeypatch):
    """The database of this process, which reaches no broker."""
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


def test_calls_are_sent_again_for_the_first_of_a_queue_and_for_none_behind_those(database, monkeypatch):
    monkeypatch.setattr(states, "WAKE_UPS", 2)
    first, second, third = made(), made(), made()
    for called, due in (([first, second], []), ([], [first, second]), ([second], [first]), ([third], [first, second])):
        with writing() as session:
            session.execute(update(Experiment).values(sent_at=None))
            states.mark_sent(session, called)
            assert states.to_send_again(session)["cpu"] == due


def test_experiments_are_in_no_list_and_no_queue_while_their_sweep_is_not_there(database):
    sweep = Sweep(id=new_id(), name="", base={}, axes={"loss": ["mse"]}, total=1)
    own = made(sweep_id=sweep.id)

    def seen() -> list[bool]:
        with writing() as session:
            due = states.to_send_again(session)["cpu"] == [own]
            claimed = bool(claims.claim(session, "w", "cpu"))
            session.rollback()
        with reading() as session:
            counted = advances(session, [sweep.id])[sweep.id].statuses == {"queued": 1}
        return [due, claimed, counted, own in list_experiments(Filter()).body.decode()]

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
    monkeypatch.setattr(sweep_submission, "WRITTEN", 3)
    changed: list[int] = []
    monkeypatch.setenv("NCORE_BATCH", "1")
    get_settings.cache_clear()
    really = states._changed

    def counted(*change) -> list[str]:  # sqlite3 counts no rows that an update returns
        found = really(*change)
        changed.append(len(found))
        return found

    monkeypatch.setattr(states, "_changed", counted)

    @event.listens_for(get_engine(), "after_cursor_execute")
    def count_changes(connection, cursor, statement, *_):
        if statement.startswith(("UPDATE experiments", "DELETE", "INSERT INTO experiments")) and cursor.rowcount > 0:
            changed.append(cursor.rowcount)

    base = {"preset": "fig1", "set": {"optimizer.steps": 5}}
    made = json.loads(sweeps.submit_sweep({"base": base, "axes": {"seeds": [[i] for i in range(8)]}}).body)
    assert made["statuses"] == {"queued": 8}
    with writing() as session:
        running = claims.claim(session, "w", "cpu")[0].id
    cancelled = json.loads(sweeps.cancel_sweep(made["id"]).body)
    assert cancelled["statuses"] == {"cancelled": 7, "running": 1}
    with writing() as session:
        assert states.renew(session, {running: 1}) == {running: True}
        states.finish(session, {running: states.End(1, "cancelled")})
    assert sum(changed) >= 16
    sweeps.delete_sweep(made["id"])
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


def test_a_round_of_an_adaptive_sweep_is_written_once_and_none_after_a_cancel(database):
    """Whoever asks, and however often: what is due follows from the results alone."""
    path, size = "regularization.weights", "model.samples_per_class"
    axes = {path: {"from": 0.01, "to": 0.1, "points": 3}, size: [5]}
    body = {"base": {"preset": "fig1"}, "axes": axes, "refine": {"metric": "verdict", "budget": 6}}
    sweep_id = json.loads(sweeps.submit_sweep(body).body)["id"]

    def end_all() -> None:
        with writing() as session:
            for row in session.scalars(select(Experiment).where(Experiment.status == "queued")):
                reached = "zero" if row.point[path] > 0.03 else "orthogonal_frame"
                row.summary = {"levels": {}, "verdict": [], "reached": reached, "rank": None, "gap": None}
                row.status = "succeeded"

    def weights() -> list[float]:
        with reading() as session:
            return [row.point[path] for row in rows_of(session, sweep_id)]

    refining.refine_sweeps()
    assert weights() == [0.01, 0.055, 0.1]  # while any is queued nothing is added
    end_all()
    with reading() as session:
        seen = session.get(Sweep, sweep_id)
        plan, points = refining._due(session, seen)
    refining._add(seen, plan, points)
    refining._add(seen, plan, points)  # another process, which had read the same round
    refining.refine_sweeps()
    assert weights() == [0.01, 0.055, 0.1, 0.0325]
    for _ in range(4):
        end_all()
        refining.refine_sweeps()
    assert weights() == [0.01, 0.055, 0.1, 0.0325, 0.02125, 0.026875]
    with reading() as session:
        found = session.get(Sweep, sweep_id)
        assert (found.total, found.refining) == (6, False)
    again = json.loads(sweeps.submit_sweep({**body, "name": "b"}).body)["id"]
    sweeps.cancel_sweep(again)
    refining.refine_sweeps()
    with reading() as session:
        assert session.get(Sweep, again).refining is False


def test_a_sweep_that_cannot_be_refined_ends_alone(database, caplog):
    path, refine = "regularization.weights", {"metric": "verdict", "budget": 6}
    axes = {path: {"from": 0.01, "to": 0.1, "points": 3}, "model.samples_per_class": [5]}
    body = {"base": {"preset": "fig1"}, "axes": axes, "refine": refine}
    old, sound = (json.loads(sweeps.submit_sweep({**body, "name": name}).body)["id"] for name in ("old", "sound"))
    with writing() as session:
        session.get(Sweep, old).request = {"of": "another version"}
        for row in session.scalars(select(Experiment).where(Experiment.status == "queued")):
            reached = "zero" if row.point[path] > 0.03 else "orthogonal_frame"
            row.summary = {"levels": {}, "verdict": [], "reached": reached, "rank": None, "gap": None}
            row.status = "succeeded"
    refining.refine_sweeps()
    assert f"sweep={old} is not refined further" in caplog.text
    with reading() as session:
        found = {one.id: (one.refining, one.total) for one in session.scalars(select(Sweep))}
    assert found == {old: (False, 3), sound: (True, 4)}


@pytest.mark.parametrize("asked", [None, "queued"])
def test_what_is_to_be_deleted_in_one_state_is_left_in_any_other(database, asked):
    experiment_id = made()
    with pytest.raises(Problem, match=r"is queued, not failed: it is left as it is"):
        experiments.delete_experiment(experiment_id, "failed")
    assert count(Experiment) == 1
    experiments.delete_experiment(experiment_id, asked)
    assert count(Experiment) == 0


def test_a_table_is_sorted_filtered_and_counted_by_the_database(database):
    path = "regularization.weights"
    body = {"base": {"preset": "fig1"}, "axes": {path: [0.01, 0.03, 0.02, 0.04], "loss": ["mse", "cross_entropy"]}}
    sweep_id = json.loads(sweeps.submit_sweep(body).body)["id"]
    with writing() as session:
        for row in session.scalars(select(Experiment)):
            value = None if row.sweep_index == 7 else row.point[path] ** 2
            verdict = {"reached": "zero" if row.sweep_index % 3 else "between", "rank": 4, "gap": -row.point[path]}
            levels = {"nc1 h1": [1, 1, 1, 1, None], "nc1 h2": [value] * 4 + [0.5]}
            row.summary = {"levels": levels, "verdict": [verdict], **verdict}
            row.status = "succeeded" if row.sweep_index else "failed"

    def order(**asked) -> list[int]:
        with reading() as session:
            sweep = session.get(Sweep, sweep_id)
            columns = Columns(sweep.axes, first_succeeded(session, sweep_id))
            selection = selection_of(columns, asked.get("sort"), asked.get("where"), asked.get("status"))
            found = [row.number for row in rows_of(session, sweep_id, selection=selection)]
            assert count_of(session, sweep_id, selection) == len(found)
            return found

    assert order(sort=path) == [0, 1, 4, 5, 2, 3, 6, 7]
    assert order(sort=f"-{path}") == [6, 7, 2, 3, 4, 5, 0, 1]
    assert order(sort="-nc1.h2") == [6, 2, 3, 4, 5, 0, 1, 7]  # what is not known comes last
    assert order(sort="-nc1") == order(sort="-nc1.h2")  # the last layer
    assert order(where="nc1.h2 < 5e-4 and verdict = zero") == [1, 4, 5]
    assert order(where="gap >= -0.01 AND loss != mse") == [1]
    assert order(status="failed") == [0]
    assert order(sort="loss", where="rank == 4") == [1, 3, 5, 7, 0, 2, 4, 6]
    for wrong in (
        {"sort": "nc7"},
        {"sort": "nc1.h9"},
        {"where": "nc1 <"},
        {"where": "verdict < 1"},
        {"where": "gap < x"},
    ):
        with pytest.raises(Problem) as caught:
            order(**wrong)
        assert [fault["field"] for fault in caught.value.errors] == [*wrong]


def test_a_picture_of_many_rows_is_made_of_steps_at_equal_distances_with_all_their_seeds(database, monkeypatch):
    own = made()
    with writing() as session:
        session.add_all(
            MeasurementRow(experiment_id=own, seed=seed, step=7 * i, seq=2 * i + seed, values={"nc1 h1": i + seed})
            for i in range(98)
            for seed in range(2)
        )
    for most, every in ((1000, 1), (196, 1), (195, 2), (40, 5), (2, 98)):
        monkeypatch.setattr(curves, "MOST_ROWS", most)
        with reading() as session:
            [points] = curves.load_curves(session, own, ["nc1"]).values()
        chosen = sorted({*range(0, 98, every), 97})
        assert [tuple(point) for point in points] == [(7 * i, i + 0.5, i, i + 1, 2) for i in chosen]


def test_what_an_earlier_version_has_stored_of_a_sweep_is_completed(database):
    """Its rows have neither points nor summaries."""
    axes = {"regularization.features": [0.005, 0.01], "regularization.weights.0": [0.005, 0.02]}
    sweep_id = json.loads(sweeps.submit_sweep({"base": {"preset": "fig1"}, "axes": axes}).body)["id"]
    final = [{"seed": 0, "step": 9, "metrics": [{"metric": "objective", "layer": None, "value": 0.25}]}]
    result = {"final": final, "verdict": [{"seed": 0, "reached": "between", "rank": 4, "gap": 0.1}]}
    with writing() as session:
        for row in session.scalars(select(Experiment)):
            row.point = None
            if row.sweep_index:
                row.status, row.result = "succeeded", result
    with reading() as session:
        found = list(rows_of(session, sweep_id))
        assert [tuple(row.point.values()) for row in found] == [(a, b) for a in (0.005, 0.01) for b in (0.005, 0.02)]
        assert [row.summary and row.summary["reached"] for row in found] == [None, "between", "between", "between"]
        objective = found[1].summary["levels"]["objective"]
        assert objective == [0.25] * 4 + [predict(session.get(Experiment, found[1].id).spec).objective]


def test_the_steps_to_a_threshold_are_the_first_of_each_seed_that_gets_there(database):
    """Seen from measurements: 0.1 at step 0, a tenth of that at each later one; seed 1 starts higher, seed 2 stays."""
    sweep = Sweep(id=new_id(), name="", base={}, axes={"loss": ["mse"]}, total=2)
    ended, running = made(sweep_id=sweep.id, status="succeeded"), made(sweep_id=sweep.id, status="running")
    with writing() as session:
        session.add(sweep)
        session.add_all(
            MeasurementRow(experiment_id=own, seed=seed, step=5 * i, seq=3 * i + seed + 1, values={"nc1 h1": value})
            for own in (ended, running)
            for i in range(6)
            for seed, value in enumerate((10.0 ** -(i + 1), 10.0 ** (1 - i), None if i else 1.0))
        )
    with reading() as session:
        assert {key: sorted(steps) for key, steps in steps_below(session, sweep.id, "nc1 h1", 0.05).items()} == {
            ended: [5, 15]
        }
        assert steps_below(session, sweep.id, "nc1 h1", 1e-9) == steps_below(session, sweep.id, "nc2 h1", 1.0) == {}
