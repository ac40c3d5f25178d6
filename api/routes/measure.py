"""POST /measure: the metrics of features that are sent, and kept nowhere."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel
from starlette.concurrency import run_in_threadpool

from api.companion import CrowdedError
from api.engine import AwayError, Engine
from api.web.errors import PROBLEMS, Problem
from ncore.faults import SpecError
from ncore.kinds.fields import Plain
from ncore.kinds.foreign import describe_by


@asynccontextmanager
async def engine(_: Any) -> AsyncIterator[dict[str, Engine]]:
    """The API's `request.state.engine`, from its start to its end; it describes models, too."""
    made = Engine()
    describe_by(made.describe)
    yield {"engine": made}
    describe_by(None)
    made.stop()


router = APIRouter(tags=["metrics"], responses=PROBLEMS, lifespan=engine)
BODY = {"content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}, "required": True}
Key = Annotated[
    str | None,
    Query(min_length=1, max_length=255, description="its name in the file, where that is none of ours"),
    Plain(),
]
NO_ENGINE = (
    "this API is installed without torch, which measuring needs; `ncore measure FILE` does it wherever ncore[engine] is"
)


class MetricValue(BaseModel):
    metric: str
    layer: str | None
    """Null where the features have no name."""
    value: float | None
    """Null where it is undefined."""


class Measured(BaseModel):
    samples: int
    """N."""
    classes: int
    """K."""
    metrics: list[MetricValue]
    """The metrics of each layer."""


@router.post("/measure", response_model=Measured, openapi_extra={"requestBody": BODY})
async def measure_features(
    request: Request,
    classes: Annotated[
        Literal["all", "present"], Query(description="present: classes without samples are left out")
    ] = "all",
    features: Key = None,
    labels: Key = None,
    weight: Key = None,
    bias: Key = None,
) -> Any:
    """The metrics of a .npz or .safetensors file: features, labels, maybe weight and bias. The file is not kept."""
    named = {"features": features, "labels": labels, "weight": weight, "bias": bias}
    keys = {role: name for role, name in named.items() if name is not None}
    asked: Engine = request.state.engine
    if not asked.is_here:
        raise Problem(501, NO_ENGINE)
    try:
        return await run_in_threadpool(asked.measure, await request.body(), classes, keys)
    except SpecError as error:
        raise Problem.of(error.errors) from None
    except CrowdedError as error:
        raise Problem(503, str(error), headers={"Retry-After": "2"}) from None
    except AwayError as error:
        raise Problem(422, f"body: it could not be measured: {error}") from None
