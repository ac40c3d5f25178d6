"""Which GPU a worker's child trains on. Settled before torch is imported: CUDA sees one GPU, or none."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

DRIVERS = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
COUNT = "import torch; print(torch.cuda.device_count())"


class GpuError(ValueError):
    """NCORE_GPUS names GPUs that are not here."""


def chosen(asked: str) -> list[str]:
    """The GPUs to train on, as CUDA_VISIBLE_DEVICES names them; [] for a CPU worker.

    `asked` is NCORE_GPUS: `auto` (all there are), `none`, or indexes, e.g. `0,2`; `0+1,2` gives one child two of them.
    Raises GpuError.
    """
    return [] if asked == "none" else chosen_of(_visible(), asked)


def chosen_of(visible: Sequence[str], asked: str) -> list[str]:
    """Those of the `visible` GPUs that are asked for by `auto` or by index. Raises GpuError."""
    if asked == "auto":
        return list(visible)
    children = [[word.strip() for word in child.split("+")] for child in asked.split(",")]
    wanted = [word for child in children for word in child]
    if not all(word.isdigit() for word in wanted) or len(set(wanted)) != len(wanted):
        raise GpuError(f"NCORE_GPUS: must be auto, none or different indexes like 0,2 or 0+1,2; got {asked!r}")
    if max(map(int, wanted)) >= len(visible):
        raise GpuError(f"NCORE_GPUS: {asked!r} was asked for, but this machine shows {len(visible)} GPUs (from 0 on)")
    return ["+".join(visible[int(word)] for word in child) for child in children]


def _visible() -> list[str]:
    """Asks CUDA in a process of its own: the worker's parent must never touch it."""
    if not any(path.exists() for path in DRIVERS):
        return []
    count = int(subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=True).stdout)  # noqa: S603
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return named.split(",")[:count] if named else [str(index) for index in range(count)]


def listed(settled: str) -> list[str]:
    """The GPUs that the parent has `chosen`, read in the child."""
    return [] if settled == "none" else settled.split(",")


def queues(names: Sequence[str]) -> list[str]:
    """The queues of experiments (`api.broker.QUEUES`) whose wake-up calls a worker with these GPUs hears."""
    several = ["gpus"] if any("+" in child for child in names) else []
    return ["cpu", "gpu", *several] if names else ["cpu"]


def settle(names: list[str], index: int) -> str:
    """Settles in the child, before torch, which GPUs CUDA sees; returns the kind of worker, `gpu` or `cpu`."""
    os.environ["CUDA_VISIBLE_DEVICES"] = names[index].replace("+", ",") if names else ""
    return "gpu" if names else "cpu"
