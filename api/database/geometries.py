"""Reads the geometry that is kept beside measurements, of one seed."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select
from sqlalchemy.orm import Session

from api.database.tables import MeasurementRow
from ncore.geometry import Shape, unpacked


def geometry_steps(session: Session, experiment_id: str, seed: int) -> list[int]:
    """The steps at which it is kept, in their order."""
    kept = select(MeasurementRow.step).where(
        MeasurementRow.experiment_id == experiment_id,
        MeasurementRow.seed == seed,
        MeasurementRow.geometry.is_not(None),
    )
    return list(session.scalars(kept.order_by(MeasurementRow.step)))


def geometries(session: Session, experiment_id: str, seed: int, steps: Collection[int]) -> dict[int, list[Shape]]:
    """The geometry at those of these steps at which it is kept, in their order."""
    query = select(MeasurementRow.step, MeasurementRow.geometry).where(
        MeasurementRow.experiment_id == experiment_id, MeasurementRow.seed == seed, MeasurementRow.step.in_(steps)
    )
    rows = session.execute(query.order_by(MeasurementRow.step))
    return {step: unpacked(data) for step, data in rows if data is not None}
