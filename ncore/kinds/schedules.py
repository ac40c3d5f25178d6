"""Schedules of a network's learning rate: one class for each `schedule.kind`."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Annotated, Literal

from pydantic import Field

from ncore.kinds.fields import ByKind, Entries, Int, Part, Real

MAX_MILESTONES = 1000
Epochs = Annotated[tuple[Annotated[Int, Field(ge=1, le=10**9)], ...], Entries(0, MAX_MILESTONES)]


class LearningRateSchedule(Part):
    """The share of `learning_rate` at each step: a warm-up from 0, linear in the steps, and then `after`."""

    kind: str
    """The kind of schedule."""
    warmup_epochs: Real = Field(default=0.0, ge=0, le=100_000)
    """Epochs in which it rises to `learning_rate` first."""

    def share(self, step: int, epoch_steps: int, epochs: int) -> float:
        """The share of the learning rate after `step` steps."""
        warm = self.warmup_epochs * epoch_steps
        if step < warm:
            return min(1.0, (step + 1) / warm)
        return self.after((step - warm) / (epochs * epoch_steps - warm), step // epoch_steps)

    @abstractmethod
    def after(self, done: float, epoch: int) -> float:
        """The share when `done`, from 0 to 1, of what follows the warm-up is over."""


class Milestones(LearningRateSchedule):
    """Times gamma at the beginning of each of these epochs."""

    kind: Literal["milestones"] = "milestones"
    """The kind of schedule."""
    milestones: Epochs = (40, 80)
    """Epochs at whose beginning it is cut."""
    gamma: Real = Field(default=0.1, gt=0, le=1)
    """Factor of the learning rate at each milestone."""

    def after(self, done: float, epoch: int) -> float:  # noqa: ARG002
        return float(self.gamma ** sum(epoch >= m for m in self.milestones))


class Cosine(LearningRateSchedule):
    """Half a cosine down to 0 (Loshchilov & Hutter 2017, without restarts)."""

    kind: Literal["cosine"] = "cosine"
    """The kind of schedule."""

    def after(self, done: float, epoch: int) -> float:  # noqa: ARG002
        return 0.5 * (1 + math.cos(math.pi * done))


class Linear(LearningRateSchedule):
    """A straight line down to 0."""

    kind: Literal["linear"] = "linear"
    """The kind of schedule."""

    def after(self, done: float, epoch: int) -> float:  # noqa: ARG002
        return 1 - done


class Constant(LearningRateSchedule):
    kind: Literal["constant"] = "constant"
    """The kind of schedule."""

    def after(self, done: float, epoch: int) -> float:  # noqa: ARG002
        return 1.0


SCHEDULES: dict[str, type[LearningRateSchedule]] = {
    "milestones": Milestones,
    "cosine": Cosine,
    "linear": Linear,
    "constant": Constant,
}
"""The schedules by their `kind`."""

AnySchedule = Annotated[LearningRateSchedule, ByKind(SCHEDULES)]
