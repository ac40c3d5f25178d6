"""One experiment on a network: its seeds one after another, measured in evaluation mode at the scheduled steps."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TypeVar

import torch
from torch import Tensor, nn

from ncore.geometry import kept_steps
from ncore.graphs import Capture, capture_for
from ncore.kinds.fields import resolved
from ncore.network import decay
from ncore.network.data import DataError, augment, load
from ncore.network.device import float32_products, out_of_memory_explained
from ncore.network.epoch import Epoch
from ncore.network.estimate import KEPT_FEATURES_BYTES
from ncore.network.measuring import NetworkMeasurer, data_loss
from ncore.network.models import Network, build
from ncore.network.passes import Passes
from ncore.network.ranks import Group, Others, RankLost, share_batch_norm
from ncore.run import Diverged, Measurement
from ncore.schedule import measuring_steps, next_due
from ncore.spec import MeasureEpochs, NetworkSpec
from ncore.stopping import Check, go_on
from ncore.theory.nc0 import nc0_law

LOOK_STEPS_ON_GPU = 20
"""Steps between two looks at the clock and at whether the loss is finite; each look waits for the GPU."""
ATTEMPTS = 3
"""How often a step is tried that other processes of the run were lost in."""
OPTIMIZER_STATE = ("momentum_buffer", "exp_avg", "exp_avg_sq", "step")
"""The state that torch's optimizers keep for each parameter."""
KEPT_AS = {"momentum_buffer": "velocity"}
"""Names in a checkpoint."""
T = TypeVar("T")


class NetworkRun:
    """The Run of `ncore.train` for networks; `step` counts the steps of all seeds, a Measurement's step its own.

    `layers` are measured, in the order of the forward pass; `classes` is the data's number of classes.
    """

    engine = "network"

    def __init__(
        self,
        spec: NetworkSpec,
        device: str,
        checkpoint: Mapping[str, Tensor] | None,
        data_dir: str | None,
        check: Check = go_on,
        geometry: bool = False,
    ) -> None:
        self.spec, self.device, self._data_dir = spec, device, data_dir
        self.diverged: dict[int, Diverged] = {}  # seeds are trained one by one, and experiments too
        self._dtype = torch.float64 if spec.precision == "float64" else torch.float32
        self._data = load(spec.data, data_dir, device, self._dtype, check)
        self.classes = self._data.classes
        self.layers = spec.model.measured
        optimizer = spec.optimizer
        self._rates = optimizer.rates
        samples = len(self._data.train)
        # a lone last sample is left out, as batch norm has no variance of it
        self._epoch_steps = math.ceil(samples / optimizer.batch_size) - (samples % optimizer.batch_size == 1)
        self._seed_steps = optimizer.epochs * self._epoch_steps
        self.total = len(spec.seeds) * self._seed_steps  # see NetworkSpec.steps_per_seed
        self._nc0_law = nc0_law(spec, self._epoch_steps)
        self._due = self._schedule()
        shape = self.classes, self.classes, len(self.layers)
        self._kept = kept_steps(self._due, len(spec.seeds), *shape) if geometry else frozenset[int]()
        self._targets = spec.criterion.targets(torch.eye(self.classes, dtype=self._dtype, device=device), 1)
        if spec.measure.test and self._data.test is None:
            raise DataError(f"measure.test: must be false, as {spec.data.name!r} has no test images here")
        self._measurer = NetworkMeasurer(spec, self._data, self._targets)
        self._alive = torch.ones(len(spec.seeds), dtype=torch.bool)
        self._group: Group | None = None
        self._others: Others | None = None  # while this is rank 0 of several processes
        # a network of others may do in Python what a replay leaves out, and sums over processes go through the CPU
        is_captured = not spec.model.is_foreign and spec.devices == 1
        self._capture: Capture | None = capture_for(self._targets.device) if is_captured else None
        seed_index, step, measured = (int(n) for n in checkpoint["position"]) if checkpoint else (0, 0, -1)
        check()
        self.begin_seed(seed_index)
        if checkpoint:
            self._restore(checkpoint, step, measured)

    @property
    def _step(self) -> int:
        """The seed's own."""
        return self.step - self._seed_index * self._seed_steps

    @property
    def done(self) -> bool:
        return self._seed_index == len(self.spec.seeds) - 1 and self._measured >= self._seed_steps

    def advance(self, seconds: float | None = None) -> list[Measurement]:
        """Trains until the next scheduled step has been measured, or about `seconds` have passed (then maybe [])."""
        until = time.perf_counter() + (math.inf if seconds is None else seconds)
        if self._measured >= self._seed_steps:
            if self.done:
                return []
            self.begin_seed(self._seed_index + 1)
        due = next_due(self._due, self._measured)
        with out_of_memory_explained(self.device):
            try:
                if self._train(due, until):
                    found = self._measure(until)
                    if self.done:
                        self._end_others()
                    return found
            except Diverged as error:
                return [self._lose_seed(error)]
        return []

    def checkpoint(self) -> dict[str, Tensor]:
        """All that is needed to go on bit for bit as if nothing had happened."""
        state = {f"network.{name}": t.detach().cpu().clone() for name, t in self._network.state_dict().items()}
        for name, _, flat in self._trained:
            for key, value in self._optimizer.state[flat].items():
                if value is not None:  # a momentum buffer without momentum
                    state[f"{KEPT_AS.get(key, key)}.{name}"] = value.cpu().clone()
        if self._batch_grad_norm is not None:
            state["batch_grad_norm"] = self._batch_grad_norm.cpu()
        position = torch.tensor([self._seed_index, self._step, self._measured])
        return state | {"position": position, "alive": self._alive.clone()}

    @property
    def left_out(self) -> str | None:
        if self._measurer.keeps_features:
            return None
        size = self._measurer.features_bytes / 2**30
        return f"no features in its final state: {size:.1f} GiB, more than {KEPT_FEATURES_BYTES / 2**30:g} GiB"

    @torch.no_grad()
    def final_state(self) -> dict[str, Tensor]:
        """The last seed's weights (`network.…`), logits and labels, and features (N, d) of the measured layers, unless
        they do not fit (see `left_out`)."""
        measurer, network, features = self._measurer, self._network, dict[str, Tensor]()
        network.eval()
        try:
            if measurer.keeps_features:
                features, logits = _returned(measurer.features(network, self._data.train))
            else:
                logits = _returned(measurer.evaluate(network, self._data.train))
        finally:
            network.train()
        state = {f"network.{name}": t.detach() for name, t in self._network.state_dict().items()}
        state |= {f"features.{layer}": x for layer, x in features.items()}
        train = self._data.train
        given = {} if train.given is None else {"given_labels": train.given}
        return _on_cpu(state | {"logits": logits, "labels": train.labels} | given)

    def _schedule(self) -> list[int]:
        measure = self.spec.measure
        if isinstance(measure, MeasureEpochs):
            every = measure.every_epochs * self._epoch_steps
            return sorted({*range(0, self._seed_steps, every), self._seed_steps})
        return measuring_steps(self._seed_steps, measure.points, measure.spacing)

    def join(self, group: Group) -> None:
        """Takes part in a group of processes that train together."""
        self._group = group
        share_batch_norm(self._network, group)

    def begin_seed(self, seed_index: int) -> None:
        spec, optimizer = self.spec, self.spec.optimizer
        self._seed_index, self._measured = seed_index, -1
        self.step = seed_index * self._seed_steps
        self._seed = spec.seeds[seed_index]
        shape = self.classes, self._data.channels, spec.data.image_size
        # on the CPU only, as cuDNN needs no help; in bfloat16 the differences of inputs would lose precision
        as_products = self.device == "cpu" and spec.precision != "bfloat16"
        network = build(
            spec.model, *shape, self._seed, cut_padding_taps=optimizer.shrinks_unused, as_products=as_products
        )
        self._nc0_at_start = float(network.classifier.weight.detach().double().sum(0).norm())
        self._network: Network = network.to(self.device, self._dtype).to(memory_format=torch.channels_last)
        # views of one dimension, as the fused step copies gradients that are not in the order of their shape
        trained = [(name, p) for name, p in self._network.named_parameters() if p.requires_grad]
        self._trained = [(name, p, nn.Parameter(_in_memory_order(p.detach()))) for name, p in trained]
        groups = decay.groups(self._network, optimizer, {name: flat for name, _, flat in self._trained})
        self._optimizer: torch.optim.Optimizer = resolved(type(optimizer).make)(optimizer, groups)
        self._passes = Passes([flat for _, _, flat in self._trained], optimizer.batch_size, self._capture)
        self._epoch: tuple[int, Epoch] | None = None
        self._batch_grad_norm: Tensor | None = None  # of the step before a measurement, until that is done
        self._measuring: Generator[None, None, Measurement] | None = None
        self._end_others()  # they begin anew with the seed's first step

    def _end_others(self) -> None:
        if self._others is not None:
            self._others.end()
            self._others = self._group = None

    def _restore(self, checkpoint: Mapping[str, Tensor], step: int, measured: int) -> None:
        self.step, self._measured = self.step + step, measured
        self._alive = checkpoint["alive"].clone()
        weights = {k.removeprefix("network."): v for k, v in checkpoint.items() if k.startswith("network.")}
        self._network.load_state_dict(weights)
        if "batch_grad_norm" in checkpoint:
            self._batch_grad_norm = checkpoint["batch_grad_norm"].to(self.device)
        for name, _, flat in self._trained:
            for key in OPTIMIZER_STATE:
                if (kept := checkpoint.get(f"{KEPT_AS.get(key, key)}.{name}")) is not None:
                    self._optimizer.state[flat][key] = kept.to(self.device, copy=True)

    def _learning_rate(self) -> float:
        optimizer = self.spec.optimizer
        return optimizer.learning_rate * self._rates.share(self._step, self._epoch_steps, optimizer.epochs)

    def _train(self, due: int, until: float) -> bool:
        """Trains up to step `due`; False where the time is up before."""
        look = LOOK_STEPS_ON_GPU if self.device.startswith("cuda") else 1
        with float32_products(tf32=self.spec.precision == "tf32"):
            while self._step < due:
                for _ in range(min(look, due - self._step)):
                    loss = self._step_of_all(noted=self._step == due - 1)
                self._check_finite(float(loss))
                if time.perf_counter() >= until and self._step < due:
                    return False
        return True

    def _step_of_all(self, *, noted: bool) -> Tensor:
        """A step that all processes of the run take; where one of them is lost, all others are replaced first."""
        if self.spec.devices == 1:
            return self.train_step(noted=noted)
        for attempt in range(ATTEMPTS):
            before = [buffer.clone() for buffer in self._network.buffers()]
            try:
                if self._others is None:
                    self._others = Others(self.spec, self.device, self._data_dir, self.checkpoint())
                    self.join(self._others.group)
                self._others.say_step()
                return self.train_step(noted=noted)
            except RankLost:
                self._end_others()
                for buffer, kept in zip(self._network.buffers(), before, strict=True):
                    buffer.copy_(kept)
                if attempt == ATTEMPTS - 1:
                    raise
        raise AssertionError("unreachable")

    def train_step(self, *, noted: bool = False) -> Tensor:
        """One step of stochastic gradient descent, its gradient's norm `noted`; the batch's loss, on the device."""
        images, labels, size = self._batch()
        loss = self._passes.take(self._pass, images, self._targets[labels], size)
        if self._group is not None:
            _sum_over_all(self._group, [loss, *(flat.grad for _, _, flat in self._trained if flat.grad is not None)])
        self._batch_grad_norm = self._gradient_norm() if noted else None
        if self.spec.optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_([flat for _, _, flat in self._trained], self.spec.optimizer.clip_norm)
        for group in self._optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self._optimizer.step()
        self.step += 1
        return loss

    def _pass(self, images: Tensor, targets: Tensor, size: int) -> Tensor:
        """The loss of `_batch_loss`, its gradients left with the flat parameters."""
        loss = self._batch_loss(images, targets, size)
        self._network.zero_grad()
        loss.backward()
        if self._network.dead_scale is not None:
            self._network.dead_scale.grad = torch.zeros_like(self._network.dead_scale)
        for _, parameter, flat in self._trained:
            assert parameter.grad is not None  # noqa: S101 (for the type checker)
            flat.grad = _in_memory_order(parameter.grad)
        return loss.detach()

    def _batch_loss(self, images: Tensor, targets: Tensor, size: int) -> Tensor:
        """The mean of the data term over the batch, and what feature decay adds, the sum over all estimated from it: of
        a batch of `size` images what these here have a part in."""
        features = self.spec.optimizer.feature_decay
        with self._autocast():
            found, logits = self._network.features(images, () if features is None else (features.layer,))
        loss = data_loss(self.spec, logits.to(self._dtype), targets).sum() / size
        if features is None:
            return loss
        mean_sq = found[features.layer].to(self._dtype).square().sum() / size
        return loss + features.value / 2 * len(self._data.train) * mean_sq

    @torch.no_grad()
    def _gradient_norm(self) -> Tensor:
        """‖∇(data term of the batch + decays)‖ over all that is trained, in float64, on the device."""
        gradients = {name: (flat, flat.grad) for name, _, flat in self._trained if flat.grad is not None}
        return decay.gradient_norm(self._network, self.spec.optimizer, gradients)

    def _batch(self) -> tuple[Tensor, Tensor, int]:
        """This process's images and labels of the next batch, and how many the batch has in all."""
        epoch, position = divmod(self._step, self._epoch_steps)
        if self._epoch is None or self._epoch[0] != epoch:
            self._epoch = epoch, Epoch.draw(self._seed, epoch, self._data, augmented=self.spec.data.augment)
        drawn, size = self._epoch[1], self.spec.optimizer.batch_size
        whole = drawn.order[position * size : (position + 1) * size]
        index = whole if self._group is None else self._group.part(whole)
        train = self._data.train
        images = self._data.standardise(train.images[index])
        if drawn.shifts is not None:
            images = augment(images, drawn.shifts[index], None if drawn.flipped is None else drawn.flipped[index])
        return images.contiguous(memory_format=torch.channels_last), train.taught[index], len(whole)

    def _autocast(self) -> AbstractContextManager[object]:
        if self.spec.precision != "bfloat16":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], torch.bfloat16)

    def _check_finite(self, loss: float) -> None:
        if not math.isfinite(loss):
            raise Diverged(self._step, self._seed, self.spec.optimizer.learning_rate)

    @torch.no_grad()
    def _measure(self, until: float) -> list[Measurement]:
        """Goes on measuring; [] where the time is up before the end. A checkpoint begins a measurement anew."""
        if self._measuring is None:
            self._measuring = self._measurement()
        with float32_products(tf32=False):
            try:
                while True:
                    next(self._measuring)
                    if time.perf_counter() >= until:
                        return []
            except StopIteration as end:
                self._measured, self._measuring, self._batch_grad_norm = self._step, None, None
                return [end.value]

    def _measurement(self) -> Generator[None, None, Measurement]:
        self._network.eval()
        try:
            values = yield from self._measurer.measure(self._network)
        finally:
            self._network.train()
        self._check_finite(values["loss", None])
        values["learning_rate", None] = self._learning_rate()
        if self._nc0_law is not None:
            values["nc0_predicted", None] = abs(self._nc0_law[self._step]) * self._nc0_at_start
        values["batch_grad_norm", None] = math.nan if self._batch_grad_norm is None else float(self._batch_grad_norm)
        shape = self._measurer.geometry(self._network) if self._step in self._kept else None
        return Measurement(self._seed, self._step, values, geometry=shape)

    def _lose_seed(self, error: Diverged) -> Measurement:
        """The last measurement of a seed that has left the finite numbers; the other seeds go on without it.

        Raises `error` where no seed is left.
        """
        self._alive[self._seed_index] = False
        if not bool(self._alive.any()):
            raise error
        lost = Measurement(self._seed, self._step, {("objective", None): math.nan, ("loss", None): math.nan})
        self.step, self._measured, self._measuring = (self._seed_index + 1) * self._seed_steps, self._seed_steps, None
        return lost


def _returned(work: Generator[None, None, T]) -> T:
    """The result of `work`, run to its end at once."""
    while True:
        try:
            next(work)
        except StopIteration as end:
            result: T = end.value
            return result


def _sum_over_all(group: Group, tensors: list[Tensor]) -> None:
    """Replaces tensors of one type by their sums over all processes, sent as one."""
    total = group.summed(torch.cat([tensor.view(-1) for tensor in tensors]))
    for tensor, part in zip(tensors, total.split([tensor.numel() for tensor in tensors]), strict=True):
        tensor.view(-1).copy_(part)


def _in_memory_order(tensor: Tensor) -> Tensor:
    """A view of one dimension of a tensor that is contiguous or channels_last."""
    return (tensor.permute(0, 2, 3, 1) if tensor.ndim == 4 else tensor).view(-1)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.cpu().contiguous() for name, tensor in tensors.items()}
