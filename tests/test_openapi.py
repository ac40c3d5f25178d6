"""Every answer is as the OpenAPI document says, none is a 5xx, and what others generate from the document works."""

import json
import re
import subprocess
import sys
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

import httpx
import pytest
from conftest import wait_for

from api.app import app
from api.database.tables import Experiment
from api.shown import shown
from ncore import outcome

LONG_LIST = 64


@pytest.mark.nightly  # minutes
@pytest.mark.timeout(600)
def test_schemathesis_finds_nothing(service, tmp_path):
    """Long lists are tried elsewhere (`test_robustness`): at their bounds it would write 10,000 x 10,000 numbers.

    positive_data_acceptance is left out: what depends on two fields (weights and widths, sizes and classes) or on
    an earlier answer (a cursor) is refused with 422, and JSON Schema cannot say so. Streams of events never end."""
    document = without_long_bounds(httpx.get(f"{service.url}/openapi.json").json())
    (tmp_path / "openapi.json").write_text(json.dumps(document))
    st = str(Path(sys.executable).parent / "st")
    options = ["--checks", "all", "--exclude-checks", "positive_data_acceptance", "--exclude-path-regex", "/events"]
    options += ["--request-timeout", "30"]
    options += ["--max-examples", "3", "--generation-deterministic", "--phases", "coverage", "--no-color"]
    command = [st, "run", "openapi.json", "--url", service.url, *options]
    try:
        run = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    finally:
        cancel_all(service.url)
    assert run.returncode == 0, run.stdout[-6000:] + run.stderr[-1000:]
    assert "Test cases" in run.stdout


def without_long_bounds(schema):
    """The same schema, in which lists that may be long have no bound."""
    if isinstance(schema, list):
        return [without_long_bounds(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    is_long = isinstance(schema.get("maxItems"), int) and schema["maxItems"] > LONG_LIST
    return {name: without_long_bounds(part) for name, part in schema.items() if not (is_long and name == "maxItems")}


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
        result = get_experiment.sync(run.id, client=client).result
        assert [(one.seed, one.step) for one in result.final] == [(0, 50), (1, 50), (2, 50)]
        assert {one.metric for one in result.final[0].metrics} >= {"objective", "nc1"}
        assert [(one.seed, one.predicted is not None) for one in result.verdict] == [(0, True), (1, True), (2, True)]
        assert result.versions.additional_properties["ncore"]
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


def test_what_an_older_version_has_stored_is_answered_as_it_is():
    """Results are typed in the document, and pass through the service untouched."""
    stored = {"final": [{"seed": 0, "metrics": []}], "verdict": [{"seed": 0, "reached": "?"}], "more": [1.5]}
    now = datetime.now(UTC)
    row = Experiment(
        id="x",
        name="",
        tags=[],
        status="succeeded",
        spec={},
        created_at=now,
        step=1,
        total=1,
        attempt=1,
        result=stored,
        priority=0,
        notes="",
        archived=False,
    )
    assert json.loads(shown(row).model_dump_json())["result"] == stored
    schemas = app.openapi()["components"]["schemas"]
    fields = {name: set(schemas[name]["properties"]) for name in ("Outcome", "Final", "FinalValue", "Verdict")}
    assert fields == {
        kind.__name__: set(kind.__annotations__)
        for kind in (outcome.Outcome, outcome.Final, outcome.FinalValue, outcome.Verdict)
    }
    for name, field in (("ExperimentOut", "result"), ("ExperimentPart", "result")):
        assert {"$ref": "#/components/schemas/Outcome"} in schemas[name]["properties"][field]["anyOf"]
    assert schemas["Item"]["properties"]["verdict"]["items"] == {"$ref": "#/components/schemas/Verdict"}


def test_no_answer_is_an_object_of_anything_where_its_fields_are_known():
    """Only what users shape themselves may be so: specs, sweeps, a config, by JSON's own types."""
    free = {"spec", "base", "axes", "point", "set", "config", "options", "request", "body"}
    schemas = app.openapi()["components"]["schemas"]
    for name, schema in schemas.items():
        for field, inner in schema.get("properties", {}).items():
            assert field in free or '"additionalProperties": true' not in json.dumps(inner), f"{name}.{field}"
