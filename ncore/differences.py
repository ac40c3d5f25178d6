"""Differences between specs, as dotted paths and values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

APART = ("name", "tags")
"""Fields that say nothing of what is run."""


def leaves(spec: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """{dotted path: value}; a list is one value. Without name and tags."""
    found: dict[str, Any] = {}
    for name, value in spec.items():
        if isinstance(value, Mapping):
            found |= leaves(value, f"{before}{name}.")
        elif before or name not in APART:
            found[f"{before}{name}"] = value
    return found


def differing(specs: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """The paths on which the specs do not agree, with the value of each spec: None where it has no such field."""
    flat = [leaves(spec) for spec in specs]
    paths = dict.fromkeys(path for one in flat for path in one)
    columns = {path: [one.get(path) for one in flat] for path in paths}
    return {path: values for path, values in columns.items() if any(repr(value) != repr(values[0]) for value in values)}


def number_of(value: Any) -> float | None:
    """The value as a number, that of a list whose entries are the same; None of anything else."""
    entries = value if isinstance(value, list | tuple) else [value]
    if not entries or any(isinstance(one, bool) or not isinstance(one, int | float) for one in entries):
        return None
    return float(entries[0]) if all(one == entries[0] for one in entries) else None
