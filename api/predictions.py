"""Predictions for stored specs, cached because pages and pictures ask for them again and again."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import orjson

from ncore.kinds.external import EXTERNAL
from ncore.spec import stored_spec
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


@lru_cache(maxsize=500)
def _predicted(spec: bytes) -> Prediction:
    return predict(stored_spec(orjson.loads(spec)))
