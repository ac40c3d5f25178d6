"""What is known in closed form about an experiment before it runs (Tirer & Bruna 2022, Zhu et al. 2021).

No torch: the API serves it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ncore.presets import Spec, as_spec
from ncore.spec import NetworkSpec
from ncore.theory.cross_entropy import predict_cross_entropy
from ncore.theory.ladder import local_minima, value_at_zero
from ncore.theory.linear import predict_linear
from ncore.theory.prediction import Prediction, Threshold, is_balanced, unknown
from ncore.theory.relu import predict_relu
from ncore.theory.unequal import predict_unequal

__all__ = ["Prediction", "Threshold", "local_minima", "predict", "value_at_zero"]


def predict(spec: Spec | Mapping[str, Any] | str) -> Prediction:
    """The prediction for `spec` (or a dict or a preset's name); what is not known is None, and a note says why."""
    spec = as_spec(spec)
    if isinstance(spec, NetworkSpec):
        return unknown("No closed form is known for a network; compare it with the extended ReLU model (preset fig4).")
    if spec.loss == "cross_entropy":
        return predict_cross_entropy(spec)
    if spec.model.activation == "relu" and len(spec.model.widths) > 1:
        return predict_relu(spec)
    return predict_linear(spec) if is_balanced(spec) else predict_unequal(spec)
