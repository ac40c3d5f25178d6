"""The optimizers of networks as torch has them; fused, since they get many small flat parameters."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ncore.kinds.optimizers import Adam, AdamW, Sgd, Sgdw

Groups = Sequence[dict[str, Any]]


def sgd(spec: Sgd, groups: Groups) -> torch.optim.Optimizer:
    return torch.optim.SGD(
        groups,
        lr=spec.learning_rate,
        momentum=spec.momentum,
        nesterov=spec.nesterov,
        weight_decay=spec.weight_decay,
        fused=True,
    )


class _DecayedApart(torch.optim.SGD):
    """SGD after a step of (1 − ηλ) that momentum does not see."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> Any:
        for group in self.param_groups:
            torch._foreach_mul_(group["params"], 1 - group["lr"] * group["apart"])
        return super().step(closure)


def sgdw(spec: Sgdw, groups: Groups) -> torch.optim.Optimizer:
    apart = [{**group, "weight_decay": 0.0, "apart": group.get("weight_decay", spec.weight_decay)} for group in groups]
    return _DecayedApart(apart, lr=spec.learning_rate, momentum=spec.momentum, nesterov=spec.nesterov, fused=True)


def adam(spec: Adam, groups: Groups) -> torch.optim.Optimizer:
    return torch.optim.Adam(groups, **_adams(spec))


def adamw(spec: AdamW, groups: Groups) -> torch.optim.Optimizer:
    return torch.optim.AdamW(groups, **_adams(spec))


def _adams(spec: Adam | AdamW) -> dict[str, Any]:
    return {
        "lr": spec.learning_rate,
        "betas": spec.betas,
        "eps": spec.epsilon,
        "weight_decay": spec.weight_decay,
        "fused": True,
    }
