"""The panels of a picture: which metrics are drawn together."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True)
class Panel:
    """One panel: the metrics it shows, with the names they have in its legend."""

    name: str
    title: str
    metrics: Mapping[str, str]
    y_title: str
    log: bool = True
    over_seeds: bool = False
    """A histogram of the last values over the seeds, in place of curves."""


GAP = "gap"
"""Not measured but derived: the objective above its predicted value."""

PANELS = {
    panel.name: panel
    for panel in (
        Panel("objective", "Objective", {"objective": "objective"}, "f"),
        Panel("gap", "Objective above its predicted value", {GAP: "gap"}, "f − predicted"),
        Panel("nc1", "NC1: within-class variability", {"nc1": "Tr(Σ_W Σ_B†) / K"}, "NC1"),
        Panel("nc2", "NC2: distance to a frame", {"nc2_of": "orthogonal frame", "nc2_etf": "simplex ETF"}, "NC2"),
        Panel("nc3", "NC3: self-duality", {"nc3": "class means", "nc3_centered": "centred class means"}, "NC3"),
        Panel("nc4", "NC4: nearest class mean", {"nc4": "disagreement"}, "share of samples", log=False),
        Panel("accuracy", "Accuracy", {"accuracy": "train", "test_accuracy": "test"}, "accuracy", log=False),
        Panel("loss", "Data term", {"loss": "train", "test_loss": "test"}, "loss"),
        Panel("nc1_trace", "NC1: traces", {"nc1_trace": "Tr Σ_W / Tr Σ_B"}, "NC1"),
        Panel("cdnv", "Class-distance normalized variance", {"cdnv": "CDNV"}, "CDNV"),
        Panel("norms", "Equal norms", {"norm_cv_h": "class means", "norm_cv_w": "weights"}, "std / mean"),
        Panel("sizes", "Squared norms", {"feature_norm_sq": "class means", "weight_norm_sq": "rows of W_M"}, "norm²"),
        Panel("angles", "Equal angles", {"angle_std": "std of cosines", "angle_gap": "gap to −1/(K−1)"}, "angles"),
        Panel("histogram", "Final objective over the seeds", {"objective": "objective"}, "f", over_seeds=True),
        Panel(
            "ranks",
            "Final ranks over the seeds",
            {"rank": "class means", "rank_before": "before the ReLU"},
            "rank",
            over_seeds=True,
        ),
        Panel("nc0", "NC0: sum of the classifier's rows", {"nc0": "measured", "nc0_predicted": "predicted"}, "norm"),
        Panel("gradient", "Gradient", {"grad_norm": "objective", "batch_grad_norm": "last batch"}, "gradient norm"),
    )
}
MANY_SEEDS = 8
"""With more seeds than this a UFM's picture has a histogram over them."""
UFM_PANELS = ("objective", "nc1", "nc2", "nc3")
NETWORK_PANELS = ("loss", "accuracy", "nc1", "nc2", "nc3", "nc4")


MOST_OWN = 6
"""Metrics that no panel has but get one nevertheless, in a picture of what was measured elsewhere."""

PanelName = StrEnum("PanelName", {name: name for name in PANELS})  # type: ignore[misc] # from PANELS
"""The names, as the type of a query parameter."""


def needed(names: Iterable[str]) -> list[str]:
    """The measured metrics that panels of these names show."""
    shown = {metric for name in names for metric in panel_called(name).metrics}
    return sorted(shown - {GAP} | ({"objective"} if GAP in shown else set()))


def panel_called(name: str) -> Panel:
    """The panel of this name; one of a single metric where no panel has it."""
    return PANELS[name] if name in PANELS else panel_of(name)


def usual_panels(metrics: Collection[str]) -> tuple[str, ...]:
    """The panels of networks and of the objective that show any of these metrics."""
    return tuple(name for name in ("objective", *NETWORK_PANELS) if PANELS[name].metrics.keys() & set(metrics))


def without_panel(ends: Iterable[tuple[str, str | None]]) -> list[str]:
    """The metrics without a layer that no panel shows, the first of them."""
    known = {metric for panel in PANELS.values() for metric in panel.metrics}
    return [metric for metric, layer in ends if layer is None and metric not in known][:MOST_OWN]


def panel_of(metric: str) -> Panel:
    """The panel that shows this metric, with nothing else in it."""
    for panel in PANELS.values():
        if metric in panel.metrics and not panel.over_seeds:
            name = panel.metrics[metric]
            title = panel.title if len(panel.metrics) == 1 else f"{panel.title} ({name})"
            return Panel(panel.name, title, {metric: name}, panel.y_title, panel.log)
    return Panel(metric, metric, {metric: metric}, metric)
