"""The setting of an experiment in the symbols of the paper, as a caption."""

from __future__ import annotations

from collections.abc import Sequence

from ncore.spec import AnySpec, ExternalSpec, NetworkSpec, UfmSpec


def caption(spec: AnySpec, shown: Sequence[int] = (), each_seed: bool = False) -> str:
    """The setting, and which seeds are shown, all if empty; `each_seed`: with a line for each."""
    seeds = [seed for seed in spec.seeds if not shown or seed in shown]
    how = "a line each" if each_seed else "median, range"
    which = f"{len(seeds)} seeds ({how})" if len(seeds) > 1 else "".join(f"seed {seed}" for seed in seeds)
    return "; ".join(filter(None, (_setting(spec), which)))


def _setting(spec: AnySpec) -> str:
    if isinstance(spec, ExternalSpec):
        classes = spec.model.classes
        return "measured elsewhere" if classes is None else f"measured elsewhere, K = {classes}"
    return _ufm(spec) if isinstance(spec, UfmSpec) else _network(spec)


def _loss(spec: UfmSpec | NetworkSpec) -> str:
    return spec.criterion.words


def _ufm(spec: UfmSpec) -> str:
    model, optimizer = spec.model, spec.optimizer
    sizes = set(model.class_sizes)
    n = str(sizes.pop()) if len(sizes) == 1 else f"{min(sizes)}–{max(sizes)}"
    widths = ", ".join(str(width) for width in model.widths)
    decays = ", ".join(f"{decay:g}" for decay in spec.weight_decays)
    depth = len(model.widths)
    sigma = "" if depth == 1 else (", σ = ReLU" if model.activation == "relu" else ", linear")
    bias = f"bias, λ_b = {spec.regularization.bias:g}" if model.bias else "no bias"
    momentum = f", momentum {optimizer.momentum:g}" if optimizer.momentum else ""
    return (
        f"UFM, M = {depth}{sigma}; K = {model.classes}, d = {widths}, n = {n}{model.words}; {_loss(spec)}, {bias}, "
        f"λ_W = {decays}, λ_H = {spec.regularization.features:g}; gradient descent, "
        f"step {optimizer.learning_rate:g}{momentum}, {optimizer.steps:,} steps"
    )


def _feature_decay(spec: NetworkSpec) -> str:
    decay = spec.optimizer.feature_decay
    return "" if decay is None else f"; λ_H = {decay.value:g} on {decay.layer}"


def _network(spec: NetworkSpec) -> str:
    model, optimizer, data = spec.model, spec.optimizer, spec.data
    return (
        f"{model.words}{model.head_words} on {data.words}; "
        f"{_loss(spec)}, {'bias' if model.bias else 'no bias'}; {optimizer.words}, batch {optimizer.batch_size}, "
        f"{optimizer.epochs} epochs{_feature_decay(spec)}"
    )
