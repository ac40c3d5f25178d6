"""What a picture is of: an experiment's name, setting, layers and predictions, without what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from ncore.pictures.axes import Abscissa
from ncore.pictures.caption import caption
from ncore.pictures.panels import NETWORK_PANELS, UFM_PANELS
from ncore.spec import MeasureEpochs, NetworkSpec, UfmSpec
from ncore.theory import predict
from ncore.theory.comparison import predicted_series


@dataclass(frozen=True)
class Subject:
    """`layers` in the order of the forward pass; `predicted`: {(metric, layer): value}; `panels` if none are chosen;
    `steps` of the whole run, 0 while not known."""

    name: str
    caption: str = ""
    layers: tuple[str, ...] = ()
    predicted: Mapping[tuple[str, str | None], float] = field(default_factory=dict)
    over: Abscissa = field(default_factory=Abscissa)
    panels: tuple[str, ...] = UFM_PANELS
    steps: int = 0


def subject_of(spec: UfmSpec | NetworkSpec, total: int, name: str = "") -> Subject:
    """`total` is the number of steps: networks that are measured each few epochs are drawn over epochs."""
    predicted = predicted_series(predict(spec))
    name = name or spec.name
    if isinstance(spec, UfmSpec):
        layers = tuple(f"h{j + 1}" for j in range(len(spec.model.widths)))
        over = Abscissa(log=spec.measure.spacing == "log")
        return Subject(name, caption(spec), layers, predicted, over, steps=total)
    epochs = spec.optimizer.epochs
    if not isinstance(spec.measure, MeasureEpochs):
        over = Abscissa(log=spec.measure.spacing == "log")
    else:
        over = Abscissa("epoch", total / epochs, log=False) if total else Abscissa(log=False)
    return Subject(name, caption(spec), spec.model.measured, predicted, over, NETWORK_PANELS, total)
