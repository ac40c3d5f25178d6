"""Metrics of any network in a loop of your own: forward hooks, one pass over the data, float64.

>>> probe = ncore.Probe(model, layers=["layer3", "layer4"], classifier="fc", classes=10)
>>> probe(train_loader)     # {("nc1", "layer4"): …, ("nc3", "layer4"): …, ("accuracy", None): …}
>>> probe(train_loader).geometry    # Gram matrices of class means and of W, W H̄, up to 100 classes
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from itertools import islice
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ncore.geometry import MOST_CLASSES, Shape
from ncore.hooks import Pool, Taken, meeting, vectors
from ncore.metrics import Accumulator
from ncore.probed import Probed, geometry_of

Layer = str | nn.Module
LABEL_KEYS = ("labels", "label", "targets", "target", "y")
"""Where the labels of a batch that is a dict are looked for."""
SHOWN_NAMES = 20


class Probe:
    """Measures `model` where it stands: `probe(batches)` gives {(metric, layer): value}, with its `geometry`.

    `layers`: names of modules (as in `named_modules()`), patterns with `*`, or modules; their outputs are measured.
    None: the input of the classifier, as layer `features`. `classifier`: the last linear map, by name or itself; None:
    the last `nn.Linear` of the model; the layer whose pooled output is its input gets nc3 and all that needs a weight.
    `classes`: K; None: the classifier's outputs. `pool`: how maps (n, C, H, W) and tokens (n, T, D) become vectors:
    `mean` over space or tokens, `cls` (the first token), `none` (flattened), or a function of the output.
    `batch_to_inputs(batch)` gives (inputs, labels), inputs a tensor, a tuple of arguments or a dict of keywords, for
    batches that are neither (inputs, labels) nor a dict. `max_batches` ends a pass early. `missing`: what to do where a
    class has no samples: `error`, or `present` for the metrics of those that have.

    The model's modes and the random generators (torch, numpy, random) are as before afterwards. A compiled model is
    measured by its original module; of a DistributedDataParallel one each rank passes over its own batches, and all get
    the metrics of all samples (those that a sampler repeats for evenness count twice).
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Layer | Sequence[Layer] | None = None,
        classifier: Layer | None = None,
        classes: int | None = None,
        *,
        pool: Pool = "mean",
        batch_to_inputs: Callable[[Any], tuple[Any, Any]] | None = None,
        max_batches: int | None = None,
        missing: Literal["error", "present"] = "error",
    ) -> None:
        self.model, self._is_distributed = _unwrapped(model)
        self._names = dict(self.model.named_modules())
        self._classifier = self._classifier_of(classifier)
        self.layers = None if layers is None else self._layers_of(layers)
        self.classes = self._classes_of(classes)
        if not callable(pool) and pool not in ("mean", "cls", "none"):
            raise ValueError(f"pool: must be mean, cls, none or a function; got {pool!r}")
        if missing not in ("error", "present"):
            raise ValueError(f"missing: must be error or present; got {missing!r}")
        if max_batches is not None and max_batches < 1:
            raise ValueError(f"max_batches: must be at least 1; got {max_batches}")
        self._pool, self._to_inputs, self._missing = pool, batch_to_inputs, missing
        self._max_batches = max_batches

    def __call__(self, batches: Iterable[Any]) -> Probed:
        """One pass over `batches`. Raises ValueError for labels that are no classes and for a class without samples."""
        sums: dict[str, Accumulator] = {}
        correct = torch.zeros((), dtype=torch.int64, device=_device(self.model))
        meets: str | None = None
        with _as_before(self.model), Taken(self.layers or {}, self._classifier) as taken, torch.no_grad():
            for batch in islice(batches, self._max_batches):
                inputs, labels = self._unpacked(batch)
                taken.clear()
                _call(self.model, inputs)
                features = self._features(taken, len(labels))
                if not sums:
                    sums = {layer: Accumulator(self.classes) for layer in features}
                    meets = meeting(features, taken.inputs)
                for layer, x in features.items():
                    sums[layer].update(x, labels.to(x.device))
                if taken.logits is not None:
                    correct += (taken.logits.reshape(len(labels), -1).argmax(1) == labels.to(correct.device)).sum()
        if not sums:
            raise ValueError("batches: there was none")
        if self._is_distributed:
            sums, correct = _over_ranks(sums, correct)
        return self._values(sums, meets, correct)

    def _values(self, sums: Mapping[str, Accumulator], meets: str | None, correct: Tensor) -> Probed:
        counts = next(iter(sums.values())).counts
        absent = (counts == 0).nonzero()[:, 0].tolist()
        if absent and self._missing == "error":
            raise ValueError(
                f"labels: no sample of class {', '.join(map(str, absent[:SHOWN_NAMES]))} of {self.classes}; "
                "missing='present' measures the others"
            )
        values = Probed()
        for layer, one in sums.items():
            weight, bias = self._weights() if layer == meets else (None, None)
            found = one.result(weight, bias, classes="present" if self._missing == "present" else "all")
            values |= {(metric, layer): value for metric, value in found.items()}
        if self._classifier is not None:
            values["accuracy", None] = int(correct) / int(counts.sum())
        if self.classes <= MOST_CLASSES and not absent:
            values.geometry = self._geometry(sums, meets)
        return values

    def _geometry(self, sums: Mapping[str, Accumulator], meets: str | None) -> tuple[Shape, ...]:
        means = {layer: one.class_means.high.mT.cpu().numpy() for layer, one in sums.items()}
        weight, _ = self._weights()
        if weight is None or len(weight) != self.classes:
            return geometry_of(means, None, None)
        return geometry_of(means, weight.detach().cpu().double().numpy(), meets)

    def _weights(self) -> tuple[Tensor | None, Tensor | None]:
        weight, bias = (getattr(self._classifier, name, None) for name in ("weight", "bias"))
        return (weight, bias) if isinstance(weight, Tensor) and weight.ndim == 2 else (None, None)

    def _features(self, taken: Taken, count: int) -> dict[str, Tensor]:
        """The pooled features of each layer (n, d)."""
        if self.layers is None:
            if taken.inputs is None:
                raise ValueError("classifier: it was not called in the forward pass")
            return {"features": vectors(taken.inputs, self._pool, "features", count)}
        unused = [name for name in self.layers if name not in taken.outputs]
        if unused:
            raise ValueError(f"layers: {', '.join(unused)} was not called in the forward pass")
        return {name: vectors(taken.outputs[name], self._pool, name, count) for name in self.layers}

    def _unpacked(self, batch: Any) -> tuple[Any, Tensor]:
        """(inputs on the model's device, labels) of one batch."""
        if self._to_inputs is not None:
            inputs, labels = self._to_inputs(batch)
        elif isinstance(batch, Mapping):
            key = next((key for key in LABEL_KEYS if key in batch), None)
            if key is None:
                raise ValueError(f"batches: a dict needs one of {', '.join(LABEL_KEYS)}; it has {', '.join(batch)}")
            labels, inputs = batch[key], {name: value for name, value in batch.items() if name != key}
        elif isinstance(batch, Sequence) and len(batch) == 2:
            inputs, labels = batch
        else:
            raise ValueError(
                f"batches: must be (inputs, labels) or a dict, or `batch_to_inputs` must be given; got {_kind(batch)}"
            )
        return _moved(inputs, _device(self.model)), self._checked(labels)

    def _checked(self, labels: Any) -> Tensor:
        y = torch.as_tensor(labels)
        if y.is_floating_point() or y.is_complex():
            raise ValueError(f"labels: must be whole numbers 0 … {self.classes - 1}, not {y.dtype}: no regression")
        if y.ndim == 2 and y.shape[1] == 1:
            y = y[:, 0]
        if y.ndim != 1:
            raise ValueError(f"labels: must have one class for each sample, shape (n,); got {tuple(y.shape)}")
        if len(y) and not 0 <= int(y.min()) <= int(y.max()) < self.classes:
            raise ValueError(f"labels: must be 0 … {self.classes - 1}; got {int(y.min())} … {int(y.max())}")
        return y.long()

    def _classifier_of(self, given: Layer | None) -> nn.Module | None:
        if given is None:
            linear = [module for module in self._names.values() if isinstance(module, nn.Linear)]
            return linear[-1] if linear else None
        return next(iter(self._found(given, "classifier").values()))

    def _layers_of(self, given: Layer | Sequence[Layer]) -> dict[str, nn.Module]:
        several = [given] if isinstance(given, (str, nn.Module)) else list(given)
        found: dict[str, nn.Module] = {}
        for one in several:
            found |= self._found(one, "layers")
        if not found:
            raise ValueError("layers: must name at least one; None is the classifier's input")
        order = list(self._names)
        return dict(sorted(found.items(), key=lambda item: order.index(item[0])))

    def _found(self, wanted: Layer, field: str) -> dict[str, nn.Module]:
        """The modules of this name or pattern. Raises ValueError naming what there is."""
        if isinstance(wanted, nn.Module):
            found = {name: module for name, module in self._names.items() if module is wanted}
        else:
            found = {name: module for name, module in self._names.items() if name and fnmatchcase(name, wanted)}
        if not found:
            names = [name for name in self._names if name]
            more = f", … ({len(names)} in all)" if len(names) > SHOWN_NAMES else ""
            shown = ", ".join(names[:SHOWN_NAMES]) + more
            raise ValueError(f"{field}: the model has no module {_kind(wanted)}; it has {shown}")
        return found

    def _classes_of(self, given: int | None) -> int:
        count = getattr(self._classifier, "out_features", None) if given is None else given
        if count is None:
            raise ValueError("classes: must be given where no classifier tells them")
        if self._classifier is None and self.layers is None:
            raise ValueError("layers: must be given, for the model has no nn.Linear whose input could be measured")
        return int(count)


def _unwrapped(model: nn.Module) -> tuple[nn.Module, bool]:
    """The user's own module below torch's wrappers, and whether it trains on several ranks."""
    is_distributed = False
    while True:
        if isinstance(model, nn.parallel.DistributedDataParallel):
            model, is_distributed = model.module, True
        elif isinstance(model, nn.DataParallel):
            model = model.module
        elif isinstance(inner := getattr(model, "_orig_mod", None), nn.Module):  # compiled: no hook would be called
            model = inner
        else:
            return model, is_distributed


def _device(model: nn.Module) -> torch.device:
    held = next(model.parameters(), None)
    return torch.device("cpu") if held is None else held.device


@contextmanager
def _as_before(model: nn.Module) -> Iterator[None]:
    """Evaluation mode inside; every module's own mode and the random generators as they were afterwards."""
    modes = {module: module.training for module in model.modules()}
    states = random.getstate(), np.random.get_state()  # noqa: NPY002 (the user's loader may use it)
    try:
        with torch.random.fork_rng():
            model.eval()
            yield
    finally:
        for module, training in modes.items():
            module.training = training
        random.setstate(states[0])
        np.random.set_state(states[1])  # noqa: NPY002


def _call(model: nn.Module, inputs: Any) -> None:
    if isinstance(inputs, Mapping):
        model(**inputs)
    elif isinstance(inputs, tuple):
        model(*inputs)
    else:
        model(inputs)


def _moved(value: Any, device: torch.device) -> Any:
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, Mapping):
        return {name: _moved(one, device) for name, one in value.items()}
    if isinstance(value, (list, tuple)):
        return tuple(_moved(one, device) for one in value)
    return value


def _over_ranks(sums: Mapping[str, Accumulator], correct: Tensor) -> tuple[dict[str, Accumulator], Tensor]:
    """The sums of all ranks, merged in their order, so that every rank has the same."""
    every: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(every, (dict(sums), correct.cpu()))
    merged = every[0][0]
    for theirs, _ in every[1:]:
        for layer, one in merged.items():
            one.merge(theirs[layer])
    return merged, torch.stack([count for _, count in every]).sum()


def _kind(value: Any) -> str:
    return repr(value) if isinstance(value, str) else f"of type {type(value).__name__}"
