"""Weight decay and feature decay: the parameters they act on, and their terms of the objective."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ncore.kinds.optimizers import NetworkOptimizer
from ncore.network.models import Network


def decayed(network: Network, optimizer: NetworkOptimizer) -> dict[str, nn.Parameter]:
    """The parameters with weight decay, by name. Of vectors and numbers only `dead_scale` stands for weights."""
    decay = optimizer.feature_decay
    trained = network.trained(after=None if decay is None else decay.layer)
    if optimizer.decays == "all":
        return trained
    return {name: p for name, p in trained.items() if p.ndim > 1 or name == "dead_scale"}


def norm_sq(network: Network, optimizer: NetworkOptimizer) -> Tensor:
    """‖θ‖² of what has weight decay, in float64, with the taps that were cut off (see `cut_dead_taps`)."""
    squares = [network.classifier.weight.new_zeros((), dtype=torch.float64)]
    for name, parameter in decayed(network, optimizer).items():
        factor = network.dead_norm_sq if name == "dead_scale" else 1.0
        squares.append(factor * parameter.detach().double().square().sum())
    return torch.stack(squares).sum()


def gradient_norm(
    network: Network, optimizer: NetworkOptimizer, gradients: Mapping[str, tuple[Tensor, Tensor]]
) -> Tensor:
    """‖∇(a batch's objective + λ/2 ‖θ‖²)‖ in float64, from {name: (parameter, its gradient without weight decay)}."""
    shrunk, decay = decayed(network, optimizer), optimizer.weight_decay
    squares = []
    for name, (parameter, gradient) in gradients.items():
        pull = decay * parameter.double() if name in shrunk else 0.0
        # the taps that were cut off have no gradient but weight decay's
        factor = network.dead_norm_sq if name == "dead_scale" else 1.0
        squares.append(factor * (gradient.double() + pull).square().sum())
    return torch.stack(squares).sum().sqrt()


def groups(network: Network, optimizer: NetworkOptimizer, flat: dict[str, nn.Parameter]) -> list[dict[str, Any]]:
    """The flat parameters as torch's optimizers take them: those with weight decay, and those without."""
    shrunk = decayed(network, optimizer)
    with_it = [p for name, p in flat.items() if name in shrunk]
    without = [p for name, p in flat.items() if name not in shrunk]
    made: list[dict[str, Any]] = [{"params": with_it}, {"params": without, "weight_decay": 0.0}]
    return [group for group in made if group["params"]]
