"""`ncore.start` in a training loop: what `log` has returned from is at the service once, whatever is killed or away."""

import json
import math
import multiprocessing
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import full_disk, kill_tree, ncore, points, quick_settings, wait_for

import ncore as package
from api.service import running
from ncore.client import Client
from ncore.client.sending import tables_of
from ncore.client.spool import Spool, spools_in

NOWHERE = "http://127.0.0.1:9"
"""Nothing listens there."""


def test_what_is_logged_is_what_the_service_has(service, client, tmp_path):
    run = package.start(
        "mine", config={"lr": 0.1, "path": Path("x"), "bad": math.nan, "text": "two\nlines"},
        tags=["loop"], classes=3, layers=["conv"], theory="fig1", seed=4, url=service.url, folder=tmp_path,
    )  # fmt: skip
    assert run.url == f"{service.url}/#/experiments/{run.id}"
    with run:
        for step in range(50):
            run.log(
                step,
                {("nc1", "conv"): 1 / (step + 1), "plain": np.float32(0.5)},
                loss=torch.tensor(2.0 * step, requires_grad=True),
            )
            if step % 10 == 0:
                run.log(np.int64(step), {("nc1", "found later"): math.nan}, accuracy=True, val_loss=None)
    expected = {}
    for step in range(50):
        expected |= {("nc1", "conv", 4, step): 1 / (step + 1), ("plain", None, 4, step): 0.5}
        expected["loss", None, 4, step] = 2.0 * step
        if step % 10 == 0:
            expected |= {("nc1", "found later", 4, step): None, ("val_loss", None, 4, step): None}
            expected["accuracy", None, 4, step] = 1.0
    assert points(client, run.id) == expected
    data = client.experiment(run.id).data
    assert (data["status"], data["source"], data["tags"]) == ("succeeded", "external", ["loop"])
    assert data["spec"]["model"]["config"] == {"lr": 0.1, "path": "x", "bad": "nan", "text": "two\\nlines"}
    assert data["spec"]["theory"]["model"]["kind"] == "ufm"
    assert not run.folder.exists()  # the service has all of it
    with pytest.raises(ValueError, match="has been finished"):
        run.log(51, loss=1.0)
    run.finish()
    shown = ncore("--url", service.url, "show", run.id)
    assert (shown.returncode, "no verdict" in shown.stdout) == (0, True), shown


def test_an_exception_is_the_reason_of_a_failure(service, client, tmp_path):
    run = package.start("fails", steps=4, url=service.url, folder=tmp_path)
    run.log(0, loss=1.0)
    with pytest.raises(ZeroDivisionError), run:
        raise ZeroDivisionError("division by zero")
    data = client.experiment(run.id).data
    assert (data["status"], data["error"]) == ("failed", "ZeroDivisionError: division by zero")
    assert data["progress"]["total"] == 4
    again = package.start("fails", url=service.url, folder=tmp_path, id=run.id)
    again.log(1, loss=0.5)
    again.finish()
    ended = client.experiment(run.id)
    assert (ended.status, ended.data["progress"]["step"], ended.data["progress"]["total"]) == ("succeeded", 1, 1)
    assert points(client, run.id) == {("loss", None, 0, 0): 1.0, ("loss", None, 0, 1): 0.5}


@pytest.mark.nightly  # seconds of torch and scikit-learn
def test_the_example_of_the_documents_runs(service, client, tmp_path, monkeypatch, capsys):
    text = (Path(__file__).parents[1] / "docs" / "external.md").read_text()
    example = re.search(r"^```python\n(.*?)^```", text, re.M | re.S)
    monkeypatch.setenv("NCORE_URL", service.url)
    monkeypatch.setenv("NCORE_RUNS", str(tmp_path))
    exec(compile(example[1], "external.md", "exec"), {})
    made = client.experiment(capsys.readouterr().out.strip())
    assert (made.status, made.data["progress"]["step"]) == ("succeeded", 2)
    assert {one["layer"] for one in made.series(metric="nc1")} == {"1", "4"}
    assert made.result["verdict"][0]["reached"] is not None
    assert {one["layer"] for one in made.theory()["comparison"]} >= {"1", "4"}


SCRIPT = """
import sys, ncore
run = ncore.start("script", url=sys.argv[1], folder=sys.argv[2])
run.log(0, loss=1.0)
print(run.id)
if sys.argv[3] == "raise":
    raise KeyError("x")
"""


@pytest.mark.parametrize(("how", "status"), [("return", "succeeded"), ("raise", "failed")])
@pytest.mark.nightly  # seconds, to import it anew
def test_a_script_that_ends_without_finish_has_ended(service, client, tmp_path, how, status):
    command = [sys.executable, "-c", SCRIPT, service.url, str(tmp_path), how]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=100)
    assert client.experiment(done.stdout.strip()).status == status, done


def test_a_cancelled_run_is_reported_and_training_goes_on(service, client, tmp_path):
    run = package.start("cancelled", url=service.url, folder=tmp_path)
    run.log(0, loss=1.0)
    assert not run.cancelled
    client.experiment(run.id).cancel()
    wait_for("the word", lambda: run.log(1, loss=0.5) or run.cancelled)
    run.log(2, loss=0.25)
    run.finish()
    assert client.experiment(run.id).status == "cancelled"
    assert points(client, run.id)["loss", None, 0, 2] == 0.25


def test_a_service_that_is_away_stops_nothing_and_sync_sends_later(service, client, tmp_path, caplog):
    began = time.monotonic()
    away = package.start("away", url=NOWHERE, folder=tmp_path)
    offline = package.start("offline", offline=True, folder=tmp_path, seed=2)
    assert (away.id, offline.id) == (None, None)
    for step in range(30):
        away.log(step, loss=float(step))
        offline.log(step, {("nc1", "conv"): float(step)})
    assert time.monotonic() - began < 10
    away.finish("failed", reason="line\nline", wait_seconds=0.1)
    offline.close()
    assert "ncore sync" in caplog.text
    env = {"NCORE_RUNS": str(tmp_path)}
    first = ncore("--url", service.url, "sync", env=env)
    assert first.returncode == 0, first.stderr
    assert first.stdout.count("30 rows sent") == 2
    again = ncore("--url", service.url, "sync", tmp_path)
    assert again.stdout.count("everything was sent before") == 2
    ids = {one.about["body"]["name"]: one.state["id"] for one in spools_in(tmp_path)}
    assert points(client, ids["away"]) == {("loss", None, 0, step): float(step) for step in range(30)}
    assert points(client, ids["offline"]) == {("nc1", "conv", 2, step): float(step) for step in range(30)}
    ended = client.experiment(ids["away"]).data
    assert (ended["status"], ended["error"]) == ("failed", "line\\nline")
    assert client.experiment(ids["offline"]).status in ("running", "lost")
    for spool in spools_in(tmp_path):  # all of it again, as after a crash between the answer and its note
        spool.remember(offset=0)
    assert ncore("--url", service.url, "sync", tmp_path).returncode == 0
    assert len(points(client, ids["away"])) == len(points(client, ids["offline"])) == 30
    client.experiment(ids["away"]).delete()
    for spool in spools_in(tmp_path):
        spool.remember(offset=0)
    gone = ncore("--url", service.url, "sync", tmp_path)
    assert (gone.returncode, "there is no experiment" in gone.stderr) == (1, True)
    assert ncore("sync", tmp_path / "nowhere").returncode == 2
    assert ncore("--url", NOWHERE, "sync", tmp_path).returncode == 1


@pytest.mark.parametrize(
    ("values", "more", "message"),
    [
        ({"two words": 1.0}, {}, "metric: must be a text without blanks; got 'two words'"),
        ({("nc1", ""): 1.0}, {}, "layer: must not be empty"),
        ({("nc1", "x" * 65): 1.0}, {}, "layer: must have at most 64 characters"),
        ({"a\n": 1.0}, {}, "metric: must be plain text"),
        ({3: 1.0}, {}, "metric: must be a text"),
        ({}, {"loss": "0.5"}, "loss: must be a number; got '0.5'"),
        ({}, {"loss": [0.5]}, "loss: must be a number"),
        ({}, {"loss": torch.ones(2)}, "loss: must be a number"),
        (0.5, {}, "values: must be"),
        ({f"m{i}": 1.0 for i in range(257)}, {}, "at most 256"),
        ({("m", f"l{i}"): 1.0 for i in range(65)}, {}, "at most 64"),
    ],
)
def test_what_cannot_be_logged_is_named_and_leaves_nothing(tmp_path, values, more, message):
    run = package.start("wrong", offline=True, folder=tmp_path)
    with pytest.raises((ValueError, TypeError), match=message.split("(")[0]):
        run.log(0, values, **more)
    for step in (-1, 2**31, 1.5, "1", None):
        with pytest.raises((ValueError, TypeError), match="step: must be"):
            run.log(step, loss=1.0)
    run.finish()
    lines = [json.loads(line) for line in (run.folder / "log.ndjson").read_text().splitlines()]
    assert [list(line) for line in lines] == [["ended", "reason"]]


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"name": "x" * 201}, "name"),
        ({"tags": [""]}, "tags.0"),
        ({"classes": 1}, "model.classes"),
        ({"layers": ["l"] * 65}, "model.layers"),
        ({"theory": "fig77"}, "theory.preset"),
        ({"theory": {"model": {"kind": "mlp"}}}, "theory"),
        ({"config": {"a": {str(i): i for i in range(201)}}}, "config.a"),
        ({"config": {"a": "x" * 70_000}}, "model.config"),
        ({"seed": -1}, "seed"),
        ({"seed": True}, "seed"),
    ],
)
def test_what_cannot_be_started_is_named_and_leaves_no_folder(tmp_path, options, field):
    with pytest.raises(ValueError, match=field):
        package.start(**{"name": "x", "offline": True, "folder": tmp_path / "runs", **options})
    assert not (tmp_path / "runs").exists()


def test_a_line_that_was_cut_off_takes_no_other_with_it(tmp_path):
    run = package.start("torn", offline=True, folder=tmp_path)
    run.log(0, loss=1.0)
    with (run.folder / "log.ndjson").open("ab") as file:
        file.write(b'{"seed":0,"st')
    spool = Spool(run.folder)
    assert [line["step"] for line in spool.read()[0]] == [0]
    again = package.start("torn", offline=True, folder=tmp_path, resume=True)
    assert again.folder == run.folder
    again.log(1, loss=0.5)
    assert [line.get("step") for line in spool.read()[0]] == [0, None, 1]  # between them: begun again


def test_a_full_disk_leaves_no_folder_of_a_run_and_takes_no_line_but_its_own(tmp_path):
    with full_disk(100), pytest.raises(OSError, match="File too large"):
        Spool.create(tmp_path, {"body": {"name": "no room"}, "url": NOWHERE, "seed": 0})
    assert list(tmp_path.iterdir()) == []
    run = package.start("room", offline=True, folder=tmp_path)
    run.log(0, loss=1.0)
    with full_disk((run.folder / "log.ndjson").stat().st_size + 10), pytest.raises(OSError, match="File too large"):
        run.log(1, loss=0.5)
    run.log(2, loss=0.25)
    assert [line["step"] for line in Spool(run.folder).read()[0]] == [0, 2]


def test_rows_of_one_step_become_one_and_those_of_the_same_metrics_a_table():
    lines = [
        {"seed": 0, "step": 1, "values": {"loss": 1.0}},
        {"seed": 0, "step": 2, "values": {"loss": 2.0}},
        {"seed": 0, "step": 1, "values": {"nc1 a b": 3.0, "loss": 9.0}},
    ]
    assert [(table["columns"], table["rows"]) for table in tables_of(lines)] == [
        (["loss", ["nc1", "a b"]], [[0, 1, 1.0, 3.0]]),
        (["loss"], [[0, 2, 2.0]]),
    ]


def test_a_forked_child_may_log_and_does_not_end_the_run(service, client, tmp_path):
    run = package.start("forks", url=service.url, folder=tmp_path)

    def child():
        run.log(1, loss=0.5)
        run.finish()

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join()
    run.log(2, loss=0.25)
    run.finish()
    assert points(client, run.id) == {("loss", None, 0, 1): 0.5, ("loss", None, 0, 2): 0.25}


def test_log_takes_less_than_a_fifth_of_a_millisecond(tmp_path):
    run = package.start("fast", offline=True, folder=tmp_path)
    values = {(f"metric{i}", layer): 0.1 * i for i in range(20) for layer in ("layer3", "layer4")}
    spent = []
    for step in range(500):
        began = time.thread_time()
        run.log(step, values, loss=0.5)
        spent.append(time.thread_time() - began)
    run.finish()
    assert np.median(spent) < 2e-4, np.median(spent)


def loop(url: str, folder: str, name: str, steps: int, pause: float) -> None:
    """A loop that begins where the one that was killed has come to; a line on disk for each `log` that has returned."""
    done = Path(folder, "returned")
    begin = len(done.read_text().splitlines()) if done.exists() else 0
    run = package.start(name, url=url, folder=folder, resume=True)
    with done.open("a") as file:
        for step in range(begin, steps):
            run.log(step, {("nc1", "conv"): 1 / (step + 1)}, loss=step * 0.5)
            file.write(f"{step}\n")
            file.flush()
            time.sleep(pause)
    run.finish(wait_seconds=120)
    os._exit(0)


def killed_at_random(url, folder, dice, *, steps, pause, kills, strike=lambda: None):
    """Runs the loop to its end through so many kills; what the service has not by then is sent by `ncore sync`."""
    context = multiprocessing.get_context("fork")
    for left in range(kills, -1, -1):
        process = context.Process(target=loop, args=(url, str(folder), f"killed {folder.name}", steps, pause))
        process.start()
        if left:
            strike()
            process.join(dice.uniform(0.0, 0.9))
            process.kill()
        process.join(240)
        assert process.exitcode == -signal.SIGKILL if left else process.exitcode == 0
    if spools_in(folder):
        wait_for("sync", lambda: ncore("--url", url, "sync", folder).returncode == 0, seconds=120)


def check_all_there(client, folder, steps):
    assert [int(line) for line in (folder / "returned").read_text().splitlines()] == [*range(steps)]
    expected = {}
    for step in range(steps):
        expected |= {("nc1", "conv", 0, step): 1 / (step + 1), ("loss", None, 0, step): step * 0.5}
    (found,) = client.experiments(q=f"killed {folder.name}")
    assert points(client, found.id) == expected
    assert found.status == "succeeded"


def test_a_loop_that_is_killed_loses_nothing_and_doubles_nothing(service, client, tmp_path):
    killed_at_random(service.url, tmp_path, random.Random(3), steps=400, pause=0.004, kills=4)
    check_all_there(client, tmp_path, 400)


@pytest.mark.nightly
@pytest.mark.timeout(3000)
def test_two_hundred_kills_of_service_and_loop(tmp_path):
    """Half of them of the API too; the loop is as long as they take."""
    dice, steps, folder = random.Random(7), 60_000, tmp_path / "runs"
    folder.mkdir()
    with running(quick_settings(tmp_path / "home", f"sqlite:///{tmp_path}/ncore.db")) as started:

        def strike():
            if dice.random() < 0.5:
                kill_tree(started.children["api"].process.pid)

        killed_at_random(started.url, folder, dice, steps=steps, pause=0.002, kills=200, strike=strike)
        with Client(started.url, patience_seconds=60) as client:
            check_all_there(client, folder, steps)
