"""Leases, heartbeats and wake-up calls by the database's clock, which may jump; a reconciler that was held up."""

import time
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import select, update

from api import reconciler
from api.database import claims, clock, sessions, states, tables, workers
from api.database.clock import from_now
from api.database.tables import Experiment, WorkerRow
from api.reconciler import Patience
from api.settings import get_settings

FAR = 3600.0
pytestmark = pytest.mark.usefixtures("tables")


def put(name: str = "e", **values) -> None:
    row = {"id": name, "name": name, "kind": "ufm", "tags": [], "spec": {}, **values}
    with sessions.writing() as session:
        session.add(Experiment(**row))


def change(**values) -> None:
    with sessions.writing() as session:
        session.execute(update(Experiment).values(values).execution_options(synchronize_session=False))


def row() -> Experiment:
    with sessions.reading() as session:
        return session.get(Experiment, "e")


def seconds_left() -> float:
    with sessions.reading() as session:
        return (session.get(Experiment, "e").lease_until - session.scalar(select(from_now()))).total_seconds()


def claimed() -> list[Experiment]:
    with sessions.writing() as session:
        return claims.claim(session, "here:1", "cpu")


def test_moments_are_the_databases_and_are_compared_as_moments():
    with sessions.reading() as session:
        ago, moment, later = (session.scalar(select(from_now(seconds))) for seconds in (-FAR, 0.0, 0.25))
        assert abs(moment - datetime.now(UTC)) < timedelta(seconds=20)
        assert moment - ago > timedelta(seconds=FAR)
        assert session.scalar(select(from_now(-0.001) < from_now()))
    assert later.tzinfo is not None


@pytest.mark.parametrize("tables", ["postgresql"], indirect=True)
def test_the_clock_of_this_process_decides_nothing(monkeypatch):
    """Of a worker on a machine whose clock is an hour off. (SQLite has no other clock than its machine's.)"""

    class Off(datetime):
        @classmethod
        def now(cls, zone=None):
            return datetime.now(zone) + timedelta(hours=1)

    put()
    for module in (clock, tables):
        monkeypatch.setattr(module, "datetime", Off)
    assert tables.now() - datetime.now(UTC) > timedelta(minutes=59)
    assert claimed()
    assert 0 < seconds_left() <= get_settings().lease_seconds
    with sessions.writing() as session:
        assert states.renew(session, {"e": 1}) == {"e": False}
        assert states.requeue_expired(session) == 0
    assert abs(row().started_at - datetime.now(UTC)) < timedelta(seconds=20)


def test_a_clock_that_was_set_back_stalls_neither_resending_nor_leases_nor_workers():
    """What was written before lies in the future."""
    put()
    with sessions.writing() as session:
        assert states.to_send_again(session) == {"cpu": ["e"]}
        states.mark_sent(session, ["e"])
        assert states.to_send_again(session) == {"cpu": []}
    change(sent_at=from_now(FAR))
    with sessions.writing() as session:
        assert states.to_send_again(session) == {"cpu": ["e"]}
    assert claimed()
    change(lease_until=from_now(FAR))
    with sessions.writing() as session:
        states.shorten_leases(session)
    assert seconds_left() <= get_settings().lease_seconds
    change(lease_until=from_now(-0.1))
    with sessions.writing() as session:
        assert states.requeue_expired(session) == 1
    about = {"device": "x", "memory_bytes": 1, "used_bytes": 0, "version": "0"}
    for seen, alive in ((0.0, 1), (FAR, 0), (-FAR, 0)):
        with sessions.writing() as session:
            session.merge(WorkerRow(id="gpu:1", kind="gpu", **about)).seen_at = from_now(seen)
        with sessions.reading() as session:
            assert workers.gpu_workers(session, alive=True) == alive


@pytest.mark.parametrize(
    ("passed", "told", "held_up"),
    [
        (1.1, 1.1, False),
        (2.0, 2.1, False),
        (30.0, 30.0, True),  # waited for a lock, or was stopped
        (1.1, FAR, True),  # slept with its machine, or the clock was set
        (1.1, -FAR, True),
    ],
)
def test_leases_stand_for_one_more_lease_after_whatever_kept_workers_from_renewing(monkeypatch, passed, told, held_up):
    lease, now = get_settings().lease_seconds, datetime.now(UTC)
    rounds = [(0.0, 0.0), (passed, told)] + [(passed + i, told + i) for i in range(1, int(lease) + 2)]
    at = 1000.0
    monkeypatch.setattr(reconciler.time, "monotonic", lambda: at)
    patience, over = Patience(), []
    for passed_by, told_by in rounds:
        at = 1000.0 + passed_by
        over.append(patience.is_over(now + timedelta(seconds=told_by)))
    assert over[0]
    assert over[1] is not held_up
    assert over[-1]
    assert over.count(False) == (lease if held_up else 0)


@pytest.mark.parametrize("tables", ["sqlite"], indirect=True)
def test_rounds_that_are_always_late_take_leases_back_all_the_same(monkeypatch):
    lease, now, at = get_settings().lease_seconds, datetime.now(UTC), 1000.0
    monkeypatch.setattr(reconciler.time, "monotonic", lambda: at)
    patience, over = Patience(), []
    for number in range(9):
        at = 1000.0 + 1.5 * lease * number
        over.append(patience.is_over(now + timedelta(seconds=at)))
    assert over == [True, False, True, False, True, False, True, False, True]


def test_a_reconciler_that_was_held_up_takes_no_lease_back_until_workers_can_renew_them():
    """As on SQLite, where another's long transaction keeps the workers waiting as well."""
    put()
    claimed()
    patience = Patience()
    reconciler.reconcile(patience)
    change(lease_until=from_now(-1.0))
    before, moment = patience._round
    patience._round = before - 40.0, moment - timedelta(seconds=40)
    reconciler.reconcile(patience)
    assert (row().status, row().lost_workers) == ("running", 0)
    patience._until = time.monotonic()
    reconciler.reconcile(patience)
    assert (row().status, row().lost_workers) == ("queued", 1)
