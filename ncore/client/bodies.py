"""What is sent: a preset's name, a file or a spec turned into the body of a request."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ncore.plain import NotPlain, plain
from ncore.presets import PRESETS, Spec
from ncore.spec import SpecError, with_changes

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
        raise FileNotFoundError(f"{str(path)!r} {what} (presets: {', '.join(PRESETS)})")
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
