"""The steps at which a run is measured, and the data besides its training set."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, StrictBool, Tag

from ncore.kinds.fields import Int, Part

MAX_STEPS = 10**9


class MeasureSteps(Part):
    """Step 0, the last step, and `points` − 2 between them."""

    points: Int = Field(default=200, ge=2, le=100_000, description="measurements of each seed", examples=[200])
    spacing: Literal["log", "linear"] = Field(default="log", description="of their steps")


MeasureTest = Annotated[
    StrictBool, Field(description="whether the test set's features are measured too, as layers NAME@test")
]


class MeasureNetworkSteps(MeasureSteps):
    """Step 0, the last step, and `points` − 2 between them."""

    test: MeasureTest = False


class MeasureEpochs(Part):
    every_epochs: Int = Field(default=1, ge=1, le=MAX_STEPS, description="epochs between measurements", examples=[2])
    test: MeasureTest = False


def _measure_tag(value: Any) -> str:
    if not isinstance(value, Mapping):
        return "epochs" if isinstance(value, MeasureEpochs) else "steps"
    return "steps" if {"points", "spacing"} & value.keys() and "every_epochs" not in value else "epochs"


AnyNetworkMeasure = Annotated[
    Annotated[MeasureEpochs, Tag("epochs")] | Annotated[MeasureNetworkSteps, Tag("steps")],
    Discriminator(_measure_tag),
]
