"""Provenance of a run: with the same CPU, versions and threads it gives the same numbers."""

from __future__ import annotations

import platform
from functools import cache
from importlib.metadata import version

import torch

LIBRARIES = ("ncore", "torch", "torchvision", "numpy", "scikit-learn")


def provenance(device: str) -> dict[str, str | int]:
    """Versions by name, and what else the last digits of the numbers depend on."""
    found: dict[str, str | int] = {"python": platform.python_version(), **_versions()}
    found |= {"torch": str(torch.__version__), "platform": platform.platform(), "machine": platform.machine()}
    found |= {"cpu": torch.backends.cpu.get_cpu_capability(), "threads": torch.get_num_threads()}
    if device.startswith("cuda"):
        found |= {"cuda": str(torch.version.cuda), "gpu": torch.cuda.get_device_name(device)}
    return found


@cache
def _versions() -> dict[str, str]:
    """Versions of installed packages: read from their files once, which takes longer than a small experiment."""
    return {name: version(name) for name in LIBRARIES}
