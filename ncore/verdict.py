"""Verdicts: what each seed of a finished run has reached, in the words of the theory."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ncore.outcome import Verdict
from ncore.run import Measurement
from ncore.spec import AnySpec, ExternalSpec, NetworkSpec, UfmSpec
from ncore.structures import structure_of
from ncore.theory import Prediction, local_minima, predict, value_at_zero

FRAME = 1e-2
"""A frame is reached below this distance (nc2_of, nc2_etf, both at most √2): what a picture shows as lying on it.

Slow runs cross it late and noise of mini-batches stays below it. Where δ_K, the distance between the two frames, is
not much larger (K > 600), a quarter of δ_K."""
ZERO = 1e-6
"""Relative distance of the objective to its value at zero."""
COLLAPSED = 1e-1
"""Class means speak for the samples below this nc1."""
OBJECTIVE = 1e-3
"""Relative gap up to which a UFM counts as converged to a value that theory names; rungs of the ladder lie further
apart unless γ is within a part in a thousand of γ_c."""
NC0_FLOAT64, NC0_FLOAT32 = 1e-9, 1e-3
"""Relative distances of nc0 to its law that rounding explains."""
AT_REST = 1e-6
"""A run without a prediction is at rest when ‖∇‖²/(2 min λ), a bound on what is left to gain near a minimum that is
curved by the regularisers alone, is below this share of the objective."""


def verdicts(
    spec: AnySpec,
    finals: Sequence[Measurement],
    classes: int | None = None,
    prediction: Prediction | None = None,
) -> list[Verdict]:
    """One entry for each last measurement. `classes` is K of a network's data; other specs have it.

    `prediction` is that of the spec, where it is known already.
    """
    prediction = predict(spec) if prediction is None else prediction
    k = classes if isinstance(spec, NetworkSpec) else spec.model.classes
    if k is None and not isinstance(spec, ExternalSpec):
        raise ValueError("classes: must be given for a network")
    return [_verdict(spec, prediction, final, k or 0) for final in finals]


def _verdict(spec: AnySpec, prediction: Prediction, final: Measurement, k: int) -> Verdict:
    values, predicted = final.values, prediction.objective
    objective = values.get(("objective", None), math.nan)
    finite = math.isfinite(objective)
    gap = (objective - predicted) / predicted if predicted and finite else None
    note: str | None
    reached: str | None
    if isinstance(spec, ExternalSpec):
        reached, note = _external(final, k)
    elif not finite:
        reached, note = "diverged", "the numbers left the finite ones; lower optimizer.learning_rate"
    elif isinstance(spec, NetworkSpec):
        suffix = "_given" if spec.data.label_noise else ""
        reached, note = _frame(final, _last_layer(final), k, suffix), _of_nc0(spec, final, k)
    else:
        reached, note = _reached(spec, prediction, final, gap)
    return {
        "seed": final.seed,
        "reached": reached,
        "rank": _count(values.get(("rank", None))),
        "dead_samples": _count(values.get(("dead_samples", None))),
        "objective": objective if finite else None,
        "predicted": predicted,
        "gap": gap,
        "note": note,
    }


def _external(final: Measurement, k: int) -> tuple[str | None, str | None]:
    """The verdict that the given metrics allow; `k` is 0 where the number of classes was not given."""
    for name in ("objective", "loss"):
        if not math.isfinite(final.values.get((name, None), 0.0)):
            return "diverged", f"{name} was not finite at the end"
    if not k:
        return None, "no verdict: model.classes was not given"
    layer = _last_layer(final)
    missing = [name for name in ("nc1", "nc2_of", "nc2_etf") if (name, layer) not in final.values]
    if missing:
        return None, f"no verdict: the last measurement has no {', '.join(missing)} of a layer"
    return _frame(final, layer, k), None


def _of_nc0(spec: NetworkSpec, final: Measurement, classes: int) -> str | None:
    """Whether the sum of the classifier's rows went as the law says: a test of the training, whatever the data."""
    measured, predicted = (final.values.get((name, None), math.nan) for name in ("nc0", "nc0_predicted"))
    if not (math.isfinite(measured) and math.isfinite(predicted)):
        return None
    gap = abs(measured - predicted) / max(predicted, 1e-300)
    relative, unit = (NC0_FLOAT64, 2.0**-52) if spec.precision == "float64" else (NC0_FLOAT32, 2.0**-23)
    # rows do not sum to less than what rounding at each step has left of them
    norm = math.sqrt(classes * final.values.get(("weight_norm_sq", None), 0.0))
    rounding = unit * norm * math.sqrt(classes * final.step)
    if max(measured, predicted) <= rounding:
        return "NC0 agrees with its law: both are zero up to rounding"
    agrees = abs(measured - predicted) <= relative * predicted + rounding
    return f"NC0 {'agrees with' if agrees else 'differs from'} its law, by {gap:.1e}"


def _count(value: float | None) -> int | None:
    return int(value) if value is not None and math.isfinite(value) else None


def _reached(spec: UfmSpec, prediction: Prediction, final: Measurement, gap: float | None) -> tuple[str, str | None]:
    values, objective = final.values, final.values["objective", None]
    dead, vanished = (_count(values.get((name, None))) or 0 for name in ("dead_samples", "vanished_samples"))
    if dead or vanished:
        return "dead_samples", f"{dead} dead samples, {vanished} whose features have vanished"
    at_zero = value_at_zero(spec)
    rank, known, levels = _count(values.get(("rank", None))), prediction.rank, len(spec.model.widths)
    if at_zero and abs(objective - at_zero) <= ZERO * at_zero:
        return "zero", "a saddle: zero is not the minimum here" if known and levels == 1 else None
    if rank is not None and known is not None and rank < known:
        if not _is_on_ladder(spec, rank, objective):
            return "not_converged", f"{rank} of {known} directions are on"
        kind = "a local minimum" if levels > 1 else "a saddle"
        return "rank_deficient", f"{rank} of {known} directions are on: {kind}"
    named = structure_of(spec, prediction, final)
    if named is not None:
        return named
    if prediction.global_minimum and gap is not None and gap > OBJECTIVE:
        found = _ufm_frame(spec, final)
        above = f"{gap:.1%} above the predicted minimum"
        if found != "not_converged" and rank is not None and _is_on_ladder(spec, rank, objective):
            return found, f"a local minimum {above}"
        return "not_converged", f"the objective is {above}"
    return _of_frame(spec, prediction, final, gap)


def _is_on_ladder(spec: UfmSpec, rank: int, objective: float) -> bool:
    return any(rank == r and abs(objective - f) <= OBJECTIVE * f for r, f in local_minima(spec))


def _of_frame(spec: UfmSpec, prediction: Prediction, final: Measurement, gap: float | None) -> tuple[str, str | None]:
    found = _ufm_frame(spec, final)
    if found != "not_converged":
        return found, None
    if gap is None:
        return ("between", "at rest, in none of the named frames") if _is_at_rest(spec, final) else (found, None)
    if abs(gap) > OBJECTIVE:
        return found, None
    as_predicted = _as_predicted(spec, prediction)
    if as_predicted is not None:
        return as_predicted
    return found, "the objective is at its minimum, the frame still on its way"


def _as_predicted(spec: UfmSpec, prediction: Prediction) -> tuple[str, str] | None:
    """The name of a predicted minimum whose class means form none of the paper's frames."""
    mse = spec.criterion.linear_gradient
    widths = "widths below K" if spec.model.targets is None else "the given targets"
    return {
        "unequal_classes": ("between", "class means of unequal norms, as predicted for unequal classes"),
        "minority_collapse": ("rank_deficient", "the small classes are at zero, as predicted")
        if mse
        else ("minority_collapse", "the small classes share one mean, as predicted"),
        "given_targets": ("given_targets", "at the predicted minimum for the given targets"),
        "rank_deficient": ("rank_deficient", f"at the predicted minimum for {widths}"),
    }.get(prediction.regime)


def _is_at_rest(spec: UfmSpec, final: Measurement) -> bool:
    decays = [decay for decay in (*spec.weight_decays, spec.regularization.features) if decay > 0]
    gradient = final.values.get(("grad_norm", None), math.nan)
    return bool(decays) and gradient**2 / (2 * min(decays)) <= AT_REST * final.values["objective", None]


def _ufm_frame(spec: UfmSpec, final: Measurement) -> str:
    """The frame by the given labels where those are not the true ones, since features follow the given ones."""
    layer = f"h{len(spec.model.widths)}"
    return _frame(final, layer, spec.model.classes, "_given" if spec.model.label_noise else "")


def _frame(final: Measurement, layer: str, classes: int, suffix: str = "") -> str:
    """The frame of the class means by nc2; an orthogonal frame, centred, is a simplex ETF too, so it is asked first.

    At an exact simplex ETF nc2_of stays at δ_K = √(2 − 2√((K−1)/K)); in between it is smaller.
    """
    delta = math.sqrt(2 - 2 * math.sqrt((classes - 1) / classes))
    near = min(FRAME, delta / 4)
    nc1, of, etf = (final.values.get((name + suffix, layer), math.nan) for name in ("nc1", "nc2_of", "nc2_etf"))
    if not nc1 < COLLAPSED or not etf < FRAME:
        return "not_converged"
    if of < near:
        return "orthogonal_frame"
    if abs(of - delta) < near:
        return "simplex_etf"
    return "between" if of < delta else "not_converged"


def _last_layer(final: Measurement) -> str:
    """The layer that meets the last weight (nc4 is measured there only), else the last one measured."""
    found = [(metric, layer) for metric, layer in final.values if layer is not None and "@" not in layer]
    layers, last = [layer for _, layer in found], [layer for metric, layer in found if metric == "nc4"]
    return (last or layers or [""])[-1]
