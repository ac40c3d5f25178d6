"""Checkpoints of a run: one file an experiment, replaced in one piece."""

from __future__ import annotations

import os
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from api.settings import get_settings


def _path(experiment_id: str) -> Path:
    return get_settings().experiment_dir(experiment_id) / "checkpoint.pt"


def save(experiment_id: str, state: dict[str, Tensor]) -> None:
    path = _path(experiment_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    with fresh.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def save_final(experiment_id: str, state: dict[str, Tensor]) -> None:
    """What the experiment leaves: weights and features, as safetensors."""
    path = get_settings().experiment_dir(experiment_id) / "final.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    save_file(state, fresh)
    fresh.replace(path)


def remove(experiment_id: str) -> None:
    """An experiment that has succeeded needs it no more."""
    _path(experiment_id).unlink(missing_ok=True)


def load(experiment_id: str) -> dict[str, Tensor] | None:
    """The last checkpoint; None before the first one. Only tensors are read, never code."""
    path = _path(experiment_id)
    if not path.exists():
        return None
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
