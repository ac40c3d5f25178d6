"""The notebook about networks of one's own, and the picture that compares them."""

from pathlib import Path

import pytest

import ncore
from ncore.pictures import compare

NOTEBOOK = Path(__file__).parents[1] / "docs" / "own-networks.ipynb"


def test_what_was_measured_anywhere_is_compared_in_one_picture():
    spec = {"preset": "fig4", "set": {"optimizer.steps": 20, "measure.points": 4, "seeds": [0]}}
    own = [
        {"metric": metric, "layer": layer, "seed": 0, "step": step, "value": 1 / (step + 1)}
        for metric in ("nc1", "nc2_etf") for layer in ("body", "head") for step in range(3)
    ]  # fmt: skip
    picture = compare({"figure 4": list(ncore.train(spec)), "my net": own}, "nc1")
    text = picture.as_bytes("svg").decode()
    assert "figure 4" in text
    assert "my net" in text
    with pytest.raises(ValueError, match="metric: nothing that was measured has 'nc9'"):
        compare({"my net": own}, "nc9")


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_the_notebook_runs(tmp_path):
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    nbclient.NotebookClient(notebook, timeout=800, resources={"metadata": {"path": str(tmp_path)}}).execute()
    told = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", []))
    assert [line.split()[0] for line in told.splitlines()] == ["CNN", "ResNet", "ViT"]
    picture = notebook.cells[-1]["outputs"][0]["data"]["image/svg+xml"]
    assert all(name in picture for name in ("figure 4", "CNN", "ResNet", "ViT"))
