"""The geometry on its way to a service, beside the rows of its seeds and steps in the body:

    "geometry": [{"seed": 0, "step": 100, "items": [{"name": "layer4", "gram": [[…], …], "singular_values": […]}]}]

`gram` (K × K) is H̄ᵀH̄ of the class means of the layer `name`; of `W` W Wᵀ of the last weight; of `W H` it is W H̄.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Annotated, Any

import numpy as np
import orjson
from pydantic import Field, ValidationError, model_validator

from ncore.faults import MAX_FAULTS, Fault, SpecError, fault_of, shortened
from ncore.geometry import MOST_CLASSES, PRODUCT, Array, Shape, factor_values, packed_shapes
from ncore.kinds.external import MAX_LAYERS
from ncore.kinds.fields import Entries, Int, Label, Part, Real

MOST_SENT = 50
"""Seeds and steps of a request."""
LARGEST = 1e100
"""Beyond it products of entries would overflow."""
NEARLY = 1e-4
"""How far a Gram matrix may be from symmetric, relative to its largest entry: they come in single precision."""
Entry = Annotated[Real, Field(ge=-LARGEST, le=LARGEST)]
Row = Annotated[list[Entry], Entries(1, MOST_CLASSES)]


class SentMatrix(Part):
    """One matrix; singular values that are left out are found from it."""

    name: Label
    gram: Annotated[list[Row], Entries(1, MOST_CLASSES)]
    singular_values: Annotated[list[Annotated[Entry, Field(ge=0)]], Entries(1, MOST_CLASSES)] | None = None

    @model_validator(mode="after")
    def _check(self) -> SentMatrix:
        size = len(self.gram)
        if wrong := next((row for row in self.gram if len(row) != size), None):
            raise ValueError(f"gram: must be square; got {size} rows, one of {len(wrong)} numbers")
        matrix = np.array(self.gram)
        if self.name != PRODUCT:
            if np.abs(matrix - matrix.T).max() > NEARLY * np.abs(matrix).max():
                raise ValueError("gram: must be symmetric; got one that is not")
            if (lowest := float(np.diag(matrix).min())) < 0:
                raise ValueError(f"gram: must have squared norms on its diagonal; got {lowest}")
        values = self.singular_values
        if values is not None and (len(values) > size or sorted(values, reverse=True) != values):
            raise ValueError(f"singular_values: must be at most {size}, largest first; got {shortened(values)}")
        return self

    @property
    def shape(self) -> Shape:
        matrix = np.array(self.gram, dtype=np.float64)
        given = self.singular_values
        values = factor_values(self.name, matrix) if given is None else np.array(given, dtype=np.float64)
        return Shape(self.name, matrix, values)


class SentGeometry(Part):
    """The geometry of a seed at a step."""

    seed: Int
    step: Int
    items: Annotated[list[SentMatrix], Entries(1, MAX_LAYERS + 2)]

    @model_validator(mode="after")
    def _check(self) -> SentGeometry:
        names = [one.name for one in self.items]
        if twice := next((name for i, name in enumerate(names) if name in names[:i]), None):
            raise ValueError(f"items: must have names of their own; got {twice!r} twice")
        if len(sizes := {len(one.gram) for one in self.items}) > 1:
            raise ValueError(f"items: must all be of one size; got {', '.join(map(str, sorted(sizes)))}")
        return self


def parse_geometry(given: Any, keys: Collection[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """{(seed, step): what `ncore.geometry.unpacked` reads} of the field `geometry` of a body with rows of these keys.

    Raises SpecError naming every faulty field.
    """
    if not isinstance(given, list):
        raise SpecError([{"field": "geometry", "message": f"must be a list; got {shortened(given)}"}])
    if len(given) > MOST_SENT:
        raise SpecError([{"field": "geometry", "message": f"must have at most {MOST_SENT} entries, not {len(given)}"}])
    found: dict[tuple[int, int], bytes] = {}
    faults: list[Fault] = []
    for i, one in enumerate(given):
        field = f"geometry.{i}"
        try:
            sent = SentGeometry.model_validate(one)
        except ValidationError as error:
            items = error.errors(include_url=False)[:MAX_FAULTS]
            faults += [fault_of(item, ".".join(map(str, (field, *item["loc"])))) for item in items]
            continue
        key = sent.seed, sent.step
        if key not in keys or key in found:
            what = "there twice" if key in found else "without a row in this request"
            faults.append({"field": field, "message": f"seed {sent.seed}, step {sent.step} is {what}"})
            continue
        found[key] = packed_shapes([one.shape for one in sent.items])
    if faults:
        raise SpecError(faults)
    return found


def as_items(shapes: Iterable[Shape]) -> orjson.Fragment:
    """The `items` of a geometry, for orjson: matrices in single precision, which halves them."""
    items = [
        {
            "name": one.name,
            "gram": orjson.Fragment(_single(one.matrix)),
            "singular_values": one.singular_values.tolist(),
        }
        for one in shapes
    ]
    return orjson.Fragment(orjson.dumps(items))


def _single(matrix: Array) -> bytes:
    limit = np.finfo(np.float32).max
    rounded = np.ascontiguousarray(matrix.clip(-limit, limit), dtype=np.float32)
    return orjson.dumps(rounded, option=orjson.OPT_SERIALIZE_NUMPY)
