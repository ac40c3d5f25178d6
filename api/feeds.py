"""News of the experiments that event streams follow, looked up once for all streams of this process.

The cursor is the `seq` that an experiment's one writer gives its rows; the experiment's own row has the last one, so
that one query of these rows serves any number of streams. A batch of measurements is read, and put into the form in
which it is sent, once for all streams that have come equally far. No stream holds a database session.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import orjson
from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from api.database.parts import VISIBLE
from api.database.sessions import reading
from api.database.tables import Experiment, MeasurementRow
from api.shown import shown
from ncore.series import metric_and_layer

log = logging.getLogger("ncore.api")
LOOK_SECONDS = 0.1
AWAY_SECONDS = 1.0
BATCH = 500
STATUS_FIELDS = {"status", "progress", "attempt", "worker", "device", "error"}
STATUS_FIELDS |= {"name", "tags", "priority", "archived", "updated_at"}
"""Fields of a status event. The notes are left out because they are long; `updated_at` says when to fetch them."""
State = dict[str, Any]


class Feed:
    """The latest about one experiment: `state` (None: deleted) and `last_seq`; `changed` is set by a change."""

    def __init__(self, experiment_id: str) -> None:
        self.experiment_id, self.listeners, self.last_seq = experiment_id, 0, 0
        self.state: State | None = None
        self.known, self.changed = asyncio.Event(), asyncio.Event()
        self._newest: dict[int, asyncio.Future[tuple[bytes, int]]] = {}

    def update(self, state: State | None, last_seq: int) -> None:
        if self.known.is_set() and (state, last_seq) == (self.state, self.last_seq):
            return
        self.state, self.last_seq = state, last_seq
        self._newest.clear()
        self.known.set()
        self.changed.set()
        self.changed = asyncio.Event()

    async def after(self, seq: int) -> tuple[bytes, int]:
        """The events of what was measured after `seq`, at most a batch, and the number to go on from."""
        if seq < self.last_seq - BATCH:  # far behind: nobody else is likely to be just there
            return await run_in_threadpool(_measured, self.experiment_id, seq, self.last_seq)
        if seq not in self._newest:
            reading_it = run_in_threadpool(_measured, self.experiment_id, seq, self.last_seq)
            self._newest[seq] = asyncio.ensure_future(reading_it)
        try:
            return await asyncio.shield(self._newest[seq])
        except SQLAlchemyError:
            self._newest.pop(seq, None)
            raise


class Watch:
    """Looks at all experiments that are followed, as long as any is."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def following(self, experiment_id: str) -> Iterator[Feed]:
        feed = self._feeds.setdefault(experiment_id, Feed(experiment_id))
        feed.listeners += 1
        if self._task is None:
            self._task = asyncio.create_task(self._look_on())
        try:
            yield feed
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                del self._feeds[experiment_id]
            if not self._feeds and self._task is not None:
                self._task.cancel()
                self._task = None

    async def _look_on(self) -> None:
        while True:
            try:
                found = await run_in_threadpool(_states, list(self._feeds))
            except SQLAlchemyError as error:
                log.warning("the database does not answer: %s", error)
                await asyncio.sleep(AWAY_SECONDS)
                continue
            for experiment_id, (state, last_seq) in found.items():
                if experiment_id in self._feeds:
                    self._feeds[experiment_id].update(state, last_seq)
            await asyncio.sleep(LOOK_SECONDS)


def _states(experiment_ids: list[str]) -> dict[str, tuple[State | None, int]]:
    with reading() as session:
        rows = list(session.scalars(select(Experiment).where(Experiment.id.in_(experiment_ids), VISIBLE)))
    found = {row.id: (shown(row).model_dump(mode="json", include=STATUS_FIELDS), row.last_seq) for row in rows}
    return {experiment_id: found.get(experiment_id, (None, 0)) for experiment_id in experiment_ids}


def _measured(experiment_id: str, seq: int, last_seq: int) -> tuple[bytes, int]:
    """Numbers can be missing, where a resumed run has measured again what was stored."""
    query = (
        select(MeasurementRow.seq, MeasurementRow.seed, MeasurementRow.step, MeasurementRow.values)
        .where(MeasurementRow.experiment_id == experiment_id, MeasurementRow.seq > seq)
        .order_by(MeasurementRow.seq)
        .limit(BATCH)
    )
    with reading() as session:
        rows = session.execute(query).all()
    content = b"".join(event("measurement", _row(*row), row.seq) for row in rows)
    return content, rows[-1].seq if len(rows) == BATCH else max(last_seq, rows[-1].seq if rows else seq)


def _row(seq: int, seed: int, step: int, values: dict[str, float | None]) -> dict[str, Any]:
    named = ((*metric_and_layer(name), value) for name, value in values.items())
    metrics = [{"metric": metric, "layer": layer, "value": value} for metric, layer, value in named]
    return {"seq": seq, "seed": seed, "step": step, "metrics": metrics}


def event(kind: str, data: dict[str, Any], seq: int | None = None) -> bytes:
    """One server-sent event, with the number that `Last-Event-ID` resumes after."""
    head = b"" if seq is None else f"id: {seq}\n".encode()
    return head + f"event: {kind}\ndata: ".encode() + orjson.dumps(data) + b"\n\n"


WATCH = Watch()
