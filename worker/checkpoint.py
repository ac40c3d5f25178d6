"""Checkpoints of a run, and what it leaves at its end: one file each, replaced in one piece."""

from __future__ import annotations

import torch
from safetensors.torch import save_file
from torch import Tensor

from api.store import get_store

CHECKPOINT, FINAL = "checkpoint.pt", "final.safetensors"


def save(experiment_id: str, state: dict[str, Tensor]) -> None:
    get_store().save(experiment_id, CHECKPOINT, lambda path: torch.save(state, path))


def save_final(experiment_id: str, state: dict[str, Tensor]) -> None:
    """What the experiment leaves: weights, and features where they fit, as safetensors."""
    get_store().save(experiment_id, FINAL, lambda path: save_file(state, path))


def remove(experiment_id: str) -> None:
    """An experiment that has succeeded needs it no more."""
    get_store().remove(experiment_id, CHECKPOINT)


def load(experiment_id: str) -> dict[str, Tensor] | None:
    """The last checkpoint; None before the first one. Only tensors are read, never code."""
    with get_store().fetched(experiment_id, CHECKPOINT) as path:
        if path is None:
            return None
        state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
        return state
