"""Features taken at forward hooks, and how they become vectors: for a Probe and for networks that others wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

Pool = Literal["mean", "cls", "none"] | Callable[[Tensor], Tensor]


class Taken:
    """The tensors that one forward pass leaves at the hooks."""

    def __init__(self, layers: Mapping[str, nn.Module], classifier: nn.Module | None) -> None:
        self._layers, self._classifier = layers, classifier
        self._handles: list[Any] = []
        self.clear()

    def clear(self) -> None:
        self.outputs: dict[str, Any] = {}
        self.inputs: Tensor | None = None
        self.logits: Tensor | None = None

    def __enter__(self) -> Taken:
        for name, module in self._layers.items():
            self._handles.append(module.register_forward_hook(self._taker(name)))
        if self._classifier is not None:
            self._handles.append(self._classifier.register_forward_hook(self._take_ends))
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles:
            handle.remove()

    def _taker(self, name: str) -> Callable[..., None]:
        def take(_module: nn.Module, _inputs: Any, output: Any) -> None:
            self.outputs[name] = output

        return take

    def _take_ends(self, _module: nn.Module, inputs: Any, output: Any) -> None:
        self.inputs, self.logits = tensor_of(inputs), tensor_of(output)


def tensor_of(output: Any) -> Tensor | None:
    """The first tensor of what a module takes or gives: itself, of a tuple, of a dict or an output of Hugging Face."""
    if isinstance(output, Tensor):
        return output
    several = output.values() if isinstance(output, Mapping) else output
    if isinstance(several, Iterable):
        return next((found for one in several if (found := tensor_of(one)) is not None), None)
    return None


def vectors(output: Any, pool: Pool, layer: str, count: int) -> Tensor:
    """(n, d) of a module's output."""
    x = tensor_of(output)
    if x is None:
        raise ValueError(f"layers: {layer} gives no tensor but a {type(output).__name__}")
    if callable(pool):
        x = pool(x)
    elif x.ndim > 2 and pool == "mean":
        x = x.double().mean(1) if x.ndim == 3 else x.double().flatten(2).mean(2)
    elif x.ndim == 3 and pool == "cls":
        x = x[:, 0]
    x = x.flatten(1) if x.ndim > 2 else x
    if x.ndim != 2 or len(x) != count:
        raise ValueError(f"layers: {layer} gives {tuple(x.shape)} for {count} samples, must be (n, d) after pooling")
    return x


def meeting(features: Mapping[str, Tensor], inputs: Tensor | None) -> str | None:
    """The layer whose features the classifier takes, found by comparing numbers, not names."""
    if inputs is None:
        return None
    for layer, x in reversed(list(features.items())):
        if x.shape == inputs.shape and torch.allclose(x.double(), inputs.double(), rtol=1e-3, atol=1e-6):
            return layer
    return None
