"""Which arithmetic a batch is trained by: torch's, or BLAS itself through SciPy.

By the batch's shape where it is small, by measuring once where it is large. The two differ in rounding, so a checkpoint
records the choice.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from typing import Literal

import torch

from ncore.kinds.losses import CrossEntropy
from ncore.ufm.batch import Batch
from ncore.ufm.operations import BlasOperations, Operations, TorchOperations, blas_threads
from ncore.ufm.steps import Program, Rates, build_one_layer

Arithmetic = Literal["torch", "blas"]

SINGLE_THREADED_MULTIPLICATIONS = 2**18
"""OpenBLAS computes products up to this size on the calling thread alone."""
MAX_BLAS_MULTIPLICATIONS = 2**30
"""SciPy's BLAS holds the interpreter's lock: above this the other threads of a worker would wait too long."""
TINY_MULTIPLICATIONS, MANY_REPLICAS = 2**12, 16
"""For products up to this size one batched call of torch for this many replicas costs less than a BLAS call for each:
1.05 for 1.6 µs a step and replica at K=4 d=20, sample-free."""
PROBE_SHAPE = (10, 512, 522)
PROBE_MULTIPLICATIONS = 2**24
"""Of a product in a step that is tried in blocks: some milliseconds a step."""
WORTHWHILE = 0.8
"""BLAS through SciPy is taken for large products when it needs less than this share of torch's time."""
ROUNDS = 7
"""Of each, of which the least counts."""


def choose_arithmetic(batch: Batch, in_blocks: bool) -> Arithmetic:
    """The faster arithmetic for the batch's steps; `in_blocks` where those by BLAS go through X block by block."""
    if batch.columns.device.type != "cpu":
        return "torch"
    if batch.largest_product <= TINY_MULTIPLICATIONS and len(batch.columns) >= MANY_REPLICAS:
        return "torch"
    if batch.largest_product <= SINGLE_THREADED_MULTIPLICATIONS:
        return "blas"
    if in_blocks:
        threads, (width, total) = torch.get_num_threads(), batch.columns.shape[-2:]
        columns = min(total, PROBE_MULTIPLICATIONS // (batch.outputs * width))
        share = blocks_time_share((batch.outputs, width, columns), batch.columns.dtype, threads)
        return "blas" if share < (WORTHWHILE if threads == 1 else 1.0) else "torch"  # which keeps all of them busy
    is_fit = batch.columns.dtype == torch.float64 and batch.largest_product <= MAX_BLAS_MULTIPLICATIONS
    return "blas" if is_fit and blas_time_share() < WORTHWHILE else "torch"


@cache
def blocks_time_share(shape: tuple[int, int, int], dtype: torch.dtype, threads: int) -> float:
    """Time of a step of one layer in blocks by BLAS on one thread over that by torch on `threads`, for (K, d, N)."""
    classes, width, samples = shape
    zeros = torch.zeros(classes, samples, dtype=dtype)
    rates = Rates(samples, 1e-3, 0.0, 0.0, (0.0,), 0.0, 1.0)

    def step_by(operations: Operations) -> Callable[[], None]:
        batch = Batch(
            columns=torch.ones(width, samples, dtype=dtype),
            weights=(torch.ones(classes, width, dtype=dtype),),
            bias=zeros[:, 0],
            targets=zeros,
            ones=torch.ones(samples, dtype=dtype),
            labels=torch.zeros(samples, dtype=torch.long),
        )
        if isinstance(operations, BlasOperations):
            batch = batch.by_samples()
        program = Program(batch, rates, operations, {})
        build_one_layer(program, False, CrossEntropy(), classes)
        return lambda: program.run(1)

    return _share(step_by(BlasOperations(dtype)), step_by(TorchOperations()), threads)


@cache
def blas_time_share() -> float:
    """Time of SciPy's BLAS over torch's for the three float64 products of a large step, on one thread."""
    rows, inner, columns = PROBE_SHAPE
    w, x, r = (torch.ones(shape, dtype=torch.float64) for shape in ((rows, inner), (inner, columns), (rows, columns)))
    factors = {"alpha": 1e-3, "beta": 0.5}

    def step_by(bound: Operations) -> Callable[[], None]:
        products = bound.product(r, w, x), bound.product(x, w.mT, r, **factors), bound.product(w, r, x.mT, **factors)

        def step() -> None:
            for product in products:
                product()

        return step

    return _share(step_by(BlasOperations(torch.float64)), step_by(TorchOperations()), 1)


def _share(by_blas: Callable[[], None], by_torch: Callable[[], None], threads: int) -> float:
    """The time of the first on one thread over that of the second on `threads`, the least of a few turns of each."""
    clock, before = time.thread_time if threads == 1 else time.perf_counter, torch.get_num_threads()
    seconds: dict[Callable[[], None], list[float]] = {by_blas: [], by_torch: []}
    torch.set_num_threads(threads)
    with blas_threads(1):
        for _ in range(ROUNDS):
            for step, taken in seconds.items():
                began = clock()
                step()
                taken.append(clock() - began)
    torch.set_num_threads(before)
    return min(seconds[by_blas]) / min(seconds[by_torch])
