"""Several processes that train one network: each takes its part of every batch, and what they find is summed.

Rank 0 is the process that was asked to train; it starts the others for each seed. They take a step when rank 0 says
so, and end with it. All sums go through one group of torch's (gloo between CPUs, NCCL between GPUs).
A process that is lost is replaced, and the step it was lost in is taken again.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn

from ncore.spec import NetworkSpec

START_SECONDS = 600.0
"""Time for the others to import torch, to read their data and to meet."""
LOOK_SECONDS = 0.2
STEP = 1
"""The word of rank 0 for: take a step."""
SPEC, STATE, STORE = "spec.json", "state.pt", "store"


class RankLost(RuntimeError):  # noqa: N818 (what has happened)
    """Another process of the run has gone."""


@dataclass
class Group:
    """The processes that train together: this is one of `size`."""

    rank: int
    size: int
    process_group: Any

    @classmethod
    def meet(cls, folder: Path, rank: int, size: int, device: str) -> Group:
        """Waits for the others."""
        patience = timedelta(days=30)
        store = distributed.FileStore(str(folder / STORE), size)  # type: ignore[attr-defined]
        store.set_timeout(timedelta(seconds=START_SECONDS))
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
            options = distributed.ProcessGroupNCCL.Options()
            options._timeout = patience  # noqa: SLF001 (torch's own name for it)
            return cls(rank, size, distributed.ProcessGroupNCCL(store, rank, size, options))
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo" if sys.platform == "linux" else "lo0")
        return cls(rank, size, distributed.ProcessGroupGloo(store, rank, size, patience))

    def summed(self, tensor: Tensor) -> Tensor:
        """The sum over all processes, in place of the contiguous `tensor`. Raises RankLost."""
        self._waited(lambda: self.process_group.allreduce([tensor]))
        return tensor

    def broadcast(self, word: int, device: str) -> int:
        """The word of rank 0; all ranks call this at the same time. Raises RankLost."""
        said = torch.tensor([word], device=device)
        self._waited(lambda: self.process_group.broadcast(said, 0))
        return int(said)

    def part(self, index: Tensor) -> Tensor:
        """This process's part of a batch."""
        return index.tensor_split(self.size)[self.rank]

    @staticmethod
    def _waited(begin: Any) -> None:
        try:
            begin().wait()
        except RuntimeError as error:
            raise RankLost(f"another process of the run has gone: {error}") from error


class Others:
    """The other processes, from rank 0's side."""

    def __init__(self, spec: NetworkSpec, device: str, data_dir: str | None, state: Mapping[str, Tensor]) -> None:
        """Starts them from `state`, the run's checkpoint. Raises RankLost where they do not come."""
        self._device = device
        self._folder = tempfile.TemporaryDirectory(prefix="ncore-ranks-")
        folder = Path(self._folder.name)
        (folder / SPEC).write_text(spec.model_dump_json())
        torch.save(dict(state), folder / STATE)
        asked = [str(folder), str(spec.devices), device, data_dir or "", str(torch.get_num_threads())]
        command = [sys.executable, "-m", "ncore.network.follower", *asked]
        # their standard input ends with this process, and they with it
        self._processes = [
            subprocess.Popen([*command, str(rank)], stdin=subprocess.PIPE)  # noqa: S603 (this program itself)
            for rank in range(1, spec.devices)
        ]
        self._finalizer = weakref.finalize(self, _end, self._processes, self._folder)
        self.group = self._met(folder, spec.devices)
        for name in (SPEC, STATE):  # read by now; what is killed leaves nothing large behind
            (folder / name).unlink()

    def _met(self, folder: Path, size: int) -> Group:
        """The group, once all have come; one that ends before is not waited for."""
        met: list[Group] = []

        def meet() -> None:
            with suppress(RuntimeError):  # of the store, when its time is up
                met.append(Group.meet(folder, 0, size, self._device))

        waiting = threading.Thread(target=meet, daemon=True)
        waiting.start()
        while waiting.is_alive() and all(process.poll() is None for process in self._processes):
            waiting.join(LOOK_SECONDS)
        if not met:
            self.end()
            raise RankLost("another process of the run did not start; the worker's log may say why")
        return met[0]

    @property
    def pids(self) -> list[int]:
        return [process.pid for process in self._processes]

    def say_step(self) -> None:
        """Tells them to take a step. Raises RankLost."""
        self.group.broadcast(STEP, self._device)

    def end(self) -> None:
        self._finalizer()


def _end(processes: list[subprocess.Popen[bytes]], folder: tempfile.TemporaryDirectory[str]) -> None:
    for process in processes:
        process.kill()
        process.wait()
        if process.stdin is not None:
            process.stdin.close()
    folder.cleanup()


class _Summed(torch.autograd.Function):
    """The sum over all processes; its gradient is the sum of theirs."""

    @staticmethod
    def forward(context: Any, x: Tensor, group: Group) -> Tensor:
        context.group = group
        return group.summed(x.clone())

    @staticmethod
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return context.group.summed(gradient.clone()), None


class BatchNormOfAll(nn.BatchNorm2d):
    """Batch normalisation over the parts of all processes, so that it is that of the whole batch.

    (torch's SyncBatchNorm is for GPUs alone.)
    """

    group: Group | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.group is None or not self.training:
            return super().forward(x)
        numbers = x.new_full((1,), x.numel() / x.shape[1])
        total = _Summed.apply(torch.cat([x.sum((0, 2, 3)), numbers]), self.group)
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = x - mean[:, None, None]
        variance = _Summed.apply(centred.square().sum((0, 2, 3)), self.group) / count
        with torch.no_grad():
            assert self.running_mean is not None  # noqa: S101 (as all have it here)
            assert self.running_var is not None  # noqa: S101
            assert self.momentum is not None  # noqa: S101
            self.running_mean.lerp_(mean.to(self.running_mean.dtype), self.momentum)
            self.running_var.lerp_((variance * count / (count - 1)).to(self.running_var.dtype), self.momentum)
            if self.num_batches_tracked is not None:
                self.num_batches_tracked.add_(1)
        scale = self.weight * (variance + self.eps).rsqrt()
        return centred * scale[:, None, None] + self.bias[:, None, None]


def share_batch_norm(network: nn.Module, group: Group) -> None:
    """Lets every batch normalisation of the network be that of the whole batch."""
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.__class__ = BatchNormOfAll
            module.group = group  # type: ignore[assignment]
