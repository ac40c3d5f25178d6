"""The setting of a picture: an experiment's name, caption, layers and predictions, everything but measurements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from ncore.pictures.axes import Abscissa
from ncore.pictures.caption import caption
from ncore.pictures.panels import MANY_SEEDS, NETWORK_PANELS, UFM_PANELS, panel_called, usual_panels, without_panel
from ncore.spec import AnySpec, ExternalSpec, MeasureEpochs, UfmSpec
from ncore.theory import Prediction, predict
from ncore.theory.comparison import predicted_series, series_of_levels
from ncore.theory.nc0 import has_law
from ncore.theory.prediction import BEST_KNOWN

OBJECTIVE = ("objective", None)
Lines = Mapping[str, Mapping[tuple[str, str | None], float]]
"""{name: {(metric, layer): value}}: levels that a picture draws, each under its name."""


@dataclass(frozen=True)
class PictureSetting:
    """`layers` in the order of the forward pass; `predicted`: {(metric, layer): value}; `panels` if none are chosen;
    `steps` of the run of one seed, 0 while not known."""

    name: str
    caption: str = ""
    layers: tuple[str, ...] = ()
    predicted: Mapping[tuple[str, str | None], float] = field(default_factory=dict)
    over: Abscissa = field(default_factory=Abscissa)
    panels: tuple[str, ...] = UFM_PANELS
    steps: int = 0
    objective_name: str = "f*"
    """What the predicted objective is called: f* where it is the minimum."""
    structure: str = "predicted"
    """What the other predicted values are called."""
    references: Lines = field(default_factory=dict)
    """By name: values that are known but not predicted, like the best known objective and the geometry of a limit."""
    tested: bool = False
    """Whether the layers are measured on the test set too, as NAME@test."""
    shows_all: bool = False
    """Whether metrics that no panel shows get one of their own, where none are chosen."""

    @property
    def predicted_lines(self) -> Lines:
        """The predicted values by the names of their lines in a picture."""
        rest = {key: value for key, value in self.predicted.items() if key != OBJECTIVE}
        least = self.predicted.get(OBJECTIVE)
        return {**({} if least is None else {self.objective_name: {OBJECTIVE: least}}), self.structure: rest}

    def name_of(self, metric: str) -> str:
        """The name of a predicted value."""
        return self.objective_name if metric == "objective" else self.structure

    @property
    def measured(self) -> tuple[str, ...]:
        """The layers of the series."""
        return (*self.layers, *(f"{layer}@test" for layer in self.layers if self.tested))

    def shown(self, ends: Mapping[tuple[str, str | None], object]) -> list[str]:
        """The panels where none are chosen: without histograms of metrics that are not among the last values `ends`."""
        metrics = {metric for metric, _ in ends}
        own = without_panel(ends) if self.shows_all else []
        found = {name: panel_called(name) for name in [*self.panels, *own] or NETWORK_PANELS}
        return [name for name, one in found.items() if not one.over_seeds or metrics & one.metrics.keys()]


def setting_of(spec: AnySpec, total: int, name: str = "", seeds: Sequence[int] = ()) -> PictureSetting:
    """The setting of a run of `total` steps, of which `seeds` are shown (all if empty).

    A network trains its seeds one after the other, so that its total is that of all; a UFM trains them at once.
    Networks that are measured each few epochs are drawn over epochs.
    """
    prediction = predict(spec)
    found = bare_setting(spec, total, name, seeds)
    return replace(
        found,
        predicted=predicted_series(prediction),
        objective_name=prediction.objective_name,
        structure=prediction.name_of(""),
        references=_references(prediction),
    )


def _references(prediction: Prediction) -> Lines:
    lines = {name: series_of_levels(levels) for name, levels in prediction.limits.items()}
    better = prediction.better_known
    return lines if better is None else {**lines, BEST_KNOWN: {OBJECTIVE: better.objective}}


def bare_setting(spec: AnySpec, total: int, name: str = "", seeds: Sequence[int] = ()) -> PictureSetting:
    """`setting_of` without what is predicted, which may take a second to find."""
    name, text = name or spec.name, caption(spec, seeds)
    if isinstance(spec, UfmSpec):
        layers = tuple(f"h{j + 1}" for j in range(len(spec.model.widths)))
        over = Abscissa(log=spec.measure.spacing == "log")
        more = ("histogram", "ranks") if len(seeds or spec.seeds) > MANY_SEEDS else ()
        return PictureSetting(name, text, layers, over=over, panels=(*UFM_PANELS, *more), steps=total)
    if isinstance(spec, ExternalSpec):
        panels, over = usual_panels(spec.model.metrics), Abscissa(log=False)
        return PictureSetting(name, text, spec.model.layers, over=over, panels=panels, steps=total, shows_all=True)
    steps = total // len(spec.seeds)
    if not isinstance(spec.measure, MeasureEpochs):
        over = Abscissa(log=spec.measure.spacing == "log")
    else:
        over = Abscissa("epoch", steps / spec.optimizer.epochs, log=False) if steps else Abscissa(log=False)
    decayed = ("objective", "sizes") if spec.optimizer.feature_decay is not None else ()
    panels = (*NETWORK_PANELS, *decayed, *(("nc0",) if has_law(spec) else ()))
    layers, tested = spec.model.measured, spec.measure.test
    return PictureSetting(name, text, layers, over=over, panels=panels, steps=steps, tested=tested)
