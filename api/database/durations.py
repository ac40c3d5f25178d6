"""How long experiments take and wait, as far as what runs now and what has ended tells it.

Estimates: those before one in the queue are taken to need as long as the last of their kind, and nothing is known of
what is submitted later with a higher priority. Where nothing is known, nothing is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session

from api.database.claims import queues_of
from api.database.tables import Experiment, WorkerRow
from api.database.workers import is_alive
from ncore.spec import NetworkSpec, UfmSpec

LAST_ENDED = 200
"""So many of a kind, the last submitted that have succeeded, tell how long one takes."""
OF_OPTIMIZER = ("kind", "form", "batch_size")
"""What of an optimizer decides how long a step takes."""


def seconds_to_start(session: Session, queue: str, ahead: Mapping[str, int]) -> float | None:
    """Until an experiment starts that has so many of each kind `ahead` of it in its queue; None where no worker takes
    from that, no end of what runs is known, or nothing of a kind that is ahead has ended."""
    work = 0.0
    for kind, count in ahead.items():
        spans = _ended(session, kind, queue)
        if not spans:
            return None
        work += count * _covered(spans) / len(spans)
    return time_to_do(work, _free_in(session, queue))


def seconds_of(session: Session, spec: UfmSpec | NetworkSpec, queue: str) -> float | None:
    """How long it will take, by step or epoch as long as what has ended of the same shape; None where none has."""
    return Paces(session).seconds(spec, queue)


class Paces:
    """How long many specs will take: what has ended is read once for each kind and queue."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._known: dict[tuple[str, str], dict[bytes, float]] = {}

    def seconds(self, spec: UfmSpec | NetworkSpec, queue: str) -> float | None:
        """As `seconds_of` says."""
        of = (spec.model.kind, queue)
        if of not in self._known:
            self._known[of] = self._read(*of)
        if not self._known[of]:
            return None
        body = spec.model_dump(mode="json")
        pace = self._known[of].get(_shape(body))
        return None if pace is None else pace * _effort(body)

    def _read(self, kind: str, queue: str) -> dict[bytes, float]:
        """Seconds for a step or epoch, by shape."""
        alike: dict[bytes, list[tuple[int, list[Any]]]] = {}
        for *span, own in _ended(self._session, kind, queue, Experiment.spec):
            alike.setdefault(_shape(own), []).append((_effort(own), span))
        return {
            shape: _covered(span for _, span in some) / sum(effort for effort, _ in some)
            for shape, some in alike.items()
        }


def time_to_do(work: float, free_in: Sequence[float]) -> float | None:
    """When the first of several workers that get free `free_in` so many seconds has nothing left of so many seconds of
    `work`, which they share."""
    first = sorted(free_in)
    for count in range(1, len(first) + 1):
        end = (work + sum(first[:count])) / count
        if count == len(first) or end <= first[count]:
            return end
    return None


def _free_in(session: Session, queue: str) -> list[float]:
    """Seconds until each living worker that takes from the queue is free; those of unknown end are left out."""
    kinds = [kind for kind in ("cpu", "gpu") if queue in queues_of(session, kind, gpu_grace_over=True)]
    has_enough = or_(WorkerRow.kind == "cpu", WorkerRow.gpus > int(queue == "gpus"))
    workers = session.scalars(select(WorkerRow.id).where(WorkerRow.kind.in_(kinds), has_enough, is_alive())).all()
    eta = Experiment.eta_seconds
    running = select(Experiment.worker, func.max(eta), func.count(), func.count(eta)).group_by(Experiment.worker)
    running = running.where(Experiment.status == "running", Experiment.worker.in_(workers))
    left = {worker: seconds if known == count else None for worker, seconds, count, known in session.execute(running)}
    return [seconds for worker in workers if (seconds := left.get(worker, 0.0)) is not None]


def _ended(session: Session, kind: str, queue: str, *more: Any) -> list[Any]:
    """(worker, start, end, …) of the last of a kind that have succeeded at once."""
    columns = (Experiment.worker, Experiment.started_at, Experiment.finished_at, *more)
    query = (
        select(*columns)
        .where(Experiment.status == "succeeded", Experiment.kind == kind, Experiment.queue == queue)
        .where(Experiment.attempt == 1, Experiment.worker.is_not(None), Experiment.started_at.is_not(None))
        .order_by(Experiment.created_at.desc(), Experiment.id.desc())  # as an index has them
    )
    return list(session.execute(query.limit(LAST_ENDED)))


def _covered(spans: Iterable[Any]) -> float:
    """Seconds in which workers had any of these (worker, start, end): several at once, as one batch, count once."""
    seconds, until = 0.0, dict[str, datetime]()
    for worker, begin, end in sorted(spans):
        since = max(begin, until.get(worker, begin))
        until[worker] = max(end, since)
        seconds += (until[worker] - since).total_seconds()
    return seconds


def _shape(body: Mapping[str, Any]) -> bytes:
    """What of a spec decides how long a step takes, and how much is measured."""
    optimizer = {name: body["optimizer"].get(name) for name in OF_OPTIMIZER}
    same = {name: body.get(name) for name in ("model", "data", "measure", "precision", "device", "devices")}
    seeds = len(body["seeds"]) if body["model"]["kind"] == "ufm" else 1
    return orjson.dumps({**same, "optimizer": optimizer, "seeds": seeds}, option=orjson.OPT_SORT_KEYS)


def _effort(body: Mapping[str, Any]) -> int:
    """Steps of a UFM, whose seeds are trained at once; epochs of all seeds of a network."""
    optimizer = body["optimizer"]
    return int(optimizer["steps"] if body["model"]["kind"] == "ufm" else optimizer["epochs"] * len(body["seeds"]))
