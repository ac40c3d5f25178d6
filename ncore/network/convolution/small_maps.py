"""Convolutions on maps of a few pixels as matrix products, fewer than there are taps.

Along one axis a 3-tap convolution is y = A [(G w) ∘ (B x)] with m products (Toom–Cook; Winograd's minimal filtering in
Lavin & Gray 2016, arXiv:1509.09308); in two dimensions every matrix is its Kronecker square, and each of the m²
products is of n samples' channels with a (C_out × C_in) matrix. Pixels of padding are left out of B, so that 4 × 4 maps
need 36 products and 2 × 2 maps 9, where 144 and 36 taps meet a pixel or the padding. Equal to the convolution up to
rounding: as accurate for 2 × 2, and within about four times the direct sum's rounding for 4 × 4.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from ncore.network.convolution.tiles import LEAST_CHANNELS, TILED_SIZE, TiledConvolution
from ncore.network.convolution.toom_cook import toom_cook


def _one_tile() -> tuple[Tensor, Tensor, Tensor]:
    """A, G and B of maps of one tile, whose first and last column of B would meet the padding."""
    a, g, b = toom_cook()
    return a, g, b[:, 1:-1]


SCHEMES: dict[tuple[int, int], tuple[Tensor, Tensor, Tensor]] = {
    # m_0 = w_1 (x_0 + x_1), m_1 = (w_2 − w_1) x_1, m_2 = (w_0 − w_1) x_0: Karatsuba's way with a Toeplitz matrix
    (2, 1): (
        torch.tensor([[1, 1, 0], [1, 0, 1]]),
        torch.tensor([[0, 1, 0], [0, -1, 1], [1, -1, 0]]),
        torch.tensor([[1, 1], [0, 1], [1, 0]]),
    ),
    (4, 1): _one_tile(),
    # y_0 = w_1 x_0 + w_2 x_1, y_1 = w_0 x_1 + w_1 x_2 + w_2 x_3: every tap that meets a pixel, and no other
    (4, 2): (
        torch.tensor([[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]]),
        torch.tensor([[0, 1, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
        torch.tensor([[1, 0, 0, 0], [0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    ),
}
"""A (outputs, m), G (m, 3), B (m, size) for maps of `size` pixels and a stride, with padding 1."""


@cache
def scheme(size: int, stride: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """The Kronecker squares of A, G and B."""
    a, g, b = (matrix.to(dtype) for matrix in SCHEMES[size, stride])
    return torch.kron(a, a), torch.kron(g, g), torch.kron(b, b)


class _Products(torch.autograd.Function):
    """x (n, size², C_in), w (C_out, 9, C_in) → (n, outputs², C_out); batches of products are views, not copies."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, a: Tensor, g: Tensor, b: Tensor) -> Tensor:
        v, u = torch.matmul(b, x).transpose(0, 1), torch.matmul(g, w).transpose(0, 1)
        ctx.save_for_backward(v, u, a, g, b)
        return torch.matmul(a, torch.bmm(v, u.mT).transpose(0, 1))

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        v, u, a, g, b = ctx.saved_tensors
        products = torch.matmul(a.mT, dy).transpose(0, 1)
        needs_dx, needs_dw, *_ = ctx.needs_input_grad
        dx = torch.matmul(b.mT, torch.bmm(products, u).transpose(0, 1)) if needs_dx else None
        dw = torch.matmul(g.mT, torch.bmm(products.mT, v).transpose(0, 1)) if needs_dw else None
        return dx, dw, None, None, None


class SmallMapConvolution(nn.Conv2d):
    """A 3 × 3 convolution on maps that `SCHEMES` has; weights and results as of the convolution."""

    def forward(self, x: Tensor) -> Tensor:
        n, channels, size, _ = x.shape
        stride = self.stride[0]
        pixels = x.permute(0, 2, 3, 1).reshape(n, size * size, channels)
        taps = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, 9, channels)
        y: Tensor = _Products.apply(pixels, taps, *scheme(size, stride, x.dtype))
        return y.view(n, size // stride, size // stride, self.out_channels).permute(0, 3, 1, 2)


class OnePixelConvolution(nn.Conv2d):
    """A convolution without padding that gives a map of one pixel: a linear map of what its kernel covers."""

    def forward(self, x: Tensor) -> Tensor:
        rows, columns = self.kernel_size
        seen = x[:, :, :rows, :columns].permute(0, 2, 3, 1).flatten(1)
        y = functional.linear(seen, self.weight.permute(0, 2, 3, 1).flatten(1))
        return y[:, :, None, None]


def use_matrix_products(network: nn.Module, map_sizes: dict[str, int]) -> None:
    """Makes the convolutions of `network` that can be matrix products so; `map_sizes` is of their inputs, by name."""
    for name, size in map_sizes.items():
        convolution = network.get_submodule(name)
        if isinstance(convolution, nn.Conv2d) and (made := _convolution_class(convolution, size)) is not nn.Conv2d:
            network.set_submodule(name, _with_its_weight(made, convolution))


def _with_its_weight(made: type[nn.Conv2d], plain: nn.Conv2d) -> nn.Conv2d:
    """The convolution `plain` as one of the class `made`."""
    form: dict[str, Any] = {"kernel_size": plain.kernel_size, "stride": plain.stride, "padding": plain.padding}
    # on the device that holds nothing: no weights are drawn
    convolution = made(plain.in_channels, plain.out_channels, **form, bias=False, device="meta")
    convolution.weight = plain.weight
    return convolution


def _convolution_class(convolution: nn.Conv2d, size: int) -> type[nn.Conv2d]:
    """The class that convolves maps of `size` fastest, as far as measured."""
    if convolution.groups != 1 or convolution.bias is not None or convolution.dilation != (1, 1):
        return nn.Conv2d
    kernel, stride, padding = convolution.kernel_size[0], convolution.stride[0], convolution.padding[0]
    if padding == 0 and (size - kernel) // stride == 0:
        return OnePixelConvolution
    if (kernel, padding) == (3, 1) and (size, stride) in SCHEMES:
        return SmallMapConvolution
    wide = min(convolution.in_channels, convolution.out_channels) >= LEAST_CHANNELS
    return TiledConvolution if wide and (kernel, padding, stride, size) == (3, 1, 1, TILED_SIZE) else nn.Conv2d
