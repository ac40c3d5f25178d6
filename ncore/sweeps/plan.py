"""A sweep as it is asked for: a base spec and what is varied, and every combination that follows from it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from ncore.faults import shortened
from ncore.kinds.fields import Int, Part, Plain
from ncore.presets import body_of_request, trainable
from ncore.spec import NetworkSpec, SpecError, UfmSpec, parse_spec, with_changes
from ncore.sweeps.axes import MAX_COMBINATIONS, AxisField, ChoiceField, Interval, Range, repeated
from ncore.sweeps.samples import Method, shares_of
from ncore.text import escaped

MAX_PATHS = 16
"""Most paths that are varied in all."""
MAX_NAME = 200
NAMED_PATHS = 6
"""Values that the name of a combination has."""
Spec = UfmSpec | NetworkSpec
Point = dict[str, Any]
Path = Annotated[str, Field(min_length=1, max_length=MAX_NAME), Plain()]
Paths = Annotated[dict[Path, AxisField], Field(max_length=MAX_PATHS)]


class Sample(Part):
    """Points of a box, at random or as Sobol's sequence: {"points": 256, "method": "sobol", "box": {path: …}}."""

    points: Int = Field(ge=1, le=MAX_COMBINATIONS, description="how many are drawn")
    method: Method = Field(default="sobol", description="random: independent; sobol: evenly spread, scrambled")
    seed: Int = Field(default=0, ge=0, lt=2**63, description="the same seed draws the same points")
    box: dict[Path, ChoiceField] = Field(
        min_length=1, max_length=MAX_PATHS, description="for each path a list, or from, to and spacing"
    )


class Refine(Part):
    """Where to go on once all have ended: in cells whose corners differ, until they are a hundredth of each axis."""

    metric: Literal["rank", "verdict", "gap"] = Field(
        description="what must differ: the rank, the verdict, whether the gap to the prediction is below 1e-3"
    )
    budget: Int = Field(default=500, ge=1, le=MAX_COMBINATIONS, description="experiments in all")


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, Mapping) else value


class SweepRequest(BaseModel):
    """{"base": spec or {"preset": …, "set": …}, "axes": {"regularization.features": [0.001, 0.01], …}}

    Every value of each axis meets every value of the others; `zip` moves several paths together, `sample` draws points.
    """

    model_config = ConfigDict(extra="forbid")
    name: Annotated[str, Field(max_length=MAX_NAME, description="shown with the sweep"), Plain()] = ""
    base: Annotated[dict[str, Any], Field(description="the spec, or a preset with changes, that all start from")]
    axes: Annotated[
        Paths, Field(description="values or a range for dotted paths of the spec; of several the last goes fastest")
    ] = {}
    zip: Annotated[
        list[Annotated[Paths, Field(min_length=1)]],
        BeforeValidator(_as_list, json_schema_input_type=Paths | Annotated[list[Paths], Field(max_length=MAX_PATHS)]),
        Field(max_length=MAX_PATHS, description="paths whose values move together, or several such groups"),
    ] = []
    sample: Annotated[Sample | None, Field(description="points of a box in place of a grid")] = None
    refine: Annotated[Refine | None, Field(description="go on where the answer changes")] = None
    picture: Annotated[
        dict[str, Annotated[str, Field(max_length=MAX_NAME), Plain()]],
        Field(max_length=8, description="what the picture shows unless asked: metric, layer, x, y, facet, seeds"),
    ] = {}


@dataclass(frozen=True)
class Dimension:
    """Paths that move together: a grid is the product of dimensions. `field` is where the request has it."""

    paths: tuple[str, ...]
    values: Sequence[tuple[Any, ...]]
    fields: tuple[str, ...]


class Plan:
    """All combinations of a request. Raises SpecError naming the axis that is wrong; what is too large is never built.

    `axes`: {path: its values, each once}; `intervals`: the ends and the spacing of the paths that were given as such.
    """

    def __init__(self, request: SweepRequest) -> None:
        self.body: Mapping[str, Any] = body_of_request(request.base)
        _check_paths(request)
        _check_count(request)
        body = self.body
        self.dimensions = [*_of_axes(request, body), *_of_zips(request, body), *_of_sample(request, body)]
        self.total = math.prod(len(one.values) for one in self.dimensions)
        self.intervals = {
            path: axis
            for group in (request.axes, *request.zip, request.sample.box if request.sample else {})
            for path, axis in group.items()
            if isinstance(axis, Interval)
        }
        if request.refine is not None:
            _check_refine(request, self.total)

    @property
    def axes(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {}
        for one in self.dimensions:
            for i, path in enumerate(one.paths):
                values = [row[i] for row in one.values]
                found[path] = _once(values) if len(one.paths) > 1 else values
        return found

    @property
    def together(self) -> list[list[str]]:
        """The groups of paths that move together."""
        return [list(one.paths) for one in self.dimensions if len(one.paths) > 1]

    def points(self) -> Iterator[Point]:
        """The values of every combination, the last dimension fastest."""
        for rows in product(*(one.values for one in self.dimensions)):
            pairs = (zip(one.paths, row, strict=True) for one, row in zip(self.dimensions, rows, strict=True))
            yield dict(pair for some in pairs for pair in some)

    def point(self, number: int) -> Point:
        """The values of the combination that comes as this one, from 0."""
        found: list[tuple[str, Any]] = []
        for one in reversed(self.dimensions):
            number, at = divmod(number, len(one.values))
            found[:0] = zip(one.paths, one.values[at], strict=True)
        return dict(found)

    def spec(self, point: Point) -> Spec:
        """The spec of a combination. Raises SpecError whose fields are the axes' where the fault comes from one."""
        try:
            return spec_at(self.body, point)
        except SpecError as error:
            raise SpecError([self.fault(one, point) for one in error.errors]) from None

    def fault(self, fault: Mapping[str, str], point: Point) -> dict[str, str]:
        """The fault of one combination, at the axis that it comes from."""
        fields = {path: field for one in self.dimensions for path, field in zip(one.paths, one.fields, strict=True)}
        path = _path_of(fault["field"], point)
        where = ", ".join(f"{path} = {shortened(value, 40)}" for path, value in [*point.items()][:NAMED_PATHS])
        field = fields[path] if path else f"base.{fault['field']}"
        return {"field": field, "message": f"{fault['message']} (at {where})"}


def _path_of(field: str, point: Point) -> str | None:
    """The axis that a faulty field is set by, or lies in; else the one that lies in it."""
    inside = (path for path in point if field == path or field.startswith(f"{path}."))
    return next(inside, next((path for path in point if path.startswith(f"{field}.") and field), None))


def spec_at(body: Mapping[str, Any], point: Point) -> Spec:
    """The spec of a combination, named after it. Raises SpecError."""
    changes = {path: [value] if path == "seeds" and _is_whole(value) else value for path, value in point.items()}
    return trainable(parse_spec(with_changes(body, {**changes, "name": _named(body, point)})))


def _named(body: Mapping[str, Any], point: Point) -> Any:
    values = ", ".join(f"{path.rpartition('.')[2]} = {_written(value)}" for path, value in point.items())
    name = body.get("name") or "sweep"
    return escaped(f"{name}: {values}")[:MAX_NAME] if isinstance(name, str) else name


def _written(value: Any) -> str:
    return value if isinstance(value, str) else shortened(value)


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _groups(request: SweepRequest) -> list[tuple[str, Mapping[str, Any]]]:
    zips = [("zip" if len(request.zip) == 1 else f"zip.{i}", group) for i, group in enumerate(request.zip)]
    box = [("sample.box", request.sample.box)] if request.sample else []
    return [("axes", request.axes), *zips, *box]


def _check_paths(request: SweepRequest) -> None:
    """One path is set by one axis, and no path lies in another."""
    faults, seen = [], dict[str, str]()
    for group, axes in _groups(request):
        for path in axes:
            field = f"{group}.{path}"
            clash = next((one for one in seen if _lies_in(one, path) or _lies_in(path, one)), None)
            if clash is not None:
                faults.append({"field": field, "message": f"is set by {seen[clash]} too: a path has one axis"})
            elif path == "name":
                faults.append({"field": field, "message": "is no axis: each combination is named after its values"})
            seen.setdefault(path, field)
    if len(seen) > MAX_PATHS:
        faults.append({"field": "axes", "message": f"{len(seen)} paths are varied, at most {MAX_PATHS} may be"})
    if faults:
        raise SpecError(faults)


def _lies_in(path: str, other: str) -> bool:
    return f"{path}.".startswith(f"{other}.")


def _size(axis: Any) -> int:
    return axis.points if isinstance(axis, Range) else len(axis)


def _check_count(request: SweepRequest) -> None:
    """Before anything is built."""
    if not (request.axes or request.zip or request.sample):
        raise SpecError([{"field": "axes", "message": "must have at least 1 entry, or `zip` or `sample` be given"}])
    for group, axes in _groups(request)[1 : 1 + len(request.zip)]:
        sizes = {path: _size(axis) for path, axis in axes.items()}
        first, *_ = sizes
        faults = [
            {"field": f"{group}.{path}", "message": f"must have {sizes[first]} values, as {first} has; got {size}"}
            for path, size in sizes.items()
            if size != sizes[first]
        ]
        if faults:
            raise SpecError(faults)
    count = math.prod(_size(axis) for axis in request.axes.values())
    count *= math.prod(_size(next(iter(group.values()))) for group in request.zip)
    count *= request.sample.points if request.sample else 1
    if count > MAX_COMBINATIONS:
        raise SpecError([{"field": "axes", "message": f"{count} combinations, the limit is {MAX_COMBINATIONS}"}])


def _check_refine(request: SweepRequest, total: int) -> None:
    faults = []
    for path, axis in request.axes.items():
        if not isinstance(axis, Range) and len(axis) > 1:
            message = "must be a range (from, to, points) while `refine` is given, which divides it further"
            faults.append({"field": f"axes.{path}", "message": message})
    ranges = [path for path, axis in request.axes.items() if isinstance(axis, Range)]
    if not 1 <= len(ranges) <= 2 or request.zip or request.sample:
        message = f"takes one or two axes that are ranges, and neither zip nor sample; got {len(ranges)} ranges"
        faults.append({"field": "refine", "message": message})
    if request.refine is not None and total > request.refine.budget:
        message = f"must be at least the {total} combinations of the first grid; got {request.refine.budget}"
        faults.append({"field": "refine.budget", "message": message})
    if faults:
        raise SpecError(faults)


def _of_axes(request: SweepRequest, body: Mapping[str, Any]) -> Iterator[Dimension]:
    for path, axis in request.axes.items():
        field = f"axes.{path}"
        values = _once(_numbers(body, path, axis.values())) if isinstance(axis, Range) else list(axis)
        for value in repeated(values):
            raise SpecError([{"field": field, "message": f"has a value twice; got {shortened(value)}"}])
        yield Dimension((path,), [(value,) for value in values], (field,))


def _of_zips(request: SweepRequest, body: Mapping[str, Any]) -> Iterator[Dimension]:
    for group, axes in _groups(request)[1 : 1 + len(request.zip)]:
        columns = [_numbers(body, path, a.values()) if isinstance(a, Range) else list(a) for path, a in axes.items()]
        yield Dimension(tuple(axes), _rows_once(columns), tuple(f"{group}.{path}" for path in axes))


def _of_sample(request: SweepRequest, body: Mapping[str, Any]) -> Iterator[Dimension]:
    sample = request.sample
    if sample is None:
        return
    shares = shares_of(sample.method, sample.points, len(sample.box), sample.seed)
    columns = []
    for (path, choice), column in zip(sample.box.items(), shares, strict=True):
        if isinstance(choice, Interval):
            columns.append(_numbers(body, path, [choice.at(share) for share in column]))
        else:
            columns.append([choice[int(share * len(choice))] for share in column])
    yield Dimension(tuple(sample.box), _rows_once(columns), tuple(f"sample.box.{path}" for path in sample.box))


def _numbers(body: Mapping[str, Any], path: str, values: list[float]) -> list[Any]:
    """The values as the field takes them: rounded where it takes whole numbers."""
    if path == "seeds" or _wants_whole(body, path, values[0]):
        return [round(value) for value in values]
    return values


def _wants_whole(body: Mapping[str, Any], path: str, value: float) -> bool:
    fraction = math.floor(value) + 0.5
    try:
        parse_spec(with_changes(body, {path: fraction}))
    except SpecError as error:
        return any(one["field"] == path and one["message"].startswith("must be a whole number") for one in error.errors)
    return False


def _once(values: list[Any]) -> list[Any]:
    """Each value once, in their order; values may be lists."""
    kept: dict[str, Any] = {}
    for value in values:
        kept.setdefault(repr(value), value)
    return list(kept.values())


def _rows_once(columns: list[list[Any]]) -> list[tuple[Any, ...]]:
    return list({repr(row): row for row in zip(*columns, strict=True)}.values())
