"""Errors in one shape, RFC 9457: {"type", "title", "status", "detail", "errors": [{"field", "message"}]}."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from http import HTTPStatus
from itertools import islice
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from pydantic import BaseModel
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from api.database.integrity import explain
from ncore.faults import MAX_FAULTS, Fault, SpecError, bounded, fault_of, shortened, summary
from ncore.text import escaped

log = logging.getLogger("ncore.api")
MAX_DETAIL = 10_000
_PARSE_WORDS = "the body cannot be read as JSON: it is nested too deep, or has a number of too many digits"


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

    @classmethod
    def of(cls, faults: Sequence[Fault]) -> Problem:
        """The 422 for faults of single fields."""
        return cls(422, summary(faults), list(faults))


def not_found(what: str, name: str) -> Problem:
    return Problem(404, f"there is no {what} {shortened(name)}")


def refused(field: str, message: str) -> Problem:
    """The 422 for one field; `message` says what is allowed and what was given."""
    return Problem.of([{"field": field, "message": message}])


def answer(problem: Problem) -> JSONResponse:
    """The answer to a problem: bounded, and of plain characters, whatever the request was."""
    body = {
        "type": "about:blank",
        "title": HTTPStatus(problem.status).phrase,
        "status": problem.status,
        "detail": escaped(problem.detail[:MAX_DETAIL]),
        "errors": bounded(problem.errors),
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
        return answer(Problem.of([_fault(item) for item in islice(error.errors(), MAX_FAULTS)]))

    @app.exception_handler(HTTPException)
    def by_framework(request: Request, error: HTTPException) -> JSONResponse:
        detail = _PARSE_WORDS if error.status_code == 400 else error.detail
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
    """All methods of this path: each route knows only its own. Of `/sweeps/estimate` not those of `/sweeps/{id}`."""
    paths, found = request.app.openapi()["paths"], set()
    own = request.url.path if request.url.path in paths else None
    for template, operations in paths.items():
        if template == own or (own is None and re.fullmatch(re.sub(r"{\w+}", "[^/]+", template), request.url.path)):
            found |= {method.upper() for method in operations}
    found = found or {"GET"}
    return sorted(found | {"HEAD"} if "GET" in found else found)


def _faults(number: int) -> str:
    return "a fault" if number == 1 else f"{number} faults"


def _fault(item: dict[str, Any]) -> Fault:
    place, *path = item["loc"]
    if item["type"] == "json_invalid":
        return {"field": "", "message": f"the body is not JSON: {item['ctx']['error']} at character {path[0]}"}
    return fault_of(item, ".".join(str(part) for part in path) or str(place))


PROBLEMS: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemBody"}}},
    }
}
