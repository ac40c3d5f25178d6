"""Sweeps by name: phase diagrams of the theory, each with the boundary that it predicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from ncore.faults import shortened
from ncore.spec import SpecError, with_changes


@dataclass(frozen=True)
class SweepPreset:
    """`body` is what POST /sweeps takes; its `picture` is what shows the boundary."""

    name: str
    title: str
    description: str
    body: dict[str, Any]


_UFM: dict[str, Any] = {
    "model": {"kind": "ufm", "classes": 4, "samples_per_class": 10, "widths": [8], "init_scale": 0.5},
    "loss": "mse",
    "regularization": {"weights": 0.02, "features": 0.02, "bias": 0.0},
    "optimizer": {"kind": "gd", "learning_rate": 0.5, "momentum": 0.9, "steps": 4000},
    "seeds": [0],
    "measure": {"points": 12, "spacing": "log"},
}


def _base(name: str, model: Mapping[str, Any] = MappingProxyType({}), **changes: Any) -> dict[str, Any]:
    optimizer = {**_UFM["optimizer"], **changes.pop("optimizer", {})}
    spec = {"name": name, "tags": ["theory"], **_UFM, **changes, "optimizer": optimizer}
    return {**spec, "model": {**_UFM["model"], **model}}


def _log(low: float, high: float, points: int) -> dict[str, Any]:
    return {"from": low, "to": high, "points": points, "spacing": "log"}


def _both(low: float, high: float, points: int) -> dict[str, Any]:
    """λ_W = λ_H."""
    return {path: _log(low, high, points) for path in ("regularization.weights", "regularization.features")}


SWEEPS: dict[str, SweepPreset] = {
    preset.name: preset
    for preset in (
        SweepPreset(
            name="phase-plain",
            title="Plain UFM: where everything collapses to zero",
            description="MSE, no bias: λ_W × λ_H through c = K√(nλ_Wλ_H) = 1 (Tirer & Bruna 2022). Below it the class "
            "means form an orthogonal frame, above it all is zero.",
            body={
                "name": "phase-plain",
                "base": _base("plain UFM"),
                "axes": {
                    "regularization.weights": _log(0.02, 0.32, 14),
                    "regularization.features": _log(0.02, 0.32, 14),
                },
                "picture": {"metric": "verdict"},
            },
        ),
        SweepPreset(
            name="phase-bias",
            title="Regularised bias: from the simplex ETF to the orthogonal frame",
            description="MSE, M = 1: λ_b × λ_W = λ_H through λ_b = c/(1−c). Up to it the minimum is an exact simplex "
            "ETF, beyond it the class means open towards the orthogonal frame.",
            body={
                "name": "phase-bias",
                "base": _base("regularised bias", {"bias": True}),
                "axes": {"regularization.bias": _log(0.02, 3.0, 14)},
                "zip": _both(0.005, 0.07, 12),
                "picture": {"metric": "verdict"},
            },
        ),
        SweepPreset(
            name="phase-deep",
            title="Depth: where zero beats the frame",
            description="Linear, MSE, M = 1 … 4 × λ (of all factors) through γ = γ_c(M). The start is wide and large "
            "enough to reach the frame, which stays a local minimum for some way beyond γ_c: below the boundary its "
            "objective is under ½, the value at zero, above it ½ or more.",
            body={
                "name": "phase-deep",
                "base": _base(
                    "depth",
                    {"classes": 2, "samples_per_class": 1, "init_scale": 0.22},
                    optimizer={"learning_rate": 0.02, "steps": 3000},
                ),
                "axes": {"model.widths": [[32], [32, 32], [32, 32, 32], [32, 32, 32, 32]]},
                "zip": _both(0.07, 0.7, 12),
                "picture": {"metric": "objective"},
            },
        ),
        SweepPreset(
            name="minority-collapse",
            title="Unequal classes: where the small ones collapse",
            description="Three classes of 100 samples and three of n_B: n_B × λ_W = λ_H through n_B = N²λ_Wλ_H. With "
            "MSE the small classes are at zero up to it, with cross-entropy they share one mean (Fang et al. 2021).",
            body={
                "name": "minority-collapse",
                "base": _base("minority collapse", {"classes": 6, "samples_per_class": [100, 100, 100, 5, 5, 5]}),
                "axes": {"loss": ["mse", "cross_entropy"]},
                "zip": [
                    {f"model.samples_per_class.{i}": {"from": 2, "to": 42, "points": 11} for i in (3, 4, 5)},
                    _both(0.003, 0.022, 10),
                ],
                "picture": {
                    "metric": "verdict",
                    "x": "model.samples_per_class.3",
                    "y": "regularization.weights",
                    "facet": "loss",
                },
            },
        ),
        SweepPreset(
            name="rank-vs-init",
            title="Small starts end at low ranks",
            description="Linear, M = 2, MSE: scale of the start × seed. Zero and every set of directions that are on "
            "are local minima: the smaller the start, the fewer are on at the end. No theory says where.",
            body={
                "name": "rank-vs-init",
                "base": _base("rank after a small start", {"widths": [8, 8]}, optimizer={"learning_rate": 0.1}),
                "axes": {"model.init_scale": _log(0.03, 0.5, 11), "seeds": {"from": 0, "to": 15, "points": 16}},
                "picture": {"metric": "rank", "x": "model.init_scale", "y": "seeds"},
            },
        ),
        SweepPreset(
            name="depth-relu",
            title="Deep ReLU: which structure is reached",
            description="MSE, K = 6, ReLU, M = 2 … 5 × seed. At M = 2 starts reach the orthogonal frame; the deeper "
            "the model, the more of them end at lower ranks and lower objectives: at M ≥ 4 the graph solution beats "
            "the frame (κ < 1; Súkeník et al. 2024).",
            body={
                "name": "depth-relu",
                "base": _base(
                    "deep ReLU",
                    {"classes": 6, "samples_per_class": 1, "activation": "relu", "init_scale": 0.3},
                    regularization={"weights": 0.004, "features": 0.004, "bias": 0.0},
                    optimizer={"steps": 6000},
                ),
                "axes": {
                    "model.widths": [[12] * 2, [12] * 3, [12] * 4, [12] * 5],
                    "seeds": {"from": 0, "to": 15, "points": 16},
                },
                "picture": {"metric": "verdict", "x": "model.widths", "y": "seeds"},
            },
        ),
        SweepPreset(
            name="smoothing",
            title="Label smoothing brings zero nearer",
            description="Cross-entropy, M = 1: label smoothing α × λ_W = λ_H through c + α = 1 (Zhou et al. 2022). "
            "Below it a simplex ETF, above it all is zero.",
            body={
                "name": "smoothing",
                "base": _base(
                    "label smoothing",
                    loss={"kind": "cross_entropy", "label_smoothing": 0.0},
                    optimizer={"learning_rate": 1.0, "steps": 6000},
                ),
                "axes": {"loss.label_smoothing": {"from": 0.0, "to": 0.9, "points": 13}},
                "zip": _both(0.01, 0.12, 12),
                "picture": {"metric": "verdict"},
            },
        ),
    )
}


def expanded(body: Any) -> Any:
    """The request itself, a preset of sweeps written out with its changes. Raises SpecError."""
    if not isinstance(body, Mapping) or "preset" not in body:
        return body
    name, changes = body["preset"], body.get("set", {})
    if not isinstance(name, str) or name not in SWEEPS:
        allowed = ", ".join(SWEEPS)
        raise SpecError([{"field": "preset", "message": f"must be one of {allowed}; got {shortened(name)}"}])
    if not isinstance(changes, Mapping):
        raise SpecError([{"field": "set", "message": f"must be an object of dotted paths; got {shortened(changes)}"}])
    others = {key: value for key, value in body.items() if key not in ("preset", "set")}
    made = {**SWEEPS[name].body, **others}
    if "base" in others:
        raise SpecError([{"field": "base", "message": "is the preset's; change it by `set`"}])
    _check_free(changes, made)
    return {**made, "base": with_changes(made["base"], changes)}


def _check_free(changes: Mapping[str, Any], made: Mapping[str, Any]) -> None:
    """Refuses to set what an axis varies: give other axes in place of the preset's."""
    zips = made.get("zip", [])
    groups = [made.get("axes", {}), *(zips if isinstance(zips, list) else [zips])]
    moved = {path for group in groups if isinstance(group, Mapping) for path in group}
    faults = [
        {"field": path, "message": "is moved by an axis of this sweep; give `axes` in place of the preset's"}
        for path in changes
        if path in moved
    ]
    if faults:
        raise SpecError(faults)
