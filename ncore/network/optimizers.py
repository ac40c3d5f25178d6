"""The optimizers of networks as torch has them; fused, since they get many small flat parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from ncore.kinds.optimizers import Adam, AdamW, Sgd, Sgdw


def sgd(spec: Sgd, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        parameters,
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
        fused=True,
    )


class _DecayedApart(torch.optim.SGD):
    """SGD after a step of (1 − ηλ) that momentum does not see."""

    def __init__(self, parameters: Sequence[Tensor], decay: float, **options: Any) -> None:
        super().__init__(parameters, **options)
        self._decay = decay

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        for group in self.param_groups:
            torch._foreach_mul_(group["params"], 1 - group["lr"] * self._decay)
        return super().step(closure)


def sgdw(spec: Sgdw, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    options = {"lr": spec.learning_rate, "momentum": spec.momentum, "nesterov": spec.nesterov, "fused": True}
    return _DecayedApart(parameters, spec.weight_decay, **options)


def adam(spec: Adam, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.Adam(parameters, **_adams(spec))


def adamw(spec: AdamW, parameters: Sequence[Tensor]) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameters, **_adams(spec))


def _adams(spec: Adam | AdamW) -> dict[str, Any]:
    return {
        "lr": spec.learning_rate,
        "betas": spec.betas,
        "eps": spec.epsilon,
        "weight_decay": spec.weight_decay,
        "fused": True,
    }
