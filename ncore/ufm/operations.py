"""In-place operations on fixed buffers, bound once and called in every step, by torch or by BLAS itself.

Torch dispatches a product in about a microsecond, which at the sizes of the paper is more than the arithmetic; a call
of BLAS through SciPy takes a quarter of that. SciPy's BLAS (OpenBLAS) may also be faster than torch's (MKL) at large
products: on AMD processors by half in float64.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Operation = Callable[[], object]
Factor = float | Tensor
"""One number for all replicas, or (S, 1, 1) where replicas differ."""

SPLIT_FROM_NUMBERS = 100_000
"""A flat update left right of a large matrix is split by rows between the threads, which BLAS does not do well:
110 for 188 µs at 512 x 10 x 522."""


class Operations(Protocol):
    """Binds operations to tensors. Matrices are (…, rows, columns)."""

    def product(self, out: Tensor, left: Tensor, right: Tensor, alpha: float = 1.0, beta: float = 0.0) -> Operation:
        """out ← beta out + alpha left right."""

    def copy(self, out: Tensor, source: Tensor) -> Operation:
        """out ← source."""

    def scale(self, target: Tensor, factor: Factor) -> Operation:
        """target ← factor target."""

    def add_multiple(self, target: Tensor, other: Tensor, factor: Factor) -> Operation:
        """target ← target + factor other, both of one shape."""


class TorchOperations:
    """Operations of torch for one replica (two dimensions) or a batch of them (three), on any device."""

    def product(self, out: Tensor, left: Tensor, right: Tensor, alpha: float = 1.0, beta: float = 0.0) -> Operation:
        single = out.ndim == 2
        if alpha == 1.0 and beta == 0.0:
            return partial(torch.mm if single else torch.bmm, left, right, out=out)
        threads = torch.get_num_threads()
        splits = single and out.device.type == "cpu" and threads > 1 and out.shape[0] % threads == 0
        if splits and out.numel() >= SPLIT_FROM_NUMBERS:
            blocks, parts = out.unflatten(0, (threads, -1)), left.unflatten(0, (threads, -1))
            return partial(blocks.baddbmm_, parts, right.expand(threads, -1, -1), beta=beta, alpha=alpha)
        return partial(out.addmm_ if single else out.baddbmm_, left, right, beta=beta, alpha=alpha)

    def copy(self, out: Tensor, source: Tensor) -> Operation:
        return partial(out.copy_, source)

    def scale(self, target: Tensor, factor: Factor) -> Operation:
        return partial(target.mul_, factor)

    def add_multiple(self, target: Tensor, other: Tensor, factor: Factor) -> Operation:
        if isinstance(factor, Tensor):
            return partial(target.addcmul_, other, factor)
        return partial(target.add_, other, alpha=factor)


class BlasOperations:
    """Operations for one replica on the CPU: calls of SciPy's BLAS on the tensors' own memory. Factors are numbers.

    Raises ValueError for a matrix that is not stored without gaps: BLAS would get a copy of it, and lose the result.
    """

    def __init__(self, dtype: torch.dtype) -> None:
        from scipy.linalg import blas

        letter = {torch.float64: "d", torch.float32: "s"}[dtype]
        self._gemm, self._axpy, self._copy, self._scal = (
            getattr(blas, f"{letter}{name}") for name in ("gemm", "axpy", "copy", "scal")
        )

    def product(self, out: Tensor, left: Tensor, right: Tensor, alpha: float = 1.0, beta: float = 0.0) -> Operation:
        a, b, c = left.numpy(), right.numpy(), out.numpy()
        if not c.flags.f_contiguous:  # BLAS knows columns one after the other: outᵀ = rightᵀ leftᵀ
            a, b, c = b.T, a.T, c.T
        if not c.flags.f_contiguous:
            raise ValueError(f"out has strides {out.stride()}, must be stored without gaps")
        (a, a_turned), (b, b_turned) = _by_columns(a), _by_columns(b)
        return partial(self._gemm, alpha, a, b, beta, c, a_turned, b_turned, 1)

    def copy(self, out: Tensor, source: Tensor) -> Operation:
        return partial(self._copy, *_flat(source, out))

    def scale(self, target: Tensor, factor: Factor) -> Operation:
        return partial(self._scal, number(factor), *_flat(target))

    def add_multiple(self, target: Tensor, other: Tensor, factor: Factor) -> Operation:
        return partial(self._axpy, *_flat(other, target), target.numel(), number(factor))


def _by_columns(matrix: NDArray[np.floating]) -> tuple[NDArray[np.floating], int]:
    """The matrix, or its transpose and 1, whichever is stored column after column."""
    if matrix.flags.f_contiguous:
        return matrix, 0
    if not matrix.flags.c_contiguous:
        raise ValueError(f"a factor has strides {matrix.strides}, must be stored without gaps")
    return matrix.T, 1


def _flat(*tensors: Tensor) -> list[NDArray[np.floating]]:
    """The numbers of each as they are stored, in one order for all: row after row, or column after column."""
    if all(tensor.is_contiguous() for tensor in tensors):
        return [tensor.view(-1).numpy() for tensor in tensors]
    if all(tensor.mT.is_contiguous() for tensor in tensors):
        return [tensor.mT.reshape(-1).numpy() for tensor in tensors]
    strides = " and ".join(str(tensor.stride()) for tensor in tensors)
    raise ValueError(f"strides are {strides}; all must be stored without gaps, in the same order")


def number(factor: Factor) -> float:
    """The factor where it is one for all replicas. Raises TypeError where it is not."""
    if isinstance(factor, Tensor):
        raise TypeError("the rates of the replicas differ, and only one number can be used here")
    return factor


def blas_threads(count: int) -> AbstractContextManager[object]:
    """A context in which SciPy's BLAS uses `count` threads."""
    controller = _openblas()
    return controller.limit(limits=count) if len(controller.lib_controllers) else nullcontext()


@cache
def _openblas() -> Any:
    import scipy.linalg.blas  # noqa: F401 (loads the library that is looked for)
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(internal_api="openblas")
