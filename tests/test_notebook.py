"""The notebook about networks of one's own, and the picture that compares them."""

from pathlib import Path

import orjson
import pytest
from conftest import ncore

from ncore import train
from ncore.client.spool import Spool, spools_in
from ncore.pictures import compare

NOTEBOOK = Path(__file__).parents[1] / "docs" / "own-networks.ipynb"


def test_what_was_measured_anywhere_is_compared_in_one_picture():
    spec = {"preset": "fig4", "set": {"optimizer.steps": 20, "measure.points": 4, "seeds": [0]}}
    own = [
        {"metric": metric, "layer": layer, "seed": 0, "step": step, "value": 1 / (step + 1)}
        for metric in ("nc1", "nc2_etf") for layer in ("body", "head") for step in range(3)
    ]  # fmt: skip
    picture = compare({"figure 4": list(train(spec)), "my net": own}, "nc1")
    text = picture.as_bytes("svg").decode()
    assert "figure 4" in text
    assert "my net" in text
    tables = orjson.loads(picture.as_bytes("json"))["datasets"].values()
    rows = [row for table in tables for row in table if "depth" in row]
    assert {(row["experiment"], row["layer"]) for row in rows if row["depth"] == "last layer"} == {
        ("figure 4", "h2"),
        ("my net", "head"),
    }
    with pytest.raises(ValueError, match="metric: nothing that was measured has 'nc9'"):
        compare({"my net": own}, "nc9")


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_notebook_runs_and_what_it_logged_becomes_experiments(service, client, tmp_path, monkeypatch):
    monkeypatch.delenv("NCORE_URL", raising=False)
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    told = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert [line.split()[0] for line in told.splitlines()] == ["CNN", "ResNet", "ViT"]
    picture = notebook.cells[-1]["outputs"][0]["data"]["image/svg+xml"]
    assert all(name in picture for name in ("figure 4", "CNN", "ResNet", "ViT"))
    runs = spools_in(tmp_path / "ncore-runs")
    assert ncore("--url", service.url, "sync", tmp_path / "ncore-runs").returncode == 0
    made = [client.experiment(Spool(run.folder).state["id"]) for run in runs]
    assert [(one.data["name"], one.status) for one in made] == [
        ("CNN", "succeeded"),
        ("ResNet", "succeeded"),
        ("ViT", "succeeded"),
    ]
    [nc1] = made[1].series(metric="nc1", layer="layer4")
    assert nc1["steps"] == [0, 2, 4, 6]
    assert made[1].result["verdict"][0]["reached"] is not None
    ids = {"experiment": [one.id for one in made], "metric": "nc1"}
    assert all(name in client.request("GET", "/compare.svg", params=ids).text for name in ("CNN", "ResNet", "ViT"))
