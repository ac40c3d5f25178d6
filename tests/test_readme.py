"""The README and the reference pages tell the truth: pages made from the code are up to date, specs are accepted."""

import json
import re
from pathlib import Path

import pytest

from api.app import app
from ncore.presets import PRESETS
from ncore.spec import parse_spec
from ncore.train import train
from scripts.reference import PAGES

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_reference_is_what_the_code_says(name):
    assert (ROOT / "docs" / name).read_text() == PAGES[name](), "run `make docs`"


def test_every_route_is_on_the_page_of_http():
    page = PAGES["http.md"]()
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in page


def test_every_metric_that_a_run_yields_has_its_formula():
    metrics = set()
    bodies = [{**PRESETS[name].spec, "seeds": [0], "optimizer": {"steps": 3}} for name in ("fig2", "fig4")]
    bodies.append({"model": {"kind": "mlp"}, "data": {"name": "digits"}, "optimizer": {"epochs": 1}})
    for body in bodies:
        for m in train(parse_spec(body)):
            metrics |= {metric for metric, _ in m.values}
    page = PAGES["metrics.md"]()
    for metric in metrics:
        assert f"- `{metric}`: " in page


def test_the_specs_shown_are_accepted():
    shown = re.findall(r"```json\n(.*?)```", README + (ROOT / "docs" / "spec.md").read_text(), re.S)
    specs = [parse_spec(json.loads(text)) for text in shown]
    assert [spec.model.kind for spec in specs] == ["ufm", "ufm", "resnet"]


def test_the_readme_names_every_page_of_the_documentation():
    for path in (ROOT / "docs").glob("*.md"):
        assert f"docs/{path.name}" in README or path.name == "index.md"
