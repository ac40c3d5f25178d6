"""The geometry that is kept beside measurements: read by seed, and what loops elsewhere send kept within bounds."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import cast

from sqlalchemy import Table as SqlTable
from sqlalchemy import bindparam, func, select, tuple_, update
from sqlalchemy.orm import Session

from api.database.tables import MeasurementRow
from ncore.geometry import MOST_KEPT_BYTES, MOST_KEPT_STEPS, Shape, unpacked
from ncore.rows import Key

TABLE = cast(SqlTable, MeasurementRow.__table__)
IS_KEPT = MeasurementRow.geometry.is_not(None)


def geometry_seeds(session: Session, experiment_id: str) -> list[int]:
    """The seeds of which it is kept at some step."""
    of_it = MeasurementRow.experiment_id == experiment_id, IS_KEPT
    return list(session.scalars(select(MeasurementRow.seed).where(*of_it).distinct()))


def geometry_steps(session: Session, experiment_id: str, seed: int) -> list[int]:
    """The steps at which it is kept, in their order."""
    kept = select(MeasurementRow.step).where(
        MeasurementRow.experiment_id == experiment_id, MeasurementRow.seed == seed, IS_KEPT
    )
    return list(session.scalars(kept.order_by(MeasurementRow.step)))


def geometries(session: Session, experiment_id: str, seed: int, steps: Collection[int]) -> dict[int, list[Shape]]:
    """The geometry at those of these steps at which it is kept, in their order."""
    query = select(MeasurementRow.step, MeasurementRow.geometry).where(
        MeasurementRow.experiment_id == experiment_id, MeasurementRow.seed == seed, MeasurementRow.step.in_(steps)
    )
    rows = session.execute(query.order_by(MeasurementRow.step))
    return {step: unpacked(data) for step, data in rows if data is not None}


def known_geometries(session: Session, experiment_id: str, keys: Collection[Key]) -> dict[Key, bytes]:
    """The packed geometry that is kept at these seeds and steps already."""
    if not keys:
        return {}
    query = select(MeasurementRow.seed, MeasurementRow.step, MeasurementRow.geometry).where(
        MeasurementRow.experiment_id == experiment_id,
        IS_KEPT,
        tuple_(MeasurementRow.seed, MeasurementRow.step).in_(list(keys)),
    )
    return {(seed, step): data for seed, step, data in session.execute(query) if data is not None}


def later_geometries(session: Session, experiment_id: str, sent: Mapping[Key, bytes]) -> dict[Key, bytes]:
    """Those behind the last kept step of their seed.

    What was left out before, to stay within the bounds, is not taken again, however often it is sent.
    """
    if not sent:
        return {}
    query = select(MeasurementRow.seed, func.max(MeasurementRow.step)).where(
        MeasurementRow.experiment_id == experiment_id, IS_KEPT
    )
    last = {row[0]: row[1] for row in session.execute(query.group_by(MeasurementRow.seed))}
    return {(seed, step): data for (seed, step), data in sent.items() if step > last.get(seed, -1)}


def keep_geometries(session: Session, experiment_id: str, sent: Mapping[Key, bytes]) -> None:
    """Puts them beside their rows, and takes away what is too much for an experiment."""
    if not sent:
        return
    _set(session, experiment_id, sent)
    query = select(MeasurementRow.seed, MeasurementRow.step, func.length(MeasurementRow.geometry)).where(
        MeasurementRow.experiment_id == experiment_id, IS_KEPT
    )
    found = session.execute(query.order_by(MeasurementRow.seed, MeasurementRow.step))
    _set(session, experiment_id, dict.fromkeys(surplus({(seed, step): size for seed, step, size in found})))


def _set(session: Session, experiment_id: str, geometry: Mapping[Key, bytes | None]) -> None:
    which = (TABLE.c.experiment_id == experiment_id) & (TABLE.c.seed == bindparam("of_seed"))
    rows = [{"of_seed": seed, "of_step": step, "geometry": data} for (seed, step), data in geometry.items()]
    if rows:
        session.connection().execute(update(TABLE).where(which, TABLE.c.step == bindparam("of_step")), rows)


def surplus(sizes: Mapping[Key, int]) -> set[Key]:
    """Which of these to leave out, so that each seed has MOST_KEPT_STEPS at most and all take MOST_KEPT_BYTES at most.

    `sizes`: bytes by seed and step, ascending. Always the one whose neighbours are nearest to each other, of the seed
    that has most, so that steps stay spread evenly, with the first and the last among them.
    """
    steps: dict[int, list[int]] = {}
    for seed, step in sizes:
        steps.setdefault(seed, []).append(step)
    total, gone = sum(sizes.values()), set[Key]()
    while steps:
        seed, kept = max(steps.items(), key=lambda item: (len(item[1]), item[0]))
        if total <= MOST_KEPT_BYTES and len(kept) <= MOST_KEPT_STEPS:
            break
        inner = range(1, len(kept) - 1)
        place = min(inner, key=lambda i: kept[i + 1] - kept[i - 1]) if inner else len(kept) - 1
        step = kept.pop(place)
        gone.add((seed, step))
        total -= sizes[seed, step]
        if not kept:
            del steps[seed]
    return gone
