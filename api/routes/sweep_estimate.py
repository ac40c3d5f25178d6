"""/sweeps/estimate: what a sweep will need and what is predicted of it, without running it."""

from __future__ import annotations

from collections import Counter
from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel

from api.database.durations import Paces
from api.database.sessions import reading
from api.predictions import predictions_within
from api.routes.sweeps import SweepBody
from api.settings import get_settings
from api.sweep_submission import sound_specs
from api.web.bodies import parsed, sound
from api.web.errors import PROBLEMS
from ncore.estimate import measurements, memory_bytes, wants_gpu
from ncore.sweeps.forecast import Forecast, forecast, spread
from ncore.sweeps.plan import Plan, Spec, SweepRequest
from ncore.sweeps.presets import expanded
from ncore.theory import Prediction

router = APIRouter(tags=["sweeps"], responses=PROBLEMS)
MOST_EXAMINED = 400
"""Combinations that are looked at; of a larger sweep its corners, each value once, and others evenly all over it."""
MATRICES = ("gram", "weight_gram", "logits")
"""What of a prediction no form shows, and is large."""
SECONDS_OF_THEORY = 0.1
"""Time for predictions."""
Queue = Literal["cpu", "gpu"]


class End(BaseModel):
    """The first combination, or the last."""

    point: dict[str, Any]
    prediction: Prediction


class SweepEstimate(BaseModel):
    """`sizes`: values of each axis, whose product is `combinations`; `budget`: experiments in all where it is refined.

    `memory_bytes` is the largest of one experiment, `total_memory_bytes` that of all together, which workers never need
    at once; `measurements` are the rows that all store. `queues`: how many are for CPU and for GPU workers. `seconds`:
    the work of all of which anything is known, `timed` combinations, as one worker does it; null where that is none.
    Of a large sweep some combinations are examined, and their sums stand for all. `ends`: the first combination and the
    last. `forecast` and `ends` are without predictions that take long: those are there when it is asked again.
    """

    combinations: int
    sizes: list[int]
    budget: int | None
    examined: int
    memory_bytes: int
    total_memory_bytes: int
    memory_limit_bytes: int
    measurements: int
    queues: dict[Queue, int]
    seconds: float | None
    timed: int
    forecast: Forecast
    ends: list[End]


@router.post("/sweeps/estimate", response_model=SweepEstimate)
def estimate_sweep(body: SweepBody) -> SweepEstimate:
    """Number of combinations, memory, rows, time and predictions of a sweep (or a preset) without running it."""
    request = parsed(SweepRequest, expanded(sound(body)))
    plan = Plan(request)
    sizes = [len(one.values) for one in plan.dimensions]
    order = spread(sizes, MOST_EXAMINED)
    numbers = sorted(order)
    specs = dict(zip(numbers, sound_specs(plan, map(plan.point, numbers)), strict=True))
    memory = list(map(memory_bytes, specs.values()))
    queues = list(map(_queue_of, specs.values()))
    with reading() as session:
        paces = Paces(session)
        spans = [paces.seconds(spec, queue) for spec, queue in zip(specs.values(), queues, strict=True)]
    known, share = [span for span in spans if span is not None], plan.total / len(specs)
    predicted = predictions_within([specs[number] for number in order], SECONDS_OF_THEORY)
    return SweepEstimate(
        combinations=plan.total,
        sizes=sizes,
        budget=None if request.refine is None else request.refine.budget,
        examined=len(specs),
        memory_bytes=max(memory),
        total_memory_bytes=round(share * sum(memory)),
        memory_limit_bytes=get_settings().max_memory_bytes,
        measurements=round(share * sum(map(measurements, specs.values()))),
        queues={queue: round(share * count) for queue, count in Counter(queues).items()},
        seconds=share * sum(known) if known else None,
        timed=round(share * len(known)),
        forecast=forecast(predicted),
        ends=[
            End(point=plan.point(number), prediction=one.model_copy(update=dict.fromkeys(MATRICES)))
            for number, one in zip(order[:2], predicted, strict=False)
        ],
    )


def _queue_of(spec: Spec) -> Queue:
    return "gpu" if wants_gpu(spec) else "cpu"
