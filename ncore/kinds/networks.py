"""The networks: of each its part of the spec, its stages, and what is needed to estimate, build and word it."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, StrictBool, model_validator

from ncore.kinds.fields import MAX_LEVELS, ByKind, Entries, Int, Label, Part, Real, Reference

Norm = Annotated[Real, Field(gt=0, le=1e6)]
BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3)}
"""Blocks of a ResNet's four stages, by its depth."""


@dataclass(frozen=True)
class Maps:
    """Numbers of one image's maps: those kept for the backward pass, and the largest map; features of each stage."""

    kept: int
    largest: int
    widths: dict[str, int]


class NetworkModel(Part):
    """Common base of networks: the layers that are measured and the form of the classifier.

    A network is a class below this one in NETWORKS: `kind` (a Literal with that default) and its own fields, and what
    follows here. `build` is called with (model, classes, channels, image_size) and returns the
    `ncore.network.models.Network`, its weights drawn from torch's global generator.
    """

    kind: str
    bias: StrictBool = True
    """Whether the classifier has a bias."""
    fixed_etf: StrictBool = False
    """Whether the classifier is fixed as a simplex ETF."""
    classifier_norm: Norm | None = Field(default=None, description="length of a fixed classifier's rows; 1 if null")
    normalized: StrictBool = False
    """Whether the last features and the classifier's rows are brought to norm 1."""
    temperature: Norm | None = Field(default=None, description="τ of the logits τ w·h of a normalized one; 1 if null")
    head_layers: Int = Field(default=0, ge=0, le=4, description="extra layers before the last (extended head)")
    head_activation: Literal["identity", "relu"] = "relu"
    """Behind each extra layer."""
    layers: Annotated[tuple[Label, ...], Entries(1, MAX_LEVELS + 4)] | None = Field(
        default=None, description="measured; null: every stage and extra layer"
    )

    build: ClassVar[Reference]
    is_foreign: ClassVar[bool] = False
    """Whether its modules are another's, to be left as they are."""
    least_batch: ClassVar[int] = 2
    """Images that a batch must have: batch normalisation needs a spread."""
    ends_in_relu: ClassVar[bool] = False
    """Whether the features of every stage are what a ReLU lets pass, so that none is negative."""
    wants_gpu: ClassVar[bool] = True
    """Whether a GPU gains where the spec leaves the device open."""

    @property
    def row_norm(self) -> float:
        """Length of the rows of a fixed classifier."""
        return 1.0 if self.classifier_norm is None else self.classifier_norm

    @property
    def logit_scale(self) -> float:
        """τ, what the logits of a normalized classifier are multiplied by."""
        return 1.0 if self.temperature is None else self.temperature

    @property
    @abstractmethod
    def words(self) -> str:
        """The network in a caption."""

    @property
    def head_words(self) -> str:
        """The classifier in a caption, with a comma before it where there is something to say."""
        etf = f", classifier fixed as an ETF, rows of norm {self.row_norm:g}" if self.fixed_etf else ""
        return etf + (f", features and rows of W of norm 1, τ = {self.logit_scale:g}" if self.normalized else "")

    @property
    @abstractmethod
    def stages(self) -> tuple[str, ...]:
        """Names of the stages before the head, in the order of the forward pass."""

    @property
    def least_image_size(self) -> int:
        return 1

    def check(self, batch_size: int, image_size: int, classes: int | None) -> None:
        """Raises ValueError naming the field where the network does not fit its data; K is None where not known."""
        if batch_size < self.least_batch:
            least = f"optimizer.batch_size: must be at least {self.least_batch}"
            raise ValueError(f"{least}, because batch normalisation needs a spread")
        if image_size < self.least_image_size:
            least = f"data.image_size: must be at least {self.least_image_size}"
            raise ValueError(f"{least}, because each of {len(self.stages)} stages makes its maps smaller")
        if self.fixed_etf and classes is not None and not self.is_foreign:
            width = self.maps(3, image_size).widths[self.stages[-1]]
            if width < classes - 1:
                raise ValueError(
                    f"model.fixed_etf: must be false while {self.stages[-1]} has {width} features and data has "
                    f"{classes} classes; it needs K − 1 = {classes - 1} of them"
                )

    @abstractmethod
    def maps(self, channels: int, image_size: int) -> Maps:
        """The maps of the stages."""

    @abstractmethod
    def parameters(self, channels: int, image_size: int) -> int:
        """Weights of the stages' linear and convolutional layers; biases and batch norms are left out."""

    @property
    def levels(self) -> tuple[str, ...]:
        """Names of all that can be measured, in the order of the forward pass; the last one meets the classifier."""
        return (*self.stages, *(f"head{i + 1}" for i in range(self.head_layers)))

    @property
    def measured(self) -> tuple[str, ...]:
        """The levels that are measured, in the order of the forward pass."""
        return tuple(level for level in self.levels if self.layers is None or level in self.layers)

    @model_validator(mode="after")
    def _classifier_fits(self) -> Self:
        if self.classifier_norm is not None and not self.fixed_etf:
            raise ValueError("classifier_norm: may be given only while model.fixed_etf is true")
        if self.classifier_norm is not None and self.normalized:
            raise ValueError("classifier_norm: must be null while model.normalized is true")
        if self.temperature is not None and not self.normalized:
            raise ValueError("temperature: may be given only while model.normalized is true")
        if self.normalized and self.bias:
            raise ValueError("bias: must be false while model.normalized is true")
        return self

    @model_validator(mode="after")
    def _layers_are_there(self) -> Self:
        wrong = [layer for layer in self.layers or () if layer not in self.levels]
        if wrong:
            raise ValueError(f"layers: has {wrong}, may have {', '.join(self.levels)}")
        return self


class ResNetModel(NetworkModel):
    kind: Literal["resnet"] = "resnet"
    """A residual network."""
    depth: Literal[18, 34, 50] = 18
    """Layers."""
    stem: Literal["cifar", "imagenet"] = "cifar"
    """cifar: 3 × 3 without pooling; imagenet: 7 × 7, stride 2, with pooling."""

    build = "ncore.network.models:resnet"
    ends_in_relu = True

    @property
    def words(self) -> str:
        return f"ResNet{self.depth}"

    @property
    def stages(self) -> tuple[str, ...]:
        return ("layer1", "layer2", "layer3", "layer4")

    @property
    def _expansion(self) -> int:
        return 4 if self.depth == 50 else 1

    def maps(self, channels: int, image_size: int) -> Maps:  # noqa: ARG002 (the stem makes 64 of them)
        wide = self._expansion
        if self.stem == "cifar":
            side, kept = image_size, 2 * 64 * image_size**2
        else:
            half = -(-image_size // 2)
            side, kept = -(-half // 2), 2 * 64 * half**2
        largest = max(kept // 2, 64 * wide * side**2)
        for i, blocks in enumerate(BLOCKS[self.depth]):
            width = 64 << i
            of_block = (4 if wide == 1 else 4 + 2 * wide) * width
            kept += (blocks * of_block + 2 * wide * width) * side**2
            side = -(-side // 2)
        return Maps(kept, largest, {stage: wide * (64 << i) for i, stage in enumerate(self.stages)})

    def parameters(self, channels: int, image_size: int) -> int:  # noqa: ARG002 (its layers are convolutions)
        wide = self._expansion
        total, before = channels * 64 * (9 if self.stem == "cifar" else 49), 64
        for i, blocks in enumerate(BLOCKS[self.depth]):
            width = 64 << i
            for _ in range(blocks):
                if wide == 1:
                    total += 9 * before * width + 9 * width**2
                else:
                    total += before * width + 9 * width**2 + wide * width**2
                if before != wide * width:
                    total += before * wide * width
                before = wide * width
        return total


class MlpModel(NetworkModel):
    kind: Literal["mlp"] = "mlp"
    """Linear layers with ReLU."""
    widths: Annotated[tuple[Annotated[Int, Field(ge=1, le=16_384)], ...], Entries(1, MAX_LEVELS)] = (256, 256)
    """Widths of the hidden layers."""

    build = "ncore.network.models:mlp"
    ends_in_relu = True
    least_batch = 1
    wants_gpu = False

    @property
    def words(self) -> str:
        return "MLP"

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(f"hidden{i + 1}" for i in range(len(self.widths)))

    def maps(self, channels: int, image_size: int) -> Maps:  # noqa: ARG002 (its maps are vectors)
        return Maps(2 * sum(self.widths), max(self.widths), dict(zip(self.stages, self.widths, strict=True)))

    def parameters(self, channels: int, image_size: int) -> int:
        return sum(before * after for before, after in pairwise((channels * image_size**2, *self.widths)))


class ConvNetModel(NetworkModel):
    """Blocks of 3x3 convolution, batch normalisation, ReLU and 2x2 pooling."""

    kind: Literal["convnet"] = "convnet"
    """Blocks of convolution, batch normalisation, ReLU and pooling."""
    channels: Annotated[tuple[Annotated[Int, Field(ge=1, le=4096)], ...], Entries(1, 6)] = (16, 32, 64)
    """Channels of each block."""

    build = "ncore.network.models:convnet"
    ends_in_relu = True

    @property
    def words(self) -> str:
        return "convolutional net"

    @property
    def stages(self) -> tuple[str, ...]:
        return tuple(f"block{i + 1}" for i in range(len(self.channels)))

    @property
    def least_image_size(self) -> int:
        return 2 ** len(self.channels)  # each block halves it

    def maps(self, channels: int, image_size: int) -> Maps:  # noqa: ARG002 (the first block makes its own)
        sizes = [width * (image_size >> i) ** 2 for i, width in enumerate(self.channels)]
        kept = 3 * sum(sizes)  # convolved, normalised; a quarter pooled, with its places
        return Maps(kept, max(sizes), dict(zip(self.stages, self.channels, strict=True)))

    def parameters(self, channels: int, image_size: int) -> int:  # noqa: ARG002 (its layers are convolutions)
        return sum(9 * before * after for before, after in pairwise((channels, *self.channels)))


NETWORKS: dict[str, type[NetworkModel]] = {"resnet": ResNetModel, "mlp": MlpModel, "convnet": ConvNetModel}
"""The networks by their `kind`."""

AnyNetworkModel = Annotated[NetworkModel, ByKind(NETWORKS)]
