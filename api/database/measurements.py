"""Reads measurements from the database as series: some or all, seed by seed, the last ones, or as a stream."""

from __future__ import annotations

import math
import threading
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, Select, Text, cast, func, or_, select
from sqlalchemy.orm import Session

from api.database.sessions import reading
from api.database.tables import MeasurementRow
from ncore.run import Measurement
from ncore.series import Series, SeriesPoint, merged, metric_and_layer

COLUMNS_READ = (MeasurementRow.seed, MeasurementRow.step, MeasurementRow.values)
MeasuredRow = Row[int, int, dict[str, Any]]
STREAMED_ROWS = 500
FEW_ROWS = 20_000
"""Up to this many rows are read at once, more seed by seed: a seed has a few hundred thousand at most."""
_heavy = threading.BoundedSemaphore(2)
"""Requests that read many rows at the same time: each needs memory for all series of a seed."""


def series_of(
    experiment_id: str,
    seeds: Sequence[int],
    last_seq: int,
    since: int = 0,
    metrics: Collection[str] = (),
    layers: Collection[str] = (),
) -> Iterator[Series]:
    """Series of what was measured after `since`, up to `last_seq`, by seed; no session is held between two of them.

    Steps ascend; `metrics` and `layers`, where not empty, choose; the layer "" stands for the metrics that have none.
    """
    query = select(*COLUMNS_READ).where(MeasurementRow.experiment_id == experiment_id)
    if last_seq - since <= FEW_ROWS:
        query = query.where(MeasurementRow.seq > since, MeasurementRow.seq <= last_seq)
        with reading() as session:
            few = _as_series(_rows(session, query.where(MeasurementRow.seed.in_(seeds))), metrics, layers)
        yield from few
        return
    number = MeasurementRow.seq + 0  # the index of numbers would only cost a sort here
    query = query.where(number > since, number <= last_seq)
    for seed in sorted(seeds):
        with _heavy, reading() as session:
            found = _as_series(_rows(session, query.where(MeasurementRow.seed == seed)), metrics, layers)
        yield from found


def load(
    session: Session,
    experiment_id: str,
    since: int = 0,
    metrics: Sequence[str] = (),
    layers: Sequence[str] = (),
    seeds: Sequence[int] = (),
) -> tuple[list[Series], int]:
    """The same at once, and the last `seq`."""
    chosen = MeasurementRow.experiment_id == experiment_id, MeasurementRow.seq > since
    query = select(*COLUMNS_READ).where(*chosen)
    if seeds:
        query = query.where(MeasurementRow.seed.in_(seeds))
    last = session.scalar(select(func.max(MeasurementRow.seq)).where(*chosen)) or since
    return list(_as_series(_rows(session, query), metrics, layers)), last


def last_rows(session: Session, experiment_id: str) -> Sequence[MeasuredRow]:
    """The last measurement of each seed, by seed."""
    of_it = MeasurementRow.experiment_id == experiment_id
    last = select(MeasurementRow.seed, func.max(MeasurementRow.step).label("step")).where(of_it)
    ends = last.group_by(MeasurementRow.seed).subquery()
    at_end = (MeasurementRow.seed == ends.c.seed) & (MeasurementRow.step == ends.c.step)
    query = select(*COLUMNS_READ).where(of_it).join(ends, at_end).order_by(MeasurementRow.seed)
    return session.execute(query).all()


def last_rows_with(session: Session, experiment_id: str, metric: str) -> list[MeasuredRow]:
    """The last measurement of each seed that has this metric, of whatever layer; its last where none has it."""
    rows = last_rows(session, experiment_id)
    return [_last_row_with(session, experiment_id, row.seed, metric) or row for row in rows]


def _last_row_with(session: Session, experiment_id: str, seed: int, metric: str) -> MeasuredRow | None:
    of_it = MeasurementRow.experiment_id == experiment_id, MeasurementRow.seed == seed
    named = or_(*(cast(MeasurementRow.values, Text).contains(f'"{metric}{end}', autoescape=True) for end in ' "'))
    return session.execute(
        select(*COLUMNS_READ).where(*of_it, named).order_by(MeasurementRow.step.desc()).limit(1)
    ).first()


def measurement_of(row: MeasuredRow) -> Measurement:
    """A row as a measurement; an undefined value is null in the row and NaN in the measurement."""
    seed, step, values = row
    known = {metric_and_layer(key): math.nan if value is None else value for key, value in values.items()}
    return Measurement(seed, step, known)


def latest(session: Session, experiment_id: str, metric: str | None = None) -> list[Series]:
    """Series of one point: the last measurement of each seed, or the last one that has this metric."""
    rows = last_rows(session, experiment_id) if metric is None else last_rows_with(session, experiment_id, metric)
    return list(_as_series(rows))


def _rows(session: Session, query: Select[int, int, dict[str, Any]]) -> Iterable[MeasuredRow]:
    ordered = query.order_by(MeasurementRow.seed, MeasurementRow.step)
    return session.execute(ordered.execution_options(yield_per=STREAMED_ROWS))


class _Columns:
    """Rows of one seed and the same metrics, of which few kinds occur, as columns of the metrics that are chosen.

    Kept as plain numbers, undefined as NaN: a tenth of the memory of the rows.
    """

    def __init__(self, seed: int, names: tuple[str, ...], metrics: Collection[str], layers: Collection[str]) -> None:
        self._seed = seed
        chosen = [_is_chosen(*metric_and_layer(name), metrics, layers) for name in names]
        self._places = [place for place, wanted in enumerate(chosen) if wanted]
        self.names = [names[place] for place in self._places]
        self.steps = array("q")
        self.columns = [array("d") for _ in self.names]
        self._rows: list[Collection[float | None]] = []

    def add(self, step: int, values: Collection[float | None]) -> None:
        self.steps.append(step)
        self._rows.append(values)
        if len(self._rows) == STREAMED_ROWS:
            self.finish()

    def finish(self) -> None:
        """Turns rows into columns all at once, which is much faster than one by one."""
        turned = list(zip(*self._rows, strict=True))
        for column, place in zip(self.columns, self._places if turned else (), strict=bool(turned)):
            column.extend(_as_numbers(turned[place]))
        self._rows.clear()

    def series(self, place: int) -> Series:
        """The series of one of `names`; its numbers are not kept."""
        values = _as_values(self.columns[place].tolist())
        self.columns[place] = array("d")
        metric, layer = metric_and_layer(self.names[place])
        return {"metric": metric, "layer": layer, "seed": self._seed, "steps": self.steps.tolist(), "values": values}


def _as_numbers(values: Sequence[float | None]) -> array[float]:
    try:
        return array("d", values)  # type: ignore[arg-type]
    except TypeError:  # one is undefined, which is rare
        return array("d", [math.nan if value is None else value for value in values])


def _as_values(numbers: list[float]) -> list[float | None]:
    if not math.isnan(sum(numbers)):
        return list(numbers)
    return [None if math.isnan(number) else number for number in numbers]


def _is_chosen(metric: str, layer: str | None, metrics: Collection[str], layers: Collection[str]) -> bool:
    return (not metrics or metric in metrics) and (not layers or (layer or "") in layers)


def _as_series(
    rows: Iterable[MeasuredRow], metrics: Collection[str] = (), layers: Collection[str] = ()
) -> Iterator[Series]:
    """All rows are read before the first series comes; in the order of their first measurement."""
    kinds: dict[tuple[int, tuple[str, ...]], _Columns] = {}
    for seed, step, values in rows:
        key = seed, tuple(values)
        kind = kinds.get(key)
        if kind is None:
            kind = kinds[key] = _Columns(*key, metrics, layers)
        kind.add(step, values.values())
    places: dict[tuple[int, str], list[tuple[_Columns, int]]] = {}
    for (seed, _), kind in kinds.items():
        kind.finish()
        for place, name in enumerate(kind.names):
            places.setdefault((seed, name), []).append((kind, place))
    return (_joined(found) for found in places.values())


def _joined(found: Sequence[tuple[_Columns, int]]) -> Series:
    """One series of all the columns that hold parts of it."""
    first, *others = (kind.series(place) for kind, place in found)
    for other in others:
        first = merged(first, other)
    return first


def stream(session: Session, experiment_id: str) -> Iterator[list[SeriesPoint]]:
    """All points, some thousand at a time, in the order of steps: for what is too large to be held at once."""
    columns = (MeasurementRow.seed, MeasurementRow.step, MeasurementRow.values)
    query = select(*columns).where(MeasurementRow.experiment_id == experiment_id)
    query = query.order_by(MeasurementRow.step, MeasurementRow.seed)
    rows = session.execute(query.execution_options(yield_per=STREAMED_ROWS))
    for part in rows.partitions():
        yield [
            (*metric_and_layer(name), seed, step, value)
            for seed, step, values in part
            for name, value in values.items()
        ]
