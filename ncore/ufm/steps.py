"""Gradient descent steps as prepared programs: a list of in-place operations on fixed buffers, run in a bare loop.

At the sizes of the paper a step is a few products of 4 x 20 matrices, and what costs is the way there: Python,
autograd, allocation. So each operation is bound to its tensors once, and a step calls them one after another.

Objective (theory.md): 1/(2N) ‖logits − Y‖² or the mean cross-entropy, plus Σ_j λ_{W_j}/2 ‖W_j‖² + λ_H/2 ‖H₁‖² +
λ_b/2 ‖b‖². With R = ∂(N · data term)/∂logits: ∇b = R 1/N + λ_b b, and back through the layers for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ncore.spec import UfmSpec

SPLIT_FROM_NUMBERS = 100_000
"""A flat update left right of a large matrix is split by rows between the threads, which BLAS does not do well:
110 for 188 µs at 512 x 10 x 522."""

Factor = float | Tensor
"""One number for all replicas, or (S, 1, 1) where replicas differ."""


@dataclass(frozen=True)
class Rates:
    """What multiplies what; N is the number of samples (of which the columns of X may be a shorter form)."""

    samples: Factor
    learning_rate: Factor
    momentum: Factor
    features: Factor
    weights: tuple[Factor, ...]
    bias: Factor

    @classmethod
    def of(cls, specs: Sequence[UfmSpec], device: str, dtype: torch.dtype) -> Rates:
        def factor(get: Callable[[UfmSpec], float]) -> Factor:
            values = [float(get(spec)) for spec in specs]
            if len(set(values)) == 1:
                return values[0]
            return torch.tensor(values, dtype=dtype, device=device)[:, None, None]

        levels = range(len(specs[0].model.widths))
        return cls(
            samples=factor(lambda spec: sum(spec.model.class_sizes)),
            learning_rate=factor(lambda spec: spec.optimizer.learning_rate),
            momentum=factor(lambda spec: spec.optimizer.momentum),
            features=factor(lambda spec: spec.regularization.features),
            weights=tuple(factor(lambda spec, j=j: spec.weight_decays[j]) for j in levels),  # type: ignore[misc]
            bias=factor(lambda spec: spec.regularization.bias),
        )


class Program:
    """The step under construction: `product` and `descend` append operations, `run` performs them."""

    def __init__(self, rates: Rates, single: bool) -> None:
        self.rates = rates
        self.operations: list[Callable[[], object]] = []
        self.velocities: dict[str, Tensor] = {}
        self._single = single

    def run(self, steps: int) -> None:
        operations = self.operations
        for _ in range(steps):
            for operation in operations:
                operation()

    def add(self, operation: Callable[..., object], *args: object, **kwargs: object) -> None:
        self.operations.append(partial(operation, *args, **kwargs))

    def _flat(self, tensor: Tensor) -> Tensor:
        """One replica alone is worth the shorter way of two-dimensional products."""
        return tensor[0] if self._single else tensor

    def product(self, out: Tensor, left: Tensor, right: Tensor, minus: Tensor | None = None) -> None:
        """out = left right − minus."""
        out, left, right = self._flat(out), self._flat(left), self._flat(right)
        if minus is None:
            self.add(torch.mm if self._single else torch.bmm, left, right, out=out)
        else:
            operation = torch.addmm if self._single else torch.baddbmm
            self.add(operation, self._flat(minus), left, right, beta=-1.0, out=out)

    def add_product(self, target: Tensor, left: Tensor, right: Tensor, beta: float, alpha: float) -> None:
        """target = beta target + alpha left right."""
        blocks = torch.get_num_threads()
        splits = self._single and target.device.type == "cpu" and target.shape[1] % blocks == 0
        if splits and target[0].numel() >= SPLIT_FROM_NUMBERS:
            target, left = _row_blocks(target[0], blocks), _row_blocks(left[0], blocks)
            self.add(target.baddbmm_, left, right.expand(blocks, -1, -1), beta=beta, alpha=alpha)
            return
        target = self._flat(target)
        operation = target.addmm_ if self._single else target.baddbmm_
        self.add(operation, self._flat(left), self._flat(right), beta=beta, alpha=alpha)

    def descend(self, name: str, theta: Tensor, decay: Factor, left: Tensor, right: Tensor | None = None) -> None:
        """θ ← θ − η(g/N + λθ), g = left right (or left alone); with momentum v ← μv + g/N + λθ, θ ← θ − ηv.

        Where rates differ between replicas, R (and so every g) is scaled by 1/N beforehand; see `scale_residual`.
        """
        rates = self.rates
        scale = 1.0 / rates.samples if isinstance(rates.samples, float) else 1.0
        rate, momentum = rates.learning_rate, rates.momentum
        if isinstance(momentum, float) and momentum == 0.0 and isinstance(rate, float) and isinstance(decay, float):
            self._accumulate(theta, 1 - rate * decay, -rate * scale, left, right)
            return
        velocity = self.velocities.setdefault(name, torch.zeros_like(theta))
        self._accumulate(velocity, momentum, scale, left, right)
        self._add_multiple(velocity, theta, decay)
        self._add_multiple(theta, velocity, -rate)

    def _accumulate(self, target: Tensor, beta: Factor, alpha: float, left: Tensor, right: Tensor | None) -> None:
        if isinstance(beta, Tensor):
            self.add(target.mul_, beta)
            beta = 1.0
        if right is not None:
            self.add_product(target, left, right, beta, alpha)
            return
        if beta != 1.0:
            self.add(target.mul_, beta)
        self.add(target.add_, left, alpha=alpha)

    def _add_multiple(self, target: Tensor, other: Tensor, factor: Factor) -> None:
        if isinstance(factor, Tensor):
            self.add(target.addcmul_, other, factor)
        elif factor != 0.0:
            self.add(target.add_, other, alpha=factor)

    def scale_residual(self, residual: Tensor) -> None:
        if isinstance(self.rates.samples, Tensor):
            self.add(residual.mul_, 1.0 / self.rates.samples)


def _row_blocks(matrix: Tensor, blocks: int) -> Tensor:
    return matrix.unflatten(0, (blocks, matrix.shape[0] // blocks))


def linear_program(batch: dict[str, Tensor], rates: Rates, with_bias: bool) -> Program:
    """MSE without activation. The gradients of all layers come from G_1 = R Xᵀ, so no H_j is ever formed for j > 1.

    A_j = W_M ⋯ W_j, R = A_1 X + b 1ᵀ − T, ∇X = A_1ᵀ R, ∇W_j = A_{j+1}ᵀ G_j with G_{j+1} = G_j W_jᵀ.
    """
    x, targets, ones, b = batch["columns"], batch["targets"], batch["ones"][:, None, :], batch["b"][:, :, None]
    weights = layers(batch)
    program = Program(rates, single=len(x) == 1)
    products = [torch.empty_like(b.expand(-1, -1, w.shape[2])).contiguous() for w in weights]  # A_1 … A_M
    program.add(products[-1].copy_, weights[-1])
    for j in reversed(range(len(weights) - 1)):
        program.product(products[j], products[j + 1], weights[j])

    residual = torch.empty_like(targets)
    if with_bias:
        program.product(residual, b, ones, minus=targets)
        program.add_product(residual, products[0], x, beta=1.0, alpha=1.0)
    else:
        program.product(residual, products[0], x, minus=targets)
    program.scale_residual(residual)

    outer = [torch.empty_like(product) for product in products]  # G_1 … G_M
    if len(weights) > 1:
        program.product(outer[0], residual, x.mT)
    for j in range(len(weights) - 2):
        program.product(outer[j + 1], outer[j], weights[j].mT)
    # every product with the old values of its factors: W_M reads the old W_{M−1}, so from the last to the first
    if len(weights) > 1:
        program.descend(f"W_{len(weights)}", weights[-1], rates.weights[-1], outer[-2], weights[-2].mT)
        for j in reversed(range(len(weights) - 1)):
            program.descend(f"W_{j + 1}", weights[j], rates.weights[j], products[j + 1].mT, outer[j])
    else:
        program.descend("W_1", weights[0], rates.weights[0], residual, x.mT)
    if with_bias:
        program.descend("b", b, rates.bias, residual, ones.mT)
    program.descend("columns", x, rates.features, products[0].mT, residual)
    return program


def layered_program(batch: dict[str, Tensor], rates: Rates, with_bias: bool, relu: bool, loss: str) -> Program:
    """Any activation and loss, on the samples themselves: forward H_{j+1} = σ(W_j H_j), backward D_j = W_jᵀ D_{j+1}."""
    x, targets, b = batch["columns"], batch["targets"], batch["b"][:, :, None]
    known = (batch["labels"] >= 0).to(x.dtype)[:, None, :]
    weights = layers(batch)
    program = Program(rates, single=len(x) == 1)
    features = [x] + [x.new_empty(len(x), w.shape[1], x.shape[2]) for w in weights[:-1]]  # H_1 … H_M
    residual = torch.empty_like(targets)
    for j, w in enumerate(weights[:-1]):
        program.product(features[j + 1], w, features[j])
        if relu:
            program.add(features[j + 1].relu_)
    program.product(residual, weights[-1], features[-1])
    if with_bias:
        program.add(residual.add_, b)
    if loss == "cross_entropy":
        program.add(torch.softmax, residual, 1, out=residual)
    program.add(residual.sub_, targets)
    if not bool(known.all()):
        program.add(residual.mul_, known)
    program.scale_residual(residual)

    backward = [torch.empty_like(h) for h in features]  # D_j = N ∂data/∂H_j (behind σ: before σ)
    upper = residual
    for j in reversed(range(len(weights))):
        program.product(backward[j], weights[j].mT, upper)
        if relu and j > 0:
            program.add(
                torch.ops.aten.threshold_backward.grad_input, backward[j], features[j], 0, grad_input=backward[j]
            )
        upper = backward[j]
    for j in range(len(weights)):
        upper = residual if j == len(weights) - 1 else backward[j + 1]
        program.descend(f"W_{j + 1}", weights[j], rates.weights[j], upper, features[j].mT)
    if with_bias:
        program.descend("b", b, rates.bias, residual, batch["ones"][:, :, None])
    program.descend("columns", x, rates.features, backward[0])
    return program


def layers(batch: dict[str, Tensor]) -> list[Tensor]:
    return [batch[f"W_{j + 1}"] for j in range(sum(name.startswith("W_") for name in batch))]
