"""/presets: the paper's figures as specs, each saying which values are the paper's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.web.errors import PROBLEMS, not_found
from api.web.etag import UNCHANGED, Tag
from ncore.presets import PRESETS
from ncore.sweeps.presets import SWEEPS

router = APIRouter(tags=["presets"], responses=PROBLEMS)


class PresetOut(BaseModel):
    """`paper` and `ours` are dotted paths into `spec`: whose values these are."""

    name: str
    title: str
    description: str
    spec: dict[str, Any]
    paper: list[str]
    ours: list[str]


class SweepPresetOut(BaseModel):
    """`body` is what POST /sweeps takes; {"preset": name} stands for it."""

    name: str
    title: str
    description: str
    body: dict[str, Any]


class Presets(BaseModel):
    items: list[PresetOut] | list[SweepPresetOut]


@router.get("/presets", response_model=Presets, responses=UNCHANGED)
def list_presets(
    request: Request,
    kind: Annotated[Literal["experiment", "sweep"], Query(description="presets of experiments or of sweeps")] = (
        "experiment"
    ),
) -> Response:
    """All of them, in the order of the paper; of sweeps where `kind` says so."""
    if kind == "sweep":
        found = [SweepPresetOut.model_validate(one, from_attributes=True) for one in SWEEPS.values()]
        return _answer(request, Presets(items=found))
    return _answer(request, Presets(items=[_shown(name) for name in PRESETS]))


@router.get("/presets/{name}", response_model=PresetOut, responses=UNCHANGED)
def get_preset(request: Request, name: str) -> Response:
    """One by its name."""
    if name not in PRESETS:
        raise not_found("preset", name)
    return _answer(request, _shown(name))


def _shown(name: str) -> PresetOut:
    return PresetOut.model_validate(PRESETS[name], from_attributes=True)


def _answer(request: Request, content: Presets | PresetOut) -> Response:
    body = content.model_dump(mode="json")
    tag = Tag(request, body)
    return tag.unchanged() if tag.is_known else tag.on(Response(orjson.dumps(body), media_type="application/json"))
