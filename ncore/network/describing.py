"""The memory that a network of others needs, and its layers' widths: from a pass over images without numbers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from ncore.hooks import Taken, tensor_of, vectors
from ncore.kinds.fields import resolved
from ncore.kinds.foreign import FEATURES, Description, ForeignModel
from ncore.kinds.networks import Maps
from ncore.network.foreign import NOT_FAKE, POOLS, TRIED_IMAGES, Body, ForeignNetwork, refused, short

DESCRIBED_CLASSES = 10


class Zeros(TorchDispatchMode):
    """Where a tensor without numbers is asked for its number (as by initialisations that look at what they drew), it is
    zero: sizes hardly depend on it."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        del types
        try:
            return func(*args, **(kwargs or {}))
        except DataDependentOutputException:
            if func is not torch.ops.aten._local_scalar_dense.default:  # noqa: SLF001 (its name)
                raise
            return _zero(args[0].dtype)


def describe(model: ForeignModel, channels: int, image_size: int) -> Description:
    """Maps and number of weights of a network, by a pass without numbers. Raises SpecError if it cannot be built."""
    try:
        with FakeTensorMode(), Zeros():
            return _description(model, channels, image_size)
    except NOT_FAKE:  # what it does depends on numbers
        return _description(model, channels, image_size)


def _description(model: ForeignModel, channels: int, image_size: int) -> Description:
    with torch.random.fork_rng(devices=[]):
        network: ForeignNetwork = resolved(type(model).build)(model, DESCRIBED_CLASSES, channels, image_size)
    body = network.stages[FEATURES]
    assert isinstance(body, Body)  # noqa: S101 (for the type checker)
    weights = {p.untyped_storage()._cdata for p in body.parameters()}  # noqa: SLF001 (what tells storages apart)
    kept: dict[int, int] = {}
    largest, widths = 0, dict[str, int]()

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage._cdata not in weights:  # noqa: SLF001
            kept[storage._cdata] = storage.nbytes() // tensor.element_size()  # noqa: SLF001
        return tensor

    def look(_module: nn.Module, _inputs: Any, output: Any) -> None:
        nonlocal largest
        found = tensor_of(output)
        largest = max(largest, 0 if found is None else found.numel())

    handles = [module.register_forward_hook(look) for module in body.model.modules()]
    images = torch.zeros(TRIED_IMAGES, channels, image_size, image_size)
    try:
        with (
            torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
            Taken(network.hooked, None) as taken,
        ):
            features = tensor_of(body.train().model(images))
    except RuntimeError as error:
        raise refused("name", f"{model.name} cannot be trained on such images: {short(error)}") from None
    finally:
        for handle in handles:
            handle.remove()
    for name in network.hooked:
        widths[name] = vectors(taken.outputs[name], POOLS[model.pool], name, TRIED_IMAGES).shape[1]
    assert features is not None  # noqa: S101 (for the type checker)
    widths[FEATURES] = features.shape[1]
    numbers = sum(p.numel() for p in body.parameters())
    return Maps(sum(kept.values()) // TRIED_IMAGES, largest // TRIED_IMAGES, widths), numbers


def _zero(kind: torch.dtype) -> bool | float | int:
    return False if kind == torch.bool else 0.0 if kind.is_floating_point else 0
