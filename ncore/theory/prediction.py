"""The prediction as users get it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, computed_field

from ncore.spec import UfmSpec
from ncore.theory.boundaries import Threshold

__all__ = ["BetterKnown", "Prediction", "Threshold", "is_balanced", "unknown"]

STRUCTURES = {"orthogonal_frame": "OF", "simplex_etf": "ETF", "k_gon": "K-gon"}
"""Short names of regimes, for labels; the others go by their own."""
BEST_KNOWN = "best known"
"""The name of `better_known.objective`."""


class BetterKnown(BaseModel):
    """The lowest value that is known where it is below `objective`, or where no minimum is proven: an upper bound."""

    model_config = ConfigDict(frozen=True)
    objective: float
    structure: str
    source: str


class Prediction(BaseModel):
    """The predicted minimiser. Norms are squared; per class where classes differ, else one number for all.

    `logit`: W H̄ of a class minus that of another, without the bias. `singular_values`: of W H̄ in units of its target,
    largest first (K of them). `rank`: how many of them are not zero. `gram`: H̄_jᵀH̄_j (K x K) where it is unique and not
    too large to write out; `weight_gram`: W Wᵀ and `logits`: W H̄ (K x K; t x t and t x K for t targets), without scale
    and bias, likewise. `levels`: what the series of the metrics tend to, {metric: {layer, or "": value}}.
    `global_minimum`: proven, disproven (`better_known` has a lower value), or not known. `certificate`: how far a
    minimum that was solved for is from the conditions of a global one, relative. `boundaries`: where theory changes its
    answer. `limits`: geometries that the minimum tends to, by name, each like `levels`. `objective_name`: what
    `objective` is called in pictures, "f*" for a proven minimum only; `matrix_name`: what the matrices are.
    """

    model_config = ConfigDict(frozen=True)
    regime: str
    objective: float | None = None
    threshold: Threshold | None = None
    feature_norm_sq: dict[str, float | list[float]] | None = None
    weight_norm_sq: list[float] | None = None
    bias: float | list[float] | None = None
    logit: float | list[float] | None = None
    singular_values: list[float] | None = None
    rank: int | None = None
    gram: dict[str, list[list[float]]] | None = None
    weight_gram: list[list[float]] | None = None
    logits: list[list[float]] | None = None
    levels: dict[str, dict[str, float]] = Field(default_factory=dict)
    global_minimum: bool | None = None
    better_known: BetterKnown | None = None
    certificate: float | None = None
    boundaries: list[Threshold] = Field(default_factory=list)
    limits: dict[str, dict[str, dict[str, float]]] = Field(default_factory=dict)
    notes: list[str] = Field(default_factory=list)

    @property
    def structure(self) -> str:
        """The structure that is predicted, in a few letters."""
        return STRUCTURES.get(self.regime, self.regime.replace("_", " "))

    @computed_field  # type: ignore[prop-decorator] # as pydantic documents it
    @property
    def objective_name(self) -> str:
        """f* for the proven minimum, inf f where it is not attained, else the f of a structure."""
        if self.global_minimum:
            return "f*"
        return "inf f" if self.regime == "unregularised" else f"f of {self.structure}"

    def name_of(self, metric: str) -> str:
        """The name of a predicted value, wherever it is drawn or written: `objective_name`; of other metrics
        "predicted", or the structure they belong to where that is not proven to be the minimum."""
        if metric == "objective":
            return self.objective_name
        return "predicted" if self.global_minimum or self.objective is None else self.structure

    @computed_field  # type: ignore[prop-decorator]
    @property
    def matrix_name(self) -> str:
        """What the matrices are called: as the values of any metric but the objective are."""
        return self.name_of("gram")

    @property
    def matrices(self) -> dict[str, list[list[float]]]:
        """By the names of the geometry at a step: H̄_jᵀH̄_j by level, W Wᵀ as `W`, W H̄ as `W H`; those that are known."""
        known = {"W": self.weight_gram, "W H": self.logits}
        return {**(self.gram or {}), **{name: one for name, one in known.items() if one is not None}}


def unknown(note: str, **known: object) -> Prediction:
    return Prediction.model_validate({"regime": "not_known", "notes": [note], **known})


def is_balanced(spec: UfmSpec) -> bool:
    return len(set(spec.model.class_sizes)) == 1
