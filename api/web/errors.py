"""Errors in one shape, RFC 9457: {"type", "title", "status", "detail", "errors": [{"field", "message"}]}."""

from __future__ import annotations

import logging
import re
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from api.database.integrity import explain
from ncore.spec import SpecError

log = logging.getLogger("ncore.api")


class FieldError(BaseModel):
    field: str
    message: str


class ProblemBody(BaseModel):
    """The one shape of errors (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    errors: list[FieldError]


class Problem(Exception):  # noqa: N818 (RFC 9457 calls it so)
    """An answer that is an error; `errors` are {"field", "message"}."""

    def __init__(
        self,
        status: int,
        detail: str,
        errors: list[dict[str, str]] | None = None,
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors, self.headers = status, detail, errors or [], headers or {}


def not_found(what: str, name: str) -> Problem:
    return Problem(404, f"there is no {what} {name!r}")


def answer(problem: Problem) -> JSONResponse:
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": problem.detail,
        "errors": problem.errors,
    }
    return JSONResponse(body, problem.status, problem.headers, media_type="application/problem+json")


def install(app: FastAPI) -> None:
    """One handler for each kind of failure, all ending in `answer`."""

    @app.exception_handler(Problem)
    def known(_: Request, error: Problem) -> JSONResponse:
        return answer(error)

    @app.exception_handler(SpecError)
    def bad_spec(_: Request, error: SpecError) -> JSONResponse:
        return answer(Problem(422, f"the spec has {_faults(len(error.errors))}: {error}", error.errors))

    @app.exception_handler(RequestValidationError)
    def bad_request(_: Request, error: RequestValidationError) -> JSONResponse:
        faults = [_fault(item) for item in error.errors()]
        return answer(Problem(422, "; ".join(f"{f['field']}: {f['message']}" for f in faults), faults))

    @app.exception_handler(HTTPException)
    def by_framework(request: Request, error: HTTPException) -> JSONResponse:
        detail = error.detail
        if error.status_code == 404:
            detail = f"there is no route {request.url.path}"
        elif error.status_code == 405:
            detail = f"{request.method} is not allowed for {request.url.path}"
            return answer(Problem(405, detail, headers={"Allow": ", ".join(_methods(request))}))
        return answer(Problem(error.status_code, detail, headers=dict(error.headers or {})))

    @app.exception_handler(OperationalError)
    @app.exception_handler(PoolTimeout)
    def database_away(_: Request, error: Exception) -> JSONResponse:
        log.warning("the database does not answer: %s", error)
        return answer(Problem(503, explain(error), headers={"Retry-After": "2"}))

    @app.exception_handler(Exception)
    def unexpected(request: Request, error: Exception) -> JSONResponse:
        log.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        return answer(Problem(500, f"{type(error).__name__}; the log of the API has the details"))


def _methods(request: Request) -> list[str]:
    """All methods of this path: each route knows only its own."""
    found = set()
    for template, operations in request.app.openapi()["paths"].items():
        if re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), request.url.path):
            found |= {method.upper() for method in operations}
    return sorted(found) or ["GET"]


def _faults(number: int) -> str:
    return "a fault" if number == 1 else f"{number} faults"


def _fault(item: dict[str, Any]) -> dict[str, str]:
    place, *path = item["loc"]
    if item["type"] == "json_invalid":
        return {"field": "", "message": f"the body is not JSON: {item['ctx']['error']} at character {path[0]}"}
    field = ".".join(str(part) for part in path)
    message = item["msg"] if item["type"] == "missing" else f"{item['msg']}; got {str(item['input'])[:80]!r}"
    return {"field": field or str(place), "message": message}


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
    }
}
