"""Training and measuring ResNet18 and ViT-Tiny on images of 32 pixels against the usual loop."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torchvision
from PIL import Image
from torch import nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

from benchmarks import Row, seconds_in_turns
from ncore.network.data import DataSet
from ncore.network.run import NetworkRun
from ncore.spec import NetworkSpec, parse_spec

CLASSES = 10
VIT_TINY = {"patch_size": 4, "num_layers": 12, "num_heads": 3, "hidden_dim": 192, "mlp_dim": 768}
MODELS: dict[str, dict[str, Any]] = {
    "imagenet stem": {"kind": "resnet", "depth": 18, "stem": "imagenet"},
    "cifar stem": {"kind": "resnet", "depth": 18, "stem": "cifar"},
    "ViT-Tiny": {"kind": "torchvision", "name": "VisionTransformer", "options": VIT_TINY},
}
LOADERS = 8
"""Most processes of a DataLoader that feeds a GPU; a CPU needs its cores for the network."""


@dataclass(frozen=True)
class Size:
    """Images a step, steps a turn for each model, images of a class in a measurement, and turns."""

    batch: int
    steps: dict[str, int]
    measured_per_class: int
    turns: int


FULL = Size(batch=128, steps={"imagenet stem": 4}, measured_per_class=51, turns=3)  # 510 images: equal batches
SMALLEST = Size(batch=10, steps={}, measured_per_class=2, turns=1)


def started(
    model: Mapping[str, Any], batch: int, per_class: int, device: str = "cpu", precision: str = "float32"
) -> NetworkRun:
    """Trained on synthetic images, as no data set has to be there; measured once, so that all is warm."""
    body = {
        "model": model,
        "data": {"name": "synthetic", "samples_per_class": per_class, "image_size": 32},
        "loss": "cross_entropy",
        "optimizer": {"epochs": 10_000, "batch_size": batch, "learning_rate": 0.01},
        "measure": {"points": 2},
        "precision": precision,
        "device": device,
    }
    spec = parse_spec(body)
    assert isinstance(spec, NetworkSpec)
    run = NetworkRun(spec, device, None, None)
    run.advance()
    return run


def plain_network(model: Mapping[str, Any], channels: int) -> nn.Module:
    """torchvision's own."""
    if model["kind"] == "torchvision":
        return torchvision.models.VisionTransformer(image_size=32, num_classes=CLASSES, **model["options"])
    network, stem = torchvision.models.resnet18(num_classes=CLASSES), model["stem"]
    kernel, stride, padding = (3, 1, 1) if stem == "cifar" else (7, 2, 3)
    network.conv1 = nn.Conv2d(channels, 64, kernel, stride, padding, bias=False)
    if stem == "cifar":
        network.maxpool = nn.Identity()
    return network


class Pictures(Dataset[tuple[torch.Tensor, int]]):
    """Images in memory, each turned into a standardised tensor when it is asked for, as torchvision's data sets do."""

    def __init__(self, data: DataSet) -> None:
        self.images = data.train.images.permute(0, 2, 3, 1).cpu().numpy()
        self.labels = data.train.labels.tolist()
        mean, std = data.mean.flatten().cpu() / 255, 1 / (255 * data.scale.flatten().cpu())
        self.transform = transforms.Compose([transforms.ToTensor(), transforms.Normalize(mean, std)])

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        return self.transform(Image.fromarray(self.images[i])), self.labels[i]


class UsualLoop:
    """DataLoader, float32, torchvision's network, one evaluation forward a batch for the metrics along the way."""

    def __init__(self, model: Mapping[str, Any], data: DataSet, batch: int, device: str = "cpu") -> None:
        self.network, self.device, on_gpu = plain_network(model, data.channels).to(device), device, device != "cpu"
        processes = min(LOADERS, os.cpu_count() or 1) if on_gpu else 0
        how: dict[str, Any] = {"num_workers": processes, "pin_memory": on_gpu, "persistent_workers": on_gpu}
        self.loader = DataLoader(Pictures(data), batch, shuffle=True, drop_last=True, **how)
        self.batches = iter(self.loader)
        self.sgd = torch.optim.SGD(self.network.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4)

    def step(self) -> None:
        batch = next(self.batches, None)
        if batch is None:
            self.batches = iter(self.loader)
            batch = next(self.batches)
        images, labels = (part.to(self.device, non_blocking=True) for part in batch)
        self.sgd.zero_grad()
        functional.cross_entropy(self.network(images), labels).backward()
        self.sgd.step()
        self.network.eval()
        with torch.no_grad():
            self.network(images)
        self.network.train()

    def steps(self, count: int) -> None:
        for _ in range(count):
            self.step()


def training(name: str, target: str, size: Size) -> Row:
    model, steps = MODELS[name], size.steps.get(name, 1)
    run = started(model, size.batch, 2 * size.batch // CLASSES * steps)
    data = run._data
    usual = UsualLoop(model, data, size.batch)
    run.train_step()
    usual.step()
    works = {
        "ours": lambda: [run.train_step() for _ in range(steps)],
        "usual": lambda: usual.steps(steps),
    }
    seconds = seconds_in_turns(works, size.turns)
    ours, theirs = ([1e3 * one / (steps * size.batch) for one in seconds[name]] for name in ("ours", "usual"))
    return Row.of_turns(f"training, {name}", ours, theirs, "ms/image", target, "DataLoader and torchvision")


def measuring(model: str, size: Size) -> Row:
    """One measurement of all layers, test set included, against one evaluation forward over the same images."""
    run = started(MODELS[model], size.batch, size.measured_per_class)
    network, data = run._network, run._data
    assert data.test is not None
    parts = [data.train, data.test]

    @torch.no_grad()
    def forward() -> None:
        network.eval()
        for part in parts:
            for images in part.images.split(256):
                network(data.standardise(images))
        network.train()

    forward()
    seconds = seconds_in_turns({"ours": lambda: run._measure(math.inf), "forward": forward}, size.turns)
    name = f"a measurement of all layers, {model}"
    return Row.of_turns(name, seconds["ours"], seconds["forward"], "s", "<= 1.1", "one evaluation forward")


def run(smallest: bool = False) -> list[Row]:
    size = SMALLEST if smallest else FULL
    return [
        training("imagenet stem", ">= 2.5", size),
        training("cifar stem", ">= 1.8", size),
        training("ViT-Tiny", ">= 1.2", size),
        measuring("imagenet stem", size),
    ]
