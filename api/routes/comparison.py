"""/compare and /compare.*: experiments beside each other, as a table and as a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel
from sqlalchemy.orm import Session

from api.database.curves import load_curves
from api.database.measurements import latest
from api.database.sessions import reading
from api.database.tables import Experiment
from api.routes.plots import MAX_LAYERS, PICTURES, ChosenLayout, FileForm, ShortText, known, picture
from api.settings import get_settings
from api.shown import find
from api.web.errors import PROBLEMS, refused
from api.web.etag import UNCHANGED, Tag, state_of
from ncore.differences import differing
from ncore.kinds.external import Metric
from ncore.pictures.comparison import BY_EXPERIMENT, Compared, Lens, comparison, labels
from ncore.pictures.panels import GAP
from ncore.pictures.points import MAX_POINTS
from ncore.pictures.setting import setting_of
from ncore.pictures.themes import ThemeName
from ncore.seeds import mean_of
from ncore.series import csv_lines
from ncore.spec import stored_spec
from ncore.status import Status
from ncore.theory.prediction import BEST_KNOWN

router = APIRouter(tags=["pictures"], responses=PROBLEMS)
MAX_METRICS = 12
FEWEST_POINTS, MOST_POINTS = 24, 8000
"""Least points of one curve however many experiments there are, and about the most of all curves together."""
APART = ("device", "priority")
"""Fields in which runs may differ without being different ones."""
Chosen = Annotated[list[ShortText], Query(min_length=1, description="ids; as many as NCORE_MAX_COMPARED says")]
Metrics = Annotated[list[Metric], Query(max_length=MAX_METRICS, description="a panel each; nc1 unless given")]
Layers = Annotated[list[ShortText], Query(max_length=MAX_LAYERS, description="only these; all unless given")]
Scale = Literal["log", "linear"]


class SideValue(BaseModel):
    """The last measurement of a metric over the seeds, and what theory predicts: `predicted_name` is what that value is
    called in pictures, "f*" for a proven minimum only; `best_known` an upper bound where that is not known."""

    metric: str
    layer: str | None
    mean: float | None
    low: float | None
    high: float | None
    predicted: float | None
    predicted_name: str | None = None
    best_known: float | None = None


class Side(BaseModel):
    """One of the experiments: `label` is what pictures call it, `point` the parameters in which they differ."""

    id: str
    name: str
    label: str
    status: Status
    point: dict[str, Any]
    values: list[SideValue]


class Sides(BaseModel):
    parameters: list[str]
    measured: dict[str, list[str]]
    """The layers of each metric that any of them has."""
    items: list[Side]


@router.get("/compare", response_model=Sides, responses=UNCHANGED)
def compare_values(
    request: Request,
    experiment: Chosen,
    metric: Metrics = [],  # noqa: B006 (FastAPI copies it)
    layer: Layers = [],  # noqa: B006
) -> Any:
    """The parameters in which experiments differ, and their last values beside the predictions."""
    with reading() as session:
        rows = _rows(session, experiment)
        tag = Tag(request, *map(state_of, rows))
        if tag.is_known:
            return tag.unchanged()
        compared = _compared(session, rows)
        wanted = metric or ["nc1"]
        finals = [latest(session, row.id) for row in rows]
        items = [
            Side(id=row.id, name=row.name, label=label, status=row.status, point=dict(one.parameters),
                 values=list(_values(found, one, wanted, layer)))
            for row, one, label, found in zip(rows, compared, labels(compared), finals, strict=True)
        ]  # fmt: skip
    measured: dict[str, dict[str, None]] = {}
    for one in (one for found in finals for one in found):
        measured.setdefault(one["metric"], {}).update({one["layer"]: None} if one["layer"] else {})
    layers = {name: list(found) for name, found in measured.items()}
    sides = Sides(parameters=list(compared[0].parameters), measured=layers, items=items)
    return tag.on(Response(sides.model_dump_json(), media_type="application/json"))


@router.get(
    "/compare.{form}",
    response_class=Response,
    responses={**PICTURES, 200: {"content": {**PICTURES[200]["content"], "text/csv": {}}}},
)
def compare_experiments(
    request: Request,
    form: FileForm,
    layout: ChosenLayout,
    experiment: Chosen,
    metric: Metrics = [],  # noqa: B006 (FastAPI copies it)
    layer: Layers = [],  # noqa: B006
    x: Literal["step", "fraction"] = "step",
    color: Annotated[
        ShortText | None, Query(description="a parameter in which they differ: a ramp over its numbers; or experiment")
    ] = None,
    xscale: Annotated[Scale | None, Query(description="of the steps; what is usual unless given")] = None,
    yscale: Annotated[Scale | None, Query(description="of the values; what is usual for the metric")] = None,
    theme: ThemeName = "light",
    columns: Annotated[int, Query(ge=1, le=6)] = 2,
) -> Response:
    """Metrics of several experiments, a panel each, over the steps or over the share of each run; csv: what is drawn.

    The colour follows the one parameter that varies, where it alone does; the legend names differences only.
    """
    metrics = list(dict.fromkeys(metric)) or ["nc1"]
    with reading() as session:
        rows = _rows(session, experiment)
        tag = Tag(request, *map(state_of, rows))
        if tag.is_known:
            return tag.unchanged()
        points = max(FEWEST_POINTS, min(MAX_POINTS, MOST_POINTS // len(rows)))
        compared = _compared(session, rows, metrics, layer, points)
        if color is not None:
            known("color", [color], [BY_EXPERIMENT, *compared[0].parameters])
        for name in metrics:
            if not any(key == _source(name) for one in compared for key, _ in one.curves):
                measured = sorted({one["metric"] for row in rows for one in latest(session, row.id)})
                known("metric", [name] if measured else [], measured)
    if form == "csv":
        return tag.on(Response(csv_lines(_lines(rows, compared, metrics)), media_type="text/csv"))
    scales = {"x_log": _is_log(xscale), "y_log": _is_log(yscale)}
    chart = comparison(
        compared, metrics, Lens(x == "fraction", color, **scales), theme, form == "json", layout, columns
    )
    return tag.on(picture(request, chart, form, layout))


def _rows(session: Session, ids: Sequence[str]) -> list[Experiment]:
    """Raises the 422 where there are too many, the 404 where one is missing."""
    most = get_settings().max_compared
    if len(ids) > most:
        raise refused("experiment", f"must be at most {most} (NCORE_MAX_COMPARED); got {len(ids)}")
    return [find(session, one) for one in dict.fromkeys(ids)]


def _source(metric: str) -> str:
    """The measured metric that it is made of."""
    return "objective" if metric == GAP else metric


def _is_log(scale: Scale | None) -> bool | None:
    return None if scale is None else scale == "log"


def _compared(
    session: Session,
    rows: Sequence[Experiment],
    metrics: Sequence[str] = (),
    layers: Sequence[str] = (),
    points: int = MAX_POINTS,
) -> list[Compared]:
    """The experiments as pictures compare them; without curves where no metric is given."""
    names, sources = [row.name or row.id for row in rows], list(map(_source, metrics))
    columns = {path: values for path, values in differing([row.spec for row in rows]).items() if path not in APART}
    found = []
    for i, (row, name) in enumerate(zip(rows, names, strict=True)):
        shown = name if names.count(name) == 1 else f"{name} ({row.id})"
        curves = load_curves(session, row.id, sources, layers, points=points) if metrics else {}
        own = {path: values[i] for path, values in columns.items()}
        alone = row.sweep_id is None and names.count(name) == 1
        found.append(Compared(setting_of(stored_spec(row.spec), row.total, shown), curves, own, alone))
    return found


def _values(
    found: Sequence[Mapping[str, Any]], one: Compared, metrics: Sequence[str], layers: Sequence[str]
) -> Iterator[SideValue]:
    """The last value of each metric and layer over the seeds."""
    seeds: dict[tuple[str, str | None], list[float]] = {}
    for series in found:
        if series["metric"] in metrics and (not layers or not series["layer"] or series["layer"] in layers):
            own = seeds.setdefault((series["metric"], series["layer"]), [])
            own += [value for value in series["values"] if value is not None]
    for (metric, layer), values in seeds.items():
        mean, low, high = (mean_of(values), min(values), max(values)) if values else (None, None, None)
        predicted, setting = one.setting.predicted.get((metric, layer)), one.setting
        yield SideValue(
            metric=metric, layer=layer, mean=mean, low=low, high=high, predicted=predicted,
            predicted_name=None if predicted is None else setting.name_of(metric),
            best_known=setting.references.get(BEST_KNOWN, {}).get((metric, layer)),
        )  # fmt: skip


def _lines(rows: Sequence[Experiment], compared: Sequence[Compared], metrics: Sequence[str]) -> Iterator[list[Any]]:
    """The rows that a picture draws: each point of each curve, with the median over the seeds and their range."""
    paths = list(compared[0].parameters)
    yield [
        "experiment",
        "name",
        *paths,
        "metric",
        "layer",
        "step",
        "share",
        "median",
        "low",
        "high",
        "seeds",
        "predicted",
    ]
    for row, one in zip(rows, compared, strict=True):
        front = [row.id, row.name, *(_cell(one.parameters[path]) for path in paths)]
        for (metric, layer), points in one.curves.items():
            if metric in map(_source, metrics):
                predicted = one.setting.predicted.get((metric, layer))
                steps = one.setting.steps or points[-1].step or 1
                for point in points:
                    yield [*front, metric, layer, point.step, point.step / steps, *point[1:], predicted]


def _cell(value: Any) -> Any:
    return " ".join(map(str, value)) if isinstance(value, list) else value
