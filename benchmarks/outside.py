"""Measuring, logging and sending from a training loop of one's own, beside its forward pass and beside bounds."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

import ncore
from api.service import running
from api.settings import Settings
from benchmarks import Row, cpu_seconds_in_turns
from ncore.client import Client
from ncore.client.sending import Sender
from ncore.client.spool import Spool

BATCH = 500
METRICS = [f"metric_{i}" for i in range(20)]


@dataclass(frozen=True)
class Size:
    """Samples, width of the features, turns; calls of `log`; steps of 20 metrics that are sent."""

    samples: int
    width: int
    turns: int
    calls: int
    steps: int

    @property
    def points(self) -> int:
        return self.steps * len(METRICS)


FULL = Size(samples=60_000, width=512, turns=3, calls=5_000, steps=5_000)
SMALLEST = Size(samples=1_000, width=16, turns=1, calls=10, steps=10)


def run(smallest: bool = False) -> list[Row]:
    size = SMALLEST if smallest else FULL
    return [*_probed(size), _logged(size), *_sent(size)]


def _probed(size: Size) -> list[Row]:
    """A pass of the probe beside the same pass without it, by the CPU time of one thread.

    The perceptron is as cheap as a network with such features gets; a convolutional one takes longer for the same
    features, on 28 × 28 pixels, as MNIST has them.
    """
    width = size.width
    perceptron = nn.Sequential(
        nn.Flatten(), nn.Linear(784, 2 * width), nn.ReLU(), nn.Linear(2 * width, 2 * width), nn.ReLU(),
        nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, 10),
    )  # fmt: skip
    convolutional = nn.Sequential(
        nn.Conv2d(1, 32, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(32, 64, 3, padding=1), nn.ReLU(),
        nn.MaxPool2d(2), nn.Flatten(), nn.Linear(64 * 49, width), nn.ReLU(), nn.Linear(width, 10),
    )  # fmt: skip
    rows = []
    for name, model in (("a perceptron", perceptron), ("a small convolutional net", convolutional)):
        batches = _batches(size.samples)
        probe = ncore.Probe(model, classes=10)
        probe(batches[:1])  # imports what it needs
        works = {"probe": lambda: probe(batches), "forward": lambda: _forward(model, batches)}  # noqa: B023 (called here)
        found = cpu_seconds_in_turns(works, size.turns)
        title = f"Probe, {size.samples:,} x {width} features of {name}"
        rows.append(Row.of_turns(title, found["probe"], found["forward"], "CPU s", "<= 1.15", "the forward pass"))
    return rows


def _batches(samples: int) -> list[tuple[Tensor, Tensor]]:
    torch.manual_seed(0)
    images = torch.randn(BATCH, 1, 28, 28)
    labels = torch.arange(BATCH) % 10
    return [(images, labels)] * (samples // BATCH)


def _forward(model: nn.Module, batches: list[tuple[Tensor, Tensor]]) -> None:
    model.eval()
    with torch.no_grad():
        for x, _ in batches:
            model(x)


def _logged(size: Size) -> Row:
    """What `log` costs the training thread: the median of calls with 41 values."""
    values = {(name, layer): 0.1 for name in METRICS for layer in ("layer3", "layer4")}
    with tempfile.TemporaryDirectory() as folder:
        run = ncore.start("log", offline=True, folder=folder)
        spent = []
        for step in range(size.calls):
            began = time.thread_time()
            run.log(step, values, loss=0.5)
            spent.append(time.thread_time() - began)
        run.finish()
    return Row.of_seconds("run.log of 41 values", [1e3 * one for one in spent], 0.2, "CPU ms")


def _sent(size: Size) -> list[Row]:
    """What was logged on its way to a service on SQLite by one client: 100,000 points a second are asked for."""
    with tempfile.TemporaryDirectory() as home, running(Settings(home=Path(home), port=0)) as service:
        spool = Spool.create(
            Path(home), {"body": {"name": "", "model": {"kind": "external"}}, "url": service.url, "seed": 0}
        )
        for step in range(size.steps):
            spool.append({"seed": 0, "step": step, "values": dict.fromkeys(METRICS, step * 0.5)})
        with Client(service.url) as client:
            sender = Sender(spool, client)
            began, spent = time.perf_counter(), time.process_time()
            sender.send_all()
            seconds, own = time.perf_counter() - began, time.process_time() - spent
            assert sender.stored == size.steps
    bound = size.points / 100_000
    return [
        Row.of_seconds(f"sending {size.points:,} points, at 100,000 a second", [seconds], bound, "s"),
        Row.of_seconds(f"sending {size.points:,} points, the client alone", [own], bound, "CPU s"),
    ]
