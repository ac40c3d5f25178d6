"""Results of finished runs, as they are stored, answered and described: plain dicts with known fields."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NotRequired

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import core_schema
from typing_extensions import TypedDict

from ncore.run import Measurement


class FinalValue(TypedDict):
    """A metric at the end; `layer` is null for a metric that has none, `value` where it is undefined."""

    metric: str
    layer: str | None
    value: float | None


class Final(TypedDict):
    """The last measurement of a seed."""

    seed: int
    step: int
    metrics: list[FinalValue]


class Verdict(TypedDict):
    """The verdict on a seed, in the words of the theory.

    `reached` is null where what was measured elsewhere says too little, and the note says what is missing.
    `gap` is (objective − predicted)/predicted, null where nothing is predicted, the prediction is 0, or the numbers are
    not finite.
    """

    seed: int
    reached: str | None
    rank: int | None
    dead_samples: int | None
    objective: float | None
    predicted: float | None
    gap: float | None
    note: str | None


class Outcome(TypedDict):
    """The `result` of an experiment that has succeeded; `versions`: what the last digits of its numbers depend on.

    What was measured elsewhere has `final` and `verdict` alone.
    """

    final: list[Final]
    verdict: list[Verdict]
    engine: NotRequired[str]
    device: NotRequired[str]
    versions: NotRequired[dict[str, str | int]]


def as_final(measured: Sequence[Measurement]) -> list[Final]:
    """The last measurements of the seeds as a result has them."""
    return [
        {
            "seed": m.seed,
            "step": m.step,
            "metrics": [
                {"metric": metric, "layer": layer, "value": value} for (metric, layer), value in m.values.items()
            ],
        }
        for m in measured
    ]


class Ended(Outcome):
    """A result together with what tables of sweeps read (ncore.sweeps.summary), which is stored in its own column."""

    summary: dict[str, Any]


class AsStored:
    """Marks a field that is described by its type and passed on as it is: what an older version has stored is answered
    as well, and what is large is not walked through."""

    def __init__(self, kind: Any) -> None:
        self._kind = kind

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        return core_schema.any_schema()

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        within = handler(core_schema.list_schema(TypeAdapter(self._kind).core_schema))
        described: dict[str, Any] = within["items"]  # by name: what stands alone would be written out at each place
        return described
