"""An independent optimiser for the tests of theory: L-BFGS on the objective as it is written, from several starts."""

import math

import numpy as np
import pytest
import torch
from scipy.optimize import minimize


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
