"""Networks whose objective is that of an unconstrained features model: those trained with feature decay.

Loss + λ/2 ‖W‖² of the layers behind a layer + λ_H/2 Σ_i ‖h_i‖² over all images is the UFM's objective in W and H, and
its minimum is the network's wherever the network can give each image any features. What the two differ in:

* a network's MSE is 2/K times the UFM's, so its minimum is 2/K times the UFM's with all λ times K/2;
* features behind a ReLU are not negative. An orthogonal frame fits (H̄ = aQ with Q ≥ 0), so MSE without a bias has the
  same minimum. Where logits gain nothing along the all-ones direction (a loss whose gradient sums to zero over the
  classes, or a free bias) only the centred means C count, and H ≥ 0 makes ‖K h̄‖² = Σ_kl h̄_k·h̄_l ≥ ‖H̄‖², so that
  ‖H̄‖² ≥ K/(K−1) ‖C‖²: the objective is at least that of free features C with λ_H K/(K−1) and a free bias. Its
  simplex ETF C is reached by H̄ = aQ, which therefore is the minimum (classes of one size, d ≥ K; derived).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from ncore.kinds.data_sets import SYNTHETIC_SAMPLES, Data
from ncore.spec import GradientDescent, NetworkSpec, Regularization, UfmModel, UfmSpec
from ncore.theory.frames import Symmetric, symmetric_gram, symmetric_metrics
from ncore.theory.label_noise import with_label_noise
from ncore.theory.prediction import Prediction, is_balanced, unknown

NO_DECAY = (
    "No closed form is known for a network; compare it with the extended ReLU model (preset fig4), or let features "
    "decay (optimizer.feature_decay), which makes its objective that of a UFM."
)
DECOUPLED = "{} shrinks weights apart from the gradient: it does not come to rest at a minimum of the objective."
STAGES = "Stages of the network lie between {} and the classifier: no closed form is known for them."
BIASES = "With model.bias the extra layers behind {} have biases, which no UFM has between its layers."
SIZES = "How many images each class has is not in the spec: give data.samples_per_class."
SPHERE = "Features decay before a layer that is brought to norm 1: no closed form is known."
SIGN = "Features behind a ReLU are not negative, and no closed form is known for that with {}."
FREE = "Predicted for a network that can give each image any features; the less it can, the higher it stays."
AUGMENTED = "With data.augment each image is seen shifted, and its features are not one vector."
OF_RELU = (
    "Behind a ReLU features are not negative: class means form an orthogonal frame, and the minimum is that of free "
    "features with λ_H K/(K − 1)."
)

Predict = Callable[[UfmSpec], Prediction]


def predict_network(spec: NetworkSpec, predict: Predict) -> Prediction:
    """The prediction for the UFM that the network's objective is, in the network's words; `predict` is that of UFMs."""
    decay, reason = spec.optimizer.feature_decay, _why_unknown(spec)
    if decay is None or reason is not None:
        return unknown(reason or NO_DECAY)
    model, ufm = spec.model, as_ufm(spec)
    solve = (lambda s: of_nonnegative(s, predict)) if _is_nonnegative(spec, decay.layer) else predict
    known = with_label_noise(ufm, solve) if ufm.model.label_noise else solve(ufm)
    if known.regime == "not_known":
        return known
    layers = model.levels[model.levels.index(decay.layer) :]
    names = {f"h{j + 1}": layer for j, layer in enumerate(layers)}
    notes = [*known.notes, FREE, *([AUGMENTED] if spec.data.augment else [])]
    return _in_words_of_the_network(known, names, _loss_scale(spec)).model_copy(update={"notes": notes})


def as_ufm(spec: NetworkSpec) -> UfmSpec:
    """The UFM whose objective, times the scale of the loss, the network's is. Asks for a spec that theory can tell."""
    decay, model, data, optimizer = spec.optimizer.feature_decay, spec.model, spec.data, spec.optimizer
    sizes = _sizes(data)
    if decay is None or sizes is None:
        raise ValueError("spec: must have feature decay and known class sizes")
    depth = len(model.levels) - model.levels.index(decay.layer)
    width = model.maps(data.source.channels, data.image_size).widths[model.stages[-1]]
    scale = 1 / _loss_scale(spec)
    bias_decay = optimizer.weight_decay if model.bias and optimizer.decays == "all" else 0.0
    fixed: dict[str, Any] = {"classifier": "etf", "classifier_norm": model.row_norm} if model.fixed_etf else {}
    return UfmSpec(
        model=UfmModel(
            classes=len(sizes),
            samples_per_class=sizes if len(set(sizes)) > 1 else sizes[0],
            widths=(width,) * depth,
            activation="relu" if depth > 1 and model.head_activation == "relu" else "identity",
            bias=model.bias,
            label_noise=data.label_noise,
            **fixed,
        ),
        loss=spec.criterion,
        regularization=Regularization(
            weights=scale * optimizer.weight_decay, features=scale * decay.value, bias=scale * bias_decay
        ),
        optimizer=GradientDescent(),
    )


def of_nonnegative(spec: UfmSpec, predict: Predict) -> Prediction:
    """The prediction where features may not be negative."""
    model, known = spec.model, predict(spec)
    if spec.criterion.linear_gradient and not model.bias and model.classifier == "free":
        # lower values that are known need not have features ≥ 0
        proven = known.global_minimum or None
        return known.model_copy(update={"global_minimum": proven, "better_known": None})
    unlike = [
        ("a fixed classifier", model.classifier != "free"),
        ("several layers behind them", len(model.widths) > 1),
        ("classes of several sizes", not is_balanced(spec)),
        ("fewer of them than classes", model.widths[0] < model.classes),
        ("MSE and a bias that decays", spec.criterion.linear_gradient and spec.regularization.bias > 0),
    ]
    reason = next((words for words, holds in unlike if holds), None)
    if reason is not None:
        return unknown(SIGN.format(reason))
    return _orthogonal(predict(_with_dearer_features(spec)), model.classes)


def _with_dearer_features(spec: UfmSpec) -> UfmSpec:
    """Free features that cost what centred ones cost of features that are not negative, and a free bias."""
    regularization, k = spec.regularization, spec.model.classes
    features = regularization.features * k / (k - 1)
    return spec.model_copy(
        update={
            "model": spec.model.model_copy(update={"bias": True}),
            "regularization": regularization.model_copy(update={"features": features, "bias": 0.0}),
        }
    )


def _orthogonal(known: Prediction, classes: int) -> Prediction:
    """The prediction for a simplex ETF, its centred means those of an orthogonal frame."""
    if known.feature_norm_sq is None or known.weight_norm_sq is None:
        return known
    centred, weight = known.feature_norm_sq["h1"], known.weight_norm_sq[0]
    assert isinstance(centred, float)  # noqa: S101 (classes of one size)
    norm_sq = centred * classes / (classes - 1)
    means: Symmetric = (math.sqrt(norm_sq), math.sqrt(norm_sq))
    rows: Symmetric = (math.sqrt(weight * classes / (classes - 1)), 0.0)
    gram = symmetric_gram(means, classes)
    bare = {name: values for name, values in known.levels.items() if "h1" not in values}
    of_frame = {name: {"h1": value} for name, value in symmetric_metrics(means, rows, classes).items()}
    return known.model_copy(
        update={
            "regime": "orthogonal_frame" if norm_sq else known.regime,
            "feature_norm_sq": {"h1": norm_sq},
            "gram": None if gram is None else {"h1": gram},
            "levels": bare | of_frame,
            "notes": [*known.notes, OF_RELU],
        }
    )


def _why_unknown(spec: NetworkSpec) -> str | None:
    decay, model = spec.optimizer.feature_decay, spec.model
    if decay is None:
        return NO_DECAY
    behind = model.levels[model.levels.index(decay.layer) + 1 :]
    return next(
        (
            reason
            for reason, holds in (
                (DECOUPLED.format(spec.optimizer.kind), spec.optimizer.decoupled),
                (STAGES.format(decay.layer), any(level in model.stages for level in behind)),
                (BIASES.format(decay.layer), bool(behind) and model.bias),
                (SPHERE, model.normalized),
                (SIZES, _sizes(spec.data) is None),
            )
            if holds
        ),
        None,
    )


def _sizes(data: Data) -> tuple[int, ...] | None:
    """Training images of each class, where the spec alone says it."""
    said = isinstance(data.classes, tuple) or isinstance(data.samples_per_class, tuple)
    if not (said or data.source.classes or data.source.any_classes):
        return None
    if data.source.any_classes and data.samples_per_class is None:
        return (SYNTHETIC_SAMPLES,) * data.class_count
    return data.train_sizes(data.class_count)


def _is_nonnegative(spec: NetworkSpec, layer: str) -> bool:
    """Whether a ReLU is the last that the features have passed."""
    model = spec.model
    return model.ends_in_relu if layer in model.stages else model.head_activation == "relu"


def _loss_scale(spec: NetworkSpec) -> float:
    """A network's data term in units of the UFM's: its MSE is a mean over the classes, without the half."""
    return 2 / spec.data.class_count if spec.criterion.linear_gradient else 1.0


def _in_words_of_the_network(known: Prediction, names: dict[str, str], scale: float) -> Prediction:
    """Layers by their names in the network, and objectives in its units."""

    def renamed(values: dict[str, Any]) -> dict[str, Any]:
        return {names.get(level, level): value for level, value in values.items()}

    levels = {metric: renamed(values) for metric, values in known.levels.items()}
    objective, better = known.objective, known.better_known
    if objective is not None:
        objective *= scale
        levels["objective"] = {"": objective}
    if better is not None:
        better = better.model_copy(update={"objective": scale * better.objective})
    return known.model_copy(
        update={
            "objective": objective,
            "better_known": better,
            "levels": levels,
            "feature_norm_sq": None if known.feature_norm_sq is None else renamed(known.feature_norm_sq),
            "gram": None if known.gram is None else renamed(known.gram),
            "boundaries": [],
            "limits": {},
        }
    )
