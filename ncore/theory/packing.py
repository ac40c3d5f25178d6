"""The best way to put K classes into blocks that do not interact: their values add, and so do the dimensions they take.

Used where solutions made of blocks are the best known ones: deep ReLU models, deep cross-entropy, normalised features.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Block:
    """`value` is what the block adds to the objective, `takes` how much of each limit it uses."""

    name: str
    classes: int
    value: float
    takes: tuple[int, ...] = ()


@dataclass(frozen=True)
class Packing:
    """Blocks by name with their number, and the sum of their values."""

    value: float
    blocks: dict[str, int]


def pack(blocks: Sequence[Block], classes: int, limits: tuple[int, ...] = ()) -> Packing | None:
    """The packing of least value in which the blocks hold exactly K classes within the limits; None if none does.

    Dynamic programming over (classes, what is left of each limit): K · blocks · Π limits elementary steps.
    """
    most = [max((b.takes[i] * math.ceil(classes / b.classes) for b in blocks), default=0) for i in range(len(limits))]
    caps = tuple(min(limit, top) for limit, top in zip(limits, most, strict=True))
    best = np.full((classes + 1, *(cap + 1 for cap in caps)), math.inf)  # at most so much of each limit
    best[0] = 0.0
    chosen = np.full(best.shape, -1)
    for k in range(1, classes + 1):
        for index, block in enumerate(blocks):
            if block.classes > k or any(t > cap for t, cap in zip(block.takes, caps, strict=True)):
                continue
            to = tuple(slice(t, None) for t in block.takes)
            before = tuple(slice(None, cap + 1 - t) for t, cap in zip(block.takes, caps, strict=True))
            value = best[k - block.classes][before] + block.value
            better = value < best[k][to] - 1e-15
            best[k][to] = np.where(better, value, best[k][to])
            chosen[k][to] = np.where(better, index, chosen[k][to])
    if not math.isfinite(best[(classes, *caps)]):
        return None
    k, left, used = classes, list(caps), Counter[str]()
    while k:
        block = blocks[int(chosen[(k, *left)])]
        used[block.name] += 1
        k -= block.classes
        left = [room - t for room, t in zip(left, block.takes, strict=True)]
    return Packing(float(best[(classes, *caps)]), dict(used))
