"""A worker's own limit of memory: an experiment that outgrows it fails alone, before the kernel kills the process."""

from __future__ import annotations

import resource
import sys
from pathlib import Path

import psutil
import torch

OF_A_CONTAINER = Path("/sys/fs/cgroup/memory.max")
SHARE = 0.9
"""Share of physical memory a worker may use where that is below the configured limit; the rest is for OS and caches."""


def limit(most_bytes: int) -> None:
    """Makes allocations on the CPU fail in this process beyond `most_bytes` (Linux only)."""
    if sys.platform == "linux":
        most_bytes = min(most_bytes, int(SHARE * machine_bytes()))
        resource.setrlimit(resource.RLIMIT_DATA, (most_bytes, resource.getrlimit(resource.RLIMIT_DATA)[1]))


def machine_bytes() -> int:
    """Memory of this machine, or of the container where that has less."""
    total: int = psutil.virtual_memory().total
    given = OF_A_CONTAINER.read_text().strip() if OF_A_CONTAINER.exists() else "max"
    return min(total, int(given)) if given.isdigit() else total


def limit_in_words() -> str:
    """The limit in force, for messages."""
    most = resource.getrlimit(resource.RLIMIT_DATA)[0]
    return "the machine's" if most == resource.RLIM_INFINITY else f"{most / 2**30:.3g} GiB"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether memory ran out; torch raises a plain RuntimeError for the CPU's."""
    return isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error)
