"""Predictions of an experiment's result from its spec (Tirer & Bruna 2022, Zhu et al. 2021 and later; docs/theory.md).

No torch: the API serves it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ncore.presets import as_spec
from ncore.spec import AnySpec, ExternalSpec, NetworkSpec, UfmSpec
from ncore.theory.cross_entropy import predict_cross_entropy
from ncore.theory.deep_cross_entropy import predict_deep_cross_entropy
from ncore.theory.external import beside_external
from ncore.theory.fixed_head import predict_fixed_head
from ncore.theory.known_boundaries import boundaries_of, boundary_curves
from ncore.theory.label_noise import with_label_noise
from ncore.theory.ladder import local_minima, value_at_zero
from ncore.theory.linear import predict_linear
from ncore.theory.networks import predict_network
from ncore.theory.normalized import predict_normalized
from ncore.theory.prediction import BetterKnown, Prediction, Threshold, is_balanced
from ncore.theory.relu import predict_relu
from ncore.theory.targets import predict_targets
from ncore.theory.unequal import predict_unequal
from ncore.theory.unequal_cross_entropy import predict_unequal_cross_entropy

__all__ = [
    "CASES",
    "BetterKnown",
    "Case",
    "Prediction",
    "Threshold",
    "boundaries_of",
    "boundary_curves",
    "local_minima",
    "predict",
    "value_at_zero",
]


@dataclass(frozen=True)
class Case:
    """A kind of model that theory has something to say about."""

    name: str
    holds: Callable[[UfmSpec], bool]
    predict: Callable[[UfmSpec], Prediction]


CASES = [
    Case("label noise", lambda s: s.model.label_noise > 0, lambda s: with_label_noise(s, predict)),
    Case("normalised", lambda s: s.model.normalized, predict_normalized),
    Case("fixed ETF head", lambda s: s.model.classifier == "etf", predict_fixed_head),
    Case("given targets", lambda s: s.model.targets is not None, predict_targets),
    Case("deep, not MSE", lambda s: not _is_mse(s) and len(s.model.widths) > 1, predict_deep_cross_entropy),
    Case("one level, not MSE, one class size", lambda s: not _is_mse(s) and is_balanced(s), predict_cross_entropy),
    Case("one level, not MSE, any class sizes", lambda s: not _is_mse(s), predict_unequal_cross_entropy),
    Case("MSE, ReLU", lambda s: s.model.activation == "relu" and len(s.model.widths) > 1, predict_relu),
    Case("MSE, linear, one class size", is_balanced, predict_linear),
    Case("MSE, linear, any class sizes", lambda _: True, predict_unequal),
]
"""The first that holds is asked."""


def _is_mse(spec: UfmSpec) -> bool:
    return spec.criterion.linear_gradient


def predict(spec: AnySpec | Mapping[str, Any] | str) -> Prediction:
    """The prediction for `spec` (or a dict or a preset's name); what is not known is None, and a note says why."""
    spec = as_spec(spec)
    if isinstance(spec, ExternalSpec):
        return beside_external(spec, predict)
    if isinstance(spec, NetworkSpec):
        return predict_network(spec, predict)
    known = next(case for case in CASES if case.holds(spec)).predict(spec)
    return known.model_copy(update={"boundaries": boundaries_of(spec)})
