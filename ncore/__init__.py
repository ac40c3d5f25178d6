"""Neural collapse as a library: train an unconstrained features model or a network, measure, compare with theory.

>>> import ncore
>>> for m in ncore.train("fig1"):
...     m.step, m.seed, m.values["nc1", "h1"]

Every name is loaded when it is first used, so that `import ncore` is quick and needs no torch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ncore.client import Client, start
    from ncore.metrics import Accumulator, measure
    from ncore.pictures import figure
    from ncore.presets import PRESETS
    from ncore.probe import Probe
    from ncore.spec import parse_spec
    from ncore.theory import predict
    from ncore.train import begin, train

__all__ = [
    "PRESETS",
    "Accumulator",
    "Client",
    "Probe",
    "begin",
    "figure",
    "measure",
    "parse_spec",
    "predict",
    "start",
    "train",
]

_PLACES = {
    "Accumulator": "ncore.metrics",
    "Client": "ncore.client",
    "PRESETS": "ncore.presets",
    "Probe": "ncore.probe",
    "begin": "ncore.train",
    "figure": "ncore.pictures",
    "measure": "ncore.metrics",
    "parse_spec": "ncore.spec",
    "predict": "ncore.theory",
    "start": "ncore.client",
    "train": "ncore.train",
}


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version  # slower than all the rest

        return version("ncore")
    if name not in _PLACES:
        raise AttributeError(f"module 'ncore' has no attribute {name!r}; it has {', '.join(__all__)}")
    found = globals()[name] = getattr(import_module(_PLACES[name]), name)
    return found


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
