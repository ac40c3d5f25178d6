"""Convolutions as matrix products: against torch's own, in results, gradients and rounding, and where they are used."""

import pytest
import torch
from torch import nn
from torch.nn import functional

from ncore.network.convolution.small_maps import SCHEMES, OnePixelConvolution, SmallMapConvolution, use_matrix_products
from ncore.network.convolution.tiles import TiledConvolution
from ncore.network.models import build, map_sizes
from ncore.spec import ResNetModel

ONE_PIXEL = [(1, 1, 1), (2, 2, 1), (2, 1, 2), (3, 2, 2), (5, 5, 3)]
"""Maps of so many pixels under kernels of so many with a stride."""


def distance(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found.double() - expected).detach().norm() / expected.detach().norm())


def pair(
    size: int, kernel: int, stride: int, padding: int, channels: tuple[int, int] = (16, 12)
) -> tuple[nn.Conv2d, nn.Conv2d]:
    """torch's convolution and ours, with weights of their own that are equal."""
    torch.manual_seed(0)
    plain = nn.Conv2d(*channels, kernel, stride, padding, bias=False).double()
    ours = nn.Conv2d(*channels, kernel, stride, padding, bias=False).double()
    ours.load_state_dict(plain.state_dict())
    network = nn.ModuleDict({"it": ours})
    use_matrix_products(network, {"it": size})
    return plain, network["it"].to(memory_format=torch.channels_last)


def results(convolution: nn.Conv2d, x: torch.Tensor) -> list[torch.Tensor]:
    """Output, and the gradients of a function of it by the pixels and by the weight."""
    x = x.clone().requires_grad_()
    y = convolution(x)
    weights = torch.randn(y.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    (y * weights.to(y.dtype)).sum().backward()
    return [y, x.grad, convolution.weight.grad]


def pixels(size: int, channels: int = 16) -> torch.Tensor:
    return torch.randn(8, channels, size, size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("size", "stride"), SCHEMES)
def test_products_give_the_convolution_and_its_gradients(size, stride):
    plain, ours = pair(size, 3, stride, 1)
    assert isinstance(ours, SmallMapConvolution)
    for found, expected in zip(results(ours, pixels(size)), results(plain, pixels(size)), strict=True):
        assert found.shape == expected.shape
        assert distance(found, expected) < 1e-13


@pytest.mark.parametrize(("size", "kernel", "stride"), ONE_PIXEL)
def test_one_pixel_is_a_linear_map(size, kernel, stride):
    plain, ours = pair(size, kernel, stride, 0)
    assert isinstance(ours, OnePixelConvolution)
    for found, expected in zip(results(ours, pixels(size)), results(plain, pixels(size)), strict=True):
        assert distance(found, expected) < 1e-13


def test_tiles_give_the_convolution_and_its_gradients():
    plain, ours = pair(8, 3, 1, 1, (128, 130))
    assert isinstance(ours, TiledConvolution)
    for found, expected in zip(results(ours, pixels(8, 128)), results(plain, pixels(8, 128)), strict=True):
        assert found.shape == expected.shape
        assert distance(found, expected) < 1e-13


@pytest.mark.parametrize(("size", "stride", "channels"), [*((*key, 16) for key in SCHEMES), (8, 1, 128)])
def test_rounding_in_float32_stays_near_that_of_the_direct_sum(size, stride, channels):
    plain, ours = pair(size, 3, stride, 1, (channels, 128))
    assert type(ours) is not nn.Conv2d
    exact = results(plain, pixels(size, channels))
    single = results(ours.float(), pixels(size, channels).float())
    for found, expected in zip(single, exact, strict=True):
        assert distance(found, expected) < 12 * torch.finfo(torch.float32).eps


def test_what_they_are_not_for_stays_as_it_is():
    kept = {
        "narrow": (nn.Conv2d(128, 64, 3, 1, 1, bias=False), 8),
        "large": (nn.Conv2d(4, 4, 3, 1, 1, bias=False), 8),
        "bias": (nn.Conv2d(4, 4, 3, 1, 1), 4),
        "groups": (nn.Conv2d(4, 4, 3, 1, 1, groups=2, bias=False), 4),
        "dilated": (nn.Conv2d(4, 4, 3, 1, 2, dilation=2, bias=False), 4),
        "wide": (nn.Conv2d(4, 4, 5, 1, 2, bias=False), 4),
    }
    network = nn.ModuleDict({name: module for name, (module, _) in kept.items()})
    use_matrix_products(network, {name: size for name, (_, size) in kept.items()})
    assert {type(module) for module in network.values()} == {nn.Conv2d}


def test_a_resnet_on_small_images_uses_them_from_its_second_stage_on():
    network = build(ResNetModel(stem="imagenet"), 10, 1, 32, 0, as_products=True)
    kinds = {name: type(network.get_submodule(name)) for name in map_sizes(network, 1, 32)}
    by_stage = [{kind for name, kind in kinds.items() if f"layer{i}" in name} for i in (1, 2, 3, 4)]
    assert by_stage[0] == {nn.Conv2d}
    assert SmallMapConvolution in by_stage[1] & by_stage[2]
    assert by_stage[3] == {OnePixelConvolution}


def test_nothing_asks_for_what_is_not_needed():
    _, ours = pair(4, 3, 1, 1)
    ours.weight.requires_grad_(False)
    x = pixels(4).requires_grad_()
    ours(x).sum().backward()
    expected = functional.conv_transpose2d(torch.ones(8, 12, 4, 4, dtype=torch.float64), ours.weight, None, 1, 1)
    assert distance(x.grad, expected) < 1e-13
    assert ours.weight.grad is None
