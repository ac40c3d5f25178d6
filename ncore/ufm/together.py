"""Experiments on UFMs that are trained as one batch: which can be, and whose part is what.

They differ in numbers that a step multiplies by, or that only the start or the targets know. A replica's products are
its own, so that what happens to one changes nothing in another.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from ncore.kinds.losses import Loss
from ncore.spec import NetworkSpec, UfmSpec

if TYPE_CHECKING:
    from torch import Tensor

APART = {
    "optimizer": {"learning_rate", "momentum", "form"},
    "model": {"init_scale", "temperature", "classifier_norm"},
}
"""Fields that may differ, beside the names, seeds and regularisers: numbers that a step multiplies by."""
SHARED = ("position", "arithmetic")
"""Entries that a checkpoint holds once for all replicas; all others have a row for each."""
VELOCITY = "velocity."
"""Prefix of a parameter's name in that of its velocity."""
OF_SAMPLES = ("labels", "q", "H")
"""Tensors with a column for each sample known one by one; in a batch those of smaller sets are padded."""


def kin(spec: UfmSpec | NetworkSpec) -> dict[str, Any] | None:
    """The part of a spec that must be equal within a batch; None for an experiment that is trained alone.

    Class sizes may differ in the sample-free form, whose matrices do not grow with them.
    """
    if not isinstance(spec, UfmSpec):
        return None
    model = spec.model.model_dump(exclude=APART["model"])
    if spec.sample_free:
        directions = min(model["widths"][0], sum(spec.model.class_sizes))
        model["samples_per_class"] = {"directions": directions}
    return {
        "seeds": len(spec.seeds),
        "model": model,
        "loss": spec.criterion.model_dump(exclude={"label_smoothing", "gamma"}),
        "optimizer": spec.optimizer.model_dump(exclude=APART["optimizer"]),
        "sample_free": spec.sample_free,
        "measure": spec.measure.model_dump(),
        "precision": spec.precision,
        "device": spec.device,
    }


def loss_of(specs: Sequence[UfmSpec]) -> Loss:
    """The loss of replicas that are trained together, one spec each."""
    losses = [spec.criterion for spec in specs]
    return losses[0].together(losses)


def split(state: Mapping[str, Tensor], replicas: Sequence[int]) -> list[dict[str, Tensor]]:
    """Splits what a run of several experiments has made (a checkpoint, a final state) into each one's part, of
    `replicas` seeds each."""
    if len(replicas) == 1:
        return [dict(state)]
    ends = [sum(replicas[:i]) for i in range(len(replicas) + 1)]
    return [_part(state, slice(begin, end)) for begin, end in pairwise(ends)]


def _part(state: Mapping[str, Tensor], rows: slice) -> dict[str, Tensor]:
    known = int((state["labels"][rows] >= 0).sum(-1).max())
    part = {}
    for name, tensor in state.items():
        own = tensor if name in SHARED else tensor[rows]
        if name in OF_SAMPLES and state["labels"].shape[-1] > known:
            own = own[..., :known]
        part[name] = own.clone()
    return part


def joined(states: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The checkpoint of a run of all experiments, from those of each; all at one step. The inverse of `split`."""
    import torch

    whole = {}
    for name in {name: None for state in states for name in state}:
        if name in SHARED:
            whole[name] = states[0][name]
            continue
        # without momentum there is no velocity, which is zero
        parts = [state[name] if name in state else torch.zeros_like(state[name[len(VELOCITY) :]]) for state in states]
        if name in OF_SAMPLES:
            longest, fill = max(part.shape[-1] for part in parts), -1 if name == "labels" else 0
            parts = [torch.nn.functional.pad(part, (0, longest - part.shape[-1]), value=fill) for part in parts]
        whole[name] = torch.cat(parts)
    return whole
