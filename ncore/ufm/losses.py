"""The losses of a UFM, a record each: what a sample costs, its gradient, and the gradient in place for training.

Letters: K classes, C columns (samples, or their shorter form for a loss that allows it), "…" any leading dimensions.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ncore.spec import UfmSpec
from ncore.ufm.operations import Operation, Operations


@dataclass(frozen=True)
class Loss:
    """A data term (1/N) Σ_i ℓ(logits_i, targets_i). Logits and targets are (…, K, C), and so are gradients."""

    name: str
    per_sample: Callable[[Tensor, Tensor], Tensor]
    """ℓ of each column: (…, C)."""
    residual: Callable[[Tensor, Tensor], Tensor]
    """∂ Σ_i ℓ_i/∂logits."""
    in_place: Callable[[Operations, Tensor, Tensor], list[Operation]] | None = None
    """Operations that turn a buffer of logits into the residual; None: `residual` and a copy."""

    def value(self, logits: Tensor, targets: Tensor, known: Tensor, samples: Tensor) -> Tensor:
        """(1/N) Σ ℓ over the columns where `known` (…, C) is 1; N is `samples` (…). Shape (…)."""
        return (self.per_sample(logits, targets) * known).sum(-1) / samples

    def operations(self, operations: Operations, logits: Tensor, targets: Tensor) -> list[Operation]:
        """What turns the buffer `logits` into the residual, in place."""
        if self.in_place is not None:
            return self.in_place(operations, logits, targets)
        return [lambda: logits.copy_(self.residual(logits, targets))]


def _half_squares(logits: Tensor, targets: Tensor) -> Tensor:
    return (logits - targets).square().sum(-2) / 2


def _subtract(operations: Operations, logits: Tensor, targets: Tensor) -> list[Operation]:
    return [operations.add_multiple(logits, targets, -1.0)]


def _negative_log_likelihood(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(-2)).sum(-2)


def _softmax_less_targets(logits: Tensor, targets: Tensor) -> Tensor:
    return logits.softmax(-2) - targets


def _softmax_subtract(operations: Operations, logits: Tensor, targets: Tensor) -> list[Operation]:
    softmax = partial(torch.ops.aten._softmax.out, logits, logits.ndim - 2, False, out=logits)  # noqa: SLF001
    return [softmax, operations.add_multiple(logits, targets, -1.0)]


LOSSES = {
    loss.name: loss
    for loss in (
        Loss("mse", _half_squares, torch.sub, _subtract),
        Loss("cross_entropy", _negative_log_likelihood, _softmax_less_targets, _softmax_subtract),
    )
}
"""Every loss that a UFM may have. Columns of cross-entropy's targets sum to 1."""


def loss_of(spec: UfmSpec) -> Loss:
    return LOSSES[spec.loss]
