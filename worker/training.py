"""Training under leases: slices of a run, and between them rows, checkpoints and looks at who goes no further."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, cast

from torch import Tensor

from api.database.states import End
from api.settings import get_settings
from ncore.run import Diverged, Run
from ncore.spec import UfmSpec
from ncore.train import begin, begin_together, outcome
from ncore.ufm.together import joined, split
from worker.member import Member

if TYPE_CHECKING:
    from worker.job import Job

SLICE_SECONDS = 0.2
"""Training goes on this long before stop, cancel and the clock are looked at."""
STORE_SECONDS = 0.2
WRITERS = 8
"""Files that are written at once: each waits for the disk most of its time."""


class Training:
    """A run of some members of a job, whose checkpoints are `begun`, all or none; one member looks for its own."""

    def __init__(self, job: Job, members: Sequence[Member], begun: Sequence[Mapping[str, Tensor]]) -> None:
        self._job, self._members = job, list(members)
        self._specs = [member.spec() for member in members]
        self._run = self._begin_alone() if len(members) == 1 else self._begin(begun)
        self._began, self._first_step = time.monotonic(), self._run.step
        self._stored_at, self._saved_at = 0.0, time.monotonic()

    def run(self) -> None:
        """Ends each member by itself, but for one alone that diverges: raises Diverged."""
        self._store()
        while self._members and not self._run.done:
            try:
                found = self._run.advance(SLICE_SECONDS)
            except Diverged:
                self._store()
                if len(self._members) == 1:
                    raise
                found = []
            for m in found:
                self._members[m.experiment].add(m, self._run.step)
            if time.monotonic() - self._stored_at >= STORE_SECONDS:
                self._store()
            self._job.look_around()
            self._part()
            if time.monotonic() - self._saved_at >= get_settings().checkpoint_seconds:
                self._save(range(len(self._members)))
        if self._members:
            self._succeed()

    def _begin_alone(self) -> Run:
        """The run at its last checkpoint; at the one before, or the start, where that one cannot be used."""
        (member,), (spec,) = self._members, self._specs
        directory, check = get_settings().data_dir, self._job.lease.hear
        data_dir = str(directory) if directory else None
        for name, state in member.checkpoints():
            try:
                return begin(spec, None, state, data_dir, check, member.keeps_geometry)
            except Exception as error:  # noqa: BLE001 (raised again where it is not the checkpoint's)
                member.note_damaged(name, error)
        return begin(spec, None, None, data_dir, check, member.keeps_geometry)

    def _begin(self, states: Sequence[Mapping[str, Tensor]]) -> Run:
        specs = cast("list[UfmSpec]", self._specs)
        keeps_geometry = self._members[0].keeps_geometry  # as all have: they are of one sweep, or of none
        return begin_together(specs, joined(states) if states else None, self._job.lease.hear, keeps_geometry)

    def _states(self, whole: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
        """Each member's part."""
        return split(whole, [len(spec.seeds) for spec in self._specs])

    def _store(self) -> None:
        """Stores what has been measured, with the progress."""
        spent, done = time.monotonic() - self._began, self._run.step - self._first_step
        eta = spent / done * (self._run.total - self._run.step) if done > 0 else None
        self._job.store({member: member.progress(self._run, eta) for member in self._members})
        self._stored_at = time.monotonic()

    def _save(self, which: Iterable[int]) -> list[dict[str, Tensor]]:
        """A checkpoint of some members, written after all that they have measured; returns those of all."""
        self._store()
        self._saved_at, step = time.monotonic(), self._run.step
        states = self._states(self._run.checkpoint())
        # whose lease is lost has not stored what it measured: a checkpoint beyond that would leave a gap
        held = [i for i in which if self._job.lease.status(self._members[i].id) != "lost"]
        if any(_at_once(lambda i: self._members[i].save(states[i], step), held)):
            self._saved_at = time.monotonic()
            self._store()
        return states

    def _part(self) -> None:
        """Whoever has diverged, is cancelled or lost leaves; all do where this process stops or gives way."""
        job, diverged = self._job, self._run.diverged
        ends = {i: End(self._members[i].attempt, "failed", error=str(error)) for i, error in diverged.items()}
        for i, member in enumerate(self._members):
            status = job.lease.status(member.id)
            if status and (status == "lost" or i not in ends):
                ends[i] = End(member.attempt, status)
        if not ends:
            return
        states = self._save([i for i, end in ends.items() if end.status in ("cancelled", "queued")])
        job.end({self._members[i]: end for i, end in ends.items()})
        stay = [i for i in range(len(self._members)) if i not in ends]
        self._members, self._specs = [self._members[i] for i in stay], [self._specs[i] for i in stay]
        if stay:
            self._run = self._begin([states[i] for i in stay])

    def _succeed(self) -> None:
        self._store()
        states = self._states(self._run.final_state())
        _at_once(lambda i: self._members[i].save_final(states[i]), range(len(states)))
        ends = {}
        for member, spec in zip(self._members, self._specs, strict=True):
            finals = member.finals(spec.seeds, self._job.transact)
            ends[member] = End.succeeded(member.attempt, outcome(spec, self._run, finals), self._run.left_out)
        self._job.end(ends)
        for member in self._members:
            member.remove_checkpoints()


def _at_once(write: Callable[[int], object], which: Iterable[int]) -> list[object]:
    """The results of `write` for each, at once; raises what one of them raises, after all have ended."""
    with ThreadPoolExecutor(WRITERS) as pool:
        return list(pool.map(write, which))
