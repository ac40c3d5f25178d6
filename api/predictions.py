"""Predictions for stored specs, cached because pages and pictures ask for them again and again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from functools import lru_cache
from threading import Event
from typing import Any

import orjson

from ncore.kinds.external import EXTERNAL
from ncore.spec import NetworkSpec, UfmSpec, stored_spec
from ncore.theory import Prediction, predict

UNUSED = ("name", "tags", "seeds", "device", "priority", "optimizer", "measure", "precision")
"""Fields of a spec that no prediction depends on."""


def prediction_of(spec: Mapping[str, Any]) -> Prediction:
    """The prediction for a stored spec."""
    model = spec["model"]
    if model["kind"] == EXTERNAL:
        kept = {"model": {"kind": EXTERNAL, "layers": model["layers"]}, "theory": spec["theory"]}
    else:
        kept = {name: value for name, value in spec.items() if name not in UNUSED or model["kind"] != "ufm"}
    return _predicted(orjson.dumps(kept, option=orjson.OPT_SORT_KEYS))


def predictions_within(specs: Sequence[UfmSpec | NetworkSpec], seconds: float) -> list[Prediction]:
    """The predictions for the first specs, as many as are made in so many seconds, perhaps none.

    Most take less than a millisecond and some ten seconds: such a one is made all the same, for who asks again.
    """
    known: list[Prediction] = []
    enough = Event()

    def work() -> None:
        for spec in specs:
            if enough.is_set():
                return
            known.append(prediction_of(spec.model_dump(mode="json")))

    made = _others.submit(work)
    wait([made], seconds)
    enough.set()
    if made.done():
        made.result()  # raises what went wrong
    made.cancel()
    return known[:]


_others = ThreadPoolExecutor(2, "predictions")
"""Not the threads of requests, which would be held as long as the slowest prediction takes."""


@lru_cache(maxsize=500)
def _predicted(spec: bytes) -> Prediction:
    return predict(stored_spec(orjson.loads(spec)))
