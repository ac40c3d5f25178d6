"""The one description of an experiment: body of the request, stored row, worker's input, command line's file.

Imports no torch, so that the API can check a spec without it. Symbols follow Tirer & Bruna (2022).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Strict,
    StrictBool,
    Tag,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from ncore.faults import SpecError, fault_of, shortened
from ncore.text import Entries, Matching, Plain

__all__ = ["BaseSpec", "NetworkSpec", "SpecError", "UfmSpec", "parse_spec", "with_changes"]

MAX_LEVELS = 16
MAX_CLASSES = 10_000
MAX_SEEDS = 1024
MAX_TAGS = 32
MAX_MILESTONES = 1000
MAX_STEPS = 10**9
MAX_PATH = 8
"""Parts of a dotted path: more than any field has."""


Int = Annotated[int, Strict()]
Real = Annotated[float, Strict()]
"""JSON's numbers, and nothing else that pydantic would read as one."""


class Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def _number_or_list(value: Any) -> str:
    """The member of a `number or list` field that `value` is meant for, so that one fault gives one message."""
    return "list" if isinstance(value, list | tuple) else "number"


Count = Annotated[Int, Field(ge=1, le=10**8)]
Weight = Annotated[Real, Field(ge=0, le=1e6)]
Seed = Annotated[Int, Field(ge=0, lt=2**63)]
Label = Annotated[str, Field(min_length=1, max_length=64), Plain()]
Device = Annotated[str, Field(max_length=8), Matching(r"auto|cpu|cuda(:[0-9]{1,3})?", "auto, cpu, cuda or cuda:N")]
PerClass = Annotated[
    Annotated[Count, Tag("number")] | Annotated[tuple[Count, ...], Entries(2, MAX_CLASSES), Tag("list")],
    Discriminator(_number_or_list),
]
Several = Annotated[Int, Field(ge=2, le=10**8, description="of one image nothing varies within its class")]
ImagesPerClass = Annotated[
    Annotated[Several, Tag("number")] | Annotated[tuple[Several, ...], Entries(2, MAX_CLASSES), Tag("list")],
    Discriminator(_number_or_list),
]
PerLayer = Annotated[
    Annotated[Weight, Tag("number")] | Annotated[tuple[Weight, ...], Entries(1, MAX_LEVELS), Tag("list")],
    Discriminator(_number_or_list),
]


class UfmModel(Part):
    """Free features H₁ (d_1 x N) under M weight layers; `widths` is [d_1, …, d_M]."""

    kind: Literal["ufm"] = "ufm"
    classes: Int = Field(ge=2, le=MAX_CLASSES, description="K", examples=[4])
    samples_per_class: PerClass = Field(description="n, or a list of n_1 … n_K", examples=[50, [50, 50, 20, 20]])
    widths: Annotated[tuple[Annotated[Int, Field(ge=1, le=65_536)], ...], Entries(1, MAX_LEVELS)] = Field(
        description="[d_1, …, d_M]: of the free features first, then of each layer between", examples=[[20]]
    )
    activation: Literal["identity", "relu"] = Field(default="identity", description="between the layers")
    bias: StrictBool = Field(default=False, description="whether the last layer has a bias")
    init_scale: Real = Field(default=1.0, gt=0, le=1e6, description="standard deviation of the start", examples=[0.1])

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


class NetworkHead(Part):
    """What networks share: the layers that are measured and the form of the classifier."""

    bias: StrictBool = True
    fixed_etf: StrictBool = False
    head_layers: Int = Field(default=0, ge=0, le=4, description="extra layers before the last (extended head)")
    head_activation: Literal["identity", "relu"] = "relu"
    layers: Annotated[tuple[Label, ...], Entries(1, MAX_LEVELS + 4)] | None = Field(
        default=None, description="measured; null: every stage and extra layer"
    )

    @property
    def stages(self) -> tuple[str, ...]:
        """Names of the stages before the head, in the order of the forward pass."""
        return ()

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of all that can be measured, in the order of the forward pass; the last one meets the classifier."""
        return (*self.stages, *(f"head{i + 1}" for i in range(self.head_layers)))

    @property
    def measured(self) -> tuple[str, ...]:
        """The levels that are measured, in the order of the forward pass."""
        return tuple(level for level in self.levels if self.layers is None or level in self.layers)

    @model_validator(mode="after")
    def _layers_are_there(self) -> Self:
        wrong = [layer for layer in self.layers or () if layer not in self.levels]
        if wrong:
            raise ValueError(f"layers: has {wrong}, may have {', '.join(self.levels)}")
        return self


class ResNetModel(NetworkHead):
    kind: Literal["resnet"] = "resnet"
    depth: Literal[18, 34, 50] = 18
    stem: Literal["cifar", "imagenet"] = "cifar"

    @property
    def stages(self) -> tuple[str, ...]:
        return ("layer1", "layer2", "layer3", "layer4")


class MlpModel(NetworkHead):
    kind: Literal["mlp"] = "mlp"
    widths: Annotated[tuple[Annotated[Int, Field(ge=1, le=16_384)], ...], Entries(1, MAX_LEVELS)] = (256, 256)

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(f"hidden{i + 1}" for i in range(len(self.widths)))


class ConvNetModel(NetworkHead):
    """Blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 pooling."""

    kind: Literal["convnet"] = "convnet"
    channels: Annotated[tuple[Annotated[Int, Field(ge=1, le=4096)], ...], Entries(1, 6)] = (16, 32, 64)

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(f"block{i + 1}" for i in range(len(self.channels)))


NetworkModel = Annotated[ResNetModel | MlpModel | ConvNetModel, Field(discriminator="kind")]


class Data(Part):
    name: Literal["mnist", "fashion_mnist", "cifar10", "digits", "folder", "synthetic"]
    path: Annotated[str, Field(min_length=1, max_length=1024), Plain()] | None = None
    samples_per_class: ImagesPerClass | None = None
    image_size: Int = Field(default=32, ge=4, le=512)
    augment: StrictBool = False
    random_labels: StrictBool = False
    classes: Int | None = Field(default=None, ge=2, le=10_000, description="synthetic only; 10 if null")

    @model_validator(mode="after")
    def _folder_has_a_path(self) -> Self:
        if (self.name == "folder") != (self.path is not None):
            raise ValueError("path: must be given for the data set 'folder', and only for it")
        if self.path is not None and (self.path.startswith("/") or ".." in self.path.split("/")):
            raise ValueError("path: must be relative to NCORE_DATA_DIR and without '..'")
        if self.classes is not None and self.name != "synthetic":
            raise ValueError("classes: may be given for the data set 'synthetic' only")
        return self


class Regularization(Part):
    """λ_{W_1} … λ_{W_M} (one number serves for all), λ_H and λ_b of the objective."""

    weights: PerLayer = Field(default=0.005, description="λ_W of each layer, or of all", examples=[[0.0025, 0.005]])
    features: Weight = Field(default=0.005, description="λ_H", examples=[0.001])
    bias: Weight = Field(default=0.0, description="λ_b", examples=[0.01])


class GradientDescent(Part):
    """Full-batch gradient descent, optionally with heavy-ball momentum (v ← μv + ∇, θ ← θ − ηv)."""

    kind: Literal["gd"] = "gd"
    learning_rate: Real = Field(default=0.1, gt=0, le=1e12, description="η", examples=[0.1])
    momentum: Real = Field(default=0.0, ge=0, lt=1, description="μ", examples=[0.9])
    steps: Int = Field(default=20_000, ge=1, le=MAX_STEPS, description="of the whole run", examples=[30_000])
    form: Literal["auto", "full", "sample_free"] = Field(
        default="auto", description="of the computation; sample_free is exact for linear models with MSE, and smaller"
    )


class Sgd(Part):
    kind: Literal["sgd"] = "sgd"
    learning_rate: Real = Field(default=0.05, gt=0, le=1e12, description="at the start", examples=[0.05])
    momentum: Real = Field(default=0.9, ge=0, lt=1, examples=[0.9], description="heavy ball, or Nesterov's")
    nesterov: StrictBool = Field(default=False, description="whether the momentum is Nesterov's")
    weight_decay: Real = Field(default=5e-4, ge=0, le=1e6, description="added to the gradient", examples=[5e-4])
    epochs: Int = Field(default=120, ge=1, le=100_000, description="passes over the images", examples=[120])
    batch_size: Int = Field(default=128, ge=1, le=65_536, description="images of a step", examples=[128])
    milestones: Annotated[tuple[Annotated[Int, Field(ge=1, le=MAX_STEPS)], ...], Entries(0, MAX_MILESTONES)] = Field(
        default=(40, 80), description="epochs after which the learning rate is cut", examples=[[40, 80]]
    )
    gamma: Real = Field(default=0.1, gt=0, le=1, description="what it is cut by at each of them", examples=[0.1])
    label_smoothing: Real = Field(default=0.0, ge=0, lt=1, description="of cross-entropy", examples=[0.1])


class MeasureSteps(Part):
    """Step 0, the last step, and so many between them."""

    points: Int = Field(default=200, ge=2, le=100_000, description="measurements of each seed", examples=[200])
    spacing: Literal["log", "linear"] = Field(default="log", description="of their steps")


class MeasureEpochs(Part):
    every_epochs: Int = Field(default=1, ge=1, le=MAX_STEPS, description="epochs between measurements", examples=[2])


def _measure_tag(value: Any) -> str:
    epochs = "every_epochs" in value if isinstance(value, Mapping) else isinstance(value, MeasureEpochs)
    return "epochs" if epochs or value == {} else "steps"


Schedule = Annotated[
    Annotated[MeasureEpochs, Tag("epochs")] | Annotated[MeasureSteps, Tag("steps")],
    Discriminator(_measure_tag),
]


class BaseSpec(Part):
    name: Annotated[str, Field(max_length=200), Plain()] = Field(
        default="", description="shown in lists and pictures", examples=["figure 1"]
    )
    tags: Annotated[tuple[Label, ...], Entries(0, MAX_TAGS)] = Field(
        default=(), description="words to find it by", examples=[["paper"]]
    )
    loss: Literal["mse", "cross_entropy"] = Field(default="mse", description="of the data; the regularisers are added")
    seeds: Annotated[tuple[Seed, ...], Entries(1, MAX_SEEDS)] = Field(
        default=(0,), description="one run for each", examples=[[0, 1, 2]]
    )
    device: Device = Field(default="auto", description="auto, cpu, cuda or cuda:N", examples=["cpu"])
    priority: Int = Field(default=0, ge=-100, le=100, description="in the queue: the highest first", examples=[10])

    kinds: ClassVar[tuple[str, ...]]

    @model_validator(mode="after")
    def _seeds_differ(self) -> Self:
        if len(set(self.seeds)) != len(self.seeds):
            raise ValueError("seeds: must not repeat")
        return self


class UfmSpec(BaseSpec):
    model: UfmModel
    regularization: Regularization = Field(default_factory=Regularization)
    optimizer: GradientDescent = Field(default_factory=GradientDescent)
    measure: MeasureSteps = Field(default_factory=MeasureSteps)
    precision: Literal["float64", "float32"] = "float64"

    kinds = ("ufm",)

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
    model: NetworkModel
    data: Data
    optimizer: Sgd = Field(default_factory=Sgd)
    measure: Schedule = Field(default_factory=MeasureEpochs)
    precision: Literal["float32", "tf32", "bfloat16", "float64"] = "float32"

    kinds = ("resnet", "mlp", "convnet")

    @model_validator(mode="after")
    def _network_fits_the_images(self) -> Self:
        if self.model.kind != "mlp" and self.optimizer.batch_size < 2:
            raise ValueError("optimizer.batch_size: must be at least 2, because batch normalisation needs a spread")
        if isinstance(self.model, ConvNetModel) and self.data.image_size < 2 ** len(self.model.channels):
            raise ValueError(
                f"data.image_size: must be at least {2 ** len(self.model.channels)}, "
                f"because each of {len(self.model.channels)} blocks halves it"
            )
        return self


def _kind(value: Any) -> str | None:
    """`ufm` or `network`, by model.kind; None (which pydantic reports) when it is neither."""
    if isinstance(value, BaseSpec):
        return "ufm" if isinstance(value, UfmSpec) else "network"
    model = value.get("model") if isinstance(value, Mapping) else None
    kind = model.get("kind", "ufm") if isinstance(model, Mapping) else None
    if kind in UfmSpec.kinds:
        return "ufm"
    return "network" if kind in NetworkSpec.kinds else None


ExperimentSpec = Annotated[
    Annotated[UfmSpec, Tag("ufm")] | Annotated[NetworkSpec, Tag("network")], Discriminator(_kind)
]
_adapter: TypeAdapter[UfmSpec | NetworkSpec] = TypeAdapter(ExperimentSpec)


def parse_spec(body: Any) -> UfmSpec | NetworkSpec:
    """The spec in `body` (what a JSON document holds). Raises SpecError naming every faulty field."""
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
    allowed = ", ".join(UfmSpec.kinds + NetworkSpec.kinds)
    return {"field": "model.kind", "message": f"must be one of {allowed}; got {shortened(model.get('kind'))}"}


def field_errors(error: ValidationError) -> list[dict[str, str]]:
    """pydantic's findings as {"field", "message"}: dotted paths as in the body, the value that was refused."""
    return [fault_of(item, _path(item["loc"])) for item in error.errors(include_url=False)]


_TAGS = {"ufm", "network", "resnet", "mlp", "convnet", "epochs", "steps", "number", "list"}
_UNIONS = {"model", "measure", "samples_per_class", "weights"}


def _path(loc: tuple[int | str, ...]) -> str:
    """Drops the tags that pydantic puts into the path for members of a union."""
    tag = [part in _TAGS and (i == 0 or loc[i - 1] in _UNIONS) for i, part in enumerate(loc)]
    return ".".join(str(part) for part, is_tag in zip(loc, tag, strict=True) if not is_tag)


def with_changes(body: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """`body` with dotted paths set, e.g. {"optimizer.steps": 500}. Raises SpecError for a path through a non-object."""
    changed = {key: dict(value) if isinstance(value, Mapping) else value for key, value in body.items()}
    for path, value in changes.items():
        *parents, last = path.split(".", MAX_PATH)
        if len(parents) == MAX_PATH:
            raise SpecError([{"field": path, "message": f"is no field: paths have at most {MAX_PATH} parts"}])
        inner = changed
        for parent in parents:
            if not isinstance(inner.get(parent, {}), Mapping):
                raise SpecError([{"field": path, "message": f"{parent} is not an object"}])
            inner[parent] = dict(inner.get(parent, {}))
            inner = inner[parent]
        inner[last] = value
    return changed
