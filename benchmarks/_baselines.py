"""The loops that a user would write for a UFM: autograd, numpy, vmap. Each trains the same start by the same rule."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.func import grad, vmap

from ncore.spec import UfmSpec
from ncore.ufm.start import make_start

Array = NDArray[Any]
State = list[Tensor]
"""H₁, W_1, …, W_M: of one replica, or with a dimension in front for several."""


class Problem:
    """What all loops need of a spec without a bias: start, targets, labels, rates."""

    def __init__(self, spec: UfmSpec, seed: int = 0, device: str = "cpu") -> None:
        self.spec = spec
        full = spec.model_copy(update={"optimizer": spec.optimizer.model_copy(update={"form": "full"})})
        start = make_start(full, seed)
        dtype = torch.float32 if spec.precision == "float32" else torch.float64
        self.state: State = [tensor.to(device, dtype) for tensor in (start.columns, *start.weights)]
        self.targets, self.labels = start.targets.to(device, dtype), start.labels.to(device)
        self.samples = len(start.labels)
        self.rate = spec.optimizer.learning_rate
        self.decays = (spec.regularization.features, *spec.weight_decays)

    def data_loss(self, h: Tensor, *weights: Tensor) -> Tensor:
        for w in weights[:-1]:
            h = w @ h
            h = h.relu() if self.spec.model.activation == "relu" else h
        logits = weights[-1] @ h
        if self.spec.loss == "mse":
            return (logits - self.targets).square().sum() / (2 * self.samples)
        return torch.nn.functional.cross_entropy(logits.T, self.labels)


class Autograd:
    """Autograd and fused SGD; the regularisers are its weight decay, a group each."""

    def __init__(self, problem: Problem, compiled: bool = False) -> None:
        self.state = [tensor.clone().requires_grad_() for tensor in problem.state]
        groups = [{"params": [p], "weight_decay": decay} for p, decay in zip(self.state, problem.decays, strict=True)]
        self.sgd = torch.optim.SGD(groups, lr=problem.rate, fused=True)
        self.loss: Callable[..., Tensor] = torch.compile(problem.data_loss) if compiled else problem.data_loss

    def run(self, steps: int) -> None:
        for _ in range(steps):
            self.sgd.zero_grad()
            self.loss(*self.state).backward()
            self.sgd.step()


class Vmapped:
    """`vmap(grad)` over replicas that start from different seeds, and SGD by hand in place."""

    def __init__(self, problems: list[Problem], compiled: bool = False) -> None:
        self.problem = problems[0]
        self.state = [torch.stack(parts) for parts in zip(*(p.state for p in problems), strict=True)]
        gradient = vmap(grad(self.problem.data_loss, argnums=tuple(range(len(self.state)))))
        self.gradient = torch.compile(gradient) if compiled else gradient

    def run(self, steps: int) -> None:
        rate = self.problem.rate
        for _ in range(steps):
            for theta, g, decay in zip(self.state, self.gradient(*self.state), self.problem.decays, strict=True):
                theta.mul_(1 - rate * decay).sub_(g, alpha=rate)


class Numpy:
    """The gradients by hand, as they stand in a paper."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.arrays: list[Array] = [tensor.numpy().copy() for tensor in problem.state]
        self.targets = problem.targets.numpy()
        self.is_relu = problem.spec.model.activation == "relu"

    @property
    def state(self) -> State:
        return [torch.from_numpy(array) for array in self.arrays]

    def run(self, steps: int) -> None:
        rate, samples, decays = self.problem.rate, self.problem.samples, self.problem.decays
        for _ in range(steps):
            h, *weights = self.arrays
            levels = [h]
            for w in weights[:-1]:
                z = w @ levels[-1]
                levels.append(np.maximum(z, 0) if self.is_relu else z)
            d = self._residual(weights[-1] @ levels[-1]) / samples
            gradients = []
            for j in reversed(range(len(weights))):
                gradients.append(d @ levels[j].T)
                d = weights[j].T @ d
                if j and self.is_relu:
                    d = d * (levels[j] > 0)
            for i, g in enumerate([d, *reversed(gradients)]):
                self.arrays[i] = self.arrays[i] - rate * (g + decays[i] * self.arrays[i])

    def _residual(self, logits: Array) -> Array:
        if self.problem.spec.loss == "mse":
            return logits - self.targets
        shares = np.exp(logits - logits.max(axis=0))
        return shares / shares.sum(axis=0) - self.targets


class NumpyInPlace(Numpy):
    """The same without allocation: every result has its buffer."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem)
        h, *weights = self.arrays
        self.levels = [h] + [np.empty((len(w), h.shape[1]), h.dtype) for w in weights[:-1]]
        self.masks = [np.empty(level.shape, h.dtype) for level in self.levels]
        self.backward = [np.empty_like(level) for level in self.levels]
        self.gradients = [np.empty_like(w) for w in weights]
        self.logits = np.empty_like(self.targets)
        self.row = np.empty(h.shape[1], h.dtype)

    def run(self, steps: int) -> None:
        rate, samples, decays = self.problem.rate, self.problem.samples, self.problem.decays
        _, *weights = self.arrays
        levels, backward = self.levels, self.backward
        for _ in range(steps):
            for j, w in enumerate(weights[:-1]):
                np.matmul(w, levels[j], out=levels[j + 1])
                if self.is_relu:
                    np.maximum(levels[j + 1], 0, out=levels[j + 1])
            d = self._residual(np.matmul(weights[-1], levels[-1], out=self.logits))
            d *= rate / samples
            for j in reversed(range(len(weights))):
                np.matmul(d, levels[j].T, out=self.gradients[j])
                d = np.matmul(weights[j].T, d, out=backward[j])
                if j and self.is_relu:
                    d *= np.sign(levels[j], out=self.masks[j])
            for i, g in enumerate([d, *self.gradients]):
                self.arrays[i] *= 1 - rate * decays[i]
                self.arrays[i] -= g

    def _residual(self, logits: Array) -> Array:
        if self.problem.spec.loss != "mse":
            logits -= np.max(logits, axis=0, out=self.row)
            np.exp(logits, out=logits)
            logits /= np.sum(logits, axis=0, out=self.row)
        logits -= self.targets
        return logits
