"""/estimate: what a spec will need, without running it."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.database.durations import seconds_of
from api.database.sessions import reading
from api.settings import get_settings
from api.web.bodies import SpecBody, sound
from api.web.errors import PROBLEMS
from ncore.estimate import measurements, memory_bytes, wants_gpu
from ncore.presets import spec_of
from ncore.spec import ExternalSpec

router = APIRouter(tags=["theory"], responses=PROBLEMS)


class Estimate(BaseModel):
    """`memory_bytes`: the peak of its tensors. `measurements`: rows that it stores. `queue`: whether it is for GPU
    workers. `seconds`: as long as earlier ones of the same shape took, by step or epoch; null where there were none.

    What is measured elsewhere needs none of it.
    """

    memory_bytes: int
    memory_limit_bytes: int
    measurements: int
    queue: Literal["cpu", "gpu"] | None
    seconds: float | None


@router.post("/estimate", response_model=Estimate)
def estimate_spec(body: SpecBody) -> Estimate:
    """Memory, rows and time of a spec (or a preset with changes) without running it."""
    spec, limit = spec_of(sound(body)), get_settings().max_memory_bytes
    if isinstance(spec, ExternalSpec):
        return Estimate(memory_bytes=0, memory_limit_bytes=limit, measurements=0, queue=None, seconds=None)
    queue: Literal["cpu", "gpu"] = "gpu" if wants_gpu(spec) else "cpu"
    with reading() as session:
        seconds = seconds_of(session, spec, queue)
    return Estimate(
        memory_bytes=memory_bytes(spec),
        memory_limit_bytes=limit,
        measurements=measurements(spec),
        queue=queue,
        seconds=seconds,
    )
