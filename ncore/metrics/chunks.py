"""How much of the features is turned into float64 at a time."""

from __future__ import annotations

from torch import Tensor

CHUNK_NUMBERS = 2**18
"""512 rows of 512 stay near a core."""
CHUNK_NUMBERS_GPU = 2**25
PART_NUMBERS = 2**20
"""What is summed on one grid: a few chunks, so that to carry sums over costs little."""


def chunk_rows(like: Tensor, numbers: int) -> int:
    """Rows of `numbers` numbers each that are taken at a time."""
    return max(16, (CHUNK_NUMBERS_GPU if like.is_cuda else CHUNK_NUMBERS) // numbers)


def part_rows(like: Tensor) -> int:
    """Rows of features (N, d) whose sums are carried over at once."""
    return max(chunk_rows(like, like.shape[1]), PART_NUMBERS // like.shape[1])
