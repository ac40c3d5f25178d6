"""The command line, against the real service and alone."""

import csv
import re
import sqlite3
import subprocess
import sys
import threading
import time
from importlib.metadata import version

import orjson
import pytest
from conftest import ncore, ncore_process, settings_for
from wire import Wire

from api.service import environment, free_port
from ncore.client import Client
from ncore.text import printable

SETS = ["--set", "optimizer.steps=300", "--set", "measure.points=10", "--set", "seeds=[5]"]


@pytest.fixture
def at(service):
    return {"NCORE_URL": service.url}


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


def test_export_saves_everything_and_run_repeats_the_numbers(at, tmp_path):
    experiment_id = ncore("submit", "fig3", *SETS, "--wait", env=at).stdout.split()[0]
    assert ncore("export", experiment_id, "--out", str(tmp_path / "a"), env=at).returncode == 0
    assert {path.name for path in (tmp_path / "a").iterdir()} == {
        "experiment.json", "theory.json", "spec.json", "metrics.csv", "metrics.json", "metrics.parquet",
        "picture.svg", "picture.png", "picture.pdf", "geometry.npz",
    }  # fmt: skip
    again = ncore("run", str(tmp_path / "a" / "spec.json"), "--out", str(tmp_path / "b"))
    assert again.returncode == 0, again.stderr
    rows = [sorted(csv.reader((tmp_path / name / "metrics.csv").read_text().splitlines())) for name in "ab"]
    assert rows[0] == rows[1]
    assert (tmp_path / "b" / "picture.svg").read_text().startswith("<svg")


def test_run_needs_no_service_and_reports_divergence(tmp_path):
    nowhere = {"NCORE_URL": "http://127.0.0.1:9"}
    done = ncore("run", "fig1", *SETS, env=nowhere)
    assert done.returncode == 0
    assert "seed 5" in done.stdout
    lost = ncore("run", "fig1", *SETS, "--set", "optimizer.learning_rate=1e9", "--out", str(tmp_path), env=nowhere)
    assert lost.returncode == 1
    assert "objective,,5,0," in (tmp_path / "metrics.csv").read_text()
    assert (tmp_path / "picture.pdf").read_bytes().startswith(b"%PDF")
    assert "lower optimizer.learning_rate" in lost.stderr
    assert ncore("list", env=nowhere).returncode == 1


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
    assert "no experiment's id begins with 'nothing'" in unknown.stderr


def test_a_failed_experiment_gives_exit_status_one(at):
    failed = ncore("submit", "fig1", *SETS, "--set", "optimizer.learning_rate=1e9", "--wait", env=at)
    assert failed.returncode == 1
    assert "lower optimizer.learning_rate" in failed.stderr
    assert "diverged" in ncore("show", failed.stdout.split()[0], env=at).stdout


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


def test_cancel(at, service):
    with Client(service.url) as client:
        made = client.submit("fig1", {"optimizer.steps": 10**8, "seeds": [0], "measure.points": 5})
    done = ncore("cancel", made.id, env=at)
    assert done.returncode == 0
    assert made.id in done.stdout


@pytest.mark.parametrize(
    ("command", "absent"),
    [
        ("theory fig1", {"torch", "fastapi", "sqlalchemy", "altair"}),
        ("run fig1 --set optimizer.steps=3", {"fastapi", "sqlalchemy", "altair"}),
        ("--help", {"torch", "fastapi", "sqlalchemy", "altair", "httpx", "pydantic"}),
    ],
)
def test_a_command_imports_only_what_it_needs(command, absent):
    code = (
        "import sys; from ncore.cli.parser import main\n"
        f"try: main({command.split()!r})\nexcept SystemExit: pass\n"
        f"print('loaded:', sorted({absent!r} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("loaded: []\n")


def test_version():
    assert ncore("--version").stdout == f"ncore {version('ncore')}\n"


ODD_NAMES = [
    "run [/] lr=[0.1]", "[/bold] x", "K=4 [bold] lam[red] :warning:", "\u202eevil", "  spaces  ", "数据 " * 40,
]  # fmt: skip


def test_names_are_shown_as_they_are_by_every_command(at, tmp_path):
    """Brackets are no markup, colons no emoji, and what a terminal would obey is written out."""
    for name in ODD_NAMES:
        shown = printable(name)
        done = ncore(
            "submit", "fig1", "--set", "optimizer.steps=3", "--set", f"name={orjson.dumps(name).decode()}", env=at
        )
        assert done.returncode == 0, done.stderr
        experiment_id = done.stdout.strip()
        for words in (["list", "--limit", "1"], ["show", experiment_id]):
            done = ncore(*words, env=at)
            assert done.returncode == 0, done.stderr
            assert shown in done.stdout
        assert ncore("watch", experiment_id, env=at).returncode == 0
        ran = ncore("run", "fig1", "--set", "optimizer.steps=3", "--set", f"name={orjson.dumps(name).decode()}")
        assert ran.returncode == 0
        assert shown.strip() in ran.stderr
    axis = ["--axis", "regularization.features=[0.01]", "--set", "optimizer.steps=3", "--name", "sweep [/] 1", "--wait"]
    assert ncore("sweep", "fig1", *axis, env=at).returncode == 0
    assert "sweep [/] 1" in ncore("sweeps", "--limit", "1", env=at).stdout
    long = (
        tmp_path / "averylongfoldername/averylongfoldername/averylongfoldername/averylongfoldername/averylongfoldername"
    )
    assert ncore("export", experiment_id, "--out", long, env=at).stdout == f"{long}\n"


def test_what_a_terminal_would_obey_is_written_out():
    assert printable("a\x1b[2Jb\x07\u202e\ud800\x7f\x9b") == r"a\x1b[2Jb\x07\u202e\ud800\x7f\x9b"
    assert printable("Σ_W λ 数 é\t\n") == "Σ_W λ 数 é\t\n"


PROXIES = {"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9", "ALL_PROXY": "socks5://127.0.0.1:9"}


def test_proxies_of_the_environment_are_not_for_this_machine(at):
    assert ncore("list", env={**at, **PROXIES}).returncode == 0


@pytest.mark.parametrize("proxy", ["socks5://127.0.0.1:9", "garbage://x", "http://[", "nonsense"])
def test_a_proxy_that_cannot_be_used_is_named(proxy):
    done = ncore("--url", "http://ncore.invalid", "list", env={"ALL_PROXY": proxy})
    assert done.returncode in (1, 2)
    assert "proxy" in done.stderr.lower() or "no service answers" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-be", "utf-32", "utf-32-le"])
def test_a_spec_is_read_in_every_encoding_of_unicode(tmp_path, encoding):
    (tmp_path / "spec.json").write_bytes('{"preset": "fig1", "set": {"name": "Σ_W"}}'.encode(encoding))
    assert "orthogonal_frame" in ncore("theory", tmp_path / "spec.json").stdout


@pytest.mark.parametrize("content", [b"\xff\xfe\xff", b"{", b"[1]", b"\x80{}", b"[" * 100_000, b""])
def test_a_file_that_holds_no_spec_is_named(tmp_path, content):
    (tmp_path / "spec.json").write_bytes(content)
    done = ncore("theory", tmp_path / "spec.json")
    assert done.returncode == 2
    assert "spec.json" in done.stderr


def test_an_interrupted_wait_says_that_the_run_goes_on(at, interrupt):
    wire = Wire(at["NCORE_URL"])
    wire.on_request = lambda data: interrupt() if data.startswith(b"GET ") else None  # it waits
    endless, to_the_wire = ("--set", "optimizer.steps=100000000", "--wait"), {"NCORE_URL": wire.url}
    done = ncore("submit", "fig1", *endless, env=to_the_wire)
    assert done.returncode == 130
    experiment_id = done.stdout.split()[0]
    assert f"ncore watch {experiment_id}" in done.stderr
    assert re.search("are kept|will not start", ncore("cancel", experiment_id, env=at).stdout)
    done = ncore("sweep", "fig1", "--axis", "seeds=[[0]]", *endless, env=to_the_wire)
    wire.close()
    sweep_id = done.stdout.split()[0]
    assert (done.returncode, f"sweep {sweep_id} keeps running" in done.stderr) == (130, True), done
    with Client(at["NCORE_URL"]) as client:
        client.sweep_of(sweep_id).cancel()


def test_an_interrupted_run_keeps_what_was_measured(tmp_path, interrupt):
    began = time.process_time()

    def interrupt_it():
        while time.process_time() < began + 1.5:  # on a busy machine that takes longer
            time.sleep(0.02)
        interrupt()

    threading.Thread(target=interrupt_it).start()
    done = ncore("run", "fig1", "--set", "optimizer.steps=100000000", "--out", tmp_path)
    assert done.returncode == 130, done.stderr
    assert "interrupted" in done.stderr
    assert len((tmp_path / "metrics.csv").read_text().splitlines()) > 10
    assert "objective" in done.stdout


def test_show_prints_accuracy_and_nc_values_of_a_network(at):
    spec = {
        "model": {"kind": "mlp", "widths": [8]}, "data": {"name": "digits", "samples_per_class": 5},
        "loss": "cross_entropy", "optimizer": {"kind": "sgd", "epochs": 1, "milestones": []},
    }  # fmt: skip
    with Client(at["NCORE_URL"]) as client:
        made = client.submit(spec).wait(progress=False)
    shown = ncore("show", made.id, env=at).stdout
    for word in ("accuracy", "test_accuracy", "nc1", "hidden1"):
        assert word in shown


def test_the_demo_agrees_with_the_theory(tmp_path, request):
    settings = settings_for("sqlite", tmp_path, request)
    done = ncore_process("demo", env=environment(settings))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "f* = 0.13142136" in done.stdout
    assert (tmp_path / "fig1.png").read_bytes().startswith(b"\x89PNG")


def test_migrate_makes_the_tables_and_may_be_repeated(tmp_path):
    for _ in range(2):
        done = ncore_process("migrate", env={"NCORE_HOME": str(tmp_path)})
        assert done.returncode == 0, done.stderr
    with sqlite3.connect(tmp_path / "ncore.db") as connection:
        assert connection.execute("SELECT count(*) FROM experiments").fetchone() == (0,)


def test_migrate_says_which_database_does_not_answer_and_keeps_its_password_to_itself(tmp_path):
    url = f"postgresql://ncore:secret-word@127.0.0.1:{free_port('127.0.0.1')}/ncore"
    done = ncore_process("migrate", env={"NCORE_HOME": str(tmp_path), "NCORE_DATABASE_URL": url})
    assert done.returncode == 1
    assert "127.0.0.1" in done.stderr
    assert "secret-word" not in done.stdout + done.stderr
