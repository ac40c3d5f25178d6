"""Forward and backward passes: those of whole batches from one place in memory, so that a GPU can replay them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ncore.graphs import Capture, Repeated

WARM_UPS = 3
"""Passes before one is captured: by then cuDNN and cuBLAS have all they need."""
Pass = Callable[[Tensor, Tensor, int], Tensor]
"""The loss of (images, targets) out of a batch of `size`; leaves the gradients with the flat parameters. What else it
writes has to stay in its place."""


class Passes:
    """Takes passes of one network, whose flat parameters get their `grad`."""

    def __init__(self, flat: Sequence[nn.Parameter], batch_size: int, capture: Capture | None) -> None:
        self._flat, self._batch_size = flat, batch_size
        self._whole = None if capture is None else Repeated(capture, WARM_UPS)
        self._inputs: tuple[Tensor, Tensor] | None = None
        self._found: tuple[Tensor, list[Tensor | None]] | None = None

    def take(self, one_pass: Pass, images: Tensor, targets: Tensor, size: int) -> Tensor:
        """The loss, which the next pass may overwrite; `one_pass` is the same at each call."""
        if self._whole is None or len(images) != self._batch_size:
            return one_pass(images, targets, size)
        if self._inputs is None:
            self._inputs = images.clone(), targets.clone()
        else:
            for kept, new in zip(self._inputs, (images, targets), strict=True):
                kept.copy_(new)
        self._whole(lambda: self._repeat(one_pass))
        assert self._found is not None  # noqa: S101 (a pass was taken)
        loss, gradients = self._found
        for flat, gradient in zip(self._flat, gradients, strict=True):
            flat.grad = gradient
        return loss

    def _repeat(self, one_pass: Pass) -> None:
        """The pass over what `_inputs` hold now; what it has found lies where a replay will write it again."""
        assert self._inputs is not None  # noqa: S101
        loss = one_pass(*self._inputs, self._batch_size)
        self._found = loss, [flat.grad for flat in self._flat]
