"""Measurements on their way to a service: rows of numbers below the names of their columns.

    {"columns": ["loss", ["nc1", "layer4"]], "rows": [[0, 100, 0.31, 0.012], [0, 200, 0.22, null]]}

A row is seed, step, and a value for each column (null: undefined). A column is a metric's name, or [metric, layer].
`geometry` may stand beside them (`ncore.sent_geometry`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter, ValidationError

from ncore.faults import MAX_FAULTS, Fault, SpecError, fault_of, shortened
from ncore.kinds.external import LAYER, MAX_STEP, METRIC
from ncore.series import key_of

MAX_ROWS = 10_000
MAX_COLUMNS = 1_000
MAX_SEED = 2**63 - 1
FIELDS = ("columns", "rows", "on_conflict", "geometry")
KEPT, REFUSED = "keep", "refuse"
NUMBERS = {int, float, type(None)}
Key = tuple[int, int]
"""Seed and step."""


@dataclass(frozen=True)
class Rows:
    """Checked rows: `names` are the columns as (metric, layer), `values` the numbers of each seed and step."""

    names: tuple[tuple[str, str | None], ...]
    values: dict[Key, list[float | None]]
    keeps: bool = False
    """Whether what is stored already stays where other values come for it; else that is refused."""
    geometry: Mapping[Key, bytes] = field(default_factory=dict)
    """What `ncore.geometry.unpacked` reads, of some of the seeds and steps."""

    @property
    def keys(self) -> list[str]:
        """The names that the columns are stored under."""
        return [key_of(*name) for name in self.names]


def parse_rows(body: Any) -> Rows:
    """The rows in a body of parsed JSON. Raises SpecError naming every faulty field."""
    if not isinstance(body, dict):
        raise SpecError([{"field": "", "message": f"must be an object; got {shortened(body)}"}])
    faults: list[Fault] = [
        {"field": str(name), "message": f"unknown field; there are {', '.join(FIELDS)}"}
        for name in list(body)[:MAX_FAULTS]
        if name not in FIELDS
    ]
    wish = body.get("on_conflict", REFUSED)
    if wish not in (KEPT, REFUSED):
        faults.append({"field": "on_conflict", "message": f"must be {KEPT} or {REFUSED}; got {shortened(wish)}"})
    if "rows" not in body:
        faults.append({"field": "rows", "message": "is required"})
    columns, rows = body.get("columns", []), body.get("rows", [])
    for name, value, most in (("columns", columns, MAX_COLUMNS), ("rows", rows, MAX_ROWS)):
        if not isinstance(value, list):
            faults.append({"field": name, "message": f"must be a list; got {shortened(value)}"})
        elif len(value) > most:
            faults.append({"field": name, "message": f"must have at most {most} entries, not {len(value)}"})
    if faults:
        raise SpecError(faults)
    if rows and not columns:
        raise SpecError([{"field": "columns", "message": "must have at least 1 entry where there are rows"}])
    names = _names(columns)
    faults = [] if _are_sound(rows, len(names)) else _faults_of(rows, len(names))
    if faults:
        raise SpecError(faults)
    values = _by_key(rows, wish == KEPT)
    return Rows(names, values, wish == KEPT, _geometry(body["geometry"], values) if "geometry" in body else {})


def _geometry(given: Any, keys: Collection[Key]) -> dict[Key, bytes]:
    from ncore.sent_geometry import parse_geometry  # with NumPy, for which others need not wait

    return parse_geometry(given, keys)


def _names(columns: Sequence[Any]) -> tuple[tuple[str, str | None], ...]:
    faults: list[Fault] = []
    names: dict[tuple[str, str | None], int] = {}
    for i, column in enumerate(columns):
        field = f"columns.{i}"
        pair = [column, None] if isinstance(column, str) else column
        if not isinstance(pair, list) or len(pair) not in (1, 2):
            faults.append({"field": field, "message": f"must be a metric or [metric, layer]; got {shortened(column)}"})
            continue
        metric, layer = pair if len(pair) == 2 else (pair[0], None)
        found = _fault(METRIC, metric, field, "the metric") or (
            None if layer is None else _fault(LAYER, layer, field, "the layer")
        )
        if found is not None:
            faults.append(found)
        elif (metric, layer) in names:
            faults.append({"field": field, "message": f"is there twice: columns.{names[metric, layer]} is the same"})
        else:
            names[metric, layer] = i
    if faults:
        raise SpecError(faults)
    return tuple(names)


def _fault(rule: TypeAdapter[str], text: Any, field: str, what: str) -> Fault | None:
    try:
        rule.validate_python(text, strict=True)
    except ValidationError as error:
        found = fault_of(error.errors(include_url=False)[0], field)
        return {**found, "message": f"{what} {found['message']}"}
    return None


def _are_sound(rows: Sequence[Any], columns: int) -> bool:
    """Whether all rows are good: looked at in columns, which is many times as fast as one by one."""
    if set(map(type, rows)) - {list} or set(map(len, rows)) - {2 + columns}:
        return False
    seeds, steps, *values = zip(*rows, strict=True) if rows else ((), ())
    if any(set(map(type, column)) - {int} for column in (seeds, steps)):
        return False
    if any(set(map(type, column)) - NUMBERS for column in values):
        return False
    return not rows or (0 <= min(seeds) <= max(seeds) <= MAX_SEED and 0 <= min(steps) <= max(steps) <= MAX_STEP)


def _faults_of(rows: Sequence[Any], columns: int) -> list[Fault]:
    found: list[Fault] = []
    for i, row in enumerate(rows):
        found += _faults_of_row(i, row, columns)
        if len(found) >= MAX_FAULTS:
            break
    return found


def _faults_of_row(i: int, row: Any, columns: int) -> Iterator[Fault]:
    if type(row) is not list or len(row) != 2 + columns:
        what = f"must be a list of seed, step and {columns} values, one for each column"
        yield {"field": f"rows.{i}", "message": f"{what}; got {shortened(row)}"}
        return
    for j, (name, most) in enumerate((("seed", MAX_SEED), ("step", MAX_STEP))):
        if type(row[j]) is not int or not 0 <= row[j] <= most:
            message = f"the {name} must be a whole number from 0 to {most}; got {shortened(row[j])}"
            yield {"field": f"rows.{i}.{j}", "message": message}
    for j, value in enumerate(row[2:], 2):
        if type(value) not in NUMBERS:
            yield {"field": f"rows.{i}.{j}", "message": f"must be a number or null; got {shortened(value)}"}


def _by_key(rows: Sequence[list[Any]], keeps: bool) -> dict[Key, list[float | None]]:
    """The rows by seed and step, the first of each. Raises SpecError where one is there twice with other values."""
    found: dict[Key, list[float | None]] = {(row[0], row[1]): row[2:] for row in rows}
    if len(found) == len(rows):
        return found
    first: dict[Key, list[float | None]] = {}
    for i, (seed, step, *values) in enumerate(rows):
        if first.setdefault((seed, step), values) != values and not keeps:
            message = f"seed {seed}, step {step} is there twice, with other values"
            raise SpecError([{"field": f"rows.{i}", "message": message}])
    return first
