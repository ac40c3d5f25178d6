"""The unconstrained features models: free features under weight layers, and their variants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, StrictBool, Tag, model_validator

from ncore.kinds.fields import MAX_CLASSES, MAX_LEVELS, Entries, Int, Part, Real, number_or_list

MAX_NOISY_CLASSES = 1000
"""Labels are dealt out class by class: K² counts."""
Count = Annotated[Int, Field(ge=1, le=10**8)]
PerClass = Annotated[
    Annotated[Count, Tag("number")] | Annotated[tuple[Count, ...], Entries(2, MAX_CLASSES), Tag("list")],
    Discriminator(number_or_list),
]
Norm = Annotated[Real, Field(gt=0, le=1e6)]
Target = Annotated[Real, Field(ge=-1e6, le=1e6)]
TargetRow = Annotated[tuple[Target, ...], Entries(2, MAX_CLASSES)]


def _is(default: Any) -> Callable[[Any], bool]:
    """A test for fields that a written spec leaves out at their default, since older specs have none of them."""
    return lambda value: value == default


class UfmModel(Part):
    """Free features H₁ (d_1 x N) under M weight layers; `widths` is [d_1, …, d_M]."""

    kind: Literal["ufm"] = "ufm"
    """An unconstrained features model."""
    classes: Int = Field(ge=2, le=MAX_CLASSES)
    """K."""
    samples_per_class: PerClass
    """n, or a list of n_1 … n_K."""
    widths: Annotated[tuple[Annotated[Int, Field(ge=1, le=65_536)], ...], Entries(1, MAX_LEVELS)]
    """[d_1, …, d_M]: of the free features first, then of each layer between."""
    activation: Literal["identity", "relu"] = "identity"
    """The activation between the layers."""
    bias: StrictBool = False
    """Whether the last layer has a bias."""
    init_scale: Real = Field(default=1.0, gt=0, le=1e6)
    """Standard deviation of the start."""
    classifier: Literal["free", "etf"] = Field(
        default="free", exclude_if=_is("free"), description="etf: W_M is fixed as a simplex ETF"
    )
    classifier_norm: Norm | None = Field(
        default=None, exclude_if=_is(None), description="length of the rows of a fixed classifier; 1 if null"
    )
    normalized: StrictBool = Field(
        default=False,
        exclude_if=_is(False),
        description="features and rows of W of norm 1, Riemannian gradient descent",
    )
    temperature: Norm | None = Field(
        default=None, exclude_if=_is(None), description="τ of the logits τ w·h of normalized features; 1 if null"
    )
    targets: Annotated[tuple[TargetRow, ...], Entries(1, MAX_CLASSES)] | None = Field(
        default=None, exclude_if=_is(None), description="t rows of K numbers: a target column for each class"
    )
    label_noise: Real = Field(
        default=0.0, ge=0, lt=1, exclude_if=_is(0.0), description="share of each class whose label is another's"
    )

    @property
    def row_norm(self) -> float:
        """Length of the rows of a fixed classifier."""
        return 1.0 if self.classifier_norm is None else self.classifier_norm

    @property
    def logit_scale(self) -> float:
        """Factor of the logits: τ of normalized features, else 1."""
        return 1.0 if self.temperature is None else self.temperature

    @property
    def words(self) -> str:
        """The variant in a caption, with a comma before it; nothing for the plain model."""
        parts = []
        if self.classifier == "etf":
            parts.append(f"W_M fixed as an ETF, rows of norm {self.row_norm:g}")
        if self.normalized:
            parts.append(f"features and rows of W of norm 1, τ = {self.logit_scale:g}")
        if self.targets is not None:
            parts.append(f"given targets of {self.outputs} row{'' if self.outputs == 1 else 's'}")
        if self.label_noise:
            parts.append(f"{self.label_noise:.3g} of the labels flipped")
        return "".join(f", {part}" for part in parts)

    @property
    def outputs(self) -> int:
        """Rows of W_M: t where targets are given, else K."""
        return self.classes if self.targets is None else len(self.targets)

    @property
    def given_labels(self) -> tuple[tuple[int, ...], ...]:
        """Counts (K x K): how many samples of each true class were given which label.

        The last round(label_noise n_k) samples of class k are dealt to the classes k+1, k+2, … in turn.
        """
        counts = [[0] * self.classes for _ in range(self.classes)]
        for k, n in enumerate(self.class_sizes):
            flipped = round(self.label_noise * n)
            counts[k][k] = n - flipped
            whole, rest = divmod(flipped, self.classes - 1)
            for step in range(1, self.classes):
                counts[k][(k + step) % self.classes] += whole + (step <= rest)
        return tuple(tuple(row) for row in counts)

    @model_validator(mode="after")
    def _noise_can_be_dealt(self) -> Self:
        if self.label_noise and self.classes > MAX_NOISY_CLASSES:
            raise ValueError(f"label_noise: must be 0 with more than {MAX_NOISY_CLASSES} model.classes")
        return self

    @property
    def given_sizes(self) -> tuple[int, ...]:
        """Samples that were given each label; n_k without label noise."""
        return tuple(sum(row) for row in zip(*self.given_labels, strict=True)) if self.label_noise else self.class_sizes

    @property
    def class_sizes(self) -> tuple[int, ...]:
        """n_k for k = 1 … K."""
        n = self.samples_per_class
        return (n,) * self.classes if isinstance(n, int) else n

    @model_validator(mode="after")
    def _one_size_for_each_class(self) -> Self:
        if not isinstance(self.samples_per_class, int) and len(self.samples_per_class) != self.classes:
            raise ValueError(
                f"samples_per_class: has {len(self.samples_per_class)} entries, "
                f"must be a number or a list of classes = {self.classes}"
            )
        return self

    @model_validator(mode="after")
    def _targets_fit(self) -> Self:
        for i, row in enumerate(self.targets or ()):
            if len(row) != self.classes:
                raise ValueError(
                    f"targets.{i}: has {len(row)} numbers, must have model.classes = {self.classes} of them"
                )
        return self

    @model_validator(mode="after")
    def _variants_fit(self) -> Self:
        if self.classifier_norm is not None and self.classifier == "free":
            raise ValueError("classifier_norm: may be given only while model.classifier is etf")
        if self.temperature is not None and not self.normalized:
            raise ValueError("temperature: may be given only while model.normalized is true")
        if self.classifier == "etf" and self.widths[-1] < self.classes - 1:
            raise ValueError(
                f"widths: the last is {self.widths[-1]}, must be at least model.classes − 1 = {self.classes - 1} "
                "while model.classifier is etf"
            )
        if self.normalized and (len(self.widths) > 1 or self.bias):
            field, due = ("widths", "of one level") if len(self.widths) > 1 else ("bias", "false")
            raise ValueError(f"{field}: must be {due} while model.normalized is true")
        if self.targets is not None or self.normalized:
            other = "targets" if self.targets is not None else "normalized"
            if self.classifier == "etf":
                raise ValueError(f"classifier: must be free while model.{other} is given")
            if self.label_noise:
                raise ValueError(f"label_noise: must be 0 while model.{other} is given")
        if self.targets is not None and self.normalized:
            raise ValueError("normalized: must be false while model.targets is given")
        return self
