"""A database of the benchmarks' own, to which this process is connected, and what the service does with it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from unittest.mock import patch

from sqlalchemy import func, insert, select
from sqlalchemy.orm import Session

from api import feeds
from api.database import claims, measurements, migrating, sessions, states
from api.database.sessions import reading, writing
from api.database.tables import Experiment, MeasurementRow, now
from api.routes.listing import Filter, list_experiments
from api.settings import get_settings
from ncore.presets import PRESETS

METRICS = [f"metric_{i}" for i in range(20)]
BATCH = 200


class Tables:
    """Works on the tables; each gives a call that can be made again and again."""

    def __init__(self) -> None:
        self._runs = 0
        self._stored = 0

    def storing(self, steps: int) -> Callable[[], object]:
        """A worker's way, a batch of steps a transaction, into a run of its own each time."""

        def work() -> str:
            self._stored += 1
            one = self._add([f"stored{self._stored:06}"], "running")[0]
            self._store(one, steps)
            return one

        return work

    def reading(self, steps: int) -> Callable[[], object]:
        """All series of a run."""
        one = self.storing(steps)()
        return lambda: list(measurements.series_of(str(one), [0], steps + 1))

    def newest(self, steps: int) -> Callable[[], object]:
        """What a stream that is a few steps behind is sent."""
        one = self.storing(steps)()
        return lambda: feeds._measured(str(one), steps - 5, steps)

    def fill(self, runs: int) -> None:
        """Adds runs until there are so many, half of them ended, the others queued."""
        names = [f"run{i:07}" for i in range(self._runs, runs)]
        self._add([name for i, name in enumerate(names) if i % 2], "succeeded")
        self._add(names[::2], "queued")
        self._runs = runs

    def listing(self) -> object:
        return list_experiments(Filter())

    def claiming(self) -> object:
        """A worker claims a run, which is then given back."""
        with Session(sessions.get_engine()) as session:
            claimed = claims.claim(session, "benchmark", "cpu")
            session.rollback()
        assert claimed
        return claimed

    def reconciling(self) -> object:
        """What is looked for every few seconds."""
        with writing() as session:
            return states.requeue_expired(session), states.to_send_again(session)

    def _add(self, names: list[str], status: str) -> list[str]:
        spec, began = dict(PRESETS["fig1"].spec), datetime.now(UTC)
        rows: list[dict[str, object]] = [
            {
                "id": name, "name": name, "search": name, "kind": "ufm", "tags": [], "status": status, "spec": spec,
                "created_at": began + timedelta(milliseconds=i), "queued_at": now(), "sent_at": now(), "attempt": 1,
                "lease_until": began + timedelta(days=1) if status == "running" else None,
            }
            for i, name in enumerate(names)
        ]  # fmt: skip
        for start in range(0, len(rows), 10_000):
            with writing() as session:
                session.execute(insert(Experiment), rows[start : start + 10_000])
        return names

    def _store(self, one: str, steps: int) -> None:
        for start in range(1, steps + 1, BATCH):
            batch = range(start, min(start + BATCH, steps + 1))
            rows = [
                {"experiment_id": one, "seed": 0, "step": step, "seq": step,
                 "values": dict.fromkeys(METRICS, step * 0.5)} for step in batch
            ]  # fmt: skip
            with writing() as session:
                made = states.Progress(1, rows, batch[-1], batch[-1], steps, batch[-1], None, "cpu")
                assert states.save_measurements(session, {one: made}) == {one}
        with reading() as session:  # all of it is there
            stored = select(func.count()).where(MeasurementRow.experiment_id == one)
            assert session.scalar(stored) == steps


@contextmanager
def own_tables() -> Iterator[Tables]:
    """An empty SQLite database in a folder that is removed afterwards."""
    caches = (get_settings, sessions.get_engine)
    with tempfile.TemporaryDirectory() as home, patch.dict(os.environ, {"NCORE_HOME": home}):
        os.environ.pop("NCORE_DATABASE_URL", None)
        for cached in caches:
            cached.cache_clear()
        try:
            migrating.migrate()
            yield Tables()
        finally:
            sessions.get_engine().dispose()
            for cached in caches:
                cached.cache_clear()
            migrating.migrated.clear()
