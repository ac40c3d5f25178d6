"""/presets: the paper's figures as specs, each saying which values are the paper's."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from api.errors import PROBLEMS, not_found
from ncore.presets import PRESETS

router = APIRouter(tags=["presets"], responses=PROBLEMS)


class PresetOut(BaseModel):
    """`paper` and `ours` are dotted paths into `spec`: whose values these are."""

    name: str
    title: str
    description: str
    spec: dict[str, Any]
    paper: list[str]
    ours: list[str]


class Presets(BaseModel):
    items: list[PresetOut]


@router.get("/presets", response_model=Presets)
def index() -> Presets:
    return Presets(items=[PresetOut.model_validate(preset, from_attributes=True) for preset in PRESETS.values()])


@router.get("/presets/{name}", response_model=PresetOut)
def look(name: str) -> PresetOut:
    if name not in PRESETS:
        raise not_found("preset", name)
    return PresetOut.model_validate(PRESETS[name], from_attributes=True)
