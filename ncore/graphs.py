"""Work on fixed buffers that is done again and again: on a GPU it is captured once as a CUDA graph, and replayed.

Small steps cost a GPU less than their launches cost Python: a graph launches hundreds of kernels at once. It holds
addresses and numbers as they were when it was captured, so the work may read only tensors that stay where they are.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from functools import cached_property
from typing import Protocol

import torch

SETTING = "NCORE_CUDA_GRAPHS"
"""`none`: no graph is captured."""
log = logging.getLogger("ncore")
Work = Callable[[], object]


class Capture(Protocol):
    """A way to do work before it is captured, and to capture it."""

    def plainly(self, work: Work) -> None:
        """Does the work so that it can be captured later."""

    def captured(self, work: Work) -> Work:
        """What does the same as `work`, which itself is not done now. Raises RuntimeError where that cannot be."""


class CudaCapture:
    """CUDA graphs on one device. Work that is to be captured runs on a stream of its own before, as torch advises."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    @cached_property
    def _stream(self) -> torch.cuda.Stream:
        return torch.cuda.Stream(self._device)

    def plainly(self, work: Work) -> None:
        with torch.cuda.device(self._device):
            self._stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(self._stream):
                work()
            torch.cuda.current_stream().wait_stream(self._stream)

    def captured(self, work: Work) -> Work:
        with torch.cuda.device(self._device):
            graph = torch.cuda.CUDAGraph()
            # other threads may ask for the GPU's memory meanwhile, as a worker's heartbeat does
            with torch.cuda.graph(graph, stream=self._stream, capture_error_mode="thread_local"):
                work()
        return graph.replay


def capture_for(device: torch.device) -> CudaCapture | None:
    """How work on this device is captured; None on a CPU, and where NCORE_CUDA_GRAPHS is `none`."""
    return CudaCapture(device) if device.type == "cuda" and os.environ.get(SETTING) != "none" else None


class Repeated:
    """Does one and the same work at each call: plainly the first times, then by what was captured of it.

    What cannot be captured goes on plainly, and one line of the log says why. The work is given at each call, so that
    nothing here holds what it belongs to.
    """

    def __init__(self, capture: Capture | None, warm_ups: int = 1) -> None:
        self._capture, self._warm_ups = capture, warm_ups
        self._replay: Work | None = None

    def __call__(self, work: Work) -> None:
        if self._replay is not None:
            self._replay()
        elif self._capture is None:
            work()
        elif self._warm_ups:
            self._warm_ups -= 1
            self._capture.plainly(work)
        else:
            self._begin(self._capture, work)

    def _begin(self, capture: Capture, work: Work) -> None:
        try:
            self._replay = capture.captured(work)
        except RuntimeError as error:
            self._capture = None
            reason = (str(error) or type(error).__name__).splitlines()[0]
            log.warning("no CUDA graph could be captured, so that steps go on one by one: %s", reason)
        (self._replay or work)()
