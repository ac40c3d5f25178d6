"""Parameters of the query: what a route does not know, and what no text may hold, is refused by name."""

from __future__ import annotations

from collections import Counter
from typing import Annotated, Any, get_origin

from annotated_types import MaxLen
from fastapi import Query, Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query as InQuery

from api.web.errors import Problem
from ncore.faults import shortened
from ncore.text import odd_character

MAX_TEXT = 200
"""Characters of a parameter: as many as the longest name has."""
MAX_CHOSEN = 100

Metrics = Annotated[list[str], Query(max_length=MAX_CHOSEN, description="only these metrics; all unless given")]
Layers = Annotated[
    list[str],
    Query(max_length=MAX_CHOSEN, description="only these layers (empty: metrics without one); all unless given"),
]
Seeds = Annotated[
    list[Annotated[int, Query(ge=0, lt=2**63)]],
    Query(max_length=MAX_CHOSEN, description="only these seeds; all unless given"),
]


async def known_parameters(request: Request) -> None:
    """Raises the 422 naming every parameter that is unknown here, given too often, or no plain text."""
    if not request.scope["query_string"]:
        return
    allowed = _allowed(request.scope["route"])
    if allowed is None:
        return
    faults = []
    for name, count in Counter(name for name, _ in request.query_params.multi_items()).items():
        if name not in allowed:
            words = f"allowed are {', '.join(allowed)}" if allowed else "there are none here"
            faults.append({"field": name, "message": f"unknown parameter; {words}"})
        elif count > 1 and not allowed[name]:
            faults.append({"field": name, "message": f"must be given once; got {count} of it"})
    for name, value in request.query_params.multi_items():
        odd = odd_character(value)
        if odd is not None:
            message = f"must be plain text on one line, without the character {odd}; got {shortened(value)}"
            faults.append({"field": name, "message": message})
        elif len(value) > _longest(request.scope["route"], name):
            most = _longest(request.scope["route"], name)
            message = f"must have at most {most} characters, not {len(value)}; got {shortened(value)}"
            faults.append({"field": name, "message": message})
    if faults:
        raise Problem.of(faults)


def _allowed(route: Any) -> dict[str, bool] | None:
    """{parameter: whether it may be repeated}; None of a page, whose address people and programs add things to."""
    if not route.include_in_schema:
        return None
    fields = [field for field in get_flat_params(route.dependant) if isinstance(field.field_info, InQuery)]
    return {field.alias: get_origin(field.field_info.annotation) is list for field in fields}


def _longest(route: Any, name: str) -> int:
    """Characters that a parameter may have: what its own field says where that is more."""
    fields = {field.alias: field.field_info for field in get_flat_params(route.dependant)}
    if name not in fields or get_origin(fields[name].annotation) is list:
        return MAX_TEXT
    return max([MAX_TEXT, *(part.max_length for part in fields[name].metadata if isinstance(part, MaxLen))])
