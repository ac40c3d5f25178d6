"""The losses: for each one record with its fields and all that is said of it.

A loss is named in a spec (`"mse"`) or given with its fields (`{"kind": "focal", "gamma": 2}`). To add one: a subclass
of Loss, decorated by `known`. Imports no torch before a loss is computed.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Protocol, TypeVar

from pydantic import Field, GetJsonSchemaHandler
from pydantic_core import CoreSchema, core_schema

from ncore.faults import shortened
from ncore.kinds.fields import Part, Real

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Profile:
    """A loss along logits a P e_k: φ and φ′ as functions of the gap a between right class and others, for K classes."""

    classes: int
    value: Callable[[float], float]
    slope: Callable[[float], float]
    convex: bool


Operation = Callable[[], object]


class Bound(Protocol):
    """The arithmetic that a run uses (`ncore.ufm.operations`)."""

    def add_multiple(self, target: Tensor, other: Tensor, factor: float) -> Operation:
        """target ← target + factor other, both of one shape."""


class Loss(Part):
    """The data term of an objective. Tensors hold the classes along dimension `dim`; targets are of the same shape."""

    kind: str
    named: ClassVar[bool] = True
    """Whether the kind alone, as a text, is enough in a spec."""
    linear_gradient: ClassVar[bool] = False
    """Whether the gradient is linear in the logits: then samples of a class move by one matrix (sample-free form)."""
    sums_to_zero: ClassVar[bool] = True
    """Whether its gradient sums to zero over the classes: then NC0 holds (`ncore.theory.nc0`)."""

    @property
    @abstractmethod
    def words(self) -> str:
        """The words for it in a caption."""

    def targets(self, one_hot: Tensor, dim: int) -> Tensor:  # noqa: ARG002 (those that smooth need it)
        """The targets of the given labels, classes along `dim`."""
        return one_hot

    @abstractmethod
    def profile(self, classes: int, kappa: float = 1.0) -> Profile:
        """Along a simplex ETF; κ = λ_b/(1 + λ_b) is of interest to MSE only."""

    @abstractmethod
    def values(self, logits: Tensor, targets: Tensor, dim: int) -> Tensor:
        """The data term of each sample; a UFM's objective has their mean."""

    @abstractmethod
    def residual(self, logits: Tensor, targets: Tensor, dim: int) -> Tensor:
        """The derivative of each sample's data term by its logits."""

    @classmethod
    def together(cls, losses: Sequence[Loss]) -> Loss:
        """One loss for replicas (S, K, C) of which each has its own; by default they differ in the targets at most."""
        return losses[0]

    def operations(self, bound: Bound, logits: Tensor, targets: Tensor) -> list[Operation]:  # noqa: ARG002
        """Operations that turn a buffer of logits (…, K, C) into the residual, in place; `bound` has the arithmetic."""
        return [lambda: logits.copy_(self.residual(logits, targets, -2))]

    def of_network(self, logits: Tensor, targets: Tensor) -> Tensor:
        """The data term of each sample (N) from (N, K), as networks are trained with it."""
        return self.values(logits, targets, 1)


LOSSES: dict[str, type[Loss]] = {}
L = TypeVar("L", bound=type[Loss])


def known(loss: L) -> L:
    """Enters a loss into LOSSES, by the default of its kind."""
    LOSSES[loss.__pydantic_fields__["kind"].default] = loss
    return loss


@known
class Mse(Loss):
    """½‖z − y‖² per sample; a network's is the mean over classes, 2/K of that (else its usual step diverges)."""

    kind: Literal["mse"] = "mse"
    """Mean squared error."""
    linear_gradient = True
    sums_to_zero = False

    @property
    def words(self) -> str:
        return "MSE"

    def profile(self, classes: int, kappa: float = 1.0) -> Profile:
        share = (classes - 1) / classes
        return Profile(
            classes,
            lambda a: (share * (1 - a) ** 2 + kappa / classes) / 2,
            lambda a: share * (a - 1),
            convex=True,
        )

    def values(self, logits: Tensor, targets: Tensor, dim: int) -> Tensor:
        return (logits - targets).square().sum(dim) / 2

    def residual(self, logits: Tensor, targets: Tensor, dim: int) -> Tensor:  # noqa: ARG002
        return logits - targets

    def operations(self, bound: Bound, logits: Tensor, targets: Tensor) -> list[Operation]:
        return [bound.add_multiple(logits, targets, -1.0)]

    def of_network(self, logits: Tensor, targets: Tensor) -> Tensor:
        return (logits - targets).square().mean(1)


@known
class CrossEntropy(Loss):
    """−⟨q, log softmax z⟩ with q = (1 − α) e_k + α/K, α the label smoothing (as torch smooths)."""

    kind: Literal["cross_entropy"] = "cross_entropy"
    """Cross-entropy."""
    label_smoothing: Real = Field(default=0.0, ge=0, lt=1)
    """α: the share of the target that is spread over all classes."""

    @property
    def words(self) -> str:
        return "cross-entropy" + (f", label smoothing {self.label_smoothing:g}" if self.label_smoothing else "")

    def targets(self, one_hot: Tensor, dim: int) -> Tensor:
        return one_hot * (1 - self.label_smoothing) + self.label_smoothing / one_hot.shape[dim]

    def profile(self, classes: int, kappa: float = 1.0) -> Profile:  # noqa: ARG002
        """log(e^a + K − 1) − (1 − α + α/K) a."""
        share = self.label_smoothing * (classes - 1) / classes
        return Profile(
            classes,
            lambda a: math.log1p((classes - 1) * math.exp(-a)) + share * a,
            lambda a: share - _miss(a, classes),
            convex=True,
        )

    def values(self, logits: Tensor, targets: Tensor, dim: int) -> Tensor:
        return -(targets * logits.log_softmax(dim)).sum(dim)

    def residual(self, logits: Tensor, targets: Tensor, dim: int) -> Tensor:
        return logits.softmax(dim) - targets

    def operations(self, bound: Bound, logits: Tensor, targets: Tensor) -> list[Operation]:
        import torch

        softmax = partial(torch.softmax, logits, logits.ndim - 2, out=logits)
        return [softmax, bound.add_multiple(logits, targets, -1.0)]

    def of_network(self, logits: Tensor, targets: Tensor) -> Tensor:
        from torch.nn import functional

        return functional.cross_entropy(logits, targets, reduction="none")


@known
class Focal(Loss):
    """(1 − p)^g (−log p), p the probability of the right class (Lin et al. 2017); cross-entropy for g = 0."""

    kind: Literal["focal"] = "focal"
    """Focal loss."""
    gamma: Real = Field(default=2.0, ge=0, le=100)
    """γ: how much confident samples count less."""
    named = False

    @property
    def words(self) -> str:
        return f"focal loss, γ = {self.gamma:g}"

    def profile(self, classes: int, kappa: float = 1.0) -> Profile:  # noqa: ARG002
        gamma = self.gamma

        def value(a: float) -> float:
            return _miss(a, classes) ** gamma * math.log1p((classes - 1) * math.exp(-a))

        def slope(a: float) -> float:
            q, log_p = _miss(a, classes), -math.log1p((classes - 1) * math.exp(-a))
            return q**gamma * (gamma * (1 - q) * log_p - q)

        return Profile(classes, value, slope, convex=gamma == 0)

    @classmethod
    def together(cls, losses: Sequence[Loss]) -> Loss:
        import torch

        gammas = [loss.gamma for loss in losses if isinstance(loss, Focal)]
        if len(set(gammas)) == 1:
            return losses[0]
        return cls._of_replicas(torch.tensor(gammas, dtype=torch.float64)[:, None, None])

    @classmethod
    def _of_replicas(cls, gamma: Tensor) -> Focal:
        return cls.model_construct(gamma=gamma)  # type: ignore[arg-type] # one for each

    def operations(self, bound: Bound, logits: Tensor, targets: Tensor) -> list[Operation]:
        gamma = self._power(logits)  # where the logits are, before a step is recorded for a GPU
        placed = self if isinstance(gamma, int | float) else self._of_replicas(gamma)
        return super(Focal, placed).operations(bound, logits, targets)

    def _power(self, like: Tensor) -> float | Tensor:
        """γ, of replicas each one's own (S, 1, 1)."""
        return self.gamma if isinstance(self.gamma, int | float) else self.gamma.to(like)

    def values(self, logits: Tensor, targets: Tensor, dim: int) -> Tensor:
        log_shares = logits.log_softmax(dim)
        miss = (log_shares.exp() * (1 - targets)).sum(dim, keepdim=True)  # 1 − p, with its digits where p is near 1
        return (-(miss ** self._power(miss)) * (targets * log_shares).sum(dim, keepdim=True)).squeeze(dim)

    def residual(self, logits: Tensor, targets: Tensor, dim: int) -> Tensor:
        """[q^g − g p q^{g−1} log p] (softmax z − y) with q = 1 − p."""
        log_shares = logits.log_softmax(dim)
        shares = log_shares.exp()
        miss = (shares * (1 - targets)).sum(dim, keepdim=True)
        log_p = (targets * log_shares).sum(dim, keepdim=True)
        per_miss = (log_p / miss).where(miss > 0, -1.0)  # log p/q tends to −1
        gamma = self._power(miss)
        factor = miss**gamma * (1 - gamma * log_p.exp() * per_miss)
        return factor * (shares - targets)


def _miss(a: float, classes: int) -> float:
    """1 − p at the gap a."""
    rest = (classes - 1) * math.exp(-a)
    return rest / (1 + rest)


def read_loss(value: Any) -> str | Loss:
    """A loss as specs hold it: its name where that says all, else the record. Raises ValueError."""
    names = [kind for kind, loss in LOSSES.items() if loss.named]
    if isinstance(value, str) and value in names:
        return value
    if isinstance(value, Mapping):
        kind = value.get("kind")
        if not isinstance(kind, str) or kind not in LOSSES:
            raise ValueError(f"kind: must be one of {', '.join(LOSSES)}; got {shortened(kind)}")
        value = LOSSES[kind].model_validate(_fitting(value, LOSSES[kind]))
    if not isinstance(value, Loss):
        raise ValueError(  # noqa: TRY004 (what a validator has to raise)
            f"must be {', '.join(names)}, or an object with a kind ({', '.join(LOSSES)})"
        )
    return value.kind if value.named and value == type(value)(kind=value.kind) else value


def _fitting(value: Mapping[str, Any], loss: type[Loss]) -> Mapping[str, Any]:
    """The fields of a loss. Raises ValueError for a field that only another kind has."""
    for field in set(value) - set(loss.model_fields):
        owners = [kind for kind, other in LOSSES.items() if field in other.model_fields]
        if owners:
            raise ValueError(f"{field}: is of loss.kind {', '.join(owners)}, not of loss.kind {value['kind']}")
    return value


def loss_record(loss: str | Loss) -> Loss:
    return loss if isinstance(loss, Loss) else LOSSES[loss](kind=loss)


class _AsLoss:
    """Pydantic's view of a loss: read by `read_loss`, written as a name or an object."""

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: Any) -> CoreSchema:
        written = core_schema.plain_serializer_function_ser_schema(
            lambda loss: loss if isinstance(loss, str) else loss.model_dump(mode="json")
        )
        return core_schema.no_info_plain_validator_function(read_loss, serialization=written)

    @classmethod
    def __get_pydantic_json_schema__(cls, _core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        names = {"type": "string", "enum": [kind for kind, loss in LOSSES.items() if loss.named]}
        return {"anyOf": [names, *(handler(loss.__pydantic_core_schema__) for loss in LOSSES.values())]}


LossField = Annotated[str | Loss, _AsLoss]
