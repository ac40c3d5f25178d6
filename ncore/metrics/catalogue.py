"""Every metric with formula and source: of a level from the functions' docstrings, the others here."""

from __future__ import annotations

import importlib
import inspect

from ncore.metrics import METRICS, WEIGHT_METRICS
from ncore.metrics.nc4 import nc4

OF_LEVEL = {**METRICS, **WEIGHT_METRICS, "nc4": nc4}
OTHERS_OF_LEVEL = {
    "feature_norm_sq": "(1/K) Σ_k ‖h̄_k‖², the mean squared length of the class means, not centred.",
    "rank": "Numerical rank of the level's class means H̄_j, behind the ReLU (Súkeník, Lampert & Mondelli 2024). Of "
    "h2 … of a ReLU UFM.",
    "rank_before": "Numerical rank of the class means of W_{j−1}H_{j−1}, before the ReLU that makes them H_j. Of h2 … "
    "of a ReLU UFM.",
}
WITHOUT_LEVEL = {
    "objective": "`loss` and the regularisers, Σ_j λ_{W_j}/2 ‖W_j‖² + λ_H/2 ‖H₁‖² + λ_b/2 ‖b‖² (Tirer & Bruna 2022); "
    "of a network weight decay/2 · ‖θ‖² over all that is trained.",
    "loss": "The data term. MSE: 1/(2N) ‖W_M H_M + b1ᵀ − Y‖²; of a network the mean over samples and classes, "
    "1/(NK) ‖…‖². Cross-entropy: the mean over the N samples.",
    "accuracy": "Share of the samples whose largest logit is their class's.",
    "grad_norm": "Euclidean norm of the objective's gradient in all W_j, H₁ and b. UFMs.",
    "batch_grad_norm": "Euclidean norm of the gradient of `objective` with the last mini-batch for the training "
    "set, in training mode, at the weights before the last step. Networks; null at step 0.",
    "bias_norm": "‖b‖; 0 without a bias.",
    "rank": "Numerical rank of W H̄, the logit means without the bias: singular values above 1/1000 of the largest.",
    "weight_norm_sq": "‖W_M‖²/K, the mean squared length of the rows of W_M. UFMs.",
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
SOURCES = """
## Sources

- Papyan, Han & Donoho, *Prevalence of neural collapse during the terminal phase of deep learning training*, PNAS 2020
- Han, Papyan & Donoho, *Neural collapse under MSE loss: proximity to and dynamics on the central path*, ICLR 2022
- Galanti, György & Hutter, *On the role of neural collapse in transfer learning*, ICLR 2022
- Tirer & Bruna (T&B), *Extended unconstrained features model for exploring deep neural collapse*, ICML 2022
"""


def page() -> str:
    """All metrics as Markdown, a section for each file of formulas."""
    sections: dict[str, list[str]] = {}
    for name, function in OF_LEVEL.items():
        module = inspect.getdoc(importlib.import_module(function.__module__)) or ""
        formula = _paragraph(inspect.getdoc(function) or "").replace("Shape (…).", "").strip()
        sections.setdefault(_paragraph(module).rstrip("."), []).append(_line(name, formula))
    sections["Of a level, besides"] = [_line(*item) for item in OTHERS_OF_LEVEL.items()]
    sections["Without a level"] = [_line(*item) for item in WITHOUT_LEVEL.items()]
    return HEAD + "".join(f"\n## {title}\n\n" + "".join(lines) for title, lines in sections.items()) + SOURCES


def _line(name: str, formula: str) -> str:
    return f"- `{name}`: {formula}\n"


def _paragraph(text: str) -> str:
    return " ".join(text.split("\n\n", maxsplit=1)[0].split())
