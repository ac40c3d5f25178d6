"""/experiments/{id}/geometry and /singular-values: class means and weights at the steps at which they are kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.database.geometries import geometries, geometry_steps
from api.database.sessions import reading
from api.database.tables import Experiment
from api.predictions import prediction_of
from api.routes.plots import PICTURES, ChosenLayout, known, picture
from api.shown import find
from api.store import get_store
from api.web.errors import PROBLEMS, Problem
from api.web.parameters import MAX_CHOSEN
from ncore.geometry import (
    MOST_CLASSES,
    Matrix,
    Shape,
    SingularValues,
    shapes_at_end,
    shown,
    spectra,
    state_of,
)
from ncore.pictures.files import Form
from ncore.pictures.geometry import geometry_figure, singular_values_figure
from ncore.pictures.setting import bare_setting
from ncore.pictures.themes import ThemeName
from ncore.spec import AnySpec, ExternalSpec, UfmSpec, stored_spec

router = APIRouter(tags=["theory"], responses=PROBLEMS)
FINAL = "final.safetensors"
Seed = Annotated[int | None, Query(ge=0, lt=2**63, description="the first unless given")]
Step = Annotated[
    int | None, Query(ge=0, lt=2**31, description="the kept step that is nearest to it; the last unless given")
]
Items = Annotated[
    list[str], Query(max_length=MAX_CHOSEN, description="only these of the items: layers, W, W H; all unless given")
]
Columns = Annotated[int, Query(ge=1, le=6)]
Named = TypeVar("Named", Shape, SingularValues)


class Geometry(BaseModel):
    """Of a seed at one of the `steps` at which it is kept; `items`: the levels in the order of the forward pass (h1,
    h2, … of a UFM), then W (rows of the last weight) and W H."""

    seed: int
    step: int
    steps: list[int]
    items: list[Matrix]


class Spectra(BaseModel):
    """Singular values of a seed at each of the `steps`; `items` as those of the geometry."""

    seed: int
    steps: list[int]
    items: list[SingularValues]


@dataclass(frozen=True)
class Kept:
    """What is kept of a seed: at which steps, and the geometry at those that were asked for."""

    row: Experiment
    spec: AnySpec
    seed: int
    steps: list[int]
    shapes: dict[int, list[Shape]]


@router.get("/experiments/{experiment_id}/geometry", response_model=Geometry)
def get_geometry(
    experiment_id: str,
    seed: Seed = None,
    step: Step = None,
    layer: Items = [],  # noqa: B006 (FastAPI copies it)
) -> Geometry:
    """Gram matrices, cosines and singular values at a kept step, for up to 100 classes. 409 where there is none."""
    return _geometry(_kept(experiment_id, seed, partial(_nearest, step)), layer)


@router.get("/experiments/{experiment_id}/geometry.{form}", response_class=Response, responses=PICTURES)
def plot_geometry(
    request: Request,
    experiment_id: str,
    form: Form,
    layout: ChosenLayout,
    seed: Seed = None,
    step: Step = None,
    layer: Items = [],  # noqa: B006
    theme: ThemeName = "light",
    columns: Columns = 2,
) -> Response:
    """The cosines as heat maps, the predicted ones beside them."""
    kept = _kept(experiment_id, seed, partial(_nearest, step))
    found = _geometry(kept, layer)
    title = f"{kept.row.name or kept.row.id}, seed {found.seed}, step {found.step:,}"
    return picture(request, geometry_figure(found.items, title, theme, layout, columns), form, layout)


@router.get("/experiments/{experiment_id}/singular-values", response_model=Spectra)
def get_singular_values(
    experiment_id: str,
    seed: Seed = None,
    layer: Items = [],  # noqa: B006
) -> Spectra:
    """Singular values of class means, of W and of W H̄ at all kept steps. 409 where there are none."""
    return _spectra(_kept(experiment_id, seed, list), layer)


@router.get("/experiments/{experiment_id}/singular-values.{form}", response_class=Response, responses=PICTURES)
def plot_singular_values(
    request: Request,
    experiment_id: str,
    form: Form,
    layout: ChosenLayout,
    seed: Seed = None,
    layer: Items = [],  # noqa: B006
    theme: ThemeName = "light",
    columns: Columns = 2,
) -> Response:
    """The singular values over the steps, the predicted ones dotted."""
    kept = _kept(experiment_id, seed, list)
    found, over = _spectra(kept, layer), bare_setting(kept.spec, kept.row.total).over
    title = f"{kept.row.name or kept.row.id}, seed {found.seed}"
    chart = singular_values_figure(found.items, found.steps, title, over, theme, layout, columns, form == "json")
    return picture(request, chart, form, layout)


def _nearest(step: int | None, steps: list[int]) -> list[int]:
    return [steps[-1] if step is None else min(steps, key=lambda one: abs(one - step))]


def _geometry(kept: Kept, layers: Sequence[str]) -> Geometry:
    ((step, shapes),) = kept.shapes.items()
    items = shown(_chosen(shapes, layers), prediction_of(kept.row.spec).gram or {})
    return Geometry(seed=kept.seed, step=step, steps=kept.steps, items=items)


def _spectra(kept: Kept, layers: Sequence[str]) -> Spectra:
    items = spectra(list(kept.shapes.values()), prediction_of(kept.row.spec).gram or {})
    return Spectra(seed=kept.seed, steps=list(kept.shapes), items=_chosen(items, layers))


def _chosen(items: list[Named], layers: Sequence[str]) -> list[Named]:
    """Raises the 422 of a layer that there is none of."""
    known("layer", layers, [one.name for one in items])
    return [one for one in items if not layers or one.name in layers]


def _kept(experiment_id: str, seed: int | None, pick: Callable[[list[int]], list[int]]) -> Kept:
    """What is kept beside the measurements at the steps that `pick` takes; of a UFM without it what its final state
    says.

    Raises the 409 of a run that has neither, the 422 of a seed that it has not.
    """
    with reading() as session:
        row = find(session, experiment_id)
        spec = stored_spec(row.spec)
        _check_kind(row, spec)
        if seed is not None:
            known("seed", [seed], spec.seeds)
        chosen = spec.seeds[0] if seed is None else seed
        steps = geometry_steps(session, row.id, chosen)
        shapes = geometries(session, row.id, chosen, pick(steps)) if steps else {}
    if shapes:
        return Kept(row, spec, chosen, steps, shapes)
    if not isinstance(spec, UfmSpec):
        raise Problem(
            409,
            f"experiment {row.id} has no geometry of seed {chosen}: it is not measured yet, has more than "
            f"{MOST_CLASSES} classes, or was measured by a version that kept none",
        )
    return Kept(row, spec, chosen, [row.step], {row.step: _at_end(row, spec, spec.seeds.index(chosen))})


def _check_kind(row: Experiment, spec: AnySpec) -> None:
    """Raises the 409 of what never has a geometry."""
    if isinstance(spec, ExternalSpec):
        raise Problem(409, f"experiment {row.id} is measured elsewhere; its class means and weights are not sent here")
    if isinstance(spec, UfmSpec) and spec.model.classes > MOST_CLASSES:
        raise Problem(409, f"experiment {row.id} has {spec.model.classes} classes; at most {MOST_CLASSES} are shown")


def _at_end(row: Experiment, spec: UfmSpec, place: int) -> list[Shape]:
    with get_store().local_copy(row.id, FINAL) as path:
        if path is None:
            raise Problem(409, f"experiment {row.id} is {row.status} and has left no final state")
        try:
            return shapes_at_end(spec, state_of(spec, path), place)
        except (ValueError, KeyError) as error:
            raise Problem(409, f"the final state of experiment {row.id} cannot be read: {error}") from None
