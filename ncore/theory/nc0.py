"""NC0: the sum over the classes of a classifier's weight follows the optimiser's own scalar recursion.

The gradient of cross-entropy, label smoothing or focal loss by the logits of a sample sums to zero over the classes,
whatever the network, the data and their order. So u = 1ᵀW (and 1ᵀb) is moved by weight decay alone (Zhao, Cheng,
Masarczyk & Lucchi, ICLR 2026, arXiv 2602.16642). Not so for MSE, nor for Adam and AdamW, which scale each coordinate.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeGuard

from ncore.kinds.optimizers import NetworkOptimizer, Sgd, Sgdw
from ncore.spec import NetworkSpec

OPTIMIZERS = ("gd", "sgd", "sgdw")
"""Optimisers with a law; for every other `nc0_factors` answers None."""


def nc0_factors(
    learning_rates: Iterable[float],
    weight_decay: float,
    *,
    optimizer: str = "sgd",
    momentum: float = 0.0,
    nesterov: bool = False,
) -> list[float] | None:
    """u after each step in units of u before the first, so one number more than there are learning rates; None: no law.

    SGD: u ← (1−ηλ)u. torch's heavy ball: v ← μv + λu, u ← u − ηv, v = 0 before the first step. Nesterov: v ← μv + λu,
    u ← u − η(λu + μv). Decoupled decay (SGDW): u ← (1−ηλ)u whatever the momentum, as its gradient has no part in u.
    """
    if optimizer not in OPTIMIZERS:
        return None
    if optimizer == "sgdw":
        momentum = 0.0
    u, v, factors = 1.0, 0.0, [1.0]
    for rate in learning_rates:
        pull = weight_decay * u
        v = momentum * v + pull
        u -= rate * (pull + momentum * v if nesterov else v)
        factors.append(u)
    return factors


def has_law(spec: NetworkSpec) -> bool:
    """Whether theory says where `nc0` goes."""
    model = spec.model
    return spec.criterion.sums_to_zero and not model.fixed_etf and not model.normalized and _is_sgd(spec.optimizer)


def _is_sgd(optimizer: NetworkOptimizer) -> TypeGuard[Sgd | Sgdw]:
    return isinstance(optimizer, Sgd | Sgdw)


def nc0_law(spec: NetworkSpec, epoch_steps: int) -> list[float] | None:
    """`nc0_factors` of a whole run of one seed, from the schedule of its learning rate; None where there is no law."""
    optimizer = spec.optimizer
    if not has_law(spec) or not _is_sgd(optimizer):
        return None
    steps, schedule = optimizer.epochs * epoch_steps, optimizer.rates
    rates = (optimizer.learning_rate * schedule.share(step, epoch_steps, optimizer.epochs) for step in range(steps))
    return nc0_factors(
        rates,
        optimizer.weight_decay,
        optimizer=optimizer.kind,
        momentum=optimizer.momentum,
        nesterov=optimizer.nesterov,
    )
