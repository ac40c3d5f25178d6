"""One record a thing: what is registered here is specified, estimated, trained, measured and captioned like others."""

from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
import torch
from torch import nn

from ncore.estimate import memory_bytes
from ncore.kinds.data_sets import DATA_SETS, Source
from ncore.kinds.networks import NETWORKS, Maps, NetworkModel
from ncore.kinds.optimizers import OPTIMIZERS, NetworkOptimizer
from ncore.kinds.schedules import SCHEDULES, LearningRateSchedule
from ncore.network.models import with_head
from ncore.network.sources import in_memory
from ncore.pictures.caption import caption
from ncore.spec import NetworkSpec, SpecError, parse_spec
from ncore.train import begin


class Strips(NetworkModel):
    """A network of linear layers on strips of the image."""

    kind: Literal["strips"] = "strips"
    width: int = 6
    least_batch = 1

    @property
    def words(self):
        return f"strips of {self.width}"

    @property
    def stages(self):
        return ("strip1", "strip2")

    def maps(self, channels, image_size):
        return Maps(2 * self.width, self.width, dict.fromkeys(self.stages, self.width))

    def parameters(self, channels, image_size):
        return sum(a * b for a, b in pairwise((channels * image_size**2, self.width, self.width)))

    @staticmethod
    def build(model, classes, channels, image_size):
        first = nn.Sequential(nn.Flatten(), nn.Linear(channels * image_size**2, model.width), nn.Tanh())
        stages = {"strip1": first, "strip2": nn.Linear(model.width, model.width)}
        return with_head(model, stages, model.width, classes)


def grey_levels(data, base, check):
    """Each class is a level of grey."""
    check()
    labels = torch.arange(3).repeat_interleave(20)
    images = (80 * labels[:, None, None, None] + torch.arange(60)[:, None, None, None] % 7).to(torch.uint8)
    return in_memory(images.expand(-1, 1, 6, 6), labels), None, 3


class Signs(NetworkOptimizer):
    """Descent by the sign of the gradient."""

    kind: Literal["signs"] = "signs"
    shrinks_unused = False

    @property
    def words(self):
        return f"signs, step {self.learning_rate:g}"

    @staticmethod
    def make(spec, parameters):
        class Descent(torch.optim.Optimizer):
            def step(self, closure=None):
                for group in self.param_groups:
                    for p in group["params"]:
                        p.data -= group["lr"] * p.grad.sign()

        return Descent(parameters, {"lr": spec.learning_rate})


class Halved(LearningRateSchedule):
    kind: Literal["halved"] = "halved"

    def after(self, done, epoch):
        return 0.5**epoch


BODY = {
    "model": {"kind": "strips", "layers": ["strip2"]},
    "data": {"name": "grey", "image_size": 6},
    "optimizer": {
        "kind": "signs",
        "learning_rate": 0.003,
        "epochs": 3,
        "batch_size": 8,
        "schedule": {"kind": "halved"},
    },
    "device": "cpu",
}


@pytest.fixture
def _records(monkeypatch):
    monkeypatch.setitem(NETWORKS, "strips", Strips)
    monkeypatch.setitem(DATA_SETS, "grey", Source("grey", "levels of grey", grey_levels, 3, (60, 0), channels=1))
    monkeypatch.setitem(OPTIMIZERS, "signs", Signs)
    monkeypatch.setitem(SCHEDULES, "halved", Halved)


@pytest.mark.usefixtures("_records")
def test_one_record_is_enough():
    spec = parse_spec(BODY)
    assert isinstance(spec.model, Strips)
    assert parse_spec(spec.model_dump(mode="json")) == spec
    assert caption(spec).startswith("strips of 6 on levels of grey; ")
    assert "signs, step 0.003, batch 8, 3 epochs" in caption(spec)
    assert 0 < memory_bytes(spec) < 10**6
    run = begin(spec)
    assert (run.layers, run.classes) == (("strip2",), 3)
    assert spec.steps_per_seed(run.total) == 3 * 8
    found = []
    while not run.done:
        found += run.advance()
    assert [m.values["learning_rate", None] for m in found] == [0.003, 0.0015, 0.00075, 0.000375]
    assert found[-1].values["loss", None] < found[0].values["loss", None]
    assert ("nc1", "strip2") in found[-1].values


@pytest.mark.usefixtures("_records")
def test_the_schema_has_what_is_registered():
    text = str(NetworkSpec.model_json_schema())
    assert all(name in text for name in ("'strips'", "'grey'", "'signs'", "'halved'", "'resnet'", "'mnist'", "'adamw'"))


WRONG = {
    "model.kind": ({"model": {"kind": "strips"}}, "must be one of ufm, resnet, mlp, convnet, .*; got 'strips'"),
    "data.name": ({"data": {"name": "grey"}}, "must be mnist, .*; got 'grey'"),
    "optimizer.kind": ({"optimizer": {"kind": "signs"}}, "must be sgd, sgdw, adam or adamw; got 'signs'"),
    "optimizer.schedule.kind": ({"optimizer": {"schedule": {"kind": "halved"}}}, "or constant; got 'halved'"),
    "optimizer.schedule": ({"optimizer": {"schedule": 3}}, "must be an object with a `kind`; got 3"),
    "optimizer.betas.1": ({"optimizer": {"kind": "adam", "betas": [0.9, 1.5]}}, "less than 1; got 1.5"),
    "optimizer.momentum": ({"optimizer": {"kind": "adam", "momentum": 0.9}}, "unknown field"),
    "optimizer.gamma": ({"optimizer": {"gamma": 0.5, "schedule": {"kind": "cosine"}}}, "beside optimizer.schedule"),
    "optimizer.schedule.warmup_epochs": (
        {"optimizer": {"epochs": 5, "schedule": {"kind": "cosine", "warmup_epochs": 5}}}, "must be below epochs = 5",
    ),
    "data.classes.2": ({"data": {"name": "digits", "classes": [3, 4, -1]}}, "greater than or equal to 0; got -1"),
    "data.classes": ({"data": {"name": "digits", "classes": [3, 3]}}, "must not repeat"),
    "data.imbalance": ({"data": {"name": "digits", "imbalance": {"kind": "step", "ratio": 2}}}, "samples_per_class"),
}  # fmt: skip


@pytest.mark.parametrize("field", WRONG)
def test_what_is_not_registered_or_does_not_fit_is_refused_by_field(field):
    changes, told = WRONG[field]
    with pytest.raises(SpecError, match=told) as refused:
        parse_spec({"model": {"kind": "mlp"}, "data": {"name": "digits"}, **changes})
    assert [error["field"] for error in refused.value.errors] == [field]


def test_the_page_about_networks_names_every_record():
    page = (Path(__file__).parents[1] / "docs" / "networks.md").read_text()
    missing = [name for names in (DATA_SETS, OPTIMIZERS, SCHEDULES) for name in names if f"`{name}`" not in page]
    assert [name for name in missing if f'"kind": "{name}"' not in page] == []
    published = [source for source in DATA_SETS.values() if source.images]
    assert all(f"{n:,}" in page for source in published for n in source.images)
