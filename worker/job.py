"""One experiment: claim a row → spec → train → rows → status."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session

from api.database import states
from api.database.measurements import last_rows
from api.database.sessions import writing
from api.database.tables import Experiment
from api.settings import get_settings
from ncore.network.sources import DataError
from ncore.run import DeviceError, Measurement, Run
from ncore.series import key_of, metric_and_layer
from ncore.spec import NetworkSpec, UfmSpec, parse_spec
from ncore.stopping import Stopped, interruptible
from ncore.train import Diverged, begin, outcome
from worker import checkpoint, memory
from worker.lease import Lease, stop_asked

log = logging.getLogger("ncore.worker")
SLICE_SECONDS = 0.2
"""Training goes on for so long before stop, cancel and the clock are looked at."""
STORE_SECONDS = 0.2
BATCH_ROWS = 500
PATIENCE_SECONDS = 60.0
"""After so long without the database the worker gives up, and the lease expires."""
RETRY_SECONDS = 0.5
T = TypeVar("T")


def run_next(worker: str, kind: str, patient: bool) -> None:
    """Claims and runs an experiment; does nothing when none is queued (a call that was delivered twice)."""
    with writing() as session:
        row = states.claim(session, worker, kind, patient)
    if row is not None:
        Job(row).run()


class Job:
    """An experiment under a lease. What happens to it is decided by its row: every write names the attempt."""

    def __init__(self, row: Experiment) -> None:
        self.id, self.attempt, self._seq = row.id, row.attempt, row.last_seq
        self._body, self._queue = row.spec, row.queue
        self._lease = Lease(row.id, row.attempt)
        self._unstored: list[Measurement] = []
        self._kept_step = -1  # the furthest that was measured or saved
        self._began, self._stored_at, self._saved_at = time.monotonic(), 0.0, time.monotonic()

    def run(self) -> None:
        self._lease.start()
        try:
            status, values = self._train()
        except (Diverged, DataError, DeviceError) as error:  # told in words for the user
            status, values = "failed", {"error": str(error)}
        except SQLAlchemyError:
            log.exception("experiment=%s the database went away; the lease will expire", self.id)
            return
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the experiment's end and stands in its log)
            reason = _reason(error)
            status, values = "failed", {"error": reason, "detail": f"{reason}\n\n{traceback.format_exc()}"}
        finally:
            self._lease.end()
        if status == "lost" or not self._end(status, values):
            log.warning("experiment=%s attempt=%d the lease was lost to another worker", self.id, self.attempt)
            return
        if status == "succeeded":
            checkpoint.remove(self.id)

    def _end(self, status: str, values: dict[str, Any]) -> bool:
        return self._transact(lambda session: states.finish(session, self.id, self.attempt, status, **values))

    def _transact(self, work: Callable[[Session], T]) -> T:
        """One transaction; tried again for a while, since a database that is restarted is back within seconds."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with writing() as session:
                    return work(session)
            except (OperationalError, InterfaceError) as error:
                if time.monotonic() > until or self._lease.lost.is_set():
                    raise
                log.warning("experiment=%s the database does not answer: %s", self.id, error)
                time.sleep(RETRY_SECONDS)

    def _train(self) -> tuple[str, dict[str, Any]]:
        spec = parse_spec(self._body)
        if spec.device == "auto" and self._queue == "cpu":  # small: a GPU would only be slower, and change the digits
            spec = spec.model_copy(update={"device": "cpu"})
        try:
            saved = interruptible(lambda _: checkpoint.load(self.id), self._check)
            run = begin(spec, checkpoint=saved, data_dir=_data_dir(), check=self._check)
        except Stopped:
            return self._end_asked() or "queued", {}
        self._first_step = run.step
        self._store(run)
        while not run.done:
            try:
                found = run.advance(SLICE_SECONDS)
            except Diverged:
                self._store(run)
                raise
            self._unstored += found
            self._kept_step = run.step if found else self._kept_step
            if time.monotonic() - self._stored_at >= STORE_SECONDS or len(self._unstored) >= BATCH_ROWS:
                self._store(run)
            if (end := self._end_asked()) is not None:
                if end != "lost":
                    self._save(run)
                return end, {}
            if time.monotonic() - self._saved_at >= get_settings().checkpoint_seconds:
                self._save(run)
        self._store(run)
        if self._lease.lost.is_set():
            return "lost", {}
        checkpoint.save_final(self.id, run.final_state())
        return "succeeded", {"result": outcome(spec, run, self._finals(spec)), "detail": run.left_out}

    def _end_asked(self) -> str | None:
        """The status with which it ends before its last step; None where nothing speaks against going on."""
        if self._lease.lost.is_set():
            return "lost"
        if self._lease.cancelled.is_set():
            return "cancelled"
        return "queued" if stop_asked.is_set() else None

    def _check(self) -> None:
        if self._end_asked() is not None:
            raise Stopped

    def _store(self, run: Run) -> None:
        """Sends what has been measured, with the progress; a checkpoint is only written after what it has measured."""
        rows = []
        for m in self._unstored:
            self._seq += 1
            values = {key_of(*key): value if math.isfinite(value) else None for key, value in m.values.items()}
            rows.append({"experiment_id": self.id, "seed": m.seed, "step": m.step, "seq": self._seq, "values": values})
        spent, done = time.monotonic() - self._began, run.step - self._first_step
        eta = spent / done * (run.total - run.step) if done > 0 else None
        progress = {"step": run.step, "total": run.total, "eta_seconds": eta, "device": run.device}
        if not self._transact(
            lambda session: states.store(
                session, self.id, self.attempt, rows, self._kept_step, last_seq=self._seq, **progress
            )
        ):
            self._lease.lost.set()
        self._unstored.clear()
        self._stored_at = time.monotonic()

    def _save(self, run: Run) -> None:
        self._store(run)
        checkpoint.save(self.id, run.checkpoint())
        self._kept_step, self._saved_at = run.step, time.monotonic()
        self._store(run)

    def _finals(self, spec: UfmSpec | NetworkSpec) -> Sequence[Measurement]:
        """The last measurement of each seed, from the rows: an earlier attempt may have stored it."""
        rows = self._transact(lambda session: last_rows(session, self.id))
        found = {seed: _measurement(seed, step, values) for seed, step, values in rows}
        return [found[seed] for seed in spec.seeds]


def _reason(error: Exception) -> str:
    if memory.is_out_of_memory(error):
        told = str(error)
        if not told.startswith("out of memory"):
            told = f"out of memory: use fewer seeds or a smaller model; {told or type(error).__name__}"
        return f"{told} (this worker's limit: {memory.told()}, at most NCORE_WORKER_MEMORY_BYTES)"
    return f"{type(error).__name__}: {error}"


def _measurement(seed: int, step: int, values: Mapping[str, float | None]) -> Measurement:
    """Of a row; an undefined value is null there and NaN here."""
    known = {metric_and_layer(key): math.nan if value is None else value for key, value in values.items()}
    return Measurement(seed, step, known)


def _data_dir() -> str | None:
    directory = get_settings().data_dir
    return str(directory) if directory else None
