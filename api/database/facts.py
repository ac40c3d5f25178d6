"""Facts: what queries know of an experiment beside its own row, one for each leaf of its spec and each final value."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from statistics import median
from typing import Any

import orjson
from sqlalchemy import Connection, delete, event, insert
from sqlalchemy.orm import Session

from api.database.measurements import last_rows
from api.database.tables import Experiment, Fact
from ncore.series import key_of, metric_and_layer

CONFIG, FINAL = "config.", "final."
OWN_COLUMNS = ("name", "tags", "priority")
"""Fields of a spec that an experiment's row has, where they can change."""
LONGEST = 200
"""Characters of a name or a text that are kept; a longer name cannot be asked for."""
LAST_LEVEL = "nc4"
"""Measured only where the features meet the classifier."""
Values = dict[str, Any]


def of_spec(spec: Mapping[str, Any]) -> list[Values]:
    """The facts of a spec as it is stored: a leaf each, and how many seeds there are."""
    found = list(_leaves(CONFIG, {name: value for name, value in spec.items() if name not in OWN_COLUMNS}))
    return [*found, {"name": "seeds", "number": float(len(spec.get("seeds", ())))}]


@event.listens_for(Experiment, "after_insert")
def _note_spec(_: Any, connection: Connection, row: Experiment) -> None:
    """Writes the facts of an experiment's spec with its row, whoever adds it as an object."""
    note_specs(connection, {row.id: row.spec})


def note_specs(connection: Connection, specs: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the facts of specs by their experiments: for rows that are inserted without objects."""
    found = [as_row(experiment_id, fact) for experiment_id, spec in specs.items() for fact in of_spec(spec)]
    connection.execute(insert(Fact), found)


def _leaves(before: str, spec: Mapping[str, Any]) -> Iterator[Values]:
    for name, value in spec.items():
        path = f"{before}{name}"
        if len(path) > LONGEST or value is None:
            continue
        if isinstance(value, Mapping):
            if isinstance(value.get("kind"), str):
                yield {"name": path, "text": value["kind"]}  # `loss` is an object or its kind alone
            yield from _leaves(f"{path}.", value)
        else:
            yield {"name": path, **_leaf(value)}


def _leaf(value: Any) -> Values:
    """True, false and lists as JSON; a list whose entries are all one number is that number too."""
    if isinstance(value, str):
        return {"text": value[:LONGEST]}
    if _is_number(value):
        return {"number": float(value)}
    written = orjson.dumps(value).decode()
    entries = value if isinstance(value, list) else []
    is_one = bool(entries) and _is_number(entries[0]) and all(entry == entries[0] for entry in entries)
    return {
        "text": written if len(written) <= LONGEST else None,
        "number": float(entries[0]) if is_one else None,
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def of_end(last: Sequence[Mapping[str, float | None]], verdicts: Sequence[Mapping[str, Any]]) -> list[Values]:
    """The facts of a run that has ended: each final value over the seeds, and what they have reached.

    `last` is {"metric layer": value} of each seed's last measurement. A metric without a layer's name is that of the
    level that meets the classifier.
    """
    found: dict[str, list[float]] = {}
    for key, value in ((key, value) for one in last for key, value in one.items() if value is not None):
        found.setdefault(key, []).append(value)
    named = {".".join(filter(None, metric_and_layer(key))): key for key in found}
    outer = last_layer(last[0]) if last else None
    for key in found:
        metric, layer = metric_and_layer(key)
        if layer is not None and layer == outer:
            named.setdefault(metric, key)
    gaps = [verdict["gap"] for verdict in verdicts if verdict.get("gap") is not None]
    facts = [_final(name, found[key]) for name, key in named.items() if len(name) <= LONGEST - len(FINAL)]
    if gaps:
        facts.append(_final("gap", gaps))
    if verdicts:
        facts.append(
            {"name": "verdict", "text": ",".join(dict.fromkeys(one["reached"] or "none" for one in verdicts))[:LONGEST]}
        )
    return facts


def _final(name: str, values: Sequence[float]) -> Values:
    return {"name": f"{FINAL}{name}", "number": median(values), "low": min(values), "high": max(values)}


def last_layer(values: Mapping[str, Any]) -> str | None:
    """The layer of a measurement's values that meets the classifier, else the last one."""
    layers = [key for key in map(metric_and_layer, values) if key[1] is not None]
    return next((layer for metric, layer in layers if metric == LAST_LEVEL), layers[-1][1] if layers else None)


def as_row(experiment_id: str, fact: Values) -> Values:
    """The fact as all rows are written together: with all columns."""
    return {"experiment_id": experiment_id, "number": None, "text": None, "low": None, "high": None, **fact}


def note_ends(session: Session, results: Mapping[str, Mapping[str, Any] | None], *, has_last: bool) -> None:
    """Writes the final values of experiments anew; those of an end before a retry are replaced.

    `has_last`: the results have the last measurement of every seed; else, and where there is none, it is read.
    """
    is_of_end = Fact.name.startswith(FINAL) | (Fact.name == "verdict")
    session.execute(delete(Fact).where(Fact.experiment_id.in_(results), is_of_end))
    rows = []
    for experiment_id, result in results.items():
        found = result or {}
        last = _last(found) if has_last and found.get("final") else _read_last(session, experiment_id)
        rows += [as_row(experiment_id, fact) for fact in of_end(last, found.get("verdict", ()))]
    if rows:
        session.connection().execute(insert(Fact), rows)


def _last(result: Mapping[str, Any]) -> list[dict[str, float | None]]:
    return [
        {key_of(one["metric"], one["layer"]): _finite(one["value"]) for one in final["metrics"]}
        for final in result["final"]
    ]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None


def _read_last(session: Session, experiment_id: str) -> list[dict[str, float | None]]:
    return [values for _, _, values in last_rows(session, experiment_id)]
