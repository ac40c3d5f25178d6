"""The paper's figures as specs (Tirer & Bruna, ICML 2022), each saying which values are the paper's and which ours."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ncore.faults import shortened
from ncore.spec import AnySpec, ExternalSpec, NetworkSpec, SpecError, UfmSpec, parse_spec, with_changes

Spec = UfmSpec | NetworkSpec
"""A spec that can be trained here."""


@dataclass(frozen=True)
class Preset:
    """`paper` and `ours` are dotted paths into `spec`: whose values these are."""

    name: str
    title: str
    description: str
    spec: dict[str, Any]
    paper: tuple[str, ...]
    ours: tuple[str, ...]


_PLAIN: dict[str, Any] = {
    "model": {
        "kind": "ufm",
        "classes": 4,
        "samples_per_class": 50,
        "widths": [20],
        "activation": "identity",
        "bias": False,
        "init_scale": 1.0,
    },
    "loss": "mse",
    "regularization": {"weights": [0.005], "features": 0.005, "bias": 0.0},
    "optimizer": {"kind": "gd", "learning_rate": 0.1, "momentum": 0.0, "steps": 30_000},
    "seeds": [0, 1, 2],
    "measure": {"points": 200, "spacing": "log"},
    "precision": "float64",
}
_EXTENDED: dict[str, Any] = {
    **_PLAIN,
    "model": {**_PLAIN["model"], "widths": [20, 20], "init_scale": 0.1},
    "regularization": {"weights": [0.0025, 0.005], "features": 0.001, "bias": 0.0},
}
_PLAIN_PAPER = (
    "model.classes",
    "model.samples_per_class",
    "model.widths",
    "model.bias",
    "model.init_scale",
    "loss",
    "regularization.weights",
    "regularization.features",
    "optimizer.kind",
    "optimizer.learning_rate",
)
_PLAIN_OURS = ("optimizer.steps", "seeds", "measure", "precision")
_EXTENDED_PAPER = (
    "model.classes",
    "model.samples_per_class",
    "model.activation",
    "model.bias",
    "loss",
    "optimizer.kind",
)
_EXTENDED_OURS = (
    "model.widths",
    "model.init_scale",
    "regularization.weights",
    "regularization.features",
    "optimizer.learning_rate",
    *_PLAIN_OURS,
)


def _spec(base: dict[str, Any], name: str, model: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    spec = {"name": name, "tags": ["paper"], **base, **changes}
    return {**spec, "model": {**base["model"], **(model or {})}}


PRESETS: dict[str, Preset] = {
    "fig1": Preset(
        name="fig1",
        title="Figure 1: plain UFM, no bias",
        description="Gradient descent on the plain unconstrained features model converges to an orthogonal frame. "
        "All of the setting is the paper's; the number of steps, the seeds and the schedule of measuring are ours.",
        spec=_spec(_PLAIN, "figure 1"),
        paper=_PLAIN_PAPER,
        ours=_PLAIN_OURS,
    ),
    "fig2": Preset(
        name="fig2",
        title="Figure 2: plain UFM, unregularised bias",
        description="Figure 1 with a bias that is not regularised and starts at 0: the features converge to a simplex "
        "ETF. All of the setting is the paper's; the number of steps, the seeds and the schedule are ours.",
        spec=_spec(_PLAIN, "figure 2", {"bias": True}),
        paper=(*_PLAIN_PAPER, "regularization.bias"),
        ours=_PLAIN_OURS,
    ),
    "fig3": Preset(
        name="fig3",
        title="Figure 3: extended linear UFM",
        description="Two linear layers, no bias. K, n and d are as in the paper; the regularisation, the start "
        "0.1·N(0,1), the step and the number of steps are ours (from an N(0,1) start, step 0.1 diverges).",
        spec=_spec(_EXTENDED, "figure 3", optimizer={**_PLAIN["optimizer"], "steps": 60_000}),
        paper=_EXTENDED_PAPER,
        ours=_EXTENDED_OURS,
    ),
    "fig4": Preset(
        name="fig4",
        title="Figure 4: extended ReLU UFM",
        description="Figure 3 with a ReLU between the layers. As there the regularisation, start, step and number "
        "of steps are ours. From the start 0.3·N(0,1) all seeds 0–31 reach the orthogonal frame; from figure 3's "
        "0.1·N(0,1) only 15 of them do, the others leave dead or vanished samples, which the verdict counts.",
        spec=_spec(
            _EXTENDED,
            "figure 4",
            {"activation": "relu", "init_scale": 0.3},
            optimizer={**_PLAIN["optimizer"], "steps": 100_000},
        ),
        paper=_EXTENDED_PAPER,
        ours=_EXTENDED_OURS,
    ),
}

_OF_THEORY = (
    "model.classes",
    "model.samples_per_class",
    "model.widths",
    "model.init_scale",
    "regularization.weights",
    "regularization.features",
    "optimizer.learning_rate",
    *_PLAIN_OURS,
)
_LOW_RANK_SETTING = (
    "model.classes",
    "model.widths",
    "model.activation",
    "model.bias",
    "loss",
    "regularization.weights",
    "regularization.features",
    "optimizer.kind",
    "optimizer.learning_rate",
)
PRESETS |= {
    preset.name: preset
    for preset in (
        Preset(
            name="minority-collapse",
            title="Minority collapse: cross-entropy with unequal classes",
            description="Three classes of 100 samples and three of 5. With n_B ≤ N²λ_Wλ_H the small classes share one "
            "mean and one row of W: the rank is 3 of 5. With smaller regularisers (try regularization.weights 0.005) "
            "they are apart. Minority collapse is Fang et al.'s (2021); the setting is ours, and so is the threshold.",
            spec=_spec(
                _PLAIN,
                "minority collapse",
                {"classes": 6, "samples_per_class": [100, 100, 100, 5, 5, 5]},
                tags=["theory"],
                loss="cross_entropy",
                regularization={"weights": [0.0075], "features": 0.0075, "bias": 0.0},
                optimizer={**_PLAIN["optimizer"], "learning_rate": 0.5, "steps": 20_000},
            ),
            paper=("model.bias", "loss", "optimizer.kind"),
            ours=_OF_THEORY,
        ),
        Preset(
            name="low-rank-bias",
            title="Low-rank bias: deep ReLU model, many seeds",
            description="Four layers of width 30 with ReLU, K = 10. The orthogonal frame is not the minimum: descent "
            "ends at solutions whose layers have ranks below K and whose objective is lower, another one for almost "
            "every seed. K, widths, regularisers and step are those of Súkeník, Lampert & Mondelli (2024); one sample "
            "a class (only n·λ products matter), start, number of steps and the 32 seeds are ours.",
            spec=_spec(
                _PLAIN,
                "low-rank bias",
                {
                    "classes": 10,
                    "samples_per_class": 1,
                    "widths": [30, 30, 30, 30],
                    "activation": "relu",
                    "init_scale": 0.3,
                },
                tags=["theory"],
                regularization={"weights": [0.004, 0.004, 0.004, 0.004], "features": 0.004, "bias": 0.0},
                optimizer={**_PLAIN["optimizer"], "learning_rate": 0.5, "steps": 30_000},
                seeds=list(range(32)),
                measure={"points": 100, "spacing": "log"},
            ),
            paper=_LOW_RANK_SETTING,
            ours=("model.samples_per_class", "model.init_scale", *_PLAIN_OURS),
        ),
    )
}

_NETWORK: dict[str, Any] = {
    "model": {"kind": "resnet", "depth": 18, "stem": "imagenet", "bias": False},
    "data": {"name": "mnist", "image_size": 32},
    "loss": "mse",
    "optimizer": {
        "kind": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.9,
        "weight_decay": 5e-4,
        "epochs": 120,
        "batch_size": 128,
        "milestones": [40, 80],
        "gamma": 0.1,
    },
    "seeds": [0],
    "measure": {"every_epochs": 2},
    "precision": "float32",
}
_SMALL: dict[str, Any] = {
    **_NETWORK,
    "data": {**_NETWORK["data"], "samples_per_class": 200},
    "optimizer": {
        **_NETWORK["optimizer"],
        "weight_decay": 5e-3,
        "epochs": 80,
        "batch_size": 64,
        "milestones": [50, 70],
    },
    "measure": {"every_epochs": 4},
}
_NETWORK_PAPER = (
    "model.kind",
    "model.depth",
    "model.bias",
    "data.name",
    "loss",
    "optimizer.kind",
    "optimizer.learning_rate",
    "optimizer.weight_decay",
    "optimizer.milestones",
    "optimizer.gamma",
)
_NETWORK_OURS = (
    "model.stem",
    "data.image_size",
    "optimizer.momentum",
    "optimizer.batch_size",
    "optimizer.epochs",
    "seeds",
    "measure",
    "precision",
)
_SMALL_CHANGES = ("data.samples_per_class", "optimizer.milestones", "optimizer.weight_decay")


def _network(name: str, figure: str, data: str, loss: str, *, small: bool = False) -> Preset:
    base, mse = _SMALL if small else _NETWORK, loss == "mse"
    words = (
        "MSE (the mean over classes too) without bias in the last layer"
        if mse
        else "cross-entropy with bias in the last layer"
    )
    size = (
        "200 images a class, 80 epochs of batches of 64 and the cuts after 50 and 70 are ours, so that two CPU cores "
        "need a few minutes, and so is the weight decay of 5e-3: step × decay × steps before the first cut is 0.4, "
        "near the full preset's 0.47, so that what the loss does not hold up has as long to decay"
        if small
        else "The network, loss, step 0.05 cut by 10 every 40 epochs and weight decay 5e-4 are the paper's; "
        "momentum 0.9, batch 128, 120 epochs, images of 32 pixels and the schedule of measuring are ours"
    )
    ours = (*_NETWORK_OURS, *(_SMALL_CHANGES if small else ()))
    shown = {"mnist": "MNIST", "cifar10": "CIFAR-10"}[data]
    return Preset(
        name=name,
        title=f"{figure}{', small' if small else ''}: ResNet18 on {shown}, {'MSE' if mse else 'cross-entropy'}",
        description=f"ResNet18 on {shown}, {words}, the metrics after each of its four stages. {size}. "
        f"Needs the images in NCORE_DATA_DIR, or a way to download them"
        + ("; data.name=digits needs neither and is another experiment." if small else "."),
        spec=_spec(
            base,
            name.replace("-", " "),
            {"bias": not mse},
            data={**base["data"], "name": data},
            loss=loss,
        ),
        paper=tuple(path for path in _NETWORK_PAPER if path not in ours),
        ours=ours,
    )


PRESETS |= {
    preset.name: preset
    for preset in (
        _network("fig5-mse", "Figure 5", "mnist", "mse"),
        _network("fig5-ce", "Figure 5", "mnist", "cross_entropy"),
        _network("figG-mse", "Appendix G", "cifar10", "mse"),
        _network("figG-ce", "Appendix G", "cifar10", "cross_entropy"),
        _network("fig5-mse-small", "Figure 5", "mnist", "mse", small=True),
        _network("fig5-ce-small", "Figure 5", "mnist", "cross_entropy", small=True),
    )
}


def as_spec(given: AnySpec | Mapping[str, Any] | str) -> AnySpec:
    """The spec that is given: itself, a preset's name, or what a request's body may hold. Raises SpecError."""
    if isinstance(given, str):
        return spec_of({"preset": given})
    return given if isinstance(given, AnySpec) else spec_of(given)


def trainable(spec: AnySpec) -> Spec:
    """The spec itself. Raises SpecError for one that is measured elsewhere."""
    if isinstance(spec, ExternalSpec):
        message = "must not be external here: such a model is trained by its owner's own loop (ncore.start)"
        raise SpecError([{"field": "model.kind", "message": message}])
    return spec


def spec_of(body: Any) -> AnySpec:
    """The spec in a request's body: itself, or a preset with changes. Raises SpecError."""
    return parse_spec(body_of_request(body))


def body_of_request(body: Any) -> Any:
    """The spec's own body, a preset with its changes written out. Raises SpecError for a wrong preset."""
    if not isinstance(body, Mapping):
        return body
    if "preset" not in body:
        return _with_theory(body)
    unknown = set(body) - {"preset", "set"}
    if unknown:
        raise SpecError(
            [{"field": field, "message": "unknown field beside `preset`"} for field in sorted(map(str, unknown))]
        )
    if not isinstance(body["preset"], str) or body["preset"] not in PRESETS:
        allowed = ", ".join(PRESETS)
        raise SpecError([{"field": "preset", "message": f"must be one of {allowed}; got {shortened(body['preset'])}"}])
    changes = body.get("set", {})
    if not isinstance(changes, Mapping):
        raise SpecError([{"field": "set", "message": f"must be an object of dotted paths; got {shortened(changes)}"}])
    return with_changes(PRESETS[body["preset"]].spec, changes)


def _with_theory(body: Mapping[str, Any]) -> Mapping[str, Any]:
    """The body, the preset in its field `theory` written out."""
    theory = body.get("theory")
    theory = {"preset": theory} if isinstance(theory, str) else theory
    try:
        return body if theory is None else {**body, "theory": body_of_request(theory)}
    except SpecError as error:
        raise SpecError([{**fault, "field": f"theory.{fault['field']}"} for fault in error.errors]) from None
