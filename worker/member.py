"""One of the experiments that a job trains: what was measured of it and is not stored yet, its files, its log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session
from torch import Tensor

from api.database import journal
from api.database.measurements import MeasuredRow, last_rows, measurement_of
from api.database.sessions import writing
from api.database.states import Progress
from api.database.tables import Experiment
from api.store import CHECKPOINT, FINAL, PREVIOUS, StoreError, is_away, will_pass
from ncore.network.sources import DataError
from ncore.presets import trainable
from ncore.run import DeviceError, Measurement, Run
from ncore.series import key_of
from ncore.spec import NetworkSpec, UfmSpec, stored_spec
from ncore.stopping import Check, Stopped, interruptible
from worker import checkpoint
from worker.memory import is_out_of_memory

log = logging.getLogger("ncore.worker")
Reader = Callable[[Callable[[Session], Sequence[MeasuredRow]]], Sequence[MeasuredRow]]
RETRY_SECONDS = 0.5
INSTEAD = {CHECKPOINT: "the one before it", PREVIOUS: "the start"}
"""The checkpoints, and what is taken where one cannot be used."""


class Member:
    """An experiment under a lease. What happens to it is decided by its row: every write names the attempt.

    `check` raises Stopped where the job shall go no further.
    """

    def __init__(self, row: Experiment, check: Check) -> None:
        self.id, self.attempt = row.id, row.attempt
        self.unstored: list[Measurement] = []
        self._row, self._check = row, check
        self._seq, self._kept_step = row.last_seq, -1
        self._last: dict[int, Measurement] = {}
        self._files_wait = False  # while the store does not take them
        self._has_checkpoints = False  # none was looked for or written
        self.has_ended = False

    def spec(self) -> UfmSpec | NetworkSpec:
        spec = trainable(stored_spec(self._row.spec))
        if spec.device == "auto" and self._row.queue == "cpu":  # small: a GPU would be slower, and change the digits
            spec = spec.model_copy(update={"device": "cpu"})
        return spec

    @property
    def keeps_geometry(self) -> bool:
        """Not of UFMs in sweeps, of which there may be thousands, each trained within milliseconds."""
        return self._row.sweep_id is None or self._row.kind != "ufm"

    def add(self, found: Measurement, reached: int) -> None:
        """Adds measurements, and the step that the run has reached."""
        self.unstored.append(found)
        self._last[found.seed] = found
        self._kept_step = reached

    def progress(self, run: Run, eta_seconds: float | None) -> Progress:
        """The progress to store now; its measurements count as stored afterwards."""
        rows = []
        for m in self.unstored:
            self._seq += 1
            values = {key_of(*key): value if math.isfinite(value) else None for key, value in m.values.items()}
            key = {"experiment_id": self.id, "seed": m.seed, "step": m.step}
            rows.append({**key, "seq": self._seq, "values": values, "geometry": m.geometry})
        self.unstored = []
        return Progress(self.attempt, rows, self._kept_step, run.step, run.total, self._seq, eta_seconds, run.device)

    def finals(self, seeds: Sequence[int], read: Reader) -> Sequence[Measurement]:
        """The last measurement of each seed; `read` from the rows where an earlier attempt may have stored it."""
        if self.attempt == 1:
            return [self._last[seed] for seed in seeds]
        rows = read(lambda session: last_rows(session, self.id))
        found = {row.seed: measurement_of(row) for row in rows}
        return [found[seed] for seed in seeds]

    def checkpoints(self) -> Iterator[tuple[str, dict[str, Tensor]]]:
        """The checkpoints that can be read, by name, the newest first."""
        self._has_checkpoints = True
        for name in INSTEAD:
            try:
                state = self._load(name)
            except Exception as error:  # noqa: BLE001 (raised again where it is not the file's)
                self.note_damaged(name, error)
                continue
            if state is not None:
                yield name, state

    def note_damaged(self, name: str, error: Exception) -> None:
        """A checkpoint that cannot be used. Raises the error where it says nothing of the checkpoint."""
        if isinstance(error, (Stopped, DataError, DeviceError, StoreError)) or is_out_of_memory(error):
            raise error
        self.note("checkpoint damaged", f"{name}: {error}; going on from {INSTEAD[name]}")

    def _load(self, name: str) -> dict[str, Tensor] | None:
        """A store that is away is waited for: nothing is known of what it holds."""
        while True:
            try:
                return interruptible(lambda _: checkpoint.load(self.id, name), self._check)
            except OSError as error:
                if not is_away(error):
                    raise
                self._note_waiting(name, error)
            self._check()
            time.sleep(RETRY_SECONDS)

    def save(self, state: dict[str, Tensor], step: int) -> bool:
        """A checkpoint; where the store does not take it the run goes on without, and the next one is tried."""
        written = self._written(CHECKPOINT, lambda: checkpoint.save(self.id, state))
        if written:
            self._has_checkpoints = True
            self._kept_step = step
        return written

    def save_final(self, state: dict[str, Tensor]) -> None:
        """Saves the final state, waiting for a store that does not take it."""
        self._check()
        while not self._written(FINAL, lambda: checkpoint.save_final(self.id, state)):
            self._check()
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
            self.note("files written", name)
            self._files_wait = False
        return True

    def _note_waiting(self, name: str, error: OSError) -> None:
        """Logs once that it waits, however long that takes."""
        if not self._files_wait:
            self._files_wait = True
            self.note("files wait", f"{name}: {error}; it is tried again")

    def note(self, event: str, detail: str) -> None:
        """A line in the experiment's log, as far as the database takes it: its disk may be the one that is full."""
        log.warning("experiment=%s %s: %s", self.id, event, detail)
        try:
            with writing() as session:
                worker = self._row.worker
                journal.write(session, self.id, event, attempt=self.attempt, worker=worker, detail=detail)
        except SQLAlchemyError as error:
            log.warning("experiment=%s its log cannot be written: %s", self.id, error)

    def remove_checkpoints(self) -> None:
        """Removes the checkpoints where that works: the experiment has succeeded in any case."""
        if not self._has_checkpoints:
            return
        try:
            checkpoint.remove(self.id)
        except OSError as error:
            log.warning("experiment=%s its checkpoints stay: %s", self.id, error)
