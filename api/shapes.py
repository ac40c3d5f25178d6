"""The geometry of an experiment: what is kept beside its measurements, or what the final state of a UFM says."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from sqlalchemy.orm import Session

from api.database.geometries import geometries, geometry_seeds, geometry_steps
from api.database.tables import Experiment
from api.predictions import prediction_of
from api.store import FINAL, get_store
from api.web.errors import Problem, refused
from ncore.geometry import MOST_CLASSES, Array, Shape, shapes_at_end, state_of
from ncore.geometry_file import ShapeSeries, over_steps, write_geometry
from ncore.spec import AnySpec, ExternalSpec, UfmSpec, stored_spec


@dataclass(frozen=True)
class Kept:
    """What is kept of a seed: at which steps, and the geometry at those that were asked for."""

    row: Experiment
    spec: AnySpec
    seed: int
    steps: list[int]
    shapes: dict[int, list[Shape]]


def kept_of(session: Session, row: Experiment, seed: int, pick: Callable[[list[int]], list[int]]) -> Kept:
    """What is kept beside the measurements at the steps that `pick` takes; of a UFM without it what its final state
    says. Raises the 409 of a run that has neither."""
    spec = stored_spec(row.spec)
    _check_size(row, spec)
    steps = geometry_steps(session, row.id, seed)
    if steps and (shapes := geometries(session, row.id, seed, pick(steps))):
        return Kept(row, spec, seed, steps, shapes)
    if not isinstance(spec, UfmSpec):
        raise _without(row, spec, f" of seed {seed}")
    return Kept(row, spec, seed, [row.step], {row.step: _at_end(row, spec, _state(row, spec), seed)})


def write_archive(
    session: Session, row: Experiment, file: IO[bytes], seeds: Sequence[int] = (), layers: Sequence[str] = ()
) -> None:
    """Writes the kept geometry, of these seeds and layers (all if empty), as `ncore.geometry_file` has it.

    Raises the 409 of a run that has none, the 422 of a layer that it has not.
    """
    spec, seen = stored_spec(row.spec), dict[str, None]()

    def chosen() -> Iterator[ShapeSeries]:
        for one in _series(session, row, spec, seeds or spec.seeds):
            seen[one.layer] = None
            if not layers or one.layer in layers:
                yield one

    write_geometry(file, chosen(), prediction_of(row.spec).matrices)
    if not seen:
        raise _without(row, spec)
    if wrong := next((one for one in layers if one not in seen), None):
        raise refused("layer", f"must be one of {', '.join(seen)}; got {wrong!r}")


def _series(session: Session, row: Experiment, spec: AnySpec, seeds: Sequence[int]) -> Iterator[ShapeSeries]:
    """Seed by seed, so that one seed's geometry is in memory."""
    _check_size(row, spec)
    having = set(geometry_seeds(session, row.id))
    if having or not isinstance(spec, UfmSpec):
        for seed in seeds:
            if seed in having:
                steps = geometry_steps(session, row.id, seed)
                yield from over_steps(seed, geometries(session, row.id, seed, steps))
        return
    state = _state(row, spec)
    for seed in seeds:
        yield from over_steps(seed, {row.step: _at_end(row, spec, state, seed)})


def _check_size(row: Experiment, spec: AnySpec) -> None:
    """Raises the 409 of a UFM that never has a geometry."""
    if isinstance(spec, UfmSpec) and spec.model.classes > MOST_CLASSES:
        raise Problem(409, f"experiment {row.id} has {spec.model.classes} classes; at most {MOST_CLASSES} are shown")


def _without(row: Experiment, spec: AnySpec, of_it: str = "") -> Problem:
    """The 409 that says why there is none."""
    if isinstance(spec, ExternalSpec):
        why = "it is measured elsewhere, and its loop has sent none (what a Probe measures has it)"
    else:
        why = (
            f"it is not measured yet, has more than {MOST_CLASSES} classes, or was measured by a version that kept none"
        )
    return Problem(409, f"experiment {row.id} has no geometry{of_it}: {why}")


def _state(row: Experiment, spec: UfmSpec) -> dict[str, Array]:
    with get_store().local_copy(row.id, FINAL) as path:
        if path is None:
            raise Problem(409, f"experiment {row.id} is {row.status} and has left no final state")
        try:
            return state_of(spec, path)
        except (ValueError, KeyError) as error:
            raise _unreadable(row, error) from None


def _at_end(row: Experiment, spec: UfmSpec, state: dict[str, Array], seed: int) -> list[Shape]:
    try:
        return shapes_at_end(spec, state, spec.seeds.index(seed))
    except (ValueError, KeyError) as error:
        raise _unreadable(row, error) from None


def _unreadable(row: Experiment, error: Exception) -> Problem:
    return Problem(409, f"the final state of experiment {row.id} cannot be read: {error}")
