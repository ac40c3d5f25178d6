"""The wheel as one installs it: `ncore` alone at the top, the service within, whatever lies in the current folder."""

import os
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CLASH = "raise SystemExit('a file of the user was imported in place of the service')\n"


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The Python of an empty environment with the wheel; what it depends on is that of the tests."""
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as wheel:
        names = wheel.namelist()
        wheel.extractall(packages)
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"ncore"}
    assert "ncore/py.typed" in names
    return folder / "venv" / "bin" / "python"


@pytest.fixture
def clashing(tmp_path):
    for name in (
        "api/__init__.py",
        "worker/__init__.py",
        "celery.py",
        "redis.py",
        "torch.py",
        "migrations/__init__.py",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(CLASH)
    return tmp_path


def run(python, *words, cwd):
    code = "import sys; from ncore.cli.parser import main; sys.exit(main())"  # as the script `ncore` has it
    env = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"} | {"OMP_NUM_THREADS": "1"}
    command = [str(python), "-P", "-c", code, *words]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, check=False, timeout=240)


def test_theory_needs_neither_torch_nor_a_web_framework(installed, clashing):
    done = run(installed, "theory", "fig1", cwd=clashing)
    assert done.returncode == 0, done.stderr
    assert "orthogonal_frame" in done.stdout


@pytest.mark.nightly
def test_the_demo_runs_in_a_folder_with_modules_of_the_same_names(installed, clashing):
    done = run(installed, "demo", cwd=clashing)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "largest relative gap" in done.stdout
