"""Networks that others wrote, by name: torchvision's, timm's, and those of packages that the operator installed."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Annotated, Literal

import orjson
from pydantic import Field

from ncore.kinds.fields import Matching, Options, PluginName, Reference, resolved
from ncore.kinds.networks import NETWORKS, Maps, NetworkModel

FEATURES = "features"
"""The layer that is the classifier's input, whatever lies before it by name."""
ModelName = Annotated[str, Field(max_length=128), Matching(r"[A-Za-z0-9_.]+", "letters, digits, _ and .")]


class ForeignModel(NetworkModel):
    """Base of networks by others: the spec's classifier replaces their last `nn.Linear`; layers are module names."""

    name: ModelName
    """The model."""
    options: Options = Field(default_factory=dict, description="arguments of its constructor")
    pool: Literal["mean", "cls", "channels_last"] = "mean"
    """How maps (n, C, H, W) and tokens (n, T, d) become vectors: their mean; the first token; the mean of (n, …, d)."""

    is_foreign = True

    @property
    def words(self) -> str:
        return self.name.rpartition(":")[2]

    @property
    def stages(self) -> tuple[str, ...]:
        """The modules that are measured, and the classifier's input."""
        heads = [f"head{i + 1}" for i in range(self.head_layers)]
        return (*(layer for layer in dict.fromkeys(self.layers or ()) if layer not in (FEATURES, *heads)), FEATURES)

    def maps(self, channels: int, image_size: int) -> Maps:
        return self._described(channels, image_size)[0]

    def parameters(self, channels: int, image_size: int) -> int:
        return self._described(channels, image_size)[1]

    def _described(self, channels: int, image_size: int) -> Description:
        body = orjson.dumps(self.model_dump(mode="json"), option=orjson.OPT_SORT_KEYS)
        found = _described(type(self), body, channels, image_size)
        return found or (Maps(0, 0, dict.fromkeys(self.stages, 1)), 0)


Description = tuple[Maps, int]
"""Maps of the stages and number of weights, as a NetworkModel has them."""
Describer = Callable[[ForeignModel, int, int], Description | None]
_describer: Reference = "ncore.network.describing:describe"


def describe_by(describer: Describer | None) -> None:
    """Has models described by another function than our own, which needs torch: the API asks a process of its own.

    It is called with (model, channels, image_size), raises SpecError for what cannot be built, and returns None where
    nothing is known.
    """
    global _describer  # noqa: PLW0603 (one for the process)
    _describer = describer or "ncore.network.describing:describe"
    _described.cache_clear()


@lru_cache(maxsize=512)
def _described(kind: type[ForeignModel], body: bytes, channels: int, image_size: int) -> Description | None:
    found: Description | None = resolved(_describer)(kind.model_validate_json(body), channels, image_size)
    return found


class TorchvisionModel(ForeignModel):
    kind: Literal["torchvision"] = "torchvision"
    """A model of torchvision.models, or a class there, as VisionTransformer."""
    stem: Literal["imagenet", "cifar"] = "imagenet"
    """imagenet: as torchvision builds it; cifar: for small images, first convolution 3 × 3 without stride or pooling,
    and one global average before the classifier."""

    build = "ncore.network.foreign:torchvision"


class TimmModel(ForeignModel):
    kind: Literal["timm"] = "timm"
    """A model of timm (the extra `timm`), without its pretrained weights."""

    build = "ncore.network.foreign:timm"


class PluginModel(ForeignModel):
    kind: Literal["plugin"] = "plugin"
    """A function that an installed package offers by the entry point `ncore.models`."""
    name: PluginName
    """The entry point's name, or the function it names: package.module:function."""

    build = "ncore.network.foreign:plugin"


NETWORKS |= {"torchvision": TorchvisionModel, "timm": TimmModel, "plugin": PluginModel}
