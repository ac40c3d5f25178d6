"""The one description of an experiment: body of the request, stored row, worker's input, command line's file.

Imports no torch, so that the API can check a spec without it. Symbols follow Tirer & Bruna (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator

from ncore.faults import SpecError, fault_of, shortened
from ncore.kinds.data_sets import Data
from ncore.kinds.external import EXTERNAL, ExternalModel
from ncore.kinds.fields import MAX_LEVELS, Entries, Int, Label, Matching, Part, Plain, Real, number_or_list
from ncore.kinds.foreign import PluginModel, TimmModel, TorchvisionModel
from ncore.kinds.intervals import MAX_STEPS, AnyNetworkMeasure, MeasureEpochs, MeasureSteps
from ncore.kinds.losses import CrossEntropy, Loss, LossField, loss_record
from ncore.kinds.networks import NETWORKS, AnyNetworkModel, ConvNetModel, MlpModel, NetworkModel, ResNetModel
from ncore.kinds.optimizers import AnyNetworkOptimizer, Sgd
from ncore.kinds.ufms import UfmModel
from ncore.plain import NotPlain, plain
from ncore.text import plain_texts

__all__ = [
    "AnySpec",
    "BaseSpec",
    "ConvNetModel",
    "Data",
    "ExperimentSpec",
    "ExternalSpec",
    "GradientDescent",
    "MeasureEpochs",
    "MeasureSteps",
    "MlpModel",
    "NetworkModel",
    "NetworkSpec",
    "Part",
    "PluginModel",
    "Regularization",
    "ResNetModel",
    "Sgd",
    "SpecError",
    "TimmModel",
    "TorchvisionModel",
    "UfmModel",
    "UfmSpec",
    "field_errors",
    "parse_spec",
    "stored_spec",
    "with_changes",
]

MAX_SEEDS = 1024
MAX_TAGS = 32
MAX_PRIORITY = 100
MAX_PATH = 8
"""Parts of a dotted path: more than any field has."""


Weight = Annotated[Real, Field(ge=0, le=1e6)]
Seed = Annotated[Int, Field(ge=0, lt=2**63)]
Device = Annotated[str, Field(max_length=8), Matching(r"auto|cpu|cuda(:[0-9]{1,3})?", "auto, cpu, cuda or cuda:N")]
PerLayer = Annotated[
    Annotated[Weight, Tag("number")] | Annotated[tuple[Weight, ...], Entries(1, MAX_LEVELS), Tag("list")],
    Discriminator(number_or_list),
]


class Regularization(Part):
    """λ_{W_1} … λ_{W_M} (one number serves for all), λ_H and λ_b of the objective."""

    weights: PerLayer = Field(default=0.005, description="λ_W of each layer, or of all", examples=[[0.0025, 0.005]])
    features: Weight = Field(default=0.005, description="λ_H", examples=[0.001])
    bias: Weight = Field(default=0.0, description="λ_b", examples=[0.01])


class GradientDescent(Part):
    """Full-batch gradient descent, optionally with heavy-ball momentum (v ← μv + ∇, θ ← θ − ηv)."""

    kind: Literal["gd"] = "gd"
    """Full-batch gradient descent."""
    learning_rate: Real = Field(default=0.1, gt=0, le=1e12, description="η", examples=[0.1])
    momentum: Real = Field(default=0.0, ge=0, lt=1, description="μ", examples=[0.9])
    steps: Int = Field(default=20_000, ge=1, le=MAX_STEPS, description="of the whole run", examples=[30_000])
    form: Literal["auto", "full", "sample_free"] = Field(
        default="auto", description="of the computation; sample_free is exact for linear models with MSE, and smaller"
    )


class NamedSpec(Part):
    name: Annotated[str, Field(max_length=200), Plain()] = Field(
        default="", description="shown in lists and pictures", examples=["figure 1"]
    )
    tags: Annotated[tuple[Label, ...], Entries(0, MAX_TAGS)] = Field(
        default=(), description="words to find it by", examples=[["paper"]]
    )


class BaseSpec(NamedSpec):
    loss: LossField = Field(default="mse", description="of the data; the regularisers are added")
    seeds: Annotated[tuple[Seed, ...], Entries(1, MAX_SEEDS)] = Field(
        default=(0,), description="one run for each", examples=[[0, 1, 2]]
    )
    device: Device = Field(default="auto", description="auto, cpu, cuda or cuda:N", examples=["cpu"])
    priority: Int = Field(
        default=0, ge=-MAX_PRIORITY, le=MAX_PRIORITY, description="in the queue: the highest first", examples=[10]
    )

    @property
    def criterion(self) -> Loss:
        """The record of the loss, with its fields."""
        return loss_record(self.loss)

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: must not repeat")
        return self


class UfmSpec(BaseSpec):
    model: UfmModel
    """The model to train."""
    regularization: Regularization = Field(default_factory=Regularization)
    """λ of weights, features and bias."""
    optimizer: GradientDescent = Field(default_factory=GradientDescent)
    """How it is trained."""
    measure: MeasureSteps = Field(default_factory=MeasureSteps)
    """The steps at which it is measured."""
    precision: Literal["float64", "float32"] = "float64"
    """The precision of training; metrics are always in float64."""

    def steps_per_seed(self, total: int) -> int:
        """Steps of one seed, of the run's `total`: all seeds are trained at once."""
        return total

    @property
    def weight_decays(self) -> tuple[float, ...]:
        """λ_{W_1} … λ_{W_M}, one for each layer; 0 for a classifier that is fixed."""
        weights = self.regularization.weights
        decays = (weights,) * len(self.model.widths) if isinstance(weights, float | int) else weights
        return decays if self.model.classifier == "free" else (*decays[:-1], 0.0)

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
            raise ValueError(
                "optimizer.form: sample_free needs model.activation identity, loss mse and model.label_noise 0"
            )
        if self.model.targets is not None and not self.criterion.linear_gradient:
            raise ValueError("loss: must be mse while model.targets is given")
        return self

    @model_validator(mode="before")
    @classmethod
    def _normalized_without_regulariser(cls, body: Any) -> Any:
        """Sets the default of a normalised factor's regulariser to 0, since it has none."""
        if isinstance(body, Mapping) and "regularization" not in body:
            model = body.get("model")
            if isinstance(model, Mapping) and model.get("normalized") is True:
                return {**body, "regularization": {"weights": 0.0, "features": 0.0}}
        return body

    @model_validator(mode="after")
    def _normalized_fits(self) -> Self:
        if not self.model.normalized:
            return self
        if not isinstance(self.criterion, CrossEntropy):
            raise ValueError("loss: must be cross_entropy while model.normalized is true")  # noqa: TRY004
        if any(self.weight_decays):
            raise ValueError("regularization.weights: must be 0 while model.normalized is true")
        if self.regularization.features:
            raise ValueError("regularization.features: must be 0 while model.normalized is true")
        if self.optimizer.momentum:
            raise ValueError("optimizer.momentum: must be 0 while model.normalized is true")
        return self

    @property
    def sample_free(self) -> bool:
        """Whether it is trained without the samples: asked for by name, or exact and the smaller form."""
        if self.optimizer.form != "auto":
            return self.optimizer.form == "sample_free"
        return self.linear_mse and self.model.classes + self.model.widths[0] < sum(self.model.class_sizes)

    @property
    def linear_mse(self) -> bool:
        """Whether the gradient is linear in the samples, and those of a class have one target."""
        return self.model.activation == "identity" and self.criterion.linear_gradient and not self.model.label_noise


class NetworkSpec(BaseSpec):
    model: AnyNetworkModel
    """The model to train."""
    data: Data
    """The data to train on."""
    optimizer: AnyNetworkOptimizer = Field(default_factory=Sgd)
    """How it is trained."""
    measure: AnyNetworkMeasure = Field(default_factory=MeasureEpochs)
    """The steps at which it is measured."""
    precision: Literal["float32", "tf32", "bfloat16", "float64"] = "float32"
    """The precision of training; metrics are always in float64."""
    devices: Int = Field(default=1, ge=1, le=64, description="GPUs, or processes on the CPU, that share each batch")

    def steps_per_seed(self, total: int) -> int:
        """Steps of one seed, of the run's `total`: seeds are trained one after another."""
        return total // len(self.seeds)

    @property
    def criterion(self) -> Loss:
        """The record of the loss; `optimizer.label_smoothing` is another name for the loss's own."""
        smoothing = self.optimizer.label_smoothing
        return CrossEntropy(label_smoothing=smoothing) if smoothing else loss_record(self.loss)

    @model_validator(mode="after")
    def _one_label_smoothing(self) -> Self:
        smoothing, loss = self.optimizer.label_smoothing, loss_record(self.loss)
        if not smoothing:
            return self
        if not isinstance(loss, CrossEntropy):
            raise ValueError(f"optimizer.label_smoothing: must be 0 while loss is {loss.kind}")  # noqa: TRY004
        if loss.label_smoothing not in (0, smoothing):
            raise ValueError(
                f"optimizer.label_smoothing: is {smoothing:g} and loss.label_smoothing is {loss.label_smoothing:g}; "
                "give one of them, or both the same"
            )
        return self

    @model_validator(mode="after")
    def _feature_decay_fits(self) -> Self:
        decay, model = self.optimizer.feature_decay, self.model
        if decay is None:
            return self
        if decay.layer not in model.measured:
            raise ValueError(
                f"optimizer.feature_decay.layer: must be measured, one of {', '.join(model.measured)}; "
                f"got {shortened(decay.layer)}"
            )
        if model.normalized and decay.layer == model.levels[-1]:
            raise ValueError("optimizer.feature_decay: must be null on the layer whose norms model.normalized fixes")
        return self

    @model_validator(mode="after")
    def _devices_fit(self) -> Self:
        if self.devices > 1 and self.device.startswith("cuda:"):
            raise ValueError(f"devices: must be 1 while device is {self.device}, which is one; give cuda")
        if self.devices > self.optimizer.batch_size:
            raise ValueError(f"devices: must be at most optimizer.batch_size = {self.optimizer.batch_size}")
        return self

    @model_validator(mode="after")
    def _normalized_fits(self) -> Self:
        if self.model.normalized and not self.criterion.sums_to_zero:
            raise ValueError("loss: must be cross_entropy or focal while model.normalized is true")
        return self

    @model_validator(mode="after")
    def _network_fits_the_images(self) -> Self:
        self.model.check(self.optimizer.batch_size, self.data.image_size, self.data.known_classes)
        return self


class ExternalSpec(NamedSpec):
    """An experiment that its owner's loop trains and measures; of its setting only `model.config` is known here."""

    model: ExternalModel
    """The model that is measured."""
    seeds: Annotated[tuple[Seed, ...], Entries(0, MAX_SEEDS)] = Field(
        default=(), description="runs; what is measured adds those that are new"
    )
    theory: UfmSpec | None = None
    """A UFM whose prediction stands beside what is measured."""


UFM = "ufm"


def _kind(value: Any) -> str | None:
    """`ufm`, `external` or `network`, by model.kind; None (which pydantic reports) when it is none of them."""
    if isinstance(value, NamedSpec):
        return "ufm" if isinstance(value, UfmSpec) else EXTERNAL if isinstance(value, ExternalSpec) else "network"
    model = value.get("model") if isinstance(value, Mapping) else None
    kind = model.get("kind", UFM) if isinstance(model, Mapping) else None
    if kind in (UFM, EXTERNAL):
        return str(kind)
    return "network" if isinstance(kind, str) and kind in NETWORKS else None


AnySpec = UfmSpec | NetworkSpec | ExternalSpec
ExperimentSpec = Annotated[
    Annotated[UfmSpec, Tag("ufm")] | Annotated[NetworkSpec, Tag("network")] | Annotated[ExternalSpec, Tag(EXTERNAL)],
    Discriminator(_kind),
]
_adapter: TypeAdapter[AnySpec] = TypeAdapter(ExperimentSpec)


def stored_spec(body: Any) -> AnySpec:
    """The spec of a row, which may be older than the rule that texts are plain: odd characters are replaced."""
    return _checked(plain_texts(body))


def parse_spec(body: Any) -> AnySpec:
    """The spec in `body`: what a JSON document holds, with numbers of numpy and torch too, or a spec already.

    Raises SpecError naming every faulty field.
    """
    if isinstance(body, AnySpec):
        return body
    try:
        body = plain(body)
    except NotPlain as error:
        raise SpecError([{"field": error.field, "message": error.message}]) from None
    except RecursionError:
        raise SpecError([{"field": "", "message": "is nested too deeply"}]) from None
    return _checked(body)


def _checked(body: Any) -> AnySpec:
    """The spec in a JSON value."""
    if not isinstance(body, Mapping):
        raise SpecError([{"field": "", "message": f"must be an object; got {shortened(body)}"}])
    if _kind(body) is None:
        raise SpecError([_kind_error(body.get("model"))])
    try:
        return _adapter.validate_python(body)
    except ValidationError as error:
        raise SpecError(field_errors(error)) from None


def _kind_error(model: Any) -> dict[str, str]:
    if not isinstance(model, Mapping):
        return {"field": "model", "message": f"must be an object with a `kind`; got {shortened(model)}"}
    allowed = ", ".join((UFM, *NETWORKS, EXTERNAL))
    return {"field": "model.kind", "message": f"must be one of {allowed}; got {shortened(model.get('kind'))}"}


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """pydantic's findings as {"field", "message"}: dotted paths as in the body, the value that was refused."""
    return [fault_of(item, _path(item["loc"])) for item in error.errors(include_url=False)]


_TAGS = {"ufm", "network", EXTERNAL, "epochs", "steps", "number", "list", "class index", "class name"}
_UNIONS = {"measure", "classes", "samples_per_class", "weights"}


def _path(loc: tuple[int | str, ...]) -> str:
    """Drops the tags that pydantic puts into the path for members of a union."""
    tag = [
        part in _TAGS and (i == 0 or loc[i - 1] in _UNIONS or isinstance(loc[i - 1], int)) for i, part in enumerate(loc)
    ]
    return ".".join(str(part) for part, is_tag in zip(loc, tag, strict=True) if not is_tag)


def with_changes(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with dotted paths set, e.g. {"optimizer.steps": 500}; entries of a list go by number, from 0.

    Raises SpecError for a path through what is neither an object nor a list.
    """
    changed = {key: _copied(value) for key, value in body.items()}
    for path, value in changes.items():
        *parents, last = path.split(".", MAX_PATH)
        if len(parents) == MAX_PATH:
            raise SpecError([{"field": path, "message": f"is no field: paths have at most {MAX_PATH} parts"}])
        inner: Any = changed
        for parent in parents:
            key = _key_in(inner, parent, path)
            found = inner.get(key, {}) if isinstance(inner, dict) else inner[key]
            if not isinstance(found, Mapping | list | tuple):
                raise SpecError([{"field": path, "message": f"{parent} is not an object"}])
            inner[key] = _copied(found)
            inner = inner[key]
        inner[_key_in(inner, last, path)] = value
    return changed


def _copied(value: Any) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    return list(value) if isinstance(value, list | tuple) else value


def _key_in(inner: dict[str, Any] | list[Any], name: str, path: str) -> Any:
    """The name itself, or of a list the number of its entry."""
    if isinstance(inner, dict):
        return name
    if not (name.isascii() and name.isdigit() and len(name) < 10 and int(name) < len(inner)):
        message = f"has no entry {shortened(name)}: there are {len(inner)}, counted from 0"
        raise SpecError([{"field": path, "message": message}])
    return int(name)
