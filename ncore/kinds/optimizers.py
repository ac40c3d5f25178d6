"""The optimizers of networks: one class for each `optimizer.kind`."""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StrictBool, model_validator

from ncore.kinds.fields import ByKind, Int, Label, Part, Real, Reference
from ncore.kinds.schedules import AnySchedule, Epochs, LearningRateSchedule, Milestones

Momentum = Annotated[Real, Field(ge=0, lt=1)]


class FeatureDecay(Part):
    """λ_H/2 Σ_i ‖h_i‖² over all training images, in place of the weight decay of what lies up to the layer: the
    objective is then that of an unconstrained features model."""

    layer: Label
    """Whose features h_i decay."""
    value: Real = Field(ge=0, le=1e6)
    """λ_H."""


class NetworkOptimizer(Part):
    """Common base of networks' optimizers. `make` is called with (this, groups) and returns a `torch.optim.Optimizer`;
    the groups of flat parameters are dictionaries as torch takes them, and one without weight decay says so.

    `schedule` sets the learning rate over the run; null: times `gamma` at the beginning of each epoch in `milestones`.
    """

    kind: str
    learning_rate: Real = Field(default=0.05, gt=0, le=1e12)
    """η at the start."""
    weight_decay: Real = Field(default=5e-4, ge=0, le=1e6)
    """λ of what `decays` names."""
    decays: Literal["all", "weights"] = "all"
    """The parameters that weight decay acts on: all, or weights only, neither biases nor normalisation."""
    feature_decay: FeatureDecay | None = None
    """Features that decay in place of the weights up to them; weight decay is left for what lies behind."""
    clip_norm: Real | None = Field(default=None, gt=0, le=1e12)
    """Longest gradient of a step, without weight decay's part; a longer one is scaled down. null: any."""
    epochs: Int = Field(default=120, ge=1, le=100_000)
    """Passes over the images."""
    batch_size: Int = Field(default=128, ge=1, le=65_536)
    """Images of a step."""
    milestones: Epochs = (40, 80)
    """Epochs at whose beginning the learning rate is cut."""
    gamma: Real = Field(default=0.1, gt=0, le=1)
    """Factor of the learning rate at each milestone."""
    schedule: AnySchedule | None = None
    """The schedule of the learning rate; null: by `milestones` and `gamma`."""
    label_smoothing: Real = Field(default=0.0, ge=0, lt=1)
    """Label smoothing of cross-entropy: another name for `loss.label_smoothing`."""

    make: ClassVar[Reference]
    decoupled: ClassVar[bool] = False
    """Whether weight decay is apart from the gradient, so that the objective need not be stationary at rest."""
    copies: ClassVar[int] = 4
    """Numbers that are held for each weight: itself, its gradient, its velocity, and a transient copy (checkpoint)."""
    shrinks_unused: ClassVar[bool] = True
    """Whether weights without a gradient are all scaled by the same number, so that they can be left out and counted
    (see `ncore.network.models.cut_dead_taps`)."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The optimizer in a caption."""

    @property
    def rates(self) -> LearningRateSchedule:
        """The schedule, given or by `milestones` and `gamma`."""
        return self.schedule or Milestones(milestones=self.milestones, gamma=self.gamma)

    @model_validator(mode="after")
    def _schedule_is_said_once(self) -> Self:
        fields = type(self).model_fields
        said = [name for name in ("milestones", "gamma") if getattr(self, name) != fields[name].default]
        if self.schedule is not None and said:
            raise ValueError(f"{said[0]}: may not be given beside optimizer.schedule, which says it")
        if self.rates.warmup_epochs >= self.epochs:
            raise ValueError(f"schedule.warmup_epochs: must be below epochs = {self.epochs}")
        return self


class Sgd(NetworkOptimizer):
    """v ← μv + ∇ + λθ, θ ← θ − ηv."""

    kind: Literal["sgd"] = "sgd"
    """Gradient descent on mini-batches."""
    momentum: Momentum = 0.9
    """μ of the heavy ball."""
    nesterov: StrictBool = False
    """Whether the momentum is Nesterov's."""

    make = "ncore.network.optimizers:sgd"

    @property
    def words(self) -> str:
        nesterov = "Nesterov momentum" if self.nesterov else "momentum"
        return f"SGD, step {self.learning_rate:g}, {nesterov} {self.momentum:g}, weight decay {self.weight_decay:g}"


class Sgdw(NetworkOptimizer):
    """SGD whose weight decay passes the momentum by: v ← μv + ∇, θ ← (1 − ηλ)θ − ηv (Loshchilov & Hutter 2019)."""

    kind: Literal["sgdw"] = "sgdw"
    """SGD with decoupled weight decay."""
    momentum: Momentum = 0.9
    """μ of the heavy ball."""
    nesterov: StrictBool = False
    """Whether the momentum is Nesterov's."""

    make = "ncore.network.optimizers:sgdw"
    decoupled = True

    @property
    def words(self) -> str:
        return f"SGDW, step {self.learning_rate:g}, momentum {self.momentum:g}, weight decay {self.weight_decay:g}"


class Adam(NetworkOptimizer):
    """Adam (Kingma & Ba 2015); weight decay is part of the gradient."""

    kind: Literal["adam"] = "adam"
    """Adam."""
    learning_rate: Real = Field(default=1e-3, gt=0, le=1e12)
    """η at the start."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """Decay of the averages of gradient and square."""
    epsilon: Real = Field(default=1e-8, gt=0, le=1)
    """Added to the root of the square."""

    make = "ncore.network.optimizers:adam"
    copies = 5
    shrinks_unused = False

    @property
    def words(self) -> str:
        return f"Adam, step {self.learning_rate:g}, weight decay {self.weight_decay:g}"


class AdamW(NetworkOptimizer):
    """Adam whose weight decay passes its averages by: θ ← (1 − ηλ)θ − η Adam(∇) (Loshchilov & Hutter 2019)."""

    kind: Literal["adamw"] = "adamw"
    """Adam with decoupled weight decay."""
    learning_rate: Real = Field(default=1e-3, gt=0, le=1e12)
    """η at the start."""
    betas: tuple[Momentum, Momentum] = (0.9, 0.999)
    """Decay of the averages of gradient and square."""
    epsilon: Real = Field(default=1e-8, gt=0, le=1)
    """Added to the root of the square."""

    make = "ncore.network.optimizers:adamw"
    decoupled = True
    copies = 5

    @property
    def words(self) -> str:
        return f"AdamW, step {self.learning_rate:g}, weight decay {self.weight_decay:g}"


OPTIMIZERS: dict[str, type[NetworkOptimizer]] = {"sgd": Sgd, "sgdw": Sgdw, "adam": Adam, "adamw": AdamW}
"""The optimizers of networks by their `kind`."""

AnyNetworkOptimizer = Annotated[NetworkOptimizer, ByKind(OPTIMIZERS, default="sgd")]
