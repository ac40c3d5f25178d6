"""Bodies of requests, made from a preset's name, a file or a spec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncore.plain import NotPlain, plain
from ncore.presets import PRESETS, Spec
from ncore.spec import SpecError, with_changes
from ncore.sweeps.presets import SWEEPS

Given = str | Path | Mapping[str, Any] | Spec
"""A preset's name, a JSON file, a spec as a dict or as `parse_spec` gives it."""


def body_of(given: Given, changes: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The body of a request, with dotted paths changed. Raises FileNotFoundError, SpecError (a ValueError)."""
    changes = as_json(dict(changes or {}))
    if isinstance(given, (str, Path)):
        if str(given) in PRESETS:
            return {"preset": str(given), "set": changes}
        given = _read(Path(given))
    body = as_json(given)
    if "preset" in body:
        already = body.get("set", {})
        return {**body, "set": {**already, **changes} if isinstance(already, Mapping) else already}
    return with_changes(body, changes)


def sweep_body(
    base: Given,
    axes: Mapping[str, Any] | None,
    changes: Mapping[str, Any] | None,
    name: str,
    forms: Mapping[str, Any],
) -> dict[str, Any]:
    """The body of POST /sweeps. Raises FileNotFoundError, SpecError (a ValueError)."""
    given = as_json({"axes": {path: _listed(axis) for path, axis in axes.items()}} if axes is not None else {})
    given |= as_json({key: value for key, value in forms.items() if value is not None})
    given |= {"name": name} if name else {}
    if isinstance(base, (str, Path)):
        is_varied = any(form in given for form in ("axes", "zip", "sample"))
        if str(base) in SWEEPS and not (is_varied and str(base) in PRESETS):
            return {**given, "preset": str(base), "set": as_json(dict(changes or {}))}
        if str(base) not in PRESETS:
            found = _read(Path(base))
            if "base" in found or found.get("preset") in SWEEPS:
                return {**found, **given, **_changed(found, changes)}
            base = found
    return {**given, "base": body_of(base, changes)}


def _changed(found: Mapping[str, Any], changes: Mapping[str, Any] | None) -> dict[str, Any]:
    """The part of a whole sweep that changes of its base go into."""
    if "base" in found:
        return {"base": body_of(found["base"], changes)}
    already = found.get("set", {})
    return {"set": {**already, **as_json(dict(changes or {}))} if isinstance(already, Mapping) else already}


def _listed(axis: Any) -> Any:
    return axis if isinstance(axis, Mapping) else list(axis)


def as_json(value: Any) -> Any:
    """`value` as JSON holds it. Raises SpecError naming the field that JSON cannot hold."""
    try:
        return plain(value)
    except NotPlain as error:
        raise SpecError([{"field": error.field, "message": error.message}]) from None


def _read(path: Path) -> dict[str, Any]:
    """The object in a JSON file of any Unicode encoding, as editors and shells write them, BOM or not."""
    if not path.is_file():
        what = "is a folder, not a JSON file" if path.is_dir() else "is neither a file nor a preset"
        raise FileNotFoundError(f"{str(path)!r} {what} (presets: {', '.join(PRESETS)}; of sweeps: {', '.join(SWEEPS)})")
    content = path.read_bytes()
    try:
        found = json.loads(content.decode(json.detect_encoding(content)))
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not text in UTF-8, UTF-16 or UTF-32 (byte {error.start})") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} is not JSON: {error}") from None
    except RecursionError:
        raise ValueError(f"{path} is nested too deeply") from None
    if not isinstance(found, dict):
        raise ValueError(f"{path} must hold a JSON object, not {type(found).__name__}")  # noqa: TRY004 (the user's file)
    return found
