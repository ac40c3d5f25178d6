"""The one description of an experiment: body of the request, stored row, worker's input, command line's file.

Imports no torch, so that the API can check a spec without it. Symbols follow Tirer & Bruna (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import (
    Discriminator,
    Field,
    StrictBool,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from ncore.kinds.data_sets import Data
from ncore.kinds.fields import MAX_LEVELS, TEXT, Int, Label, Part, Real, number_or_list
from ncore.kinds.networks import NETWORKS, AnyNetworkModel, ConvNetModel, MlpModel, NetworkModel, ResNetModel

__all__ = [
    "BaseSpec",
    "ConvNetModel",
    "Data",
    "ExperimentSpec",
    "GradientDescent",
    "MeasureEpochs",
    "MeasureSteps",
    "MlpModel",
    "NetworkModel",
    "NetworkSpec",
    "Part",
    "Regularization",
    "ResNetModel",
    "Sgd",
    "SpecError",
    "UfmModel",
    "UfmSpec",
    "field_errors",
    "parse_spec",
    "with_changes",
]

MAX_SEEDS = 1024
MAX_STEPS = 10**9


class SpecError(ValueError):
    """A spec that is refused; `errors` holds one {"field", "message"} for each fault, `field` a dotted path."""

    def __init__(self, errors: list[dict[str, str]]) -> None:
        super().__init__("; ".join(f"{error['field']}: {error['message']}" for error in errors))
        self.errors = errors


Count = Annotated[Int, Field(ge=1, le=10**8)]
Weight = Annotated[Real, Field(ge=0, le=1e6)]
Seed = Annotated[Int, Field(ge=0, lt=2**63)]
Device = Annotated[str, Field(pattern=r"^(auto|cpu|cuda(:\d{1,3})?)$")]
PerClass = Annotated[
    Annotated[Count, Tag("number")] | Annotated[tuple[Count, ...], Tag("list")],
    Discriminator(number_or_list),
]
PerLayer = Annotated[
    Annotated[Weight, Tag("number")] | Annotated[tuple[Weight, ...], Field(min_length=1), Tag("list")],
    Discriminator(number_or_list),
]


class UfmModel(Part):
    """Free features H₁ (d_1 x N) under M weight layers; `widths` is [d_1, …, d_M]."""

    kind: Literal["ufm"] = "ufm"
    classes: Int = Field(ge=2, le=10_000)
    samples_per_class: PerClass
    widths: tuple[Annotated[Int, Field(ge=1, le=65_536)], ...] = Field(min_length=1, max_length=MAX_LEVELS)
    activation: Literal["identity", "relu"] = "identity"
    bias: StrictBool = False
    init_scale: Real = Field(default=1.0, gt=0, le=1e6)

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


class Regularization(Part):
    """λ_{W_1} … λ_{W_M} (one number serves for all), λ_H and λ_b of the objective."""

    weights: PerLayer = 0.005
    features: Weight = 0.005
    bias: Weight = 0.0


class GradientDescent(Part):
    """Full-batch gradient descent, optionally with heavy-ball momentum (v ← μv + ∇, θ ← θ − ηv)."""

    kind: Literal["gd"] = "gd"
    learning_rate: Real = Field(default=0.1, gt=0, le=1e12)
    momentum: Real = Field(default=0.0, ge=0, lt=1)
    steps: Int = Field(default=20_000, ge=1, le=MAX_STEPS)
    form: Literal["auto", "full", "sample_free"] = "auto"


class Sgd(Part):
    kind: Literal["sgd"] = "sgd"
    learning_rate: Real = Field(default=0.05, gt=0, le=1e12)
    momentum: Real = Field(default=0.9, ge=0, lt=1)
    nesterov: StrictBool = False
    weight_decay: Real = Field(default=5e-4, ge=0, le=1e6)
    epochs: Int = Field(default=120, ge=1, le=100_000)
    batch_size: Int = Field(default=128, ge=1, le=65_536)
    milestones: tuple[Annotated[Int, Field(ge=1)], ...] = (40, 80)
    gamma: Real = Field(default=0.1, gt=0, le=1)
    label_smoothing: Real = Field(default=0.0, ge=0, lt=1)


class MeasureSteps(Part):
    """Step 0, the last step, and so many between them."""

    points: Int = Field(default=200, ge=2, le=100_000)
    spacing: Literal["log", "linear"] = "log"


class MeasureEpochs(Part):
    every_epochs: Int = Field(default=1, ge=1)


def _measure_tag(value: Any) -> str:
    epochs = "every_epochs" in value if isinstance(value, Mapping) else isinstance(value, MeasureEpochs)
    return "epochs" if epochs or value == {} else "steps"


Schedule = Annotated[
    Annotated[MeasureEpochs, Tag("epochs")] | Annotated[MeasureSteps, Tag("steps")],
    Discriminator(_measure_tag),
]


class BaseSpec(Part):
    name: str = Field(default="", max_length=200, pattern=TEXT)
    tags: tuple[Label, ...] = Field(default=(), max_length=32)
    loss: Literal["mse", "cross_entropy"] = "mse"
    seeds: tuple[Seed, ...] = Field(default=(0,), min_length=1, max_length=MAX_SEEDS)
    device: Device = "auto"
    priority: Int = Field(default=0, ge=-100, le=100)

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: must not repeat")
        return self


class UfmSpec(BaseSpec):
    model: UfmModel
    regularization: Regularization = Regularization()
    optimizer: GradientDescent = GradientDescent()
    measure: MeasureSteps = MeasureSteps()
    precision: Literal["float64", "float32"] = "float64"

    def steps_per_seed(self, total: int) -> int:
        """Steps of one seed, of the run's `total`: all seeds are trained at once."""
        return total

    @property
    def weight_decays(self) -> tuple[float, ...]:
        """λ_{W_1} … λ_{W_M}, one for each layer."""
        weights = self.regularization.weights
        return (weights,) * len(self.model.widths) if isinstance(weights, float | int) else weights

    @model_validator(mode="after")
    def _parts_fit(self) -> Self:
        levels, weights = len(self.model.widths), self.regularization.weights
        if isinstance(weights, tuple) and len(weights) != levels:
            raise ValueError(
                f"regularization.weights: has {len(weights)} entries, "
                f"must be a number or a list of len(model.widths) = {levels}"
            )
        if self.regularization.bias and not self.model.bias:
            raise ValueError("regularization.bias: must be 0 while model.bias is false")
        if self.optimizer.form == "sample_free" and not self.linear_mse:
            raise ValueError("optimizer.form: sample_free is exact only for activation identity with loss mse")
        return self

    @property
    def sample_free(self) -> bool:
        """Whether it is trained without the samples: asked for by name, or exact and the smaller form."""
        if self.optimizer.form != "auto":
            return self.optimizer.form == "sample_free"
        return self.linear_mse and self.model.classes + self.model.widths[0] < sum(self.model.class_sizes)

    @property
    def linear_mse(self) -> bool:
        return self.model.activation == "identity" and self.loss == "mse"


class NetworkSpec(BaseSpec):
    model: AnyNetworkModel
    data: Data
    optimizer: Sgd = Sgd()
    measure: Schedule = MeasureEpochs()
    precision: Literal["float32", "tf32", "bfloat16", "float64"] = "float32"

    def steps_per_seed(self, total: int) -> int:
        """Steps of one seed, of the run's `total`: seeds are trained one after another."""
        return total // len(self.seeds)

    @model_validator(mode="after")
    def _network_fits_the_images(self) -> Self:
        model = self.model
        if self.optimizer.batch_size < model.least_batch:
            least = f"optimizer.batch_size: must be at least {model.least_batch}"
            raise ValueError(f"{least}, because batch normalisation needs a spread")
        if self.data.image_size < model.least_image_size:
            least = f"data.image_size: must be at least {model.least_image_size}"
            raise ValueError(f"{least}, because each of {len(model.stages)} stages makes its maps smaller")
        return self


UFM = "ufm"


def _kind(value: Any) -> str | None:
    """`ufm` or `network`, by model.kind; None (which pydantic reports) when it is neither."""
    if isinstance(value, BaseSpec):
        return "ufm" if isinstance(value, UfmSpec) else "network"
    model = value.get("model") if isinstance(value, Mapping) else None
    kind = model.get("kind", UFM) if isinstance(model, Mapping) else None
    if kind == UFM:
        return "ufm"
    return "network" if isinstance(kind, str) and kind in NETWORKS else None


ExperimentSpec = Annotated[
    Annotated[UfmSpec, Tag("ufm")] | Annotated[NetworkSpec, Tag("network")], Discriminator(_kind)
]
_adapter: TypeAdapter[UfmSpec | NetworkSpec] = TypeAdapter(ExperimentSpec)


def parse_spec(body: Any) -> UfmSpec | NetworkSpec:
    """The spec in `body` (what a JSON document holds). Raises SpecError naming every faulty field."""
    if not isinstance(body, Mapping):
        raise SpecError([{"field": "", "message": f"must be an object, not {type(body).__name__}"}])
    if _kind(body) is None:
        raise SpecError([_kind_error(body.get("model"))])
    try:
        return _adapter.validate_python(body)
    except ValidationError as error:
        raise SpecError(field_errors(error)) from None


def _kind_error(model: Any) -> dict[str, str]:
    if not isinstance(model, Mapping):
        return {"field": "model", "message": "must be given: an object with a `kind`"}
    allowed = ", ".join((UFM, *NETWORKS))
    return {"field": "model.kind", "message": f"must be one of {allowed}; got {model.get('kind')!r}"}


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """pydantic's findings as {"field", "message"}: dotted paths as in the body, the value that was refused."""
    found = []
    for item in error.errors(include_url=False):
        message, path = item["msg"].removeprefix("Value error, "), _path(item["loc"])
        if item["type"] == "value_error" and ": " in message and " " not in message.split(": ")[0]:
            field, message = message.split(": ", 1)  # raised by a model's validator, which names the field itself
            path = f"{path}.{field}" if path else field
        elif item["type"] not in ("missing", "extra_forbidden"):
            message = f"{message}; got {_short(item['input'])}"
        elif item["type"] == "extra_forbidden":
            message = "unknown field"
        found.append({"field": path, "message": message})
    return found


_TAGS = {"ufm", "network", "epochs", "steps", "number", "list"}
_UNIONS = {"measure", "samples_per_class", "weights"}


def _path(loc: tuple[int | str, ...]) -> str:
    """Drops the tags that pydantic puts into the path for members of a union."""
    tag = [part in _TAGS and (i == 0 or loc[i - 1] in _UNIONS) for i, part in enumerate(loc)]
    return ".".join(str(part) for part, is_tag in zip(loc, tag, strict=True) if not is_tag)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def with_changes(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with dotted paths set, e.g. {"optimizer.steps": 500}. Raises SpecError for a path through a non-object."""
    changed = {key: dict(value) if isinstance(value, Mapping) else value for key, value in body.items()}
    for path, value in changes.items():
        *parents, last = path.split(".")
        inner = changed
        for parent in parents:
            if not isinstance(inner.get(parent, {}), Mapping):
                raise SpecError([{"field": path, "message": f"{parent} is not an object"}])
            inner[parent] = dict(inner.get(parent, {}))
            inner = inner[parent]
        inner[last] = value
    return changed
