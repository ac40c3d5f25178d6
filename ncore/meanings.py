"""Meanings and thresholds of the verdicts: one table for the dashboard, the API and the docs."""

from __future__ import annotations

from dataclasses import dataclass

from ncore.structures import BELOW, NEAR
from ncore.verdict import AT_REST, COLLAPSED, FRAME, OBJECTIVE, ZERO


@dataclass(frozen=True)
class Meaning:
    """A verdict in words, and the condition on the last measurement of the last layer."""

    verdict: str
    meaning: str
    criterion: str


MEANINGS = {
    one.verdict: one
    for one in (
        Meaning(
            "orthogonal_frame",
            "Samples have collapsed to their class means (NC1), and the class means form an orthogonal frame (NC2).",
            f"nc1 < {COLLAPSED:g}, nc2_etf < {FRAME:g}, and nc2_of < min({FRAME:g}, δ_K/4), where "
            "δ_K = √(2 − 2√((K−1)/K)) is the distance of a simplex ETF from an orthogonal frame.",
        ),
        Meaning(
            "simplex_etf",
            "Samples have collapsed to their class means (NC1), and the class means form a simplex equiangular tight "
            "frame (NC2).",
            f"nc1 < {COLLAPSED:g}, nc2_etf < {FRAME:g}, and |nc2_of − δ_K| < min({FRAME:g}, δ_K/4).",
        ),
        Meaning(
            "between",
            "Samples have collapsed to their class means, which lie between the orthogonal frame and the simplex ETF, "
            "or are at rest in no named frame.",
            f"nc1 < {COLLAPSED:g}, nc2_etf < {FRAME:g}, and nc2_of below δ_K but near neither end; or a model without "
            f"a prediction at rest: ‖∇f‖²/(2 min λ) ≤ {AT_REST:g} f.",
        ),
        Meaning(
            "zero",
            "All weights and features have gone to zero: the objective has its value there.",
            f"|f − f(0)| ≤ {ZERO:g} f(0).",
        ),
        Meaning(
            "rank_deficient",
            "Fewer directions are active than there are classes, so some class means coincide or are zero.",
            f"The rank of W H̄ is below the predicted one, and f is within {OBJECTIVE:g} (relative) of a stationary "
            "value that theory names for this rank; or the prediction itself has a lower rank.",
        ),
        Meaning(
            "minority_collapse",
            "The small classes share one class mean, as theory predicts for classes of unequal sizes.",
            f"The prediction is minority collapse, and f is within {OBJECTIVE:g} (relative) of it.",
        ),
        Meaning(
            "low_rank",
            "A layer of a deep ReLU model has a lower rank than its logits.",
            "The rank before a ReLU is below K while the rank of the logits is K.",
        ),
        Meaning(
            "srg_like",
            "A low-rank solution of a deep ReLU model whose ranks are those of a strongly regular graph.",
            "As low_rank, and the rank before each ReLU is the number of vertices of the graph for these K.",
        ),
        Meaning(
            "given_targets",
            "The run is at the minimum that is predicted for the targets it was given.",
            f"f is within {OBJECTIVE:g} (relative) of the prediction.",
        ),
        Meaning(
            "other",
            "The objective is below every value that theory knows: a finding.",
            f"f is more than {BELOW:g} (relative) below the lowest known value, and the class means form no known "
            "structure.",
        ),
        Meaning(
            "dead_samples",
            "Some samples have features that are zero and get no gradient any more.",
            "dead_samples + vanished_samples > 0.",
        ),
        Meaning(
            "not_converged",
            "The run has ended before its class means reached a frame.",
            f"None of the above: nc1 ≥ {COLLAPSED:g}, nc2_etf ≥ {FRAME:g}, or f more than {OBJECTIVE:g} (relative) "
            "above the predicted minimum.",
        ),
        Meaning(
            "diverged",
            "The objective is not finite. A smaller learning rate may help.",
            "f, or the loss, is infinite or NaN.",
        ),
    )
}
NAMED = f"""A minimum on the sphere or of deep cross-entropy has the name of the structure whose objective the run has
reached within {NEAR:g} (relative), such as simplex or polygon."""


def page() -> str:
    """The page of the docs."""
    rows = [
        "| " + " | ".join(text.replace("|", "\\|") for text in (f"`{one.verdict}`", one.meaning, one.criterion)) + " |"
        for one in MEANINGS.values()
    ]
    head = (
        "# Verdicts\n\nThis page is made from the code by `python -m scripts.reference`.\n\nA finished run says, seed "
        "by seed, what it has reached. It is judged by the last measurement of the last layer; f is the objective, K "
        "the number of classes. A running service answers the same at `GET /verdicts`, and its dashboard shows it at "
        f"`#/verdicts`.\n\n{' '.join(NAMED.split())}\n"
    )
    return "\n".join([head, "| verdict | meaning | given where |", "|---|---|---|", *rows]) + "\n"
