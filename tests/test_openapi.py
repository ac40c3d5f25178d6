"""Every answer is as the OpenAPI document says, none is a 5xx, and what others generate from the document works."""

import json
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import httpx
import pytest
from conftest import wait_for

from api.app import app


@pytest.mark.nightly  # minutes: what it writes at the bounds of every list and union is large
@pytest.mark.timeout(1800)
def test_schemathesis_finds_nothing(service, tmp_path):
    """positive_data_acceptance is left out: what depends on two fields (weights and widths, sizes and classes) or on
    an earlier answer (a cursor) is refused with 422, and JSON Schema cannot say so. Streams of events never end."""
    st = str(Path(sys.executable).parent / "st")
    options = ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--exclude-path-regex", "/events"]
    options += ["--request-timeout", "30"]
    options += ["--max-examples", "3", "--generation-deterministic", "--phases", "coverage", "--no-color"]
    command = [st, "run", f"{service.url}/openapi.json", *options]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    finally:
        cancel_all(service.url)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-1000:]
    assert "Test cases" in run.stdout


@pytest.mark.parametrize("service", ["sqlite"], indirect=True)
def test_a_client_that_is_generated_from_the_document_submits_waits_and_reads(service, tmp_path, monkeypatch):
    document = httpx.get(f"{service.url}/openapi.json").json()
    operations = [one for path in document["paths"].values() for one in path.values()]
    names = [one["operationId"] for one in operations]
    assert len(set(names)) == len(names)
    assert {"submit_experiment", "get_metrics", "submit_sweep", "delete_sweep"} <= set(names)
    assert all(one["summary"] and one["description"] for one in operations)
    assert all(parameter["description"] for one in operations for parameter in one.get("parameters", []))
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    tool = [str(Path(sys.executable).parent / "openapi-python-client"), "generate", "--meta", "none"]
    made = subprocess.run(
        [*tool, "--path", "openapi.json", "--output-path", "generated"],
        capture_output=True, text=True, check=True, cwd=tmp_path,
    )  # fmt: skip
    assert "default value" not in made.stdout
    monkeypatch.syspath_prepend(tmp_path)
    client = import_module("generated").Client(service.url, timeout=60)
    models = import_module("generated.models")
    get_experiment, submit_experiment, get_metrics = (
        import_module(f"generated.api.{name}")
        for name in ("experiments.get_experiment", "experiments.submit_experiment", "metrics.get_metrics")
    )
    changes = models.PresetRequestSet.from_dict({"optimizer.steps": 50, "measure.points": 5})
    fig1 = models.PresetRequest(preset=models.PresetRequestPreset.FIG1, set_=changes)
    with client:
        run = submit_experiment.sync(client=client, body=fig1)
        wait_for("its end", lambda: str(get_experiment.sync(run.id, client=client).status) == "succeeded", seconds=60)
        series = get_metrics.sync(run.id, client=client, metric=["objective"]).series
        assert [(one.seed, one.steps[-1]) for one in series] == [(0, 50), (1, 50), (2, 50)]


def cancel_all(url: str) -> None:
    """What was submitted by chance may take long where the data sets are there; other tests need the worker."""
    with httpx.Client(base_url=url) as http:
        for status in ("queued", "running"):
            while items := http.get("/experiments", params={"status": status, "limit": 100}).json()["items"]:
                for item in items:
                    http.post(f"/experiments/{item['id']}/cancel")


def test_every_field_of_a_spec_says_what_it_is():
    schemas = app.openapi()["components"]["schemas"]
    reached, todo = set(), ["UfmSpec", "NetworkSpec"]
    while todo:
        name = todo.pop()
        if name not in reached:
            reached.add(name)
            todo += re.findall(r'"#/components/schemas/(\w+)"', json.dumps(schemas[name]))
    assert {"Sgd", "ResNetModel", "Data"} <= reached
    for name in reached:
        for field, schema in properties_in(schemas[name]):
            assert schema.get("description"), f"{name}.{field}"


def properties_in(schema):
    """(name, schema) of every property, of objects within it too."""
    if isinstance(schema, dict):
        found = schema.get("properties")
        yield from found.items() if isinstance(found, dict) else ()
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from properties_in(part)
