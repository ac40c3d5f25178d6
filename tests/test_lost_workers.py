"""What a worker's parent and its limit of memory do about a child that is lost, or grows too large."""

import resource
import time
from datetime import timedelta

import psutil
import pytest
import torch
from billiard.einfo import ExceptionInfo
from billiard.exceptions import WorkerLostError
from kombu.message import Message
from sqlalchemy import text
from test_workers import put, seen

from api.database import claims, sessions
from api.database.tables import Experiment, LogLine, WorkerRow
from worker import memory
from worker.job import _failed
from worker.lost import ObservedRequest
from worker.naming import name_of


def raised(error):
    try:
        raise error
    except type(error):
        return ExceptionInfo()


@pytest.mark.parametrize("tables", ["sqlite"], indirect=True)
def test_what_a_lost_child_ran_is_queued_again_at_once_with_the_cause(tables, caplog):
    """As the pool's parent hears of it; a database that is away leaves it to the lease."""
    from worker.app import app, run

    rejected = []
    message = Message([["e"], {}, {}], headers={"id": "1", "task": run.name})
    request = ObservedRequest(message, app=app, task=run, decoded=True, on_reject=lambda *g: rejected.append(g[-1]))
    put("e")
    seen(name_of(4711), "cpu", timedelta(0))
    with sessions.writing() as session:
        assert [row.id for row in claims.claim(session, name_of(4711), "cpu")] == ["e"]
    request.on_accepted(4711, time.monotonic())
    lost = WorkerLostError("Worker exited prematurely: signal 9 (SIGKILL) Job: 3.")
    request.on_failure(raised(lost))
    with sessions.reading() as session:
        assert session.get(Experiment, "e").status == "queued"
        assert session.query(WorkerRow).all() == []
        (line,) = session.query(LogLine).filter_by(event="worker lost")
        assert line.detail == "its worker ended by signal 9 (SIGKILL)"
    assert rejected == [True]  # another worker hears the call
    with sessions.writing() as session:
        claims.claim(session, name_of(4711), "cpu")
    request.on_failure(raised(SystemExit(3)))  # of a plugin
    with sessions.writing() as session:
        last = session.query(LogLine).filter_by(event="worker lost").order_by(LogLine.id).all()[-1]
        assert (last.attempt, last.detail) == (2, "its worker ended by SystemExit(3)")
        session.execute(text("ALTER TABLE experiments RENAME TO away"))
    request.on_failure(raised(lost))
    assert "the database does not answer, the lease will expire" in caplog.text


def test_what_outgrows_a_workers_memory_fails_with_the_limit():
    before = resource.getrlimit(resource.RLIMIT_DATA)
    try:
        memory.limit(2**60)
        assert resource.getrlimit(resource.RLIMIT_DATA)[0] == int(memory.SHARE * memory.machine_bytes())
        most = psutil.Process().memory_info().data + 2**28
        memory.limit(most)
        with pytest.raises(RuntimeError) as caught:
            torch.empty(most, dtype=torch.uint8)
        end = _failed(caught.value, 1)
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, before)
    assert end.status == "failed"
    assert end.error.startswith("out of memory: use fewer seeds or a smaller model; ")
    assert f"(this worker's limit: {most / 2**30:.3g} GiB, at most NCORE_WORKER_MEMORY_BYTES)" in end.error
