"""The README tells the truth: every setting, route, metric, preset and command is in it, and its spec is accepted."""

import json
import re
from pathlib import Path

from api.app import app
from api.settings import Settings
from ncore.cli.parser import COMMANDS
from ncore.presets import PRESETS
from ncore.spec import parse_spec
from ncore.train import train

README = (Path(__file__).parent.parent / "README.md").read_text()


def test_every_setting_is_in_the_table_with_its_default():
    for name, field in Settings.model_fields.items():
        default = "./var" if name == "home" else field.default
        row = next(line for line in README.splitlines() if line.startswith(f"| `NCORE_{name.upper()}` |"))
        assert field.description in row
        assert default in (None, "") or f"`{default}`" in row
    assert set(re.findall(r"^\| `NCORE_(\w+)` \|", README, re.M)) == {name.upper() for name in Settings.model_fields}


def test_every_route_is_in_the_table():
    for path, methods in app.openapi()["paths"].items():
        for method in methods:
            assert f"`{method.upper()} {path}`" in README


def test_every_preset_and_command_is_named():
    for name in (*PRESETS, *COMMANDS):
        assert f"`{name}" in README


def test_every_metric_that_a_run_yields_is_named():
    metrics = set()
    bodies = [{**PRESETS[name].spec, "seeds": [0], "optimizer": {"steps": 3}} for name in ("fig2", "fig4")]
    bodies.append({"model": {"kind": "mlp"}, "data": {"name": "digits"}, "optimizer": {"epochs": 1}})
    for body in bodies:
        for m in train(parse_spec(body)):
            metrics |= {metric for metric, _ in m.values}
    for metric in metrics:
        assert f"`{metric}`" in README


def test_the_specs_shown_are_accepted():
    specs = [parse_spec(json.loads(text)) for text in re.findall(r"```json\n(.*?)```", README, re.S)]
    assert [spec.model.kind for spec in specs] == ["ufm", "resnet"]
