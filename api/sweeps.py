"""/sweeps: one experiment for each combination of values, their progress and final metrics as one table."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import product
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Header, Query, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from api import states
from api.db import reading, writing
from api.errors import PROBLEMS, not_found
from api.experiments import body_of_request, check_limits, check_queue, digest_of, row_of, submitted_before, wake
from api.tables import Experiment, Sweep, new_id
from api.theory import predicted_series
from ncore.spec import NetworkSpec, SpecError, UfmSpec, parse_spec, with_changes
from ncore.theory import predict

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)
MAX_COMBINATIONS = 10_000
MAX_AXES = 6
MAX_NAME = 200
MAX_PAGE = 2000
MAX_FAULTS = 20
WOKEN = 100
"""Wake-up calls that are sent at once; the reconciler sends the others as the queue runs dry."""
Spec = UfmSpec | NetworkSpec
Point = dict[str, Any]


class SweepRequest(BaseModel):
    """{"base": spec or {"preset": …, "set": …}, "axes": {"regularization.features": [0.001, 0.01], …}}"""

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=MAX_NAME, pattern=r"^[^\x00]*$")] = ""
    base: dict[str, Any]
    axes: Annotated[dict[str, Annotated[list[Any], Field(min_length=1)]], Field(min_length=1, max_length=MAX_AXES)]


class Level(BaseModel):
    """A metric at the end: mean, lowest and highest over the seeds; `predicted` where the theory knows it."""

    metric: str
    layer: str | None
    mean: float | None
    low: float | None
    high: float | None
    predicted: float | None


class Item(BaseModel):
    """One combination. `metrics` is empty until it has succeeded."""

    experiment: str
    status: str
    point: Point
    metrics: list[Level]
    verdict: list[dict[str, Any]]


class SweepOut(BaseModel):
    """`progress`: the share of all steps that has been done; `items` in the order of the axes, the last one fastest."""

    id: str
    name: str
    created_at: datetime
    base: dict[str, Any]
    axes: dict[str, list[Any]]
    total: int
    statuses: dict[str, int]
    progress: float
    items: list[Item]


class SweepShort(BaseModel):
    id: str
    name: str
    created_at: datetime
    axes: dict[str, list[Any]]
    total: int


class Sweeps(BaseModel):
    items: list[SweepShort]


def combinations(request: SweepRequest) -> Iterator[Spec]:
    """The spec of every point of the grid, the last axis fastest. Raises SpecError naming axes and fields."""
    count = math.prod(len(values) for values in request.axes.values())
    if count > MAX_COMBINATIONS:
        raise SpecError([{"field": "axes", "message": f"{count} combinations, the limit is {MAX_COMBINATIONS}"}])
    body, faults = body_of_request(request.base), []
    for values in product(*request.axes.values()):
        point = dict(zip(request.axes, values, strict=True))
        try:
            spec = parse_spec(with_changes(body, {**point, "name": _named(body, point)}))
            check_limits(spec)
        except SpecError as error:
            faults += [_fault(fault, point) for fault in error.errors]
            if len(faults) >= MAX_FAULTS:
                break
        else:
            yield spec
    if faults:
        raise SpecError(faults)


def _fault(fault: Mapping[str, str], point: Point) -> dict[str, str]:
    """The fault of one combination, at the axis that it comes from."""
    axis = next((path for path in point if fault["field"] == path or fault["field"].startswith(f"{path}.")), None)
    where = ", ".join(f"{path} = {value!r}" for path, value in point.items())
    field = f"axes.{axis}" if axis else f"base.{fault['field']}"
    return {"field": field, "message": f"{fault['message']} (at {where})"}


def _named(body: Mapping[str, Any], point: Point) -> str:
    values = ", ".join(f"{path.rpartition('.')[2]} = {value}" for path, value in point.items())
    name = body.get("name") or "sweep"
    return f"{name}: {values}".replace("\0", "")[:MAX_NAME] if isinstance(name, str) else name


@router.post("/sweeps", status_code=201, response_model=SweepOut)
def submit(
    request: SweepRequest,
    response: Response,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=255)] = None,
) -> SweepOut:
    """Submits one experiment for each combination of the axes' values, all or none of them."""
    digest = digest_of(request.model_dump())
    with reading() as session:
        found = submitted_before(session, Sweep, idempotency_key, digest)
    made = found is None
    if found is None:
        specs = list(combinations(request))
        try:
            found = _insert(request, specs, idempotency_key, digest)
        except IntegrityError:  # another request with this key was faster
            with reading() as session:
                found, made = submitted_before(session, Sweep, idempotency_key, digest), False
    assert found is not None  # noqa: S101 (for the type checker)
    response.status_code = 201 if made else 200
    response.headers["Location"] = f"/sweeps/{found.id}"
    return look(found.id, [], [], 0, MAX_PAGE)


def _insert(request: SweepRequest, specs: Sequence[Spec], key: str | None, digest: str) -> Sweep:
    sweep = Sweep(id=new_id(), total=len(specs), idempotency_key=key, body_hash=digest, **request.model_dump())
    with writing() as session:
        check_queue(session, len(specs))
        session.add(sweep)
        rows = [row_of(session, spec, sweep_id=sweep.id, sweep_index=index) for index, spec in enumerate(specs)]
    wake(rows[:WOKEN])
    return sweep


@router.get("/sweeps", response_model=Sweeps)
def index(limit: Annotated[int, Query(ge=1, le=200)] = 50) -> Sweeps:
    """The newest first."""
    query = select(Sweep).order_by(Sweep.created_at.desc(), Sweep.id.desc()).limit(limit)
    with reading() as session:
        rows = list(session.scalars(query))
    own = SweepShort.model_fields
    return Sweeps(items=[SweepShort(**{name: getattr(row, name) for name in own}) for row in rows])


@router.get("/sweeps/{sweep_id}", response_model=SweepOut, responses={200: {"content": {"text/csv": {}}}})
def look_at(
    sweep_id: str,
    metric: Annotated[list[str], Query()] = [],  # noqa: B006 (FastAPI copies it)
    layer: Annotated[list[str], Query()] = [],  # noqa: B006
    offset: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    limit: Annotated[int, Query(ge=1, le=MAX_PAGE)] = MAX_PAGE,
    format: Literal["json", "csv"] = "json",  # noqa: A002 (the interface's name)
) -> Any:
    """Progress and final metrics, one item a combination; `metric` and `layer` choose columns."""
    found = look(sweep_id, metric, layer, offset, limit)
    return found if format == "json" else Response(_csv(found), media_type="text/csv")


def look(sweep_id: str, metric: Sequence[str], layer: Sequence[str], offset: int, limit: int) -> SweepOut:
    with reading() as session:
        sweep = session.get(Sweep, sweep_id)
        if sweep is None:
            raise not_found("sweep", sweep_id)
        mine = Experiment.sweep_id == sweep_id
        query = select(Experiment).where(mine).order_by(Experiment.sweep_index).offset(offset).limit(limit)
        items = [_item(row, sweep.axes, metric, layer) for row in session.scalars(query)]
        statuses, progress = _progress(session, sweep_id)
    own = {name: getattr(sweep, name) for name in ("id", "name", "created_at", "base", "axes", "total")}
    return SweepOut(**own, statuses=statuses, progress=progress, items=items)


def _progress(session: Session, sweep_id: str) -> tuple[dict[str, int], float]:
    columns = (Experiment.status, func.count(), func.sum(Experiment.step), func.sum(Experiment.total))
    rows = session.execute(select(*columns).where(Experiment.sweep_id == sweep_id).group_by(Experiment.status)).all()
    done, total = sum(row[2] for row in rows), sum(row[3] for row in rows)
    return {row[0]: row[1] for row in rows}, float(done / total) if total else 0.0


def _item(row: Experiment, axes: Mapping[str, Any], metric: Sequence[str], layer: Sequence[str]) -> Item:
    result = row.result or {}
    point = {path: at(row.spec, path) for path in axes}
    levels = _levels(result, row.spec, metric, layer)
    return Item(experiment=row.id, status=row.status, point=point, metrics=levels, verdict=result.get("verdict", []))


def at(spec: Mapping[str, Any], path: str) -> Any:
    """The value at a dotted path."""
    value: Any = spec
    for name in path.split("."):
        value = value.get(name) if isinstance(value, Mapping) else None
    return value


def _levels(
    result: Mapping[str, Any], spec: Mapping[str, Any], metrics: Sequence[str], layers: Sequence[str]
) -> list[Level]:
    found: dict[tuple[str, str | None], list[float]] = {}
    for seed in result.get("final", []):
        for one in seed["metrics"]:
            if (not metrics or one["metric"] in metrics) and (not layers or one["layer"] in layers):
                values = found.setdefault((one["metric"], one["layer"]), [])
                if one["value"] is not None:
                    values.append(one["value"])
    predicted = predicted_series(predict(parse_spec(spec))) if found else {}
    return [
        Level(
            metric=key[0],
            layer=key[1],
            mean=sum(values) / len(values) if values else None,
            low=min(values, default=None),
            high=max(values, default=None),
            predicted=predicted.get(key),
        )
        for key, values in found.items()
    ]


def _csv(sweep: SweepOut) -> str:
    """A row a combination and metric, the axes in front."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*sweep.axes, "experiment", "status", *Level.model_fields])
    for item in sweep.items:
        front, empty = [*item.point.values(), item.experiment, item.status], [None] * len(Level.model_fields)
        for values in [list(level.model_dump().values()) for level in item.metrics] or [empty]:
            writer.writerow([*front, *values])
    return text.getvalue()


@router.post("/sweeps/{sweep_id}/cancel", response_model=SweepOut)
def cancel(sweep_id: str) -> SweepOut:
    """Cancels what has not ended; what was measured stays."""
    with writing() as session:
        if session.get(Sweep, sweep_id) is None:
            raise not_found("sweep", sweep_id)
        states.request_cancel(session, Experiment.sweep_id == sweep_id)
    return look(sweep_id, [], [], 0, MAX_PAGE)
