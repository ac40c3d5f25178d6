"""The order of an epoch's images, and how each of them is shifted and mirrored."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ncore.network.data import PADDING, DataSet


@dataclass(frozen=True)
class Epoch:
    """All randomness of one epoch, a function of (seed, epoch) only: checkpoints need no generator state."""

    order: Tensor
    shifts: Tensor | None
    flipped: Tensor | None

    @classmethod
    def draw(cls, seed: int, epoch: int, data: DataSet, *, augmented: bool) -> Epoch:
        state = int(np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]) >> 1
        draw, samples = torch.Generator().manual_seed(state), len(data.train)
        device = data.train.labels.device
        order = torch.randperm(samples, generator=draw).to(device)
        if not augmented:
            return cls(order, None, None)
        shifts = torch.randint(-PADDING, PADDING + 1, (samples, 2), generator=draw).to(device)
        flipped = (torch.rand(samples, generator=draw) < 0.5).to(device) if data.flips else None
        return cls(order, shifts, flipped)
