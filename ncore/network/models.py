"""The networks: logits, and the named layers' features averaged over space.

Each is a chain: stages (each ends in a named layer), average over space, extra head layers, the last Linear.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ncore.kinds.fields import resolved
from ncore.kinds.networks import ConvNetModel, MlpModel, NetworkModel, ResNetModel
from ncore.network.convolution.small_maps import use_matrix_products

_ONE_AT_A_TIME = threading.Lock()
"""Layers draw from torch's one global generator: a start that was left behind (see `interruptible`) may hold it."""


class Network(nn.Module):
    """`layers` are measured, in order; `sees_last`: the last of them is what the last Linear sees.

    With a `temperature` τ the last features and the rows of the last weight are brought to norm 1, and logits are τ
    times their products.
    """

    def __init__(
        self,
        stages: Mapping[str, nn.Module],
        head: Mapping[str, nn.Module],
        classifier: nn.Linear,
        temperature: float | None = None,
    ) -> None:
        super().__init__()
        self.stages, self.head, self.classifier = nn.ModuleDict(stages), nn.ModuleDict(head), classifier
        self.temperature = temperature
        self.names = (*stages, *head)
        self.layers: tuple[str, ...] = self.names
        self.dead_norm_sq = 0.0
        self.dead_scale: nn.Parameter | None = None

    @property
    def sees_last(self) -> bool:
        return self.layers[-1] == self.names[-1]

    @property
    def weight(self) -> Tensor:
        """The weight (K, d) that the last features meet."""
        weight = self.classifier.weight
        return weight if self.temperature is None else functional.normalize(weight, dim=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.features(x, ())[1]

    def features(self, x: Tensor, layers: Sequence[str] | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """The features (n, d) of these layers, by default the measured ones, and the logits."""
        found, asked = dict[str, Tensor](), self.layers if layers is None else layers
        for name, stage in self.stages.items():
            x = stage(x)
            if name in asked:
                found[name] = averaged(x)
        x = averaged(x)
        for name, layer in self.head.items():
            x = layer(x)
            if name in asked:
                found[name] = x
        if self.temperature is None:
            return found, self.classifier(x)
        x = functional.normalize(x, dim=1)
        if self.names[-1] in asked:
            found[self.names[-1]] = x
        return found, self.temperature * functional.linear(x, self.weight)

    def trained(self, after: str | None = None) -> dict[str, nn.Parameter]:
        """The trained parameters by name; those behind the layer `after` only, where that is given."""
        behind = self.names if after is None else self.names[self.names.index(after) + 1 :]
        prefixes = ("classifier.", *(f"{part}.{name}." for name in behind for part in ("stages", "head")))
        trained = {name: p for name, p in self.named_parameters() if p.requires_grad}
        return {name: p for name, p in trained.items() if after is None or name.startswith(prefixes)}


def averaged(x: Tensor) -> Tensor:
    return x.mean((2, 3)) if x.ndim == 4 else x


def build(
    model: NetworkModel,
    classes: int,
    channels: int,
    image_size: int,
    seed: int,
    *,
    cut_padding_taps: bool = True,
    as_products: bool = False,
) -> Network:
    """The network of `seed`, the same on every device.

    `cut_padding_taps` cuts off the taps that only ever see padding; `as_products` convolves small maps as matrix
    products.
    """
    with _ONE_AT_A_TIME, torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network: Network = resolved(type(model).build)(model, classes, channels, image_size)
    network.layers = model.measured
    if model.is_foreign:
        return network
    if cut_padding_taps:
        cut_dead_taps(network, channels, image_size)
    if as_products:
        use_matrix_products(network, map_sizes(network, channels, image_size))
    return network


def mlp(model: MlpModel, classes: int, channels: int, image_size: int) -> Network:
    sizes = (channels * image_size**2, *model.widths)
    stages: dict[str, nn.Module] = {}
    for i, name in enumerate(model.stages):
        linear = [nn.Linear(sizes[i], sizes[i + 1]), nn.ReLU()]
        stages[name] = nn.Sequential(*(linear if i else [nn.Flatten(), *linear]))
    return with_head(model, stages, sizes[-1], classes)


def convnet(model: ConvNetModel, classes: int, channels: int, image_size: int) -> Network:  # noqa: ARG001
    """Blocks of 3×3 convolution, batch norm, ReLU and pooling by 2."""
    stages: dict[str, nn.Module] = {}
    for name, before, width in zip(model.stages, (channels, *model.channels), model.channels, strict=False):
        convolution = nn.Conv2d(before, width, 3, padding=1, bias=False)
        stages[name] = nn.Sequential(convolution, nn.BatchNorm2d(width), nn.MaxPool2d(2), nn.ReLU(inplace=True))
    return with_head(model, stages, model.channels[-1], classes)


def resnet(model: ResNetModel, classes: int, channels: int, image_size: int) -> Network:  # noqa: ARG001
    """torchvision's, with the input channels of the data and the stem of the spec."""
    from torchvision import models

    plain = {18: models.resnet18, 34: models.resnet34, 50: models.resnet50}[model.depth](num_classes=classes)
    cifar = model.stem == "cifar"
    stem = nn.Conv2d(channels, 64, 3, 1, 1, bias=False) if cifar else nn.Conv2d(channels, 64, 7, 2, 3, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    # max pooling and ReLU commute; pooling first leaves ReLU a quarter of the work
    pool = [] if cifar else [plain.maxpool]
    stages = {f"layer{i}": getattr(plain, f"layer{i}") for i in (1, 2, 3, 4)}
    stages["layer1"] = nn.Sequential(stem, plain.bn1, *pool, plain.relu, *plain.layer1)
    return with_head(model, stages, plain.fc.in_features, classes)


def with_head(model: NetworkModel, stages: Mapping[str, nn.Module], width: int, classes: int) -> Network:
    """The network of `stages`, whose last gives `width` features, with the extra layers and the classifier."""
    head: dict[str, nn.Module] = {}
    for i in range(model.head_layers):
        linear = nn.Linear(width, width, bias=model.bias)
        head[f"head{i + 1}"] = nn.Sequential(linear, nn.ReLU()) if model.head_activation == "relu" else linear
    classifier = nn.Linear(width, classes, bias=model.bias)
    if model.fixed_etf:
        rows = model.row_norm * simplex_etf(classes, width)
        classifier.weight = nn.Parameter(rows, requires_grad=False)
    return Network(stages, head, classifier, model.logit_scale if model.normalized else None)


def simplex_etf(classes: int, width: int) -> Tensor:
    """Rows (K, d) of norm 1 in a random simplex ETF. Raises ValueError for d < K − 1, where there is none."""
    if width < classes - 1:
        raise ValueError(
            f"model.fixed_etf: the last layer has {width} features, must have at least K − 1 = {classes - 1}"
        )
    centred = torch.eye(classes, dtype=torch.float64) - 1 / classes
    # rows of V√Λ are the ETF within its K − 1 dimensions; a random frame of ℝᵈ carries it out
    directions = torch.linalg.eigh(centred).eigenvectors[:, 1:]
    frame = torch.linalg.qr(torch.randn(width, classes - 1, dtype=torch.float64)).Q
    return ((classes / (classes - 1)) ** 0.5 * directions @ frame.mT).float()


def cut_dead_taps(network: Network, channels: int, image_size: int) -> None:
    """Cuts kernels down to the taps that see any pixel of maps of this size: outputs and gradients stay as they are.

    The dead taps have no gradient, so gradient descent with momentum and weight decay scales all of them alike, by
    what one number does that starts at 1: that number is trained in their place, and keeps ‖θ‖² exact.
    """
    sizes = map_sizes(network, channels, image_size)
    dead = sum(_cut(convolution, sizes[name]) for name, convolution in convolutions(network))
    if dead:
        network.dead_norm_sq = dead
        network.dead_scale = nn.Parameter(torch.ones(()))


def map_sizes(network: Network, channels: int, image_size: int) -> dict[str, int]:
    """Height = width of the map that each convolution gets, by the convolution's name."""
    sizes: dict[str, int] = {}
    hooks = [
        module.register_forward_pre_hook(lambda _, x, name=name: sizes.update({name: x[0].shape[-1]}))
        for name, module in convolutions(network)
    ]
    network.eval()
    with torch.no_grad():
        network(torch.zeros(1, channels, image_size, image_size))
    network.train()
    for hook in hooks:
        hook.remove()
    return sizes


def convolutions(network: nn.Module) -> list[tuple[str, nn.Conv2d]]:
    return [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Conv2d)]


def _cut(convolution: nn.Conv2d, size: int) -> float:
    """Cuts one convolution of maps size × size; the squared norm of what is gone."""
    kernel, stride, padding = convolution.kernel_size[0], convolution.stride[0], int(convolution.padding[0])
    outputs = (size + 2 * padding - kernel) // stride + 1
    live = [t for t in range(kernel) if any(0 <= o * stride + t - padding < size for o in range(outputs))]
    first, last = live[0], live[-1] + 1
    before = padding - first
    if last - first == kernel or (size + 2 * before - (last - first)) // stride + 1 != outputs:
        return 0.0
    whole = convolution.weight.detach()
    kept = whole[:, :, first:last, first:last].clone()
    convolution.weight = nn.Parameter(kept)
    convolution.kernel_size = (last - first, last - first)
    convolution.padding = (before, before)
    return float(whole.double().square().sum() - kept.double().square().sum())
