"""An independent optimiser for the tests of theory: L-BFGS on the objective as it is written, from several starts."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch.nn.functional import cross_entropy

from ncore.spec import UfmSpec


@pytest.fixture(autouse=True)
def float64():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


def least(objective, shapes, starts=3, scale=1.0, first=None, rounds=2):
    """(value, tensors) of the lowest end over `starts` normal starts, or over the one start `first`."""
    cuts = np.cumsum([math.prod(shape) for shape in shapes])

    def parts(theta):
        pieces = torch.as_tensor(theta).tensor_split(cuts[:-1].tolist())
        return [piece.reshape(shape) for piece, shape in zip(pieces, shapes, strict=True)]

    def value(theta):
        tensor = torch.tensor(theta, requires_grad=True)
        result = objective(*parts(tensor))
        result.backward()
        return result.item(), tensor.grad.numpy()

    options = {"maxiter": 6000, "maxfun": 12000, "ftol": 1e-16, "gtol": 1e-11, "maxcor": 30}
    draws = [np.random.default_rng(seed).normal(size=cuts[-1]) * scale for seed in range(starts)]
    if first is not None:
        draws = [np.concatenate([np.ravel(part) for part in first])]
    ends = [minimize(value, draw, jac=True, method="L-BFGS-B", options=options) for draw in draws]
    best = min(ends, key=lambda end: end.fun)
    for _ in range(rounds):
        best = min(best, minimize(value, best.x, jac=True, method="L-BFGS-B", options=options), key=lambda end: end.fun)
    return best.fun, parts(best.x)


def norms(*pairs):
    return sum(decay / 2 * (matrix**2).sum() for decay, matrix in pairs)


def data_term(spec: UfmSpec, logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """As the page writes it, with torch's own functions where it has them."""
    loss = spec.criterion
    if spec.model.targets is not None:
        return ((logits - torch.tensor(spec.model.targets, dtype=torch.float64)[:, labels]) ** 2).sum() / (
            2 * len(labels)
        )
    if loss.kind == "mse":
        return ((logits - torch.eye(spec.model.classes).double()[:, labels]) ** 2).sum() / (2 * len(labels))
    if loss.kind == "focal":
        p = logits.softmax(0)[labels, torch.arange(len(labels))]
        return (-((1 - p) ** loss.gamma) * p.log()).mean()
    return cross_entropy(logits.T, labels, label_smoothing=loss.label_smoothing)


def written_objective(spec: UfmSpec, h, weights, b, labels) -> torch.Tensor:
    """The whole of it: features (d_1, N), weights, bias (K,) and labels (N,)."""
    out = h
    for w in weights[:-1]:
        out = w @ out
        out = out.relu() if spec.model.activation == "relu" else out
    logits = spec.model.logit_scale * (weights[-1] @ out) + b[:, None]
    value = data_term(spec, logits, labels)
    value = value + spec.regularization.features / 2 * (h**2).sum() + spec.regularization.bias / 2 * (b**2).sum()
    trained = weights[:-1] if spec.model.classifier == "etf" else weights
    return value + sum(lam / 2 * (w**2).sum() for lam, w in zip(spec.weight_decays, trained, strict=False))
