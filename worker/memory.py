"""A worker's own limit of memory: an experiment that outgrows it fails alone, before the kernel kills the process."""

from __future__ import annotations

import resource
import sys

import torch


def limit(most_bytes: int) -> None:
    """From here on an allocation on the CPU beyond so many bytes of this process fails (Linux only)."""
    if sys.platform == "linux":
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def is_out_of_memory(error: BaseException) -> bool:
    """torch tells of the CPU's allocator by a plain RuntimeError."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
