"""Adaptive sweeps: when all experiments of one have ended, those that its results ask for are added."""

from __future__ import annotations

import logging

from sqlalchemy import Update, exists, func, select, update
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session

from api.database.sessions import reading, writing
from api.database.sweeps import rows_of
from api.database.tables import Experiment, Sweep
from api.submission import notify_workers
from api.sweep_submission import rows_of_points, write_rows
from ncore.spec import SpecError
from ncore.sweeps.plan import Plan, Point, SweepRequest
from ncore.sweeps.refine import Refinement, key_of, label_of

log = logging.getLogger("ncore.reconciler")
ADDED = 200
"""Most experiments of a round: one transaction writes them."""


def refine_sweeps() -> None:
    """A round for each sweep that waits for one. Several processes may do it: a round is written once.

    What goes wrong with one ends its refining, and nothing else; only a database that is away is raised.
    """
    unended = exists().where(Experiment.sweep_id == Sweep.id, Experiment.status.in_(("queued", "running")))
    with reading() as session:
        found = session.scalars(select(Sweep).where(Sweep.refining, ~unended)).all()
    for sweep in found:
        try:
            with reading() as session:
                plan, points = _due(session, sweep)
            _add(sweep, plan, points)
        except OperationalError:
            raise
        except Exception:
            log.exception("sweep=%s is not refined further", sweep.id)
            with writing() as session:
                session.execute(_this_round(sweep).values(refining=False))


def _this_round(sweep: Sweep) -> Update:
    """A change of the sweep, made unless another process has made its round, or it is cancelled or gone."""
    return update(Sweep).where(Sweep.id == sweep.id, Sweep.refining, Sweep.round == sweep.round)


def _due(session: Session, sweep: Sweep) -> tuple[Plan, list[Point]]:
    """The points to add; none once a user has cancelled."""
    request = SweepRequest.model_validate(sweep.request)
    plan = Plan(request)
    assert request.refine is not None  # noqa: S101 (for the type checker)
    rows = list(rows_of(session, sweep.id))
    if any(row.status == "cancelled" for row in rows):
        return plan, []
    labels = {key_of(row.point): label_of(request.refine.metric, row.summary, row.status) for row in rows}
    return plan, Refinement(plan, request.refine).due(labels)[:ADDED]


def _add(sweep: Sweep, plan: Plan, points: list[Point]) -> None:
    """The round after the one that `sweep` was read at, or the end where no point is due."""
    try:
        with reading() as session:
            last = session.scalar(select(func.max(Experiment.sweep_index)).where(Experiment.sweep_id == sweep.id))
        rows = rows_of_points(plan, sweep.id, enumerate(points, (last or 0) + 1))
    except SpecError as error:  # a value between two good ones that is not
        log.warning("sweep=%s is not refined further: %s", sweep.id, error)
        rows = []
    values = {"round": sweep.round + 1, "refining": bool(rows), "total": Sweep.total + len(rows)}
    with writing() as session:
        change = _this_round(sweep).values(**values).returning(Sweep.id).execution_options(synchronize_session=False)
        if not session.scalars(change).all():
            return
        if rows:
            write_rows(session, rows)
    if rows:
        log.info("sweep=%s round %d: %d experiments more", sweep.id, sweep.round + 1, len(rows))
        notify_workers([(row["id"], row["queue"]) for row in rows])
