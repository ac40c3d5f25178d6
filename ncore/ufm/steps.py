"""Gradient descent steps as prepared programs: a list of in-place operations on fixed buffers, run in a bare loop.

At the sizes of the paper a step is a few products of 4 x 20 matrices, and what costs is the way there: Python,
autograd, allocation. So each operation is bound to its tensors once, and a step calls them one after another.

Objective (theory.md): 1/(2N) ‖logits − Y‖² or the mean cross-entropy, plus Σ_j λ_{W_j}/2 ‖W_j‖² + λ_H/2 ‖H₁‖² +
λ_b/2 ‖b‖². With R = ∂(N · data term)/∂logits: ∇b = R 1/N + λ_b b, and back through the layers for the rest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor

from ncore.kinds.losses import Loss
from ncore.spec import UfmSpec
from ncore.ufm.batch import Batch
from ncore.ufm.operations import Factor, Operation, Operations, TorchOperations, number

BLOCK_BYTES = 2**20
"""Bytes of the columns of X that a step goes through at a time."""
LEAST_COLUMNS = 64
BLAS_MULTIPLICATIONS = 2**19
"""OpenBLAS has kernels for small products, which do not copy the factors first. On one processor (AMD, AVX-512) they
are used up to 0.5 to 1 million multiplications, and a step of X's three products with them takes 0.7 to 0.2 times as
long."""
LEAST_BLAS_COLUMNS = 4
"""The fewer, the more calls: at K=4 d=20,000 in float32 a step in blocks of 2, 4, 8 takes 3.2, 2.3, 2.0 ms."""
TINY = 1e-30
"""The length that stands for a vector of zeros (padding)."""


@dataclass(frozen=True)
class Rates:
    """The factors of a step; N is the number of samples (of which the columns of X may be a shorter form)."""

    samples: Factor
    learning_rate: Factor
    momentum: Factor
    features: Factor
    weights: tuple[Factor, ...]
    bias: Factor
    logits: Factor
    """τ of normalized features."""

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
            logits=factor(lambda spec: spec.model.logit_scale),
        )

    @property
    def need_velocities(self) -> bool:
        """Whether a step cannot be one product added to the scaled parameter: with momentum."""
        return isinstance(self.momentum, Tensor) or self.momentum != 0.0

    @property
    def of_residual(self) -> Factor:
        """Factor of R where it differs between replicas, since a product has one factor for all; else 1.

        Every gradient is linear in R: so that is 1/N with velocities, and η/N without.
        """
        if self.need_velocities:
            return 1.0 / self.samples if isinstance(self.samples, Tensor) else 1.0
        differs = isinstance(self.samples, Tensor) or isinstance(self.learning_rate, Tensor)
        return self.learning_rate / self.samples if differs else 1.0


@dataclass(frozen=True)
class Parameter:
    """A parameter of a step: a matrix θ (…, rows, columns), its decay λ, and its velocity where rates need one."""

    theta: Tensor
    decay: Factor
    velocity: Tensor | None


class Program:
    """The step of a replica, or of a batch of them, under construction; `run` performs it.

    `velocities` holds a tensor for each of `batch.trained()`, or nothing where `rates` need none.
    """

    def __init__(self, batch: Batch, rates: Rates, operations: Operations, velocities: Mapping[str, Tensor]) -> None:
        self.batch, self.rates, self.bound = batch, rates, operations
        self.operations: list[Operation] = []
        velocity = velocities.get if rates.need_velocities else dict[str, Tensor]().get
        decays = {"columns": rates.features} | {f"W_{j + 1}": decay for j, decay in enumerate(rates.weights)}
        self.columns, *self.weights = (
            Parameter(theta, decays[name], velocity(name)) for name, theta in batch.trained().items() if name != "b"
        )
        bias_velocity = velocity("b")
        column = None if bias_velocity is None else bias_velocity[..., None]
        self.bias = Parameter(batch.bias[..., None], rates.bias, column)

    def run(self, steps: int) -> None:
        operations = self.operations
        for _ in range(steps):
            for operation in operations:
                operation()

    def add(self, operation: Callable[..., object], *args: object, **kwargs: object) -> None:
        self.operations.append(partial(operation, *args, **kwargs))

    def copy(self, out: Tensor, source: Tensor) -> None:
        self.operations.append(self.bound.copy(out, source))

    def product(self, out: Tensor, left: Tensor, right: Tensor, alpha: float = 1.0, beta: float = 0.0) -> None:
        """out = beta out + alpha left right."""
        self.operations.append(self.bound.product(out, left, right, alpha, beta))

    def descend(
        self, parameter: Parameter, left: Tensor, right: Tensor, is_first: bool = True, is_last: bool = True
    ) -> None:
        """θ ← θ − η(g/N + λθ) with g = left right; with momentum v ← μv + g/N + λθ, θ ← θ − ηv.

        Of a g that is a sum of products each is given in turn, and which is the first and the last.
        Where N or η differs between replicas, R (and so every g) is scaled beforehand; see `scale_residual`.
        """
        rates, theta, decay, velocity = self.rates, parameter.theta, parameter.decay, parameter.velocity
        rate, momentum, is_scaled = rates.learning_rate, rates.momentum, isinstance(rates.of_residual, Tensor)
        if velocity is None:
            kept = 1 - rate * decay if is_first else 1.0
            if isinstance(kept, Tensor):
                self.operations.append(self.bound.scale(theta, kept))
                kept = 1.0
            self.product(theta, left, right, -1.0 if is_scaled else -number(rate) / number(rates.samples), kept)
            return
        scale = 1.0 if is_scaled else 1.0 / number(rates.samples)
        if isinstance(momentum, Tensor):
            if is_first:
                self.operations.append(self.bound.scale(velocity, momentum))
            momentum = 1.0
        self.product(velocity, left, right, scale, momentum if is_first else 1.0)
        if is_last:
            self._add_multiple(velocity, theta, decay)
            self._add_multiple(theta, velocity, -rate)

    def _add_multiple(self, target: Tensor, other: Tensor, factor: Factor) -> None:
        if isinstance(factor, Tensor) or factor != 0.0:
            self.operations.append(self.bound.add_multiple(target, other, factor))

    def scale_residual(self, residual: Tensor) -> None:
        factor = self.rates.of_residual
        if isinstance(factor, Tensor):
            self.operations.append(self.bound.scale(residual, factor))


def build_linear(program: Program, with_bias: bool, fixed_classifier: bool = False) -> None:
    """MSE without activation. The gradients of all layers come from G_1 = R Xᵀ, so no H_j is ever formed for j > 1.

    A_j = W_M ⋯ W_j, R = A_1 X + b 1ᵀ − T, ∇X = A_1ᵀ R, ∇W_j = A_{j+1}ᵀ G_j with G_{j+1} = G_j W_jᵀ.
    """
    batch = program.batch
    x, targets, ones, b = batch.columns, batch.targets, batch.ones[..., None, :], batch.bias[..., None]
    weights = batch.weights
    shapes = [(*b.shape[:-1], w.shape[-1]) for w in weights]
    products = [b.new_empty(shape) for shape in shapes]  # A_1 … A_M
    program.copy(products[-1], weights[-1])
    for j in reversed(range(len(weights) - 1)):
        program.product(products[j], products[j + 1], weights[j])

    residual = torch.empty_like(targets)
    program.copy(residual, targets)
    program.product(residual, products[0], x, beta=-1.0)
    if with_bias:
        program.product(residual, b, ones, beta=1.0)
    program.scale_residual(residual)

    outer = [b.new_empty(shape) for shape in shapes]  # G_1 … G_M
    if len(weights) > 1:
        program.product(outer[0], residual, x.mT)
    for j in range(len(weights) - 2):
        program.product(outer[j + 1], outer[j], weights[j].mT)
    # every product with the old values of its factors: W_M reads the old W_{M−1}, so from the last to the first
    if len(weights) > 1:
        if not fixed_classifier:
            program.descend(program.weights[-1], outer[-2], weights[-2].mT)
        for j in reversed(range(len(weights) - 1)):
            program.descend(program.weights[j], products[j + 1].mT, outer[j])
    elif not fixed_classifier:
        program.descend(program.weights[0], residual, x.mT)
    if with_bias:
        program.descend(program.bias, residual, ones.mT)
    program.descend(program.columns, products[0].mT, residual)


def build_layered(
    program: Program, with_bias: bool, relu: bool, loss: Loss, outputs: int, fixed_classifier: bool = False
) -> None:
    """Any activation and loss, on the samples themselves: forward H_{j+1} = σ(W_j H_j), backward D_j = W_jᵀ D_{j+1}.

    The batch may have rows of zeros behind the `outputs`: they give logits of zero, which the loss does not see.
    """
    batch = program.batch
    x, targets, ones, b = batch.columns, batch.targets, batch.ones[..., None, :], batch.bias[..., None]
    known = (batch.labels >= 0).to(x.dtype)[..., None, :]
    weights = batch.weights
    features = [x] + [x.new_empty(*w.shape[:-1], x.shape[-1]) for w in weights[:-1]]  # H_1 … H_M
    residual = torch.empty_like(targets)
    for j, w in enumerate(weights[:-1]):
        program.product(features[j + 1], w, features[j])
        if relu:
            program.add(features[j + 1].relu_)
    program.product(residual, weights[-1], features[-1])
    if with_bias:
        program.product(residual, b, ones, beta=1.0)
    program.operations += loss.operations(program.bound, residual[..., :outputs, :], targets[..., :outputs, :])
    if not bool(known.all()):
        program.add(residual.mul_, known)
    program.scale_residual(residual)

    backward = [torch.empty_like(h) for h in features[1:]] + [residual]  # D_2 … D_{M+1}: before σ of their level
    for j in reversed(range(1, len(weights))):
        d, h = backward[j - 1], features[j]
        program.product(d, weights[j].mT, backward[j])
        if relu:
            program.add(torch.ops.aten.threshold_backward.grad_input, d, h, 0, grad_input=d)
    first = torch.empty_like(weights[0])  # the old W_1, which X reads, while W_1 reads the old X
    program.copy(first, weights[0])
    for j in range(len(weights) - fixed_classifier):
        program.descend(program.weights[j], backward[j], features[j].mT)
    if with_bias:
        program.descend(program.bias, residual, ones.mT)
    program.descend(program.columns, first.mT, backward[0])


def build_one_layer(
    program: Program, with_bias: bool, loss: Loss, outputs: int, fixed_classifier: bool = False
) -> None:
    """The step for M = 1, block by block of columns: each of X is read from memory once a step.

    At K=10 d=512 n=500 in float32 its three products take 2.2 ms in blocks by BLAS, 3.5 by torch, 5.1 as a whole.
    """
    batch = program.batch
    x, targets, ones, b = batch.columns, batch.targets, batch.ones[..., None, :], batch.bias[..., None]
    known = torch.ones_like(ones) if batch.sample_free else (batch.labels >= 0).to(x.dtype)[..., None, :]
    classifier, columns = program.weights[0], program.columns
    blocks = _blocks(program)
    old, old_bias = torch.empty_like(classifier.theta), b  # what later blocks read is overwritten by the first
    program.copy(old, classifier.theta)
    if with_bias and len(blocks) > 1:
        old_bias = torch.empty_like(b)
        program.copy(old_bias, b)
    lengths = {block.stop - block.start for block in blocks}
    residuals = {length: targets.new_empty(*targets.shape[:-1], length) for length in lengths}  # without gaps
    for block in blocks:
        is_first, is_last = block is blocks[0], block is blocks[-1]
        residual = residuals[block.stop - block.start]
        program.product(residual, old, x[..., block])
        if with_bias:
            program.product(residual, old_bias, ones[..., block], beta=1.0)
        of_block = targets if len(blocks) == 1 else targets[..., block].contiguous()
        program.operations += loss.operations(program.bound, residual[..., :outputs, :], of_block[..., :outputs, :])
        if not bool(known.all()):
            program.add(residual.mul_, known[..., block])
        program.scale_residual(residual)
        if not fixed_classifier:
            program.descend(classifier, residual, x[..., block].mT, is_first, is_last)
        if with_bias:
            program.descend(program.bias, residual, ones[..., block].mT, is_first, is_last)
        velocity = None if columns.velocity is None else columns.velocity[..., block]
        program.descend(Parameter(x[..., block], columns.decay, velocity), old.mT, residual)


def blas_columns(batch: Batch) -> int | None:
    """How many columns of X are a block for BLAS, if a step of one layer goes through X in blocks."""
    outputs, width, total = batch.outputs, batch.columns.shape[-2], batch.columns.shape[-1]
    size = min(BLAS_MULTIPLICATIONS // outputs, BLOCK_BYTES // batch.columns.element_size()) // width
    size -= size % 8 if size > 8 else 0
    return size if size >= LEAST_BLAS_COLUMNS and total >= 2 * size else None


def _blocks(program: Program) -> list[slice]:
    """Blocks of columns that stay in a core's cache. A single one where X is small, on a GPU, and for BLAS where blocks
    would have gaps."""
    x = program.batch.columns
    total, size = x.shape[-1], max(LEAST_COLUMNS, BLOCK_BYTES // (x.element_size() * x[..., :1].numel()))
    if not isinstance(program.bound, TorchOperations):
        size = (blas_columns(program.batch) if x.mT.is_contiguous() else None) or total
    if x.device.type != "cpu" or total < 2 * size:
        return [slice(0, total)]
    return [slice(start, min(start + size, total)) for start in range(0, total, size)]


def build_normalized(program: Program, loss: Loss, classes: int) -> None:
    """Riemannian gradient descent on spheres, M = 1: logits τ W H with rows of W and columns of H of norm 1.

    θ ← (θ − ηg)/‖θ − ηg‖ for each of them, g its gradient without the part along θ. Rows and columns of zeros (padding)
    stay as they are.
    """
    batch, rates = program.batch, program.rates
    x, w, targets, temperature = batch.columns, batch.weights[0], batch.targets, rates.logits
    known = (batch.labels >= 0).to(x.dtype)[..., None, :]
    residual = torch.empty_like(targets)
    differs = isinstance(temperature, Tensor)
    program.product(residual, w, x, 1.0 if differs else number(temperature))
    if differs:
        program.operations.append(program.bound.scale(residual, temperature))
    program.operations += loss.operations(program.bound, residual[..., :classes, :], targets[..., :classes, :])
    program.add(residual.mul_, known * (temperature / rates.samples))

    def step() -> None:
        for_w, for_x = residual @ x.mT, w.mT @ residual
        for theta, gradient, dim in ((w, for_w, -1), (x, for_x, -2)):
            theta.sub_(tangent(gradient, theta, dim).mul_(rates.learning_rate))
            theta.div_(torch.linalg.vector_norm(theta, dim=dim, keepdim=True).clamp_min_(TINY))

    program.add(step)


def tangent(gradient: Tensor, theta: Tensor, dim: int) -> Tensor:
    """The part of a gradient that is orthogonal to θ, whose vectors of norm 1 lie along `dim`."""
    return gradient - theta * torch.linalg.vecdot(theta, gradient, dim=dim).unsqueeze(dim)
