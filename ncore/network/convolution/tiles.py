"""3 × 3 convolutions on maps of several 4 × 4 tiles: the products of `small_maps`, tile by tile.

36 products of (tiles × C_in) with (C_in × C_out) matrices, where there are 144 taps of 4 × 4 pixels (F(4 × 4, 3 × 3) in
Lavin & Gray 2016, arXiv:1509.09308). What goes around the products is memory traffic, so it pays from 128 channels on.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from ncore.network.convolution.toom_cook import INPUTS, OUTPUTS, toom_cook

TILED_SIZE = 8
"""Largest size of maps in tiles: on 16 × 16 the traffic costs what the products gain."""
LEAST_CHANNELS = 128


@cache
def matrices(size: int, dtype: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """A ⊗ A (16, 36), G ⊗ G (36, 9), and B of every tile of an axis (tiles, 6, size), without the padding's columns."""
    a, g, b = toom_cook()
    bands = torch.zeros(size // OUTPUTS, INPUTS, size + 2, dtype=torch.float64)
    for tile, band in enumerate(bands):
        band[:, OUTPUTS * tile : OUTPUTS * tile + INPUTS] = b
    return torch.kron(a, a).to(dtype), torch.kron(g, g).to(dtype), bands[:, :, 1:-1].to(dtype).contiguous()


class _Tiles(torch.autograd.Function):
    """x (n, size, size, C_in), w (C_out, 9, C_in) → (n, size, size, C_out); rows of the products go by tile column,
    sample and tile row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor, a: Tensor, g: Tensor, bands: Tensor) -> Tensor:
        n, size, _, channels = x.shape
        tiles = len(bands)
        rows = torch.matmul(bands.flatten(0, 1), x.reshape(n, size, size * channels)).view(-1, size, channels)
        v = x.new_empty(tiles, len(rows), INPUTS, channels)
        for tile, band in enumerate(bands):
            torch.bmm(band.expand(len(rows), -1, -1), rows, out=v[tile])
        v = v.view(-1, INPUTS**2, channels).transpose(0, 1)
        u = torch.matmul(g, w).transpose(0, 1)
        ctx.save_for_backward(v, u, a, g, bands)
        y = torch.matmul(a, torch.bmm(v, u.mT).transpose(0, 1)).view(tiles, n, tiles, OUTPUTS, OUTPUTS, -1)
        return y.permute(1, 2, 3, 0, 4, 5).reshape(n, size, size, -1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, dy: Tensor) -> tuple[Tensor | None, ...]:
        v, u, a, g, bands = ctx.saved_tensors
        tiles, _, size = bands.shape
        n, channels = len(dy), v.shape[-1]
        by_tile = dy.reshape(n, tiles, OUTPUTS, tiles, OUTPUTS, -1).permute(3, 0, 1, 2, 4, 5)
        products = torch.matmul(a.mT, by_tile.reshape(-1, OUTPUTS**2, dy.shape[-1])).transpose(0, 1)
        needs_dx, needs_dw, *_ = ctx.needs_input_grad
        dw = torch.matmul(g.mT, torch.bmm(products.mT, v).transpose(0, 1)) if needs_dw else None
        if not needs_dx:
            return None, dw, None, None, None
        dv = torch.bmm(products, u).transpose(0, 1).reshape(tiles, -1, INPUTS, channels)
        rows = dv.new_zeros(dv.shape[1], size, channels)
        for band, part in zip(bands, dv, strict=True):
            rows.baddbmm_(band.mT.expand(len(rows), -1, -1), part)
        dx = torch.matmul(bands.flatten(0, 1).mT, rows.view(n, tiles * INPUTS, size * channels))
        return dx.view(n, size, size, channels), dw, None, None, None


class TiledConvolution(nn.Conv2d):
    """A 3 × 3 convolution with stride 1 and padding 1 on maps of whole tiles."""

    def forward(self, x: Tensor) -> Tensor:
        taps = self.weight.permute(0, 2, 3, 1).reshape(self.out_channels, 9, self.in_channels)
        y: Tensor = _Tiles.apply(x.permute(0, 2, 3, 1), taps, *matrices(x.shape[-1], x.dtype))
        return y.permute(0, 3, 1, 2)
