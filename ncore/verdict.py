"""What a finished run has reached, seed by seed, in the words of the theory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ncore.measurement import Measurement
from ncore.spec import NetworkSpec, UfmSpec
from ncore.theory import Prediction, local_minima, predict

FRAME = 1e-2
"""A frame is reached below this distance (nc2_of, nc2_etf, both at most √2)."""
COLLAPSED = 1e-1
"""Class means speak for the samples below this nc1."""
OBJECTIVE = 1e-3
"""Relative gap up to which a UFM counts as converged to a value that theory names."""


def verdicts(
    spec: UfmSpec | NetworkSpec, finals: Sequence[Measurement], classes: int | None = None
) -> list[dict[str, Any]]:
    """One entry for each last measurement: seed, `reached`, rank, dead_samples, objective, predicted, gap, note.

    `gap` is (objective − predicted)/predicted, None where nothing is predicted or the prediction is 0.
    `classes` is K of a network's data; a UFM's spec has it.
    """
    prediction = predict(spec)
    k = spec.model.classes if isinstance(spec, UfmSpec) else classes
    if k is None:
        raise ValueError("classes: must be given for a network")
    return [_verdict(spec, prediction, final, k) for final in finals]


def _verdict(spec: UfmSpec | NetworkSpec, prediction: Prediction, final: Measurement, k: int) -> dict[str, Any]:
    values, predicted = final.values, prediction.objective
    objective = values.get(("objective", None), math.nan)
    gap = (objective - predicted) / predicted if predicted else None
    reached, note = _reached(spec, prediction, final, k, gap)
    return {
        "seed": final.seed,
        "reached": reached,
        "rank": _count(values.get(("rank", None))),
        "dead_samples": _count(values.get(("dead_samples", None))),
        "objective": objective,
        "predicted": predicted,
        "gap": gap,
        "note": note,
    }


def _count(value: float | None) -> int | None:
    return None if value is None or math.isnan(value) else int(value)


def _reached(
    spec: UfmSpec | NetworkSpec, prediction: Prediction, final: Measurement, k: int, gap: float | None
) -> tuple[str, str | None]:
    values = final.values
    if not math.isfinite(values.get(("objective", None), math.nan)):
        return "diverged", "the numbers left the finite ones; lower optimizer.learning_rate"
    if isinstance(spec, NetworkSpec):
        return _frame(final, spec.model.layers[-1] if spec.model.layers else _last_layer(final), k), None
    dead, vanished = (int(values.get((name, None), 0)) for name in ("dead_samples", "vanished_samples"))
    if dead or vanished:
        return "dead_samples", f"{dead} dead samples, {vanished} whose features have vanished"
    if _is_at_zero(spec, values["objective", None]):
        return "zero", None
    rank = _count(values.get(("rank", None)))
    if rank is not None and prediction.rank is not None and rank < prediction.rank:
        near = any(rank == r and abs(values["objective", None] - f) <= OBJECTIVE * f for r, f in local_minima(spec))
        return ("rank_deficient", f"{rank} of {prediction.rank} directions are on") if near else ("not_converged", None)
    if prediction.global_minimum and gap is not None and gap > OBJECTIVE:
        return "not_converged", f"the objective is {gap:.1%} above the predicted minimum"
    return _of_frame(spec, prediction, final, gap)


def _of_frame(spec: UfmSpec, prediction: Prediction, final: Measurement, gap: float | None) -> tuple[str, str | None]:
    found = _frame(final, f"h{len(spec.model.widths)}", spec.model.classes)
    if found != "not_converged" or gap is None or abs(gap) > OBJECTIVE:
        return found, None
    if prediction.regime == "unequal_classes":
        return "between", "orthogonal class means of unequal norms, as predicted for unequal classes"
    if prediction.regime == "minority_collapse":
        return "rank_deficient", "the small classes are at zero, as predicted"
    if prediction.gram is None:
        return "rank_deficient", "at the predicted minimum for widths below K"
    return found, "the objective is at its minimum, the frame still on its way"


def _frame(final: Measurement, layer: str, classes: int) -> str:
    """The frame of the class means by nc2; an orthogonal frame, centred, is a simplex ETF too, so it is asked first.

    At an exact simplex ETF nc2_of stays at δ_K = √(2 − 2√((K−1)/K)); in between it is smaller.
    """
    nc1, of, etf = (final.values.get((name, layer), math.nan) for name in ("nc1", "nc2_of", "nc2_etf"))
    if not nc1 < COLLAPSED or not etf < FRAME:
        return "not_converged"
    if of < FRAME:
        return "orthogonal_frame"
    delta = math.sqrt(2 - 2 * math.sqrt((classes - 1) / classes))
    return "simplex_etf" if abs(of - delta) < FRAME else "between"


def _is_at_zero(spec: UfmSpec, objective: float) -> bool:
    classes = spec.model.classes
    if spec.loss == "cross_entropy":
        at_zero = math.log(classes)
    elif spec.model.bias and len(set(spec.model.class_sizes)) > 1:
        return False
    else:
        at_zero = local_minima(spec)[0][1]
    return abs(objective - at_zero) <= 1e-6 * at_zero


def _last_layer(final: Measurement) -> str:
    return [layer for _, layer in final.values if layer is not None][-1]
