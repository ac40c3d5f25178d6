"""A device's memory and arithmetic: errors that explain what ran out; the precision of products, set and reset."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

NO_MEMORY = ("allocate memory", "not enough memory", "out of memory", "bad_alloc", "could not create a memory")
"""Words in which torch and oneDNN report that the CPU's memory is used up."""


@contextmanager
def float32_products(*, tf32: bool) -> Iterator[None]:
    """float32 products on a GPU in full, or in TF32 where asked; torch's own settings come back."""
    settings = [torch.backends.cuda.matmul, torch.backends.cudnn.conv]  # type: ignore[attr-defined]
    before = [setting.fp32_precision for setting in settings]
    for setting in settings:
        setting.fp32_precision = "tf32" if tf32 else "ieee"
    try:
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.fp32_precision = value


@contextmanager
def out_of_memory_explained(device: str) -> Iterator[None]:
    """Turns torch's several words for it into a MemoryError with advice."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not isinstance(error, torch.OutOfMemoryError | MemoryError) and not any(s in str(error) for s in NO_MEMORY):
            raise
        fields = "optimizer.batch_size, data.image_size, data.samples_per_class or the model's size"
        raise MemoryError(f"out of memory on {device}: lower {fields}") from error
