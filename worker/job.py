"""A worker's work: claim rows → specs → train, those that are alike as one batch → rows → status."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import partial
from itertools import islice
from typing import TypeVar

from sqlalchemy.exc import InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.orm import Session
from torch import Tensor

from api.database import claims, states
from api.database.sessions import reading, writing
from api.database.states import End, Progress
from api.database.tables import Experiment
from api.store import StoreError
from ncore.network.sources import DataError
from ncore.run import DeviceError
from ncore.stopping import Stopped
from ncore.train import Diverged
from worker import memory
from worker.lease import Lease
from worker.member import RETRY_SECONDS, Member
from worker.training import Training

log = logging.getLogger("ncore.worker")
BATCH_ROWS = 500
"""Measurements that one transaction stores: some hundredths of a second, since on SQLite all others wait."""
ENDS = 100
"""Experiments that one transaction ends."""
PATIENCE_SECONDS = 60.0
"""Time without the database after which the worker gives up, and the lease expires."""
GIVE_WAY_SECONDS = 0.5
"""Time between two looks of a batch for an experiment that should come before it."""
T = TypeVar("T")
State = Mapping[str, Tensor]
SessionOf = Callable[[], AbstractContextManager[Session]]


def run_next(worker: str, kind: str, gpu_grace_over: bool, gpus: int) -> None:
    """Claims and runs what comes first; does nothing when none is queued (a call that was delivered twice)."""
    with writing() as session:
        rows = claims.claim(session, worker, kind, gpu_grace_over, gpus)
    if rows:
        Job(rows, kind, gpus).run()


class Job:
    """Experiments under their leases: one, or several that differ in numbers only and are trained as one batch.

    Who diverges, is cancelled or lost leaves the others alone. Where several fail for another reason each is tried by
    itself, so that only the one it comes from fails.
    """

    def __init__(self, rows: Sequence[Experiment], kind: str = "cpu", gpus: int = 0) -> None:
        self.lease = Lease({row.id: row.attempt for row in rows})
        self.members = [Member(row, self.lease.hear) for row in rows]
        self._looked_at = time.monotonic()
        self._is_awaited = partial(claims.is_awaited, running=rows[0], kind=kind, gpus=gpus)

    def run(self) -> None:
        self.lease.start()
        try:
            self._run(self.members)
        except SQLAlchemyError:
            log.exception("experiments=%s the database went away; the leases will expire", self._ids())
        finally:
            self.lease.end()

    def _ids(self) -> list[str]:
        return [member.id for member in self.members if not member.has_ended]

    def _run(self, members: Sequence[Member]) -> None:
        """Trains them, and ends those that have not ended on the way."""
        ends: dict[Member, End] = {}
        try:
            for group, begun in _groups(members):
                self.lease.hear()
                Training(self, group, begun).run()
        except SQLAlchemyError:
            raise
        except Stopped:
            ends = {m: End(m.attempt, self.lease.status(m.id) or "queued") for m in members if not m.has_ended}
        except Exception as error:  # noqa: BLE001 (whatever it is, it is the experiment's end and stands in its log)
            left = [m for m in members if not m.has_ended]
            if len(left) == 1:
                ends = {left[0]: _failed(error, left[0].attempt)}
            else:
                log.warning("experiments=%s each is tried by itself: %s", self._ids(), _reason(error))
                for member in left:
                    self._run([member])
        self.end(ends)

    def end(self, ends: Mapping[Member, End]) -> None:
        """Ends leases that are held, some at a time."""
        left = iter(ends.items())
        while some := dict(islice(left, ENDS)):
            ended = {member.id: end for member, end in some.items() if end.status != "lost"}
            held = self.transact(partial(states.finish, ends=ended)) if ended else set()
            for member, end in some.items():
                self.lease.leave(member.id)
                member.has_ended = True
                if member.id not in held:
                    log.warning("experiment=%s attempt=%d the lease was lost to another worker", member.id, end.attempt)

    def store(self, progress: Mapping[Member, Progress]) -> None:
        """Stores measurements, some at a time; drops experiments whose lease another worker holds."""
        left = list(progress.items())
        while left:
            some: dict[str, Progress] = {}
            rows = 0
            while left and (not some or rows + len(left[-1][1].rows) <= BATCH_ROWS):
                member, made = left.pop()
                some[member.id], rows = made, rows + len(made.rows)
            held = self.transact(partial(states.save_measurements, progress=some))
            for experiment_id in some.keys() - held:
                self.lease.lose(experiment_id)

    def look_around(self) -> None:
        """A batch gives way to what comes before it and finds no free worker."""
        if len(self.members) > 1 and time.monotonic() - self._looked_at >= GIVE_WAY_SECONDS:
            self._looked_at = time.monotonic()
            self.lease.gives_way = self.transact(self._is_awaited, reading)

    def transact(self, work: Callable[[Session], T], session_of: SessionOf = writing) -> T:
        """One transaction; tried again for a while, since a database that is restarted is back within seconds."""
        until = time.monotonic() + PATIENCE_SECONDS
        while True:
            try:
                with session_of() as session:
                    return work(session)
            except (OperationalError, InterfaceError) as error:
                if time.monotonic() > until or self.lease.is_lost:
                    raise
                log.warning("experiments=%s the database does not answer: %s", self._ids(), error)
                time.sleep(RETRY_SECONDS)


def _groups(members: Sequence[Member]) -> Iterator[tuple[list[Member], list[State]]]:
    """Groups that can be trained as one batch each: all that begin, and all whose checkpoints are at the same step.

    With the checkpoints, or none: one alone looks for its own. Rounding differs between the arithmetics, so that
    those of one go on with it.
    """
    if len(members) == 1:
        yield list(members), []
        return
    found: dict[object, tuple[list[Member], list[State]]] = {}
    for member in members:
        state = next((state for _, state in member.checkpoints()), None) if member.attempt > 1 else None
        key = None if state is None else (*state["position"].tolist(), int(state.get("arithmetic", 0)))
        group, begun = found.setdefault(key, ([], []))
        group.append(member)
        begun += [] if state is None else [state]
    yield from found.values()


def _failed(error: Exception, attempt: int) -> End:
    if isinstance(error, (Diverged, DataError, DeviceError, StoreError)):  # in words for the user
        return End(attempt, "failed", error=str(error))
    reason = _reason(error)
    return End(attempt, "failed", error=reason, detail=f"{reason}\n\n{traceback.format_exc()}")


def _reason(error: Exception) -> str:
    if memory.is_out_of_memory(error):
        reason = str(error)
        if not reason.startswith("out of memory"):
            reason = f"out of memory: use fewer seeds or a smaller model; {reason or type(error).__name__}"
        return f"{reason} (this worker's limit: {memory.limit_in_words()}, at most NCORE_WORKER_MEMORY_BYTES)"
    return f"{type(error).__name__}: {error}"
