"""Entity tags: what has not changed is neither made nor sent again.

A tag is made of what an answer depends on (the number of the last measurement, the query, …), before the answer is.
It is weak, since the same answer can be sent compressed or not.
"""

from __future__ import annotations

import hashlib
from importlib.metadata import version
from typing import Any

import orjson
from fastapi import Request, Response

from api.database.tables import Experiment

UNCHANGED: dict[int | str, dict[str, Any]] = {304: {"description": "As it was when it got this ETag"}}
VERSIONS = [version("ncore"), version("vl-convert-python")]


class Tag:
    """The tag of the answer to a request, made of the query and `parts`; `is_known` where `If-None-Match` names it."""

    def __init__(self, request: Request, *parts: Any) -> None:
        made_of = orjson.dumps([*VERSIONS, request.url.path, request.url.query, *parts])
        digest = f'"{hashlib.blake2b(made_of, digest_size=12).hexdigest()}"'
        given = [one.strip().removeprefix("W/") for one in request.headers.get("If-None-Match", "").split(",")]
        self.is_known = digest in given or "*" in given
        self._headers = {"ETag": f"W/{digest}", "Cache-Control": "private, no-cache"}

    def unchanged(self) -> Response:
        return Response(status_code=304, headers=self._headers)

    def on(self, response: Response) -> Response:
        response.headers.update(self._headers)
        return response


def state_of(row: Experiment) -> list[Any]:
    """The state that series and pictures of an experiment depend on."""
    return [row.name, row.status, row.total, row.attempt, row.last_seq]
