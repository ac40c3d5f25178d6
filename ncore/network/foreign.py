"""Networks that others wrote, as ours are: one stage, whose output the spec's head takes, and hooks at its modules."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import (
    DataDependentOutputException,
    DynamicOutputShapeException,
    FakeTensor,
    UnsupportedFakeTensorException,
)

from ncore.faults import SpecError
from ncore.hooks import Pool, Taken, meeting, tensor_of, vectors
from ncore.kinds.foreign import FEATURES, ForeignModel, PluginModel, TorchvisionModel
from ncore.network.models import Network, with_head
from ncore.network.plugins import loaded

OURS = ("num_classes", "in_chans", "in_channels", "classes", "channels")
"""Options that the spec says elsewhere."""
NO_FILES = ("weights", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir")
"""Options that would read files or the network."""
TRIED_IMAGES = 2
SHOWN_MODULES = 20
POOLS: dict[str, Pool] = {"mean": "mean", "cls": "cls", "channels_last": lambda x: x.double().flatten(1, -2).mean(1)}
NOT_FAKE = (DataDependentOutputException, DynamicOutputShapeException, UnsupportedFakeTensorException)


class Body(nn.Module):
    """A network without its last linear map: it gives what that takes.

    What chance decides in a step (dropout) is a function of the seed and the number of the step, which its state holds:
    a run that goes on from a checkpoint has the same digits.
    """

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model
        self.seed, self.steps = torch.initial_seed(), 0

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return self._features(x)
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed((self.seed * 1_000_003 + self.steps) % 2**63)
            self.steps += 1
            return self._features(x)

    def _features(self, x: Tensor) -> Tensor:
        found = tensor_of(self.model(x))
        assert found is not None  # noqa: S101 (for the type checker: it was tried)
        return found

    def get_extra_state(self) -> Tensor:
        return torch.tensor(self.steps)

    def set_extra_state(self, state: Any) -> None:
        self.steps = int(state)


class ForeignNetwork(Network):
    """`layers` are measured at hooks, as a Probe does it; FEATURES is what the head takes."""

    hooked: dict[str, nn.Module]

    def __init__(self, ours: Network, body: Body, hooked: Mapping[str, nn.Module], pool: Pool) -> None:
        super().__init__({FEATURES: body}, dict(ours.head.items()), ours.classifier, ours.temperature)
        self._pool = pool
        self.__dict__["hooked"] = dict(hooked)  # modules of the body, which are not ours a second time
        self.names = (*self.hooked, *self.names)

    def features(self, x: Tensor, layers: Sequence[str] | None = None) -> tuple[dict[str, Tensor], Tensor]:
        """The features (n, d) of these layers, by default the measured ones, and the logits."""
        asked = self.layers if layers is None else layers
        wanted = {name: self.hooked[name] for name in asked if name in self.hooked}
        with Taken(wanted, None) as taken:
            found, logits = super().features(x, asked)
        for name in wanted.keys() - found.keys():
            found[name] = vectors(taken.outputs[name], self._pool, name, len(x)).to(x.dtype)
        return {name: found[name] for name in asked}, logits

    def trained(self, after: str | None = None) -> dict[str, nn.Parameter]:
        if after in self.hooked:
            raise ValueError(f"optimizer.feature_decay.layer: must be {FEATURES} or an extra layer; got {after!r}")
        return super().trained(after)


def torchvision(model: TorchvisionModel, classes: int, channels: int, image_size: int) -> Network:
    """A network by the name of a function or class of torchvision.models."""
    from torchvision import models

    known = set(models.list_models(module=models))
    known |= {name for name, one in vars(models).items() if isinstance(one, type) and issubclass(one, nn.Module)}
    if model.name not in known:
        raise _unknown(model, "torchvision.models", known)
    sizes = {"image_size": image_size} if model.name.startswith(("vit_", "VisionTransformer")) else {}
    sizes |= {"input_size": (image_size, image_size)} if model.name in ("maxvit_t", "MaxVit") else {}  # type: ignore[dict-item]
    made = _made(model, getattr(models, model.name), {"num_classes": classes, **sizes})
    _take_channels(made, channels)
    if model.stem == "cifar":
        _make_small(model, made, classes)
    return _network(model, made, classes, channels, image_size)


def timm(model: ForeignModel, classes: int, channels: int, image_size: int) -> Network:
    """A network by its name in timm's registry; transformers get the images' size."""
    try:
        import timm as library
    except ImportError:
        raise refused("kind", "timm needs the package timm: pip install 'ncore[timm]'") from None
    known = set(library.list_models())
    if model.name not in known:
        raise _unknown(model, "timm", known)
    config = library.get_pretrained_cfg(model.name)
    sizes = {"img_size": image_size} if config is not None and config.fixed_input_size else {}
    make = library.create_model
    made = _made(
        model,
        lambda **options: make(model.name, pretrained=False, **options),
        {"num_classes": classes, "in_chans": channels, **sizes},
    )
    return _network(model, made, classes, channels, image_size)


def plugin(model: ForeignModel, classes: int, channels: int, image_size: int) -> Network:
    """A network by an entry point; its function gets those of `classes`, `channels`, `image_size` that it takes."""
    function = loaded("ncore.models", model.name, "model.name")
    given = {"classes": classes, "channels": channels, "image_size": image_size}
    made = _made(model, function, _taken_by(function, given))
    if not isinstance(made, nn.Module):
        raise refused("name", f"{model.name} must give a torch module; it gave a {type(made).__name__}")
    return _network(model, made, classes, channels, image_size)


def _network(model: ForeignModel, made: nn.Module, classes: int, channels: int, image_size: int) -> ForeignNetwork:
    """`made` with the spec's head in place of its last linear map. Raises SpecError where that cannot be."""
    modules = dict(made.named_modules())
    hooked = {name: _module(modules, name) for name in model.stages[:-1]}
    name = next((name for name, one in reversed(modules.items()) if isinstance(one, nn.Linear) and name), None)
    if name is None:
        raise refused("name", f"{model.name} has no nn.Linear, which the classifier of the spec is to replace")
    taken, output, features = _tried(model, made, hooked, modules[name], (channels, image_size, image_size))
    if output is None or taken.inputs is None or taken.logits is not output or output.ndim != 2:
        raise refused("name", f"{model.name} must end in its last nn.Linear, {name!r}, on vectors; it does not")
    if not isinstance(output, FakeTensor):
        _freeze_unused(made, output)
    above, _, last = name.rpartition(".")
    setattr(modules[above], last, nn.Identity())
    made.train()
    for parameter in made.parameters():
        parameter.data = parameter.data.contiguous()  # as the optimizer's flat views need it
    _check_apart(model, made)
    ours = with_head(model, {}, taken.inputs.shape[1], classes)
    network = ForeignNetwork(ours, Body(made), hooked, POOLS[model.pool])
    if not isinstance(output, FakeTensor) and not model.head_layers and FEATURES not in (model.layers or (FEATURES,)):
        met = meeting(features, taken.inputs)
        if met is not None:  # it is measured as what the classifier takes
            network.names = (*(layer for layer in network.names if layer != met), met)
    return network


def _tried(
    model: ForeignModel, made: nn.Module, hooked: Mapping[str, nn.Module], last: nn.Module, shape: tuple[int, ...]
) -> tuple[Taken, Tensor | None, dict[str, Tensor]]:
    """A trial with two images: the tensors at the hooks, the model's output, and the features at the hooked modules."""
    with Taken(hooked, last) as taken:
        try:
            output = tensor_of(made.eval()(torch.randn(TRIED_IMAGES, *shape)))
        except (RuntimeError, ValueError, TypeError, AssertionError, IndexError) as error:
            if isinstance(error, (*NOT_FAKE, torch.OutOfMemoryError)):
                raise
            size = " x ".join(map(str, shape))
            raise refused("name", f"{model.name} does not take images of {size}: {short(error)}") from None
    unused = [layer for layer in hooked if layer not in taken.outputs]
    if unused:
        raise refused("layers", f"{unused[0]!r} is not called in the forward pass of {model.name}")
    try:
        return (
            taken,
            output,
            {layer: vectors(x, POOLS[model.pool], layer, TRIED_IMAGES) for layer, x in taken.outputs.items()},
        )
    except ValueError as error:
        raise refused("layers", str(error).removeprefix("layers: ")) from None


def _check_apart(model: ForeignModel, made: nn.Module) -> None:
    """Raises SpecError where two names stand for one tensor: what a run leaves could not be written down."""
    seen: dict[int, str] = {}
    for name, tensor in made.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and seen.setdefault(id(tensor), name) != name:
            raise refused("name", f"{model.name} has one tensor as {seen[id(tensor)]!r} and {name!r}; tie none")


def _freeze_unused(made: nn.Module, output: Tensor) -> None:
    """Freezes parameters that do not reach the output (auxiliary classifiers): no training, no weight decay."""
    trained = [p for p in made.parameters() if p.requires_grad]
    gradients = torch.autograd.grad(output.double().sum(), trained, allow_unused=True) if trained else ()
    for parameter, gradient in zip(trained, gradients, strict=True):
        parameter.requires_grad_(gradient is not None)


def _module(modules: Mapping[str, nn.Module], name: str) -> nn.Module:
    if not name or name not in modules:
        names = [one for one in modules if one]
        close = get_close_matches(name, names, 5) or names[:SHOWN_MODULES]
        raise refused("layers", f"there is no module {name!r}; there are {len(names)}, as {', '.join(close)}")
    return modules[name]


def _made(model: ForeignModel, make: Callable[..., Any], given: Mapping[str, Any]) -> nn.Module:
    """The result of `make` with the spec's options. Raises SpecError with the reason where it does not take them."""
    said = [name for name in model.options if name in (*OURS, *NO_FILES)]
    if said and not isinstance(model, PluginModel):
        why = "would read files or the network" if said[0] in NO_FILES else "is said by the data"
        raise refused(f"options.{said[0]}", f"may not be given: it {why}")
    try:
        made: nn.Module = make(**{**given, **_tuples(model.options)})
    except (MemoryError, torch.OutOfMemoryError, *NOT_FAKE):
        raise
    except Exception as error:  # noqa: BLE001 (it is another's code)
        raise refused("options", f"{model.name} is not made: {type(error).__name__}: {short(error)}") from None
    return made


def _tuples(value: Any) -> Any:
    """JSON's lists as tuples, which constructors of layers want."""
    return {name: tuple(one) if isinstance(one, list) else one for name, one in value.items()}


def _taken_by(function: Callable[..., Any], given: Mapping[str, Any]) -> dict[str, Any]:
    parameters = inspect.signature(function).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values()):
        return dict(given)
    return {name: value for name, value in given.items() if name in parameters}


def _take_channels(made: nn.Module, channels: int) -> None:
    """The first convolution takes the data's channels."""
    name, first = _first_convolution(made)
    if first.in_channels != channels:
        _replace(made, name, first, channels, first.kernel_size, first.stride, first.padding)


def _make_small(model: TorchvisionModel, made: nn.Module, classes: int) -> None:
    """The stem for small images."""
    name, first = _first_convolution(made)
    if name == "conv_proj":
        raise refused("stem", f"must be imagenet for {model.name}, whose patch_size says how it looks at images")
    if first.stride != (1, 1):
        _replace(made, name, first, first.in_channels, (3, 3), (1, 1), (1, 1))
    for pool in ("maxpool", "features.pool0"):
        if pool in dict(made.named_modules()):
            made.set_submodule(pool, nn.Identity())
    average, classifier = getattr(made, "avgpool", None), getattr(made, "classifier", None)
    if isinstance(average, nn.AdaptiveAvgPool2d) and isinstance(classifier, nn.Sequential):  # VGG, AlexNet
        linear = next((one for one in classifier if isinstance(one, nn.Linear)), None)
        with torch.no_grad():
            pixels = average(torch.zeros(1, 1, 1, 1)).numel()
        if linear is not None and pixels > 1:
            made.avgpool = nn.AdaptiveAvgPool2d(1)
            made.classifier = nn.Linear(linear.in_features // pixels, classes)


def _first_convolution(made: nn.Module) -> tuple[str, nn.Conv2d]:
    return next((name, one) for name, one in made.named_modules() if isinstance(one, nn.Conv2d))


def _replace(made: nn.Module, name: str, old: nn.Conv2d, channels: int, kernel: Any, stride: Any, padding: Any) -> None:
    new = nn.Conv2d(channels, old.out_channels, kernel, stride, padding, bias=old.bias is not None)
    nn.init.kaiming_normal_(new.weight, mode="fan_out", nonlinearity="relu")
    made.set_submodule(name, new)


def _unknown(model: ForeignModel, where: str, known: Sequence[str] | set[str]) -> SpecError:
    close = get_close_matches(model.name, known, 5) or sorted(known)[:SHOWN_MODULES]
    return refused("name", f"{where} has no {model.name!r}; it has {len(known)} models, as {', '.join(close)}")


def refused(field: str, message: str) -> SpecError:
    return SpecError([{"field": f"model.{field}", "message": message}])


def short(error: Exception) -> str:
    text = " ".join(str(error).split())
    return text if len(text) <= 200 else f"{text[:199]}…"
