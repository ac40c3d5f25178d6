"""Sweeps by name: phase diagrams of the theory, each with the boundary that it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ncore.faults import shortened
from ncore.spec import SpecError, with_changes


@dataclass(frozen=True)
class SweepPreset:
    """`body` is what POST /sweeps takes; its `picture` is what shows the boundary."""

    name: str
    title: str
    description: str
    body: dict[str, Any]


SWEEPS: dict[str, SweepPreset] = {}


def expanded(body: Any) -> Any:
    """The request itself, a preset of sweeps written out with its changes. Raises SpecError."""
    if not isinstance(body, Mapping) or "preset" not in body:
        return body
    name, changes = body["preset"], body.get("set", {})
    if not isinstance(name, str) or name not in SWEEPS:
        allowed = ", ".join(SWEEPS)
        raise SpecError([{"field": "preset", "message": f"must be one of {allowed}; got {shortened(name)}"}])
    if not isinstance(changes, Mapping):
        raise SpecError([{"field": "set", "message": f"must be an object of dotted paths; got {shortened(changes)}"}])
    others = {key: value for key, value in body.items() if key not in ("preset", "set")}
    made = {**SWEEPS[name].body, **others}
    if "base" in others:
        raise SpecError([{"field": "base", "message": "is the preset's; change it by `set`"}])
    _check_free(changes, made)
    return {**made, "base": with_changes(made["base"], changes)}


def _check_free(changes: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """What an axis moves cannot be set: give the axes in place of the preset's."""
    zips = made.get("zip", [])
    groups = [made.get("axes", {}), *(zips if isinstance(zips, list) else [zips])]
    moved = {path for group in groups if isinstance(group, Mapping) for path in group}
    faults = [
        {"field": path, "message": "is moved by an axis of this sweep; give `axes` in place of the preset's"}
        for path in changes
        if path in moved
    ]
    if faults:
        raise SpecError(faults)
