"""Where a UFM's run can end beyond the paper's frames: low ranks of deep ReLU models, candidates of deep cross-entropy,
polygons and simplices on the sphere. Each is known by its value or its ranks; None where none is known."""

from __future__ import annotations

import math

from ncore.run import Measurement
from ncore.spec import UfmSpec
from ncore.theory import Prediction
from ncore.theory.deep_cross_entropy import spec_candidates
from ncore.theory.deep_relu import graph_vertices

NEAR = 1e-3
"""Relative distance to a value that counts as being there."""
BELOW = 1e-6
"""Relative distance below a value that counts as below it, whatever the training's precision."""
Named = tuple[str, str | None]


def structure_of(spec: UfmSpec, prediction: Prediction, final: Measurement) -> Named | None:
    """Name and note of the structure that the last measurement shows."""
    objective = final.values["objective", None]
    if spec.model.normalized or (prediction.objective is None and not spec.criterion.linear_gradient):
        found = _by_value(spec, prediction, objective)
    elif spec.model.activation == "relu" and len(spec.model.widths) > 1 and spec.criterion.linear_gradient:
        found = _by_ranks(spec, prediction, final)
    else:
        return None
    lowest = lowest_known(prediction)
    if lowest is None or objective >= lowest - BELOW * abs(lowest):
        return found
    name, note = found or ("other", None)
    finding = f"below every value that is known ({lowest:.8g}): a finding"
    return name, finding if note is None else f"{note}; {finding}"


def lowest_known(prediction: Prediction) -> float | None:
    """The lowest objective that theory knows of, predicted or best known."""
    better = prediction.better_known
    known = [prediction.objective, None if better is None else better.objective]
    return min((value for value in known if value is not None), default=None)


def _by_value(spec: UfmSpec, prediction: Prediction, objective: float) -> Named | None:
    """The known structure whose objective the run has reached."""
    if spec.model.normalized:
        better = prediction.better_known
        known = [(prediction.regime, prediction.objective)]
        known += [(better.structure, better.objective)] if better else []
    else:
        known = [(one.structure, one.objective) for one in spec_candidates(spec)]
    near = [(abs(objective - value), name) for name, value in known if value is not None]
    distance, name = min(near, default=(math.inf, ""))
    return (name.split(" ")[0], None) if distance <= NEAR * objective else None


def _by_ranks(spec: UfmSpec, prediction: Prediction, final: Measurement) -> Named | None:
    """A deep ReLU solution whose layers have lower rank than its logits: the graph's by its ranks, else of low rank."""
    classes, levels = spec.model.classes, len(spec.model.widths)
    values = final.values
    inner = [values.get(("rank_before", f"h{j + 1}"), math.nan) for j in range(1, levels)]
    if not all(math.isfinite(rank) for rank in inner) or values.get(("rank", None)) != classes:
        return None
    gap = _gap_to_frame(prediction, final)
    if min(inner) == classes:
        lower = prediction.better_known
        if prediction.global_minimum is False and lower is not None and gap is not None and abs(gap) <= NEAR:
            return "orthogonal_frame", f"not the global minimum: {lower.structure} has {lower.objective:.6g}"
        return None
    ranks = ", ".join(f"{rank:.0f}" for rank in inner)
    note = f"ranks of W_jH_j {ranks} and {classes}"
    if gap is not None and gap < -BELOW:
        note += f", {-gap:.2%} below the orthogonal frame"
    vertices = graph_vertices(classes)
    is_graph = vertices is not None and set(inner) == {float(vertices)}
    return "srg_like" if is_graph else "low_rank", note


def _gap_to_frame(prediction: Prediction, final: Measurement) -> float | None:
    frame = prediction.objective
    return (final.values["objective", None] - frame) / frame if frame else None
