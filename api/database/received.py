"""Stores the measurements that the owner of an external experiment sends: new ones once, known ones compared."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import orjson
from sqlalchemy import Table as SqlTable
from sqlalchemy import bindparam, func, select, update
from sqlalchemy.orm import Session

from api.database.clock import of_sqlite
from api.database.geometries import keep_geometries, known_geometries, later_geometries
from api.database.tables import Experiment, MeasurementRow, now
from api.settings import get_settings
from ncore.faults import SpecError
from ncore.kinds.external import MAX_LAYERS, MAX_METRICS
from ncore.rows import Key, Rows
from ncore.spec import MAX_SEEDS

LOOKED_UP = 500
"""Steps that one query asks for."""
TABLE = cast(SqlTable, MeasurementRow.__table__)
INSERT = 'INSERT INTO measurements (experiment_id, seed, step, seq, at, "values") VALUES'
Values = dict[str, float | None]


class Conflict(ValueError):  # noqa: N818 (says what is the case)
    """Other values are stored for this seed and step."""


@dataclass
class Plan:
    """The changes to make: rows that are new, rows that get more metrics, the number of rows that do not change, and
    the geometry to keep beside them."""

    new: dict[Key, Values] = field(default_factory=dict)
    more: dict[Key, Values] = field(default_factory=dict)
    kept: int = 0
    geometry: dict[Key, bytes] = field(default_factory=dict)

    @property
    def changes(self) -> int:
        return len(self.new) + len(self.more)

    @property
    def is_empty(self) -> bool:
        return not (self.changes or self.geometry)


def plan_of(session: Session, row: Experiment, rows: Rows) -> Plan:
    """Works out the changes. Raises Conflict, and SpecError where a limit would be passed."""
    names, plan = rows.keys, Plan()
    stored = _stored(session, row.id, rows.values)
    for key, numbers in rows.values.items():
        values = dict(zip(names, numbers, strict=True))
        known = stored.get(key)
        if known is None:
            plan.new[key] = values
            continue
        other = [name for name, value in values.items() if name in known and known[name] != value]
        if other and not rows.keeps:
            name = other[0]
            raise Conflict(f"seed {key[0]}, step {key[1]} has {name} {known[name]} already, and not {values[name]}")
        plan.kept += bool(other)
        if values.keys() - known.keys():
            plan.more[key] = {**values, **known}
    for key, data in known_geometries(session, row.id, rows.geometry.keys()).items():
        if rows.geometry[key] != data and not rows.keeps:
            raise Conflict(f"seed {key[0]}, step {key[1]} has another geometry already")
        plan.kept += rows.geometry[key] != data
    plan.geometry = later_geometries(session, row.id, rows.geometry)
    limit = get_settings().max_measurements
    if row.last_seq + plan.changes > limit:
        message = f"{row.last_seq} are stored, and the limit of an experiment is NCORE_MAX_MEASUREMENTS = {limit}"
        raise SpecError([{"field": "rows", "message": message}])
    return plan


def _stored(session: Session, experiment_id: str, keys: Iterable[Key]) -> dict[Key, Values]:
    """The rows stored already; usually none, as each seed's largest step shows without reading them."""
    by_seed: dict[int, list[int]] = {}
    for seed, step in keys:
        by_seed.setdefault(seed, []).append(step)
    found: dict[Key, Values] = {}
    for seed, steps in by_seed.items():
        of_it = (MeasurementRow.experiment_id == experiment_id) & (MeasurementRow.seed == seed)
        last = session.scalar(select(func.max(MeasurementRow.step)).where(of_it))
        known = [step for step in steps if last is not None and step <= last]
        for some in (known[i : i + LOOKED_UP] for i in range(0, len(known), LOOKED_UP)):
            query = select(MeasurementRow.step, MeasurementRow.values).where(of_it, MeasurementRow.step.in_(some))
            found |= {(seed, step): values for step, values in session.execute(query)}
    return found


def store(session: Session, row: Experiment, rows: Rows, plan: Plan) -> None:
    """Writes the plan, the names and seeds that are new into the spec, and how far the experiment is.

    Raises SpecError where there would be too many names or seeds.
    """
    _extend(row, rows)
    seq = row.last_seq
    if plan.new:
        _insert(session, row.id, seq, plan.new)
    seq += len(plan.new)
    more = [
        {"of": row.id, "of_seed": seed, "of_step": step, "seq": seq + i, "values": values}
        for i, ((seed, step), values) in enumerate(plan.more.items(), 1)
    ]
    if more:
        which = (TABLE.c.experiment_id == bindparam("of")) & (TABLE.c.seed == bindparam("of_seed"))
        session.connection().execute(update(TABLE).where(which, TABLE.c.step == bindparam("of_step")), more)
    keep_geometries(session, row.id, plan.geometry)
    row.last_seq = seq + len(more)
    row.step = max([row.step, *(step for _, step in plan.new)])
    row.total = max(row.total, row.step) if row.total else 0  # unknown, or what its owner thought
    session.flush()


def _insert(session: Session, experiment_id: str, seq: int, new: dict[Key, Values]) -> None:
    """Rows as the driver takes them: SQLAlchemy's own way through the types takes four times as long."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    mark, at = ("?", of_sqlite(0.0)) if is_sqlite else ("%s", now())
    rows = [
        (experiment_id, seed, step, number, at, orjson.dumps(values).decode())
        for number, ((seed, step), values) in enumerate(new.items(), seq + 1)
    ]
    session.connection().exec_driver_sql(f"{INSERT} ({', '.join([mark] * 6)})", rows)


def _extend(row: Experiment, rows: Rows) -> None:
    """Adds to the spec the seeds, layers and metrics that it does not have."""
    spec, model = row.spec, row.spec["model"]
    seeds = _with(spec["seeds"], sorted({seed for seed, _ in rows.values}), MAX_SEEDS, "rows", "seeds")
    layers = _with(model["layers"], (layer for _, layer in rows.names if layer), MAX_LAYERS, "columns", "layers")
    metrics = _with(model["metrics"], (metric for metric, _ in rows.names), MAX_METRICS, "columns", "metrics")
    if (seeds, layers, metrics) != (spec["seeds"], model["layers"], model["metrics"]):
        row.spec = {**spec, "model": {**model, "layers": layers, "metrics": metrics}, "seeds": seeds}


def _with(known: Sequence[Any], given: Iterable[Any], most: int, where: str, what: str) -> list[Any]:
    found = list(dict.fromkeys([*known, *given]))
    if len(found) > most:
        message = f"an experiment has at most {most} {what}; with these it would have {len(found)}"
        raise SpecError([{"field": where, "message": message}])
    return found
