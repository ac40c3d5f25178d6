"""Every metric with formula and source: of a level from the functions' docstrings, the others here."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable

from ncore.metrics import METRICS, WEIGHT_METRICS
from ncore.metrics.balance import balance
from ncore.metrics.central_path import lnc1, lnc23, lnc_perp
from ncore.metrics.margin import margin
from ncore.metrics.nc4 import nc4
from ncore.metrics.nc5 import nc5

OF_LEVEL: dict[str, Callable[..., object]] = {**METRICS, **WEIGHT_METRICS, "nc4": nc4}
OF_MEASURE: dict[str, Callable[..., object]] = {
    "margin": margin,
    "nc5": nc5,
    "lnc1": lnc1,
    "lnc23": lnc23,
    "lnc_perp": lnc_perp,
    "balance": balance,
}
OTHERS_OF_LEVEL = {
    "feature_norm_sq": "(1/K) Σ_k ‖h̄_k‖², the mean squared length of the class means, not centred.",
    "rank_before": "`rank` of the class means of W_{j−1}H_{j−1}, before the ReLU of level j; behind it `rank`. "
    "h2 … of a ReLU UFM.",
    "effective_rank_before": "as `rank_before`.",
    "stable_rank_before": "as `rank_before`.",
    "balance": "as below, of W_j beside W_{j−1}, of W_1 beside H₁; levels up to 64 wide. Linear UFMs.",
    "lnc1": "as below, of the last level with MSE and a free classifier, λ its decay, in units of `objective`. UFMs up "
    "to 64 wide, networks up to 2,048.",
    "lnc23": "as `lnc1`.",
    "lnc_perp": "as `lnc1`.",
    "margin": "as below, of the last level. UFMs with normalized features, d + 1 < K ≤ 32.",
    "nc5": "as below, with the images of `data.ood`. Networks that have them.",
    "ood_auroc": "How well NECO's score ‖P h‖/‖h‖, P on the span of the class means, separates test images from "
    "those of `data.ood`: the share of pairs in which the test image has the larger score (Ammar et al. 2024). "
    "Networks.",
    "…_given": "With label noise all of the above by the labels that were given, beside those by the true ones.",
    "layer@test": "With `measure.test` all of the above of the test set's features, by its own class means. Networks.",
}
WITHOUT_LEVEL = {
    "objective": "`loss` and the regularisers, Σ_j λ_{W_j}/2 ‖W_j‖² + λ_H/2 ‖H₁‖² + λ_b/2 ‖b‖² (Tirer & Bruna 2022); "
    "of a network weight decay/2 · ‖θ‖² over what has weight decay, and λ_H/2 Σ_i ‖h_i‖² where features decay.",
    "loss": "The data term. MSE: 1/(2N) ‖W_M H_M + b1ᵀ − Y‖²; of a network the mean over samples and classes, "
    "1/(NK) ‖…‖². Cross-entropy: the mean over the N samples.",
    "accuracy": "Share of the samples whose largest logit is their class's. With label noise of a network also "
    "`accuracy_given`, by the labels that were given.",
    "grad_norm": "Euclidean norm of the objective's gradient in all W_j, H₁ and b. UFMs.",
    "batch_grad_norm": "Euclidean norm of the gradient of `objective` with the last mini-batch for the training "
    "set, in training mode, at the weights before the last step. Networks; null at step 0.",
    "bias_norm": "‖b‖; 0 without a bias.",
    "rank": "Numerical rank of W H̄, the logit means without the bias: singular values above 1/1000 of the largest.",
    "nc0": "‖1ᵀW‖₂ of the classifier, W_M of a UFM.",
    "nc0_predicted": "`nc0` as the schedule of the learning rate predicts it (Zhao et al. 2026). Networks with "
    "cross-entropy or focal loss, trained by SGD or SGDW.",
    "weight_norm_sq": "‖W_M‖²/K, the mean squared length of the rows of W_M, a network's classifier.",
    "dead_samples": "Samples with only negative pre-activations on a level: nothing but weight decay moves them. ReLU.",
    "vanished_samples": "Samples whose last features are shorter than 1/100 of the root mean square length. ReLU.",
    "test_loss": "As `loss`, over the test set. Networks with one.",
    "test_accuracy": "As `accuracy`, over the test set. Networks with one.",
    "learning_rate": "That of the epoch to come. Networks.",
}
HEAD = """# Metrics

This page is made by `python -m ncore.metrics > docs/metrics.md`.

K classes of n_k samples, N in all; features H = [h_1 … h_N] of a level (`h1`, `h2`, … of a UFM, a module's name of a
network) with class means H̄ = [h̄_1 … h̄_K], their mean h̄, C = [c_1 … c_K] = H̄ − h̄1ᵀ, P = I − 11ᵀ/K. A is the weight the
features meet: W_M ⋯ W_j at level j of a UFM, the classifier's at a network's last level. Norms are Frobenius norms.
Σ_W = (1/N) Σ_i (h_i − h̄_{y_i})(h_i − h̄_{y_i})ᵀ and Σ_B = (1/K) C Cᵀ. All of it is computed in float64, whatever the
training's precision; what is undefined (all features zero, K = 1, no spread) is null, never 0.
"""
OWN_FEATURES = """
# Of your own features, besides

`ncore.metrics.measure` and `Accumulator.result` give all of the above that are of a level, and these. Those of features
and `weight` come always, the others where what they need is given: see `help(measure)`.
"""
MISSING = """
## Missing classes

With `classes="all"`, the default, a class without samples has no mean, and what depends on the means is null: a class
that is missing is more often a mistake (labels from 1, a wrong split) than meant. `classes="present"` measures the
classes that have samples as if there were no others, in labels, `weight` and `bias`, and adds `absent_classes`, their
number. So a vocabulary is measured.

## How exact, and when undefined

- All is computed from the numbers as they are given, in float64; sums over classes are exact to some 90 bits, so that
  the order of samples, batches and merged accumulators does not matter beyond 1e-12.
- Differences of class means up to 2^-49 of the features' size (the longest centred mean and the largest spread of a
  class) are the rounding of the features themselves: where a class mean is the global mean up to that, `angle_*`,
  `uniformity_*` and `unc3` are null, and where two class means are the same, `cdnv` and `uniformity_*` are.
- `nc1` takes Σ_B⁺ through the singular values of C, and those up to max(d, K) · 2^-52 of the largest as zero.
  Of `measure` and `Accumulator`, which know the means to more digits, small ones are taken exactly: only what is zero
  to 2^-80 of the largest entry is cut, and where the smallest of the others is the features' own rounding (see above)
  `nc1` is null, since that rounding would decide it. Both agree on which. (Above 2^29 numbers to touch, K d min(K, d),
  `nc1` is null too where singular values differ by more than 10^6.)
- `nc4` is decided in float32 only where the error bound of float32 allows no doubt, else in float64.
"""
SOURCES = """
## Sources

- Papyan, Han & Donoho, *Prevalence of neural collapse during the terminal phase of deep learning training*, PNAS 2020
- Han, Papyan & Donoho, *Neural collapse under MSE loss: proximity to and dynamics on the central path*, ICLR 2022
- Galanti, György & Hutter, *On the role of neural collapse in transfer learning*, ICLR 2022
- Zhao, Cheng, Masarczyk & Lucchi, ICLR 2026, arXiv 2602.16642
- Jiang, Zhou, Wang, Qu, Mixon, You & Zhu, *Generalized neural collapse for a large number of classes*, ICML 2024
- Liu, Yu, Weller & Schölkopf, *Generalizing and decoupling neural collapse via hyperspherical uniformity gap*,
  ICLR 2023
- Wu & Papyan, *Linguistic collapse: neural collapse in (large) language models*, NeurIPS 2024
- Ammar, Belkhir, Popescu, Manzanera & Franchi, *NECO: neural collapse based out-of-distribution detection*, ICLR 2024
- Roy & Vetterli, *The effective rank: a measure of effective dimensionality*, EUSIPCO 2007
- Tirer & Bruna (T&B), *Extended unconstrained features model for exploring deep neural collapse*, ICML 2022
"""


def page() -> str:
    """All metrics as Markdown, a section for each file of formulas."""
    sections = _by_file(OF_LEVEL)
    sections["Of a level, besides"] = [_line(*item) for item in OTHERS_OF_LEVEL.items()]
    sections["Without a level"] = [_line(*item) for item in WITHOUT_LEVEL.items()]
    return HEAD + _text(sections) + OWN_FEATURES + _text(_by_file(OF_MEASURE)) + MISSING + SOURCES


def _by_file(functions: dict[str, Callable[..., object]]) -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for name, function in functions.items():
        module = inspect.getdoc(importlib.import_module(function.__module__)) or ""
        formula = _paragraph(inspect.getdoc(function) or "").replace("Shape (…).", "").strip()
        sections.setdefault(_title(module), []).append(_line(name, formula))
    return sections


def _title(docstring: str) -> str:
    """The first paragraph of the docstring, and the second too where that has the formulas."""
    title, *rest = docstring.split("\n\n")
    return "\n\n".join(" ".join(part.split()) for part in (title.rstrip("."), *rest))


def _text(sections: dict[str, list[str]]) -> str:
    return "".join(f"\n## {title}\n\n" + "".join(lines) for title, lines in sections.items())


def _line(name: str, formula: str) -> str:
    return f"- `{name}`: {formula}\n"


def _paragraph(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())
