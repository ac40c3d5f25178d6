"""The export bundle: everything about an experiment, and the same numbers when its spec is run again."""

import csv
import io
import json
import platform
import zipfile

import polars as pl
import pytest
import torch
from conftest import ncore
from sqlalchemy import create_engine
from sqlalchemy.orm import Session

from api.drawing import Drawing
from api.routes import export
from ncore.client import ApiError, Client, ExperimentFailed
from ncore.geometry_file import read_geometry
from ncore.pictures.panels import NETWORK_PANELS, UFM_PANELS

SHORT = {"optimizer.steps": 300, "measure.points": 400, "measure.spacing": "linear", "seeds": [0, 3]}
DIGITS = {
    "model": {"kind": "mlp"},
    "data": {"name": "digits", "samples_per_class": 20},
    "optimizer": {"epochs": 2, "batch_size": 50},
    "device": "cpu",
}


def run_ncore(*arguments, cwd, threads=1):
    """In this process, with as many threads as the numbers came from."""
    own = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        done = ncore(*arguments, cwd=cwd)
    finally:
        torch.set_num_threads(own)
    assert done.returncode == 0, done.stdout + done.stderr


def opened(experiment, folder):
    with zipfile.ZipFile(experiment.bundle(folder / "it.zip")) as archive:
        assert archive.testzip() is None
        archive.extractall(folder)
    return folder / f"ncore-{experiment.id}"


def rows_of(path):
    return sorted(csv.reader(io.StringIO(path.read_text())))


@pytest.mark.parametrize(
    ("spec", "panels"), [pytest.param("fig4", UFM_PANELS, marks=pytest.mark.nightly), (DIGITS, NETWORK_PANELS)]
)
def test_running_the_spec_of_a_bundle_gives_the_same_numbers_to_the_last_digit(service, tmp_path, spec, panels):
    with Client(service.url) as client:
        made = client.submit(spec, SHORT if spec == "fig4" else {}).wait(progress=False, timeout_seconds=120)
        folder = opened(made, tmp_path)
        asked = made.geometry(layer=["W"])
    threads = json.loads((folder / "versions.json").read_text())["run"]["threads"]
    run_ncore("run", folder / "spec.json", "--out", tmp_path / "again", cwd=tmp_path, threads=threads)
    assert len(rows_of(folder / "series.csv")) > 50
    assert rows_of(folder / "series.csv") == rows_of(tmp_path / "again" / "metrics.csv")
    again = json.loads((tmp_path / "again" / "result.json").read_text())
    assert json.loads((folder / "result.json").read_text())["final"] == again["final"]
    of_weight = [one for one in read_geometry(folder / "geometry.npz") if one.layer == "W"]
    assert (
        [one.seed for one in of_weight]
        == [one.seed for one in asked]
        == json.loads((folder / "spec.json").read_text())["seeds"]
    )
    for one, other in zip(of_weight, asked, strict=True):
        assert one.matrices.tobytes() == other.matrices.tobytes()
        assert one.steps[-1] == again["final"][0]["step"]
    assert {f"{name}.{form}" for name in panels for form in ("svg", "pdf")} <= {
        path.name for path in (folder / "pictures").iterdir()
    }


@pytest.fixture(scope="module")
def finished(service):
    with Client(service.url) as client:
        yield client.submit("fig3", SHORT).wait(progress=False, timeout_seconds=60)


def test_a_bundle_carries_what_the_service_knows(finished, tmp_path):
    folder = opened(finished, tmp_path)
    assert json.loads((folder / "spec.json").read_text()) == finished.data["spec"]
    assert json.loads((folder / "result.json").read_text()) == finished.result
    assert json.loads((folder / "theory.json").read_text()) == finished.theory()
    assert json.loads((folder / "experiment.json").read_text())["id"] == finished.id
    points = sorted(finished.metrics("records"), key=str)
    assert sorted(pl.read_parquet(folder / "series.parquet").to_dicts(), key=str) == points
    assert len(rows_of(folder / "series.csv")) == len(points) + 1 > 10_000
    for name in ("all", *UFM_PANELS):
        assert (folder / "pictures" / f"{name}.svg").read_text().startswith("<svg")
        assert (folder / "pictures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    versions = json.loads((folder / "versions.json").read_text())
    assert versions["run"]["python"] == versions["export"]["python"] == platform.python_version()
    assert versions["run"]["torch"] == torch.__version__
    assert "ncore run spec.json --set device=cpu" in (folder / "README.md").read_text()


def test_what_failed_at_once_or_is_unknown_is_exported_or_refused(client, tmp_path):
    made = client.submit("fig1", {"optimizer.learning_rate": 1e9, "optimizer.steps": 50, "seeds": [0]})
    with pytest.raises(ExperimentFailed):
        made.wait(progress=False, timeout_seconds=60)
    folder = opened(made, tmp_path)
    assert json.loads((folder / "result.json").read_text()) is None
    assert "failed" in (folder / "README.md").read_text()
    with pytest.raises(ApiError, match="no experiment"):
        client.request("GET", "/experiments/nothing/export.zip")


def test_a_bundle_says_which_pictures_could_not_be_drawn(service, finished, tmp_path):
    drawing = Drawing(seconds=0.01)  # less than the process that draws takes to start
    with Session(create_engine(service.settings.database)) as session:
        export._write(session, finished.id, tmp_path, drawing.convert)
    drawing.stop()
    assert not list((tmp_path / "pictures").iterdir())
    text = (tmp_path / "README.md").read_text()
    assert text.count("is missing, because it could not be drawn: it took longer than 0.01 s") == 10
    assert (tmp_path / "series.parquet").exists()


def test_the_command_saves_the_bundle(service, finished, tmp_path):
    run_ncore("--url", service.url, "export", finished.id, "--zip", cwd=tmp_path)
    assert zipfile.is_zipfile(tmp_path / f"{finished.id}.zip")
    assert not list(tmp_path.glob("*.part"))


def test_every_text_is_the_name_of_a_file_of_its_own():
    texts = ["all", "all", "ALL", "../../x", "a/b", "a_b", "C:\\x", "..", ".", "", "ξ", "nc1"]
    names = export.file_names(texts)
    assert len({name.casefold() for name in names}) == len(texts)
    assert all(name.strip(".") and not set(name) & set("/\\:") for name in names)
    assert (names[0], names[-1]) == ("all", "nc1")
