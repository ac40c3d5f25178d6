"""The documents are true: their commands run, their generated page is up to date, what exists is in them."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from api.app import app
from ncore.cli.parser import _parser
from ncore.client import Client
from ncore.presets import PRESETS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"


def blocks(name):
    return re.findall(r"^```bash\n(.*?)^```", (DOCS / name).read_text(), re.M | re.S)


def test_the_example_runs_against_a_service(service, tmp_path):
    environment = {**os.environ, "NCORE_URL": service.url, "PYTHONPATH": str(ROOT), "COLUMNS": "100"}
    command = [sys.executable, DOCS / "example.py"]
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "orthogonal_frame 0.1314" in done.stdout
    assert "a simplex ETF to 1e-6 at step" in done.stdout
    assert zipfile.is_zipfile(tmp_path / "from-a-notebook.zip")
    assert (tmp_path / "fig1.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "nc1.svg").read_text().startswith("<svg")


@pytest.mark.skipif(
    not shutil.which("curl") and os.environ.get("CI") != "true",
    reason="the examples call curl, which is not here; CI installs it",
)
def test_every_block_of_the_api_by_example_runs(service, tmp_path):
    script = "set -euo pipefail\n" + "\n".join(blocks("api.md")).replace("http://127.0.0.1:8000", service.url)
    script += "\necho STATUS $(curl -fsS $URL/experiments/$OTHER | field status)\n"
    done = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr
    assert '"field":"model.classes"' in done.stdout
    assert "}304\n" in done.stdout
    assert re.search(r"\d+ event: measurement", done.stdout)
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert "with a bias" in (tmp_path / "compare.svg").read_text()
    assert json.loads((tmp_path / "openapi.json").read_text())["info"]["title"] == "ncore"
    with Client(service.url) as client:
        assert {one.data["name"] for one in client.experiments(tag="docs")} == {"first try", "with a bias"}


def test_every_command_of_the_documents_is_understood():
    told = [block for path in DOCS.glob("*.md") for block in blocks(path.name)]
    commands = [line for block in told for line in block.splitlines() if line.startswith("ncore ")]
    for line in commands:
        _parser().parse_args(shlex.split(line, comments=True)[1:])
    assert {f"ncore submit fig{i}" for i in range(1, 5)} <= {line.removesuffix(" --wait") for line in commands}
    tutorial = (DOCS / "tutorial.md").read_text()
    assert all(name in tutorial for name in PRESETS)


def test_every_route_of_experiments_is_in_the_api_by_example():
    text = "\n".join(blocks("api.md"))
    for path in app.openapi()["paths"]:
        shown = (
            re.escape(path)
            .replace(r"\{experiment_id\}", r"\$\w+")
            .replace(r"\{sweep_id\}", r"\$\w+")
            .replace(r"\{form\}", r"\w+")
            .replace(r"\{name\}", r"[\w.]+")
        )
        assert re.search(rf"\$URL{shown}(?![\w/])", text) or path in ("/healthz", "/presets"), path


def test_links_between_the_documents_lead_somewhere():
    for path in [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]:
        for target in re.findall(r"\]\(([^)#\s]+)\)", path.read_text()):
            assert target.startswith("http") or (path.parent / target).exists(), (path.name, target)


def test_the_picture_of_the_dashboard_is_small():
    assert 10_000 < (DOCS / "dashboard.webp").stat().st_size < 150_000
