"""Batch norm followed by a maximum over windows, at the cost of the maxima alone.

Batch norm is one line for each channel, rising or (γ < 0) falling, so the maximum of what it gives is what it gives of
the maximum (or minimum): maps are pooled as they come, and only what is left is normalised. What goes forward is equal
to the two one after the other bit for bit, what comes back up to rounding.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional


class _NormalisedMaxima(torch.autograd.Function):
    """Maps x (n, C, H, W) in channels_last, γ, β, and each channel's μ and 1/σ, which are of x where `of_batch`."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, mean: Tensor, inverse: Tensor, *how: Any) -> Tensor:
        pooling, ctx.of_batch = how
        falls = weight < 0
        sign = None if not bool(falls.any()) else _by_channel(torch.where(falls, -1.0, 1.0).to(x.dtype))
        found, places = functional.max_pool2d(x if sign is None else x * sign, *pooling, return_indices=True)
        found = found if sign is None else found * sign
        ctx.save_for_backward(x, found, places, weight, mean, inverse)
        slope = inverse * weight
        return torch.addcmul(_by_channel(bias - mean * slope), found, _by_channel(slope))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dz: Tensor) -> tuple[Tensor | None, ...]:
        x, found, places, weight, mean, inverse = ctx.saved_tensors
        standard = (found - _by_channel(mean)) * _by_channel(inverse)
        of_bias, of_weight = dz.sum((0, 2, 3)), (dz * standard).sum((0, 2, 3))
        slope = inverse * weight
        if ctx.of_batch:  # through μ and σ every pixel has a part: again a line of x
            pixels = x.numel() // x.shape[1]
            along = -slope * inverse * of_weight / pixels
            dx = torch.addcmul(_by_channel(-slope * of_bias / pixels - along * mean), x, _by_channel(along))
        else:
            dx = torch.zeros_like(x)
        _rows(dx).scatter_add_(1, _rows(places), _rows(dz * _by_channel(slope)))
        return dx, of_weight, of_bias, None, None, None, None


class PooledBatchNorm(nn.BatchNorm2d):
    """A batch norm that pools as well, in training mode by the batch's statistics."""

    pooling: tuple[Any, Any, Any]
    """Window, stride and padding."""

    def forward(self, x: Tensor) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        mean, variance = self._statistics(x.detach())
        inverse = (variance + self.eps).sqrt().reciprocal()
        how = self.pooling, self.training
        y: Tensor = _NormalisedMaxima.apply(x, self.weight, self.bias, mean, inverse, *how)
        return y

    def _statistics(self, x: Tensor) -> tuple[Tensor, Tensor]:
        if not self.training:
            assert self.running_mean is not None  # noqa: S101 (for the type checker: both are always kept here)
            assert self.running_var is not None  # noqa: S101
            return self.running_mean, self.running_var
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        assert self.momentum is not None  # noqa: S101 (for the type checker: None is a cumulative average, used nowhere)
        return torch.batch_norm_update_stats(x, self.running_mean, self.running_var, self.momentum)


def pool_before_normalising(network: nn.Module) -> None:
    """Merges each max pooling into the batch norm it follows; names and weights stay as they are."""
    for chain in [module for module in network.modules() if isinstance(module, nn.Sequential)]:
        for i, (norm, pool) in enumerate(pairwise(chain)):
            if isinstance(norm, nn.BatchNorm2d) and isinstance(pool, nn.MaxPool2d):
                norm.__class__ = PooledBatchNorm
                norm.pooling = (pool.kernel_size, pool.stride, pool.padding)  # type: ignore[assignment]
                chain[i + 1] = nn.Identity()


def _by_channel(values: Tensor) -> Tensor:
    return values[:, None, None]


def _rows(maps: Tensor) -> Tensor:
    """(n, H W, C) of maps (n, C, H, W) in channels_last: a view."""
    return maps.permute(0, 2, 3, 1).flatten(1, 2)
