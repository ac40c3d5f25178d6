"""The model of an experiment that is measured elsewhere, and the rules for names of its metrics and layers."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import orjson
from pydantic import AfterValidator, Field, TypeAdapter

from ncore.kinds.fields import MAX_CLASSES, Entries, Int, Label, Matching, Part

EXTERNAL = "external"
MAX_LAYERS = 64
MAX_METRICS = 256
MAX_CONFIG_BYTES = 65_536
MAX_STEP = 2**31 - 1

Metric = Annotated[Label, Matching("[^ ]+", "a text without blanks")]
"""A blank is what parts metric and layer in the names that rows are stored under."""


def _bounded(config: dict[str, Any]) -> dict[str, Any]:
    try:
        size = len(orjson.dumps(config))
    except TypeError as error:
        raise ValueError(f"must be JSON: {error}") from None
    if size > MAX_CONFIG_BYTES:
        raise ValueError(f"must take at most {MAX_CONFIG_BYTES} bytes as JSON, not {size}")
    return config


class ExternalModel(Part):
    """A model that its owner trains and measures."""

    kind: Literal["external"] = "external"
    """Measured elsewhere."""
    classes: Annotated[Int, Field(ge=2, le=MAX_CLASSES)] | None = Field(
        default=None, description="K; a verdict needs it", examples=[10]
    )
    layers: Annotated[tuple[Label, ...], Entries(0, MAX_LAYERS)] = Field(
        default=(), description="in the order of the forward pass; what is measured adds those that are new"
    )
    metrics: Annotated[tuple[Metric, ...], Entries(0, MAX_METRICS)] = Field(
        default=(), description="names of what is measured, which adds those that are new"
    )
    steps: Annotated[Int, Field(ge=1, le=MAX_STEP)] | None = Field(
        default=None, description="the last step that it will measure, where its owner knows: for the progress"
    )
    config: Annotated[dict[str, Any], AfterValidator(_bounded)] = Field(
        default_factory=dict, description="whatever JSON describes it", examples=[{"lr": 0.1, "optimizer": "sgd"}]
    )


METRIC: TypeAdapter[str] = TypeAdapter(Metric)
LAYER: TypeAdapter[str] = TypeAdapter(Label)
