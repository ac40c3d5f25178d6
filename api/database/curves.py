"""Reads what a picture shows of an experiment: a few points of each curve, found in one pass."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Any

import orjson
from sqlalchemy import ColumnElement, Row, Select, Text, cast, func, select
from sqlalchemy.orm import Session

from api.database.facts import last_layer
from api.database.tables import Experiment, MeasurementRow
from ncore.pictures.points import MAX_POINTS, CurvePoint, Key, Thinner

STREAMED_ROWS = 1000
MOST_ROWS = 1_000_000
"""Rows that a picture is made of: some seconds of work, in a thread beside the answers to others."""


def load_curves(
    session: Session,
    experiment_id: str,
    metrics: Sequence[str],
    layers: Sequence[str] = (),
    seeds: Sequence[int] = (),
    points: int = MAX_POINTS,
) -> dict[Key, list[CurvePoint]]:
    """Median and range over the seeds of these metrics, thinned; of some layers and seeds, all if empty.

    Metrics that have no layer are read whatever `layers` are. Above `MOST_ROWS` rows only every k-th step is read,
    with the first and the last; an extreme between two of them is not seen.
    """
    wanted = [MeasurementRow.experiment_id == experiment_id]
    if seeds:
        wanted.append(MeasurementRow.seed.in_(seeds))
    steps, rows = session.execute(
        select(func.count(MeasurementRow.step.distinct()), func.count(MeasurementRow.step)).where(*wanted)
    ).one()
    every = -(-rows // MOST_ROWS)
    if every > 1:
        wanted.append(MeasurementRow.step.in_(_every(every, steps, wanted)))
        steps = -(-(steps - 1) // every) + 1
    # as text, of which orjson makes numbers several times as fast
    query = select(MeasurementRow.step, cast(MeasurementRow.values, Text)).where(*wanted).order_by(MeasurementRow.step)
    found_rows = session.execute(query.execution_options(yield_per=STREAMED_ROWS))
    thinner, seen, keys = Thinner(steps, points), set[str](), dict[str, Key]()
    for step, group in groupby(found_rows, lambda row: row[0]):
        found: dict[Key, list[float]] = {}
        for _, text in group:
            values = orjson.loads(text)
            if not values.keys() <= seen:
                seen |= values.keys()
                keys = {name: key for name in sorted(seen) if (key := _key(name, metrics, layers)) is not None}
            for name, key in keys.items():
                value = values.get(name)
                if value is not None:
                    found.setdefault(key, []).append(value)
        thinner.add(step, found)
    return thinner.curves()


def _every(every: int, steps: int, wanted: Sequence[ColumnElement[bool]]) -> Select[int]:
    """Every `every`-th step from the first one, and the last."""
    number = func.row_number().over(order_by=MeasurementRow.step)
    numbered = (
        select(MeasurementRow.step, number.label("number")).where(*wanted).group_by(MeasurementRow.step).subquery()
    )
    is_chosen = ((numbered.c.number - 1) % every == 0) | (numbered.c.number == steps)
    return select(numbered.c.step).where(is_chosen)


def _key(name: str, metrics: Sequence[str], layers: Sequence[str]) -> Key | None:
    """The metric and layer of a stored name; None where they are not asked for."""
    metric, _, layer = name.partition(" ")
    is_wanted = metric in metrics and (not layers or not layer or layer in layers)
    return (metric, layer or None) if is_wanted else None


SPARK_POINTS = 60
"""Measurements of an experiment that are looked at for a curve of a few pixels."""
SPARK_METRIC = "nc1"


def sparks(session: Session, experiment_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """NC1 of the last layer over the steps, in a few points of one seed, for each experiment that has measured it."""
    query = select(Experiment.id, Experiment.last_seq).where(Experiment.id.in_(experiment_ids), Experiment.last_seq > 0)
    chosen = {
        (experiment_id, 1 + i * (last - 1) // (SPARK_POINTS - 1))
        for experiment_id, last in session.execute(query)
        for i in range(SPARK_POINTS)
    }
    found: dict[str, dict[str, Any]] = {}
    for experiment_id, own in groupby(sorted(chosen), lambda place: place[0]):
        columns = (MeasurementRow.seed, MeasurementRow.step, cast(MeasurementRow.values, Text))
        at = MeasurementRow.seq.in_([seq for _, seq in own])
        rows = session.execute(
            select(*columns).where(MeasurementRow.experiment_id == experiment_id, at).order_by(MeasurementRow.step)
        ).all()
        curve = _spark(rows)
        if curve is not None:
            found[experiment_id] = curve
    return found


def _spark(rows: Sequence[Row[int, int, str]]) -> dict[str, Any] | None:
    """The curve of the seed that most of the rows belong to."""
    if not rows:
        return None
    seeds = [seed for seed, _, _ in rows]
    most = max(dict.fromkeys(seeds), key=seeds.count)
    own = [(step, orjson.loads(text)) for seed, step, text in rows if seed == most]
    keys = [key for key in own[-1][1] if key.partition(" ")[0] == SPARK_METRIC]
    layer = last_layer(own[-1][1])
    key = next((key for key in keys if key == f"{SPARK_METRIC} {layer}"), keys[-1] if keys else None)
    if key is None:
        return None
    return {"steps": [step for step, _ in own], "values": [values.get(key) for _, values in own]}
