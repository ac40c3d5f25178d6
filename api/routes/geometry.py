"""/experiments/{id}/geometry and /singular-values: class means and weights at the steps at which they are kept."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response
from fastapi.responses import StreamingResponse
from pydantic import BaseModel

from api.database.sessions import reading
from api.predictions import prediction_of
from api.routes.plots import PICTURES, ChosenLayout, known, picture
from api.shapes import Kept, kept_of, write_archive
from api.shown import find
from api.web.errors import PROBLEMS
from api.web.files import file_answer
from api.web.parameters import MAX_CHOSEN
from ncore.geometry import Matrix, Shape, SingularValues, shown, spectra
from ncore.geometry_file import alike
from ncore.pictures.files import Form
from ncore.pictures.geometry import geometry_figure, singular_values_figure
from ncore.pictures.setting import bare_setting
from ncore.pictures.themes import ThemeName
from ncore.spec import MAX_SEEDS, stored_spec

router = APIRouter(tags=["theory"], responses=PROBLEMS)
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
    h2, … of a UFM), then W (rows of the last weight) and W H. `predicted_name`: predicted of a proven minimum, best
    known where none is proven, or the name of a structure that something lower is known to beat."""

    seed: int
    step: int
    steps: list[int]
    items: list[Matrix]
    predicted_name: str


class Spectra(BaseModel):
    """Singular values of a seed at each of the `steps`; `items` and `predicted_name` as those of the geometry."""

    seed: int
    steps: list[int]
    items: list[SingularValues]
    predicted_name: str


@router.get("/experiments/{experiment_id}/geometry", response_model=Geometry)
def get_geometry(
    experiment_id: str,
    seed: Seed = None,
    step: Step = None,
    layer: Items = [],  # noqa: B006 (FastAPI copies it)
) -> Geometry:
    """Gram matrices, cosines and singular values at a kept step, for up to 100 classes. 409 where there is none."""
    return _geometry(_kept(experiment_id, seed, partial(_nearest, step)), layer)


@router.get(
    "/experiments/{experiment_id}/geometry.npz",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/octet-stream": {}}}},
)
def download_geometry(
    experiment_id: str,
    seed: Annotated[list[Annotated[int, Query(ge=0, lt=2**63)]], Query(max_length=MAX_SEEDS)] = [],  # noqa: B006
    layer: Items = [],  # noqa: B006
) -> Response:
    """All kept matrices and singular values as a file of NumPy: arrays SEED/LAYER/steps (T), /matrices (T, K, K),
    /singular_values (T, r), and predicted/LAYER (K, K) where theory says it. 409 where there are none."""
    with ExitStack() as stack:
        file = stack.enter_context(tempfile.TemporaryFile())
        with reading() as session:
            row = find(session, experiment_id)
            known("seed", seed, stored_spec(row.spec).seeds)
            write_archive(session, row, file, seed, layer)
        stack.pop_all()  # what sends the file closes it
    return file_answer(file, "application/octet-stream", f"{experiment_id}-geometry.npz")


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
    chart = geometry_figure(found.items, title, theme, layout, columns, found.predicted_name)
    return picture(request, chart, form, layout)


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
    name, hover = found.predicted_name, form == "json"
    chart = singular_values_figure(found.items, found.steps, title, over, theme, layout, columns, hover, name)
    return picture(request, chart, form, layout)


def _nearest(step: int | None, steps: list[int]) -> list[int]:
    return [steps[-1] if step is None else min(steps, key=lambda one: abs(one - step))]


def _geometry(kept: Kept, layers: Sequence[str]) -> Geometry:
    ((step, shapes),) = kept.shapes.items()
    prediction = prediction_of(kept.row.spec)
    items = shown(_chosen(shapes, layers), prediction.matrices)
    return Geometry(seed=kept.seed, step=step, steps=kept.steps, items=items, predicted_name=prediction.matrix_name)


def _spectra(kept: Kept, layers: Sequence[str]) -> Spectra:
    prediction, shapes = prediction_of(kept.row.spec), alike(kept.shapes)
    items = _chosen(spectra(list(shapes.values()), prediction.matrices), layers)
    return Spectra(seed=kept.seed, steps=list(shapes), items=items, predicted_name=prediction.matrix_name)


def _chosen(items: list[Named], layers: Sequence[str]) -> list[Named]:
    """Raises the 422 of a layer that there is none of."""
    known("layer", layers, [one.name for one in items])
    return [one for one in items if not layers or one.name in layers]


def _kept(experiment_id: str, seed: int | None, pick: Callable[[list[int]], list[int]]) -> Kept:
    """What is kept of a seed, the first unless given, at the steps that `pick` takes. Raises the 409, the 422."""
    with reading() as session:
        row = find(session, experiment_id)
        seeds = stored_spec(row.spec).seeds
        if seed is not None:
            known("seed", [seed], seeds)
        return kept_of(session, row, next(iter(seeds), 0) if seed is None else seed, pick)
