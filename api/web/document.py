"""The API's OpenAPI document: FastAPI's, with the shape of problems and words for the parameters of many routes."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from api.web.errors import ProblemBody

PARAMETERS = {
    "experiment_id": "id of an experiment, as submitting it has answered",
    "sweep_id": "id of a sweep, as submitting it has answered",
    "name": "as the list of them has it",
    "form": "of the picture",
    "panel": "panels to draw; the paper's unless given",
    "layer": "layers to draw; all unless given",
    "seed": "seeds to draw; all unless given",
    "metric": "the metric to draw",
    "experiment": "ids of the experiments to compare",
    "x": "what the axis below shows",
    "theme": "colours of the picture",
    "columns": "panels side by side",
    "last-event-id": "the last event that was received: only what came later is sent",
}


def document_of(app: FastAPI) -> dict[str, Any]:
    """The document of all routes, made once."""
    made = FastAPI.openapi(app)
    schemas = made.setdefault("components", {}).setdefault("schemas", {})
    problem = ProblemBody.model_json_schema(ref_template="#/components/schemas/{model}")
    schemas.update(problem.pop("$defs"))
    schemas["ProblemBody"] = problem
    for operations in made["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", []):
                parameter.setdefault("description", PARAMETERS.get(parameter["name"], ""))
    return made
