"""/experiments/{id}/geometry: Gram matrices of class means and weights at the end of a UFM, beside predicted ones."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from api.database.sessions import reading
from api.database.tables import Experiment
from api.predictions import prediction_of
from api.routes.plots import PICTURES, ChosenLayout, known, picture
from api.shown import find
from api.store import get_store
from api.web.errors import PROBLEMS, Problem
from ncore.geometry import MOST_CLASSES, Matrix, geometry_of, state_of
from ncore.pictures.files import Form
from ncore.pictures.geometry import geometry_figure
from ncore.pictures.themes import ThemeName
from ncore.spec import UfmSpec, stored_spec

router = APIRouter(tags=["theory"], responses=PROBLEMS)
FINAL = "final.safetensors"
Seed = Annotated[int | None, Query(ge=0, lt=2**63, description="the first unless given")]


class Geometry(BaseModel):
    """A seed at its last step; `items`: the levels h1, h2, …, then W (rows of the last weight) and W H."""

    seed: int
    step: int
    items: list[Matrix]


@router.get("/experiments/{experiment_id}/geometry", response_model=Geometry)
def get_geometry(experiment_id: str, seed: Seed = None) -> Geometry:
    """Gram matrices and cosines, from the final state of a UFM of up to 100 classes. 409 where there is none."""
    with reading() as session:
        row = find(session, experiment_id)
    return _geometry(row, seed)


@router.get("/experiments/{experiment_id}/geometry.{form}", response_class=Response, responses=PICTURES)
def plot_geometry(
    request: Request,
    experiment_id: str,
    form: Form,
    layout: ChosenLayout,
    seed: Seed = None,
    theme: ThemeName = "light",
    columns: Annotated[int, Query(ge=1, le=6)] = 2,
) -> Response:
    """The cosines as heat maps, the predicted ones beside them."""
    with reading() as session:
        row = find(session, experiment_id)
    found = _geometry(row, seed)
    title = f"{row.name or row.id}, seed {found.seed}, step {found.step:,}"
    return picture(request, geometry_figure(found.items, title, theme, layout, columns), form, layout)


def _geometry(row: Experiment, seed: int | None) -> Geometry:
    """Raises the 409 of a run without such a state, the 422 of a seed that it has not."""
    spec = stored_spec(row.spec)
    if not isinstance(spec, UfmSpec):
        raise Problem(409, f"experiment {row.id} is no UFM; only those have a geometry in their final state")
    if spec.model.classes > MOST_CLASSES:
        raise Problem(409, f"experiment {row.id} has {spec.model.classes} classes; at most {MOST_CLASSES} are shown")
    if seed is not None:
        known("seed", [seed], spec.seeds)
    place = 0 if seed is None else spec.seeds.index(seed)
    with get_store().local_copy(row.id, FINAL) as path:
        if path is None:
            raise Problem(409, f"experiment {row.id} is {row.status} and has left no final state")
        try:
            state = state_of(spec, path)
        except (ValueError, KeyError) as error:
            raise Problem(409, f"the final state of experiment {row.id} cannot be read: {error}") from None
    items = geometry_of(spec, state, place, prediction_of(row.spec).gram or {})
    return Geometry(seed=spec.seeds[place], step=row.step, items=items)
