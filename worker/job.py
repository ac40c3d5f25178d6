"""One experiment: claim a row → spec → train → rows → status."""

from __future__ import annotations

import logging
import math
import time
import traceback
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from torch import Tensor

from api.database import journal, states
from api.database.measurements import last_rows, measurement_of
from api.database.sessions import writing
from api.database.tables import Experiment
from api.settings import get_settings
from api.store import StoreError, is_away, will_pass
from ncore.network.sources import DataError
from ncore.presets import trainable
from ncore.run import DeviceError, Measurement, Run
from ncore.series import key_of
from ncore.spec import NetworkSpec, UfmSpec, stored_spec
from ncore.stopping import Stopped, interruptible
from ncore.train import Diverged, begin, outcome
from worker import checkpoint, memory
from worker.lease import Lease

log = logging.getLogger("ncore.worker")
SLICE_SECONDS = 0.2
"""Training goes on this long before stop, cancel and the clock are looked at."""
STORE_SECONDS = 0.2
BATCH_ROWS = 500
PATIENCE_SECONDS = 60.0
"""After this long without the database the worker gives up, and the lease expires."""
RETRY_SECONDS = 0.5
T = TypeVar("T")


def run_next(worker: str, kind: str, gpu_grace_over: bool) -> None:
    """Claims and runs an experiment; does nothing when none is queued (a call that was delivered twice)."""
    with writing() as session:
        row = states.claim(session, worker, kind, gpu_grace_over)
    if row is not None:
        Job(row).run()


class Job:
    """An experiment under a lease. What happens to it is decided by its row: every write names the attempt."""

    def __init__(self, row: Experiment) -> None:
        self.id, self.attempt, self._seq = row.id, row.attempt, row.last_seq
        self._worker, self._body, self._queue = row.worker, row.spec, row.queue
        self._lease = Lease(row.id, row.attempt)
        self._unstored: list[Measurement] = []
        self._kept_step = -1  # the furthest that was measured or saved
        self._files_wait = False  # while the store does not take them
        self._began, self._stored_at, self._saved_at = time.monotonic(), 0.0, time.monotonic()

    def run(self) -> None:
        self._lease.start()
        try:
            status, values = self._train()
        except Stopped:
            status, values = self._lease.status or "queued", {}
        except (Diverged, DataError, DeviceError, StoreError) as error:  # in words for the user
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
            self._remove_checkpoints()

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
        """Raises Stopped where the lease is lost, the user cancels or this process shall end."""
        spec = trainable(stored_spec(self._body))
        if spec.device == "auto" and self._queue == "cpu":  # small: a GPU would only be slower, and change the digits
            spec = spec.model_copy(update={"device": "cpu"})
        run = self._begin(spec)
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
            if self._lease.status in ("cancelled", "queued"):
                self._save(run)
            self._lease.hear()
            if time.monotonic() - self._saved_at >= get_settings().checkpoint_seconds:
                self._save(run)
        self._store(run)
        self._save_final(run)
        return "succeeded", {"result": outcome(spec, run, self._finals(spec)), "detail": run.left_out}

    def _begin(self, spec: UfmSpec | NetworkSpec) -> Run:
        """The run at its last checkpoint; at the one before, or the start, where that one cannot be used."""
        for name, instead in ((checkpoint.CHECKPOINT, "the one before it"), (checkpoint.PREVIOUS, "the start")):
            try:
                state = self._loaded(name)
                if state is not None:
                    return begin(spec, checkpoint=state, data_dir=_data_dir(), check=self._lease.hear)
            except (Stopped, DataError, DeviceError, StoreError, MemoryError):
                raise
            except Exception as error:
                if memory.is_out_of_memory(error):
                    raise
                self._note("checkpoint damaged", f"{name}: {error}; going on from {instead}")
        return begin(spec, data_dir=_data_dir(), check=self._lease.hear)

    def _loaded(self, name: str) -> dict[str, Tensor] | None:
        """A store that is away is waited for: nothing is known of what it holds."""
        while True:
            try:
                return interruptible(lambda _: checkpoint.load(self.id, name), self._lease.hear)
            except OSError as error:
                if not is_away(error):
                    raise
                self._note_waiting(name, error)
            self._lease.hear()
            time.sleep(RETRY_SECONDS)

    def _store(self, run: Run) -> None:
        """Stores what has been measured, with the progress; a checkpoint is written after all that it has measured."""
        rows = []
        for m in self._unstored:
            self._seq += 1
            values = {key_of(*key): value if math.isfinite(value) else None for key, value in m.values.items()}
            rows.append({"experiment_id": self.id, "seed": m.seed, "step": m.step, "seq": self._seq, "values": values})
        spent, done = time.monotonic() - self._began, run.step - self._first_step
        eta = spent / done * (run.total - run.step) if done > 0 else None
        progress = {"step": run.step, "total": run.total, "eta_seconds": eta, "device": run.device}
        if not self._transact(
            lambda session: states.save_measurements(
                session, self.id, self.attempt, rows, self._kept_step, last_seq=self._seq, **progress
            )
        ):
            self._lease.lost.set()
        self._unstored.clear()
        self._stored_at = time.monotonic()

    def _save(self, run: Run) -> None:
        """A checkpoint; where the store does not take it the run goes on without, and the next one is tried."""
        self._store(run)
        self._saved_at = time.monotonic()
        if self._written(checkpoint.CHECKPOINT, lambda: checkpoint.save(self.id, run.checkpoint())):
            self._kept_step, self._saved_at = run.step, time.monotonic()
            self._store(run)

    def _save_final(self, run: Run) -> None:
        """What the experiment leaves; where the store does not take it, it is waited for."""
        self._lease.hear()
        state = run.final_state()
        while not self._written(checkpoint.FINAL, lambda: checkpoint.save_final(self.id, state)):
            self._lease.hear()
            time.sleep(RETRY_SECONDS)

    def _written(self, name: str, write: Callable[[], None]) -> bool:
        """False where the store does not take the file now but may later. Raises StoreError where it never will."""
        try:
            write()
        except OSError as error:
            if not will_pass(error):
                raise StoreError(f"{name} cannot be written: {error}") from error
            self._note_waiting(name, error)
            return False
        if self._files_wait:
            self._note("files written", name)
            self._files_wait = False
        return True

    def _note_waiting(self, name: str, error: OSError) -> None:
        """Once, however long it takes."""
        if not self._files_wait:
            self._files_wait = True
            self._note("files wait", f"{name}: {error}; it is tried again")

    def _note(self, event: str, detail: str) -> None:
        """A line in the experiment's log, as far as the database takes it: its disk may be the one that is full."""
        log.warning("experiment=%s %s: %s", self.id, event, detail)
        try:
            with writing() as session:
                journal.write(session, self.id, event, attempt=self.attempt, worker=self._worker, detail=detail)
        except SQLAlchemyError as error:
            log.warning("experiment=%s its log cannot be written: %s", self.id, error)

    def _remove_checkpoints(self) -> None:
        """What cannot be removed now stays: the experiment has succeeded all the same."""
        try:
            checkpoint.remove(self.id)
        except OSError as error:
            log.warning("experiment=%s its checkpoints stay: %s", self.id, error)

    def _finals(self, spec: UfmSpec | NetworkSpec) -> Sequence[Measurement]:
        """The last measurement of each seed, from the rows: an earlier attempt may have stored it."""
        rows = self._transact(lambda session: last_rows(session, self.id))
        found = {row.seed: measurement_of(row) for row in rows}
        return [found[seed] for seed in spec.seeds]


def _reason(error: Exception) -> str:
    if memory.is_out_of_memory(error):
        reason = str(error)
        if not reason.startswith("out of memory"):
            reason = f"out of memory: use fewer seeds or a smaller model; {reason or type(error).__name__}"
        return f"{reason} (this worker's limit: {memory.limit_in_words()}, at most NCORE_WORKER_MEMORY_BYTES)"
    return f"{type(error).__name__}: {error}"


def _data_dir() -> str | None:
    directory = get_settings().data_dir
    return str(directory) if directory else None
