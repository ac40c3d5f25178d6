"""The command line, against the real service and alone."""

import csv
import sqlite3
import subprocess
import sys
import time

import pytest
from conftest import ncore, settings_for

from api.service import environment, free_port
from ncore.client.client import Client

on_one_database = pytest.mark.parametrize("service", ["sqlite"], indirect=True)
"""What the command line does with the answers does not depend on where the service keeps them."""

SETS = ["--set", "optimizer.steps=300", "--set", "measure.points=10", "--set", "seeds=[5]"]


@pytest.fixture
def at(service):
    return {"NCORE_URL": service.url}


@on_one_database
def test_submit_and_wait_prints_the_id_and_measured_beside_predicted(at):
    done = ncore("submit", "fig1", *SETS, "--wait", env=at)
    assert done.returncode == 0, done.stderr
    experiment_id = done.stdout.split()[0]
    assert "objective" in done.stdout
    assert "0.13142136" in done.stdout
    shown = ncore("show", experiment_id, env=at)
    assert "succeeded" in shown.stdout
    assert experiment_id in ncore("list", "--limit", "3", env=at).stdout
    assert ncore("watch", experiment_id, env=at).returncode == 0


@pytest.mark.slow
@on_one_database
def test_export_saves_everything_and_run_repeats_the_numbers(at, tmp_path):
    experiment_id = ncore("submit", "fig3", *SETS, "--wait", env=at).stdout.split()[0]
    assert ncore("export", experiment_id, "--out", str(tmp_path / "a"), env=at).returncode == 0
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "experiment.json", "theory.json", "spec.json", "metrics.csv", "metrics.json", "metrics.parquet",
        "picture.svg", "picture.png", "picture.pdf",
    }  # fmt: skip
    again = ncore("run", str(tmp_path / "a" / "spec.json"), "--out", str(tmp_path / "b"))
    assert again.returncode == 0, again.stderr
    rows = [sorted(csv.reader((tmp_path / name / "metrics.csv").read_text().splitlines())) for name in "ab"]
    assert rows[0] == rows[1]
    assert (tmp_path / "b" / "picture.svg").read_text().startswith("<svg")


@pytest.mark.slow
def test_run_needs_no_service_and_tells_of_divergence(tmp_path):
    nowhere = {"NCORE_URL": "http://127.0.0.1:9"}
    done = ncore("run", "fig1", *SETS, env=nowhere)
    assert done.returncode == 0
    assert "seed 5" in done.stdout
    lost = ncore("run", "fig1", *SETS, "--set", "optimizer.learning_rate=1e9", "--out", str(tmp_path), env=nowhere)
    assert lost.returncode == 1
    assert "objective,,5,0," in (tmp_path / "metrics.csv").read_text()
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF")
    assert "lower optimizer.learning_rate" in lost.stdout
    assert ncore("list", env=nowhere).returncode == 1


@pytest.mark.slow
@on_one_database
def test_bad_input_is_named_with_exit_status_two(at, tmp_path):
    bad = ncore("submit", "fig1", "--set", "model.classes=1", env=at)
    assert bad.returncode == 2
    assert bad.stderr.startswith("model.classes: ")
    assert ncore("submit", "fig1", "--set", "nonsense", env=at).returncode == 2
    missing = ncore("theory", "fig77")
    assert missing.returncode == 2
    assert "neither a file nor a preset" in missing.stderr
    (tmp_path / "broken.json").write_text("{")
    assert "is not JSON" in ncore("run", str(tmp_path / "broken.json")).stderr
    (tmp_path / "file").touch()
    assert "exists" in ncore("run", "fig1", *SETS, "--out", str(tmp_path / "file")).stderr
    unknown = ncore("show", "nothing", env=at)
    assert unknown.returncode == 2
    assert "there is no experiment 'nothing'" in unknown.stderr


@on_one_database
def test_a_failed_experiment_gives_exit_status_one(at):
    failed = ncore("submit", "fig1", *SETS, "--set", "optimizer.learning_rate=1e9", "--wait", env=at)
    assert failed.returncode == 1
    assert "lower optimizer.learning_rate" in failed.stderr
    assert "diverged" in ncore("show", failed.stdout.split()[0], env=at).stdout


@on_one_database
def test_values_of_set_are_json_or_text(at):
    changes = ["--set", 'name=a "quoted" name', "--set", 'tags=["x"]', "--set", "optimizer.steps=3"]
    done = ncore("submit", "fig1", *changes, env=at)
    with Client(at["NCORE_URL"]) as client:
        spec = client.experiment(done.stdout.strip()).data["spec"]
    assert (spec["name"], spec["tags"], spec["optimizer"]["steps"]) == ('a "quoted" name', ["x"], 3)


def test_theory_and_presets_need_no_service():
    told = ncore("theory", "fig2", env={"NCORE_URL": "http://127.0.0.1:9"})
    assert "simplex_etf" in told.stdout
    assert "0.098566017" in told.stdout
    listed = ncore("presets").stdout
    assert "fig4" in listed


@on_one_database
def test_cancel(at, service):
    with Client(service.url) as client:
        made = client.submit("fig1", {"optimizer.steps": 10**8, "seeds": [0], "measure.points": 5})
    done = ncore("cancel", made.id, env=at)
    assert done.returncode == 0
    assert made.id in done.stdout


def test_help_is_there_at_once_and_needs_no_torch():
    began = time.monotonic()
    assert ncore("--help").returncode == 0
    assert time.monotonic() - began < 10
    code = "import sys, ncore.cli.parser; print('torch' in sys.modules)"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        == "False"
    )


@pytest.mark.slow
def test_the_demo_agrees_with_the_theory(tmp_path, request):
    settings = settings_for("sqlite", tmp_path, request)
    done = ncore("demo", env=environment(settings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "f* = 0.13142136" in done.stdout
    assert (tmp_path / "fig1.png").read_bytes().startswith(b"\x89PNG")


def test_migrate_makes_the_tables_and_may_be_repeated(tmp_path):
    for _ in range(2):
        done = ncore("migrate", env={"NCORE_HOME": str(tmp_path)})
        assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "ncore.db") as connection:
        assert connection.execute("SELECT count(*) FROM experiments").fetchone() == (0,)


def test_migrate_says_which_database_does_not_answer_and_keeps_its_password_to_itself(tmp_path):
    url = f"postgresql://ncore:secret-word@127.0.0.1:{free_port('127.0.0.1')}/ncore"
    done = ncore("migrate", env={"NCORE_HOME": str(tmp_path), "NCORE_DATABASE_URL": url})
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert "secret-word" not in done.stdout + done.stderr
