"""Records of training: a Measurement is the metrics of one seed at one step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from torch import Tensor

Series = tuple[str, str | None]
"""A metric's name and its layer (None for what has no layer)."""


@dataclass(frozen=True)
class Measurement:
    """All metrics of one seed at one step; an undefined value is NaN."""

    seed: int
    step: int
    values: Mapping[Series, float]
    experiment: int = 0
    """Which of the experiments that are trained together."""
    geometry: bytes | None = None
    """What `ncore.geometry.unpacked` reads, at the steps at which it is kept, where it was asked for."""


class DeviceError(RuntimeError):
    """The spec asks for a device that is not here, or for what the device cannot do."""


class Run(Protocol):
    """An experiment under way."""

    step: int
    total: int
    engine: str
    device: str
    classes: int
    layers: tuple[str, ...]
    """The measured layers, in the order of the forward pass; the last one meets the classifier."""
    diverged: dict[int, Diverged]
    """The experiments of a batch whose numbers are no longer finite, while others go on."""

    @property
    def done(self) -> bool: ...

    def advance(self, seconds: float | None = None) -> list[Measurement]:
        """Trains on until something was measured, or about `seconds` have passed (then maybe [])."""

    def checkpoint(self) -> dict[str, Tensor]:
        """Everything needed to go on, by `begin(spec, checkpoint=…)`, as if nothing had happened."""

    def final_state(self) -> dict[str, Tensor]:
        """Weights and features as they are now, by name, on the CPU: what an experiment leaves as its artifact. Without
        the features where they do not fit."""

    @property
    def left_out(self) -> str | None:
        """The parts missing in `final_state`, and why; None where nothing is missing."""


class Diverged(RuntimeError):  # noqa: N818 (the verdict's own word)
    """All seeds have left the finite numbers: `step` is the first look that found it, `seed` one of them.

    `also` names another field that may be lowered.
    """

    def __init__(self, step: int, seed: int, learning_rate: float, also: str | None = None) -> None:
        super().__init__(
            f"diverged: the numbers were no longer finite at step {step} (seed {seed}); "
            f"lower optimizer.learning_rate (now {learning_rate:g}){f' or {also}' if also else ''}"
        )
        self.step, self.seed = step, seed
