"""Optimizers and schedules of networks: against torch's own, on a network with weights that see only padding."""

import pytest
import torch
from test_network_run import BODY, finish, reloaded, same
from torch import nn

from ncore.network.data import load
from ncore.network.models import build
from ncore.network.run import Epoch, NetworkRun
from ncore.spec import parse_spec, with_changes
from ncore.train import begin

CONVNET, RESNET = {"kind": "convnet", "channels": [4, 5, 6]}, {"kind": "resnet", "stem": "imagenet"}
SMALL = {"data.image_size": 16, "data.samples_per_class": 3, "optimizer.epochs": 1}
"""On which the ResNet has many weights that see only padding."""
OPTIMIZERS = {
    "sgd": {"kind": "sgd", "momentum": 0.8},
    "sgdw": {"kind": "sgdw", "momentum": 0.8, "nesterov": True},
    "adam": {"kind": "adam", "learning_rate": 0.01},
    "adamw": {"kind": "adamw", "learning_rate": 0.01, "betas": [0.8, 0.9]},
}


def spec_of(optimizer, **changes):
    fields = {"epochs": 2, "batch_size": 16, "weight_decay": 0.1, **optimizer}
    body = {**BODY, "optimizer": fields, "precision": "float64"}
    return parse_spec(with_changes(body, {"data.augment": False, **changes}))


def torchs(o, parameters):
    adams = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
    if o.kind in adams:
        return adams[o.kind](parameters, o.learning_rate, o.betas, o.epsilon, o.weight_decay)
    decay = o.weight_decay if o.kind == "sgd" else 0
    return torch.optim.SGD(parameters, o.learning_rate, o.momentum, 0, decay, o.nesterov)


@pytest.mark.parametrize("model", [CONVNET, RESNET], ids=["convnet", "resnet"])
@pytest.mark.parametrize("kind", OPTIMIZERS)
def test_training_is_that_of_torchs_optimizer(kind, model):
    spec = spec_of(OPTIMIZERS[kind], model=model, **(SMALL if model is RESNET else {}))
    final = finish(NetworkRun(spec, "cpu", None, None))[-1]
    data = load(spec.data, None, "cpu", torch.float64)
    network = build(spec.model, 10, 1, spec.data.image_size, 0, cut_padding_taps=False).double()
    optimizer, images = torchs(spec.optimizer, network.parameters()), data.standardise(data.train.images)
    for epoch in range(spec.optimizer.epochs):
        for index in Epoch.draw(0, epoch, data, augmented=False).order.split(16):
            optimizer.zero_grad()
            nn.functional.mse_loss(network(images[index]), torch.eye(10).double()[data.train.labels[index]]).backward()
            if kind == "sgdw":
                with torch.no_grad():
                    for p in network.parameters():
                        p.mul_(1 - spec.optimizer.learning_rate * spec.optimizer.weight_decay)
            optimizer.step()
    norm = sum(float(p.detach().square().sum()) for p in network.parameters())
    network.eval()
    loss = float(nn.functional.mse_loss(network(images), torch.eye(10).double()[data.train.labels]).detach())
    assert final.values["loss", None] == pytest.approx(loss, rel=1e-6)
    assert final.values["objective", None] == pytest.approx(loss + 0.05 * norm, rel=1e-8)


@pytest.mark.parametrize("kind", ["sgdw", "adam", "adamw"])
def test_it_goes_on_bit_for_bit(kind):
    spec = spec_of(OPTIMIZERS[kind], **{"optimizer.schedule": {"kind": "cosine", "warmup_epochs": 0.5}})
    expected, run, found = finish(begin(spec)), begin(spec), []
    while not run.done:
        found += run.advance(seconds=0)
        run = begin(spec, checkpoint=reloaded(run.checkpoint())) if run._measuring is None else run
    assert same(found, expected)


STEPS, EPOCHS = 7, 6


def torch_rates(scheduler_of):
    optimizer = torch.optim.SGD([torch.zeros(1)], 1.0)
    scheduler, rates = scheduler_of(optimizer), []
    for _ in range(STEPS * EPOCHS):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return rates


lrs = torch.optim.lr_scheduler
SCHEDULES = {
    "cosine": ({"kind": "cosine"}, lambda o: lrs.CosineAnnealingLR(o, STEPS * EPOCHS)),
    "linear": ({"kind": "linear"}, lambda o: lrs.LinearLR(o, 1.0, 0.0, STEPS * EPOCHS)),
    "constant": ({"kind": "constant"}, lambda o: lrs.ConstantLR(o, 1.0)),
    "milestones": (
        {"kind": "milestones", "milestones": [2, 3], "gamma": 0.5},
        lambda o: lrs.MultiStepLR(o, [2 * STEPS, 3 * STEPS], 0.5),
    ),
    "warm-up": (
        {"kind": "cosine", "warmup_epochs": 2},
        lambda o: lrs.SequentialLR(
            o,
            [lrs.LinearLR(o, 1 / (2 * STEPS), 1.0, 2 * STEPS - 1), lrs.CosineAnnealingLR(o, STEPS * (EPOCHS - 2))],
            [2 * STEPS],
        ),
    ),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_are_torchs(name):
    schedule, scheduler_of = SCHEDULES[name]
    rates = spec_of({"kind": "sgd", "epochs": EPOCHS, "schedule": schedule}).optimizer.rates
    mine = [rates.share(step, STEPS, EPOCHS) for step in range(STEPS * EPOCHS)]
    assert mine == pytest.approx(torch_rates(scheduler_of), abs=1e-12)
