"""Batch norm and max pooling as one: against torch's two, in results, statistics and gradients."""

import pytest
import torch
from torch import nn

from ncore.networks import build
from ncore.pooled_norm import PooledBatchNorm, pool_before_normalising
from ncore.spec import ConvNetModel, ResNetModel

POOLINGS = [nn.MaxPool2d(3, 2, 1), nn.MaxPool2d(2), nn.MaxPool2d(3, 1)]


def pair(pool: nn.MaxPool2d, dtype: torch.dtype) -> tuple[nn.Sequential, nn.Sequential]:
    """torch's two modules and ours, with equal weights, some of them below zero."""
    chains = []
    for _ in range(2):
        norm = nn.BatchNorm2d(5)
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([1.0, -0.5, 2.0, -3.0, 0.1]))
            norm.bias.copy_(torch.tensor([0.0, 0.3, -1.0, 2.0, 0.5]))
        chains.append(nn.Sequential(norm, pool).to(dtype))
    pool_before_normalising(chains[1])
    assert isinstance(chains[1][0], PooledBatchNorm)
    return chains[0], chains[1]


def maps(dtype: torch.dtype) -> torch.Tensor:
    x = torch.randn(6, 5, 7, 7, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    return (2 * x + 3).to(dtype).contiguous(memory_format=torch.channels_last)


def gradients(chain: nn.Sequential, x: torch.Tensor) -> list[torch.Tensor]:
    x = x.clone().requires_grad_()
    y = chain(x)
    weights = torch.randn(y.shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)
    (y * weights.to(y.dtype)).sum().backward()
    return [x.grad, chain[0].weight.grad, chain[0].bias.grad]


@pytest.mark.parametrize("pool", POOLINGS, ids=str)
@pytest.mark.parametrize("training", [True, False], ids=["training", "evaluation"])
def test_pooling_first_gives_the_same_maps_statistics_and_gradients(pool, training):
    plain, ours = pair(pool, torch.float64)
    for chain in (plain, ours):
        chain(maps(torch.float64))  # so that the running statistics are no longer 0 and 1
        chain.train(training)
    assert torch.allclose(ours(maps(torch.float64)), plain(maps(torch.float64)), rtol=0, atol=1e-14)
    for found, expected in zip(
        gradients(ours, maps(torch.float64)), gradients(plain, maps(torch.float64)), strict=True
    ):
        assert torch.allclose(found, expected, rtol=1e-12, atol=1e-13)
    for name, value in plain.state_dict().items():
        assert torch.equal(ours.state_dict()[name], value), name


def test_rounding_in_float32_is_that_of_the_two_modules():
    exact, ours = pair(POOLINGS[0], torch.float64)
    expected = gradients(exact, maps(torch.float64))
    plain, ours = pair(POOLINGS[0], torch.float32)
    for found, usual, true in zip(
        gradients(ours, maps(torch.float32)), gradients(plain, maps(torch.float32)), expected, strict=True
    ):
        assert float((found - true).norm()) <= 3 * float((usual - true).norm()) + 1e-6 * float(true.norm())


@pytest.mark.parametrize(
    "model", [ResNetModel(stem="imagenet"), ConvNetModel(channels=(4, 8))], ids=["resnet", "convnet"]
)
def test_networks_pool_first_where_products_are_asked_for(model):
    network = build(model, 10, 1, 32, 0, products=True)
    found = [module for module in network.modules() if isinstance(module, PooledBatchNorm)]
    assert len(found) == (1 if model.kind == "resnet" else 2)
    assert not any(isinstance(module, nn.MaxPool2d) for module in network.modules())
    assert network.state_dict().keys() == build(model, 10, 1, 32, 0).state_dict().keys()
