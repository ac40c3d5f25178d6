"""What happens to an experiment's files: damaged checkpoints, a full disk; nothing fails, no digit changes."""

import math
import os
import threading
import time

import pytest
import torch
from conftest import fill, wait_for
from sqlalchemy import select

from api.database import claims, sessions, states
from api.database.tables import Experiment, LogLine, MeasurementRow
from api.store import CHECKPOINT, FINAL, PREVIOUS, get_store
from ncore.presets import PRESETS
from ncore.series import key_of
from ncore.spec import parse_spec, with_changes
from ncore.train import begin
from worker import checkpoint, job, lease, training
from worker.checkpoint import DamagedError

pytestmark = pytest.mark.parametrize("tables", ["sqlite"], indirect=True)  # one is enough for what is about files
UFM = with_changes(PRESETS["fig1"].spec, {"optimizer.steps": 3000, "measure.points": 12, "seeds": [0, 1]})
NETWORK = {
    "model": {"kind": "mlp", "widths": [16, 8]},
    "data": {"name": "synthetic", "image_size": 8, "samples_per_class": 20},
    "optimizer": {"learning_rate": 0.02, "batch_size": 32, "epochs": 6},
    "measure": {"every_epochs": 1},
    "device": "cpu",
}
SLACK_SECONDS = 2.0
"""Of a busy machine."""
STATE = {"a": torch.arange(3000.0), "b": torch.ones(7, dtype=torch.float64)}
DAMAGES = {
    "empty": lambda data: b"",
    "cut off at once": lambda data: data[:10],
    "cut off in the middle": lambda data: data[: len(data) // 2],
    "cut off within its checksum": lambda data: data[: -len(checkpoint.MARK) - 100],
    "a bit flipped in a tensor": lambda data: flipped(data, len(data) // 2),
    "a bit flipped at the start": lambda data: flipped(data, 1),
    "a bit flipped in its checksum": lambda data: flipped(data, len(data) - 3),
    "something else": lambda data: os.urandom(len(data)),
}


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


def file_of(name: str, experiment_id: str = "e"):
    return get_store().root / experiment_id / name


@pytest.mark.parametrize("how", DAMAGES)
@pytest.mark.usefixtures("tables")
def test_a_damaged_checkpoint_is_found_and_the_one_before_it_is_there(how):
    checkpoint.save("e", {"a": torch.zeros(2)})
    checkpoint.save("e", STATE)
    assert all(torch.equal(checkpoint.load("e", CHECKPOINT)[name], STATE[name]) for name in STATE)
    assert torch.equal(torch.load(file_of(CHECKPOINT))["b"], STATE["b"])  # by torch alone, as a user would
    file_of(CHECKPOINT).write_bytes(DAMAGES[how](file_of(CHECKPOINT).read_bytes()))
    with pytest.raises(DamagedError):
        checkpoint.load("e", CHECKPOINT)
    assert torch.equal(checkpoint.load("e", PREVIOUS)["a"], torch.zeros(2))
    checkpoint.remove("e")
    assert checkpoint.load("e", CHECKPOINT) is None
    assert checkpoint.load("e", PREVIOUS) is None


@pytest.mark.usefixtures("tables")
def test_a_checkpoint_of_a_version_without_checksums_is_taken():
    checkpoint.save("e", STATE)
    torch.save(STATE, file_of(CHECKPOINT))
    assert torch.equal(checkpoint.load("e", CHECKPOINT)["a"], STATE["a"])


def submitted(spec) -> None:
    with sessions.writing() as session:
        session.add(Experiment(id="e", name="n", kind="ufm", tags=[], spec=spec))


def attempt(until=None) -> str:
    """One attempt, in this process as a worker's child makes it; `until` asks it to stop once it holds."""
    with sessions.writing() as session:
        rows = claims.claim(session, "here:1", "cpu")
    running = threading.Thread(target=job.Job(rows).run)
    running.start()
    try:
        if until is not None:
            wait_for("the moment to stop", until, 60)
            lease.stop_asked.set()
        running.join(120)
        assert not running.is_alive()
    finally:
        lease.stop_asked.clear()
    return status()


def status() -> str:
    return row().status


def events() -> list[str]:
    with sessions.reading() as session:
        return list(session.scalars(select(LogLine.event).order_by(LogLine.id)))


def details(event: str) -> list[str]:
    with sessions.reading() as session:
        return list(session.scalars(select(LogLine.detail).where(LogLine.event == event).order_by(LogLine.id)))


def assert_whole(spec) -> None:
    """The numbers of an uninterrupted run, each once, and its geometry byte for byte."""
    columns = (MeasurementRow.seed, MeasurementRow.step, MeasurementRow.values, MeasurementRow.geometry)
    with sessions.reading() as session:
        rows = session.execute(select(*columns)).all()
    stored = {(seed, step): what for seed, step, *what in rows}
    assert len(stored) == len(rows)
    run, expected = begin(parse_spec(spec), geometry=True), {}
    while not run.done:
        for m in run.advance():
            named = {key_of(*key): value if math.isfinite(value) else None for key, value in m.values.items()}
            expected[m.seed, m.step] = [named, m.geometry]
    assert stored == expected
    assert all(geometry is not None for _, geometry in expected.values())  # so few steps are all kept


@pytest.fixture
def often(monkeypatch):
    """A look at the clock at every step boundary, a checkpoint at each look."""
    monkeypatch.setenv("NCORE_CHECKPOINT_SECONDS", "0")
    monkeypatch.setattr(training, "SLICE_SECONDS", 0.0)


@pytest.mark.parametrize(("spec", "lost"), [(UFM, "last"), (UFM, "both"), (NETWORK, "last"), (NETWORK, "both")])
def test_an_experiment_whose_checkpoints_are_damaged_goes_on_with_the_very_same_numbers(often, tables, spec, lost):
    submitted(spec)
    assert attempt(until=lambda: file_of(PREVIOUS).exists()) == "queued"
    for name in (CHECKPOINT, PREVIOUS)[: 1 if lost == "last" else 2]:
        file_of(name).write_bytes(flipped(file_of(name).read_bytes(), 1000))
    assert attempt() == "succeeded"
    assert_whole(spec)
    told = [f"{CHECKPOINT}: its checksum does not fit its content; going on from the one before it"]
    told += [f"{PREVIOUS}: its checksum does not fit its content; going on from the start"] if lost == "both" else []
    assert details("checkpoint damaged") == told
    assert set(get_store().sizes("e")) == {FINAL}


@pytest.mark.usefixtures("often", "tables")
def test_a_checkpoint_of_another_kind_of_run_is_no_reason_to_fail():
    submitted(UFM)
    checkpoint.save("e", STATE)
    assert attempt() == "succeeded"
    assert "going on from the one before it" in details("checkpoint damaged")[0]
    assert_whole(UFM)


@pytest.fixture
def on_small_disk(small_disk, monkeypatch):
    monkeypatch.setenv("NCORE_ARTIFACTS", str(small_disk / "artifacts"))


@pytest.mark.parametrize("write", [checkpoint.save, checkpoint.save_final])
@pytest.mark.parametrize("room", ["none", "too little"])
def test_a_full_disk_is_named_and_leaves_what_was_there(on_small_disk, tables, small_disk, write, room):
    write("e", STATE)
    before = get_store().sizes("e")
    if room == "none":
        fill(small_disk)
    with pytest.raises(OSError, match=r"(?i)no space left on device|os error 28") as caught:
        write("e", {"a": torch.zeros(600_000)})
    assert caught.value.errno == 28
    assert get_store().sizes("e") == before
    assert not list(file_of("").glob("*.new"))


def test_an_experiment_waits_for_room_on_the_disk_and_hears_cancel_and_stop(on_small_disk, often, tables, small_disk):
    submitted(UFM)
    filler = fill(small_disk)
    assert attempt(until=reached_the_end) == "queued"  # a worker that has to stop gives it back
    assert details("files wait")[0].startswith(f"{CHECKPOINT}: [Errno 28] No space left on device")
    with sessions.writing() as session:
        states.request_cancel(session, Experiment.id == "e")
    assert status() == "cancelled"
    with sessions.writing() as session:
        assert states.retry(session, "e")
    ended = threading.Thread(target=attempt)
    ended.start()
    wait_for("the wait", lambda: len(details("files wait")) == 2 and reached_the_end(), 60)
    with sessions.writing() as session:
        states.request_cancel(session, Experiment.id == "e")
    ended.join(5)
    assert status() == "cancelled"
    with sessions.writing() as session:
        assert states.retry(session, "e")
    ended = threading.Thread(target=attempt)
    ended.start()
    wait_for("the wait", lambda: len(details("files wait")) == 3, 60)
    filler.unlink()
    ended.join(60)
    assert (status(), events()[-2:]) == ("succeeded", ["files written", "succeeded"])
    assert_whole(UFM)
    assert set(get_store().sizes("e")) == {FINAL}


LONG_START = {**NETWORK, "data": {"name": "synthetic", "image_size": 64, "samples_per_class": 40_000}}
"""Some ten seconds of drawing before the first step."""


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("wish", ["cancelled", "queued"])
def test_cancel_and_stop_are_heard_before_the_first_step(wish):
    submitted(LONG_START)
    running = threading.Thread(target=attempt)
    running.start()
    wait_for("the start", lambda: any(one.name == "start of a run" for one in threading.enumerate()))
    time.sleep(0.5)  # amid the drawing
    if wish == "queued":
        lease.stop_asked.set()
    else:
        with sessions.writing() as session:
            states.request_cancel(session, Experiment.id == "e")
    wished = time.monotonic()
    running.join(30)
    assert status() == wish
    assert time.monotonic() - wished < 2 + SLACK_SECONDS
    assert row().step == 0


def row() -> Experiment:
    with sessions.reading() as session:
        return session.get(Experiment, "e")


def reached_the_end() -> bool:
    found = row()
    return found.step == found.total > 0
