"""Networks that others wrote: trained and measured like ours, by the code of the Probe; refused by name."""

import copy
import math

import pytest
import torch
from conftest import wait_for
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from api.submission import check_limits
from ncore import Probe
from ncore.client import ApiError
from ncore.estimate import memory_bytes
from ncore.kinds.foreign import describe_by
from ncore.network.foreign import ForeignNetwork
from ncore.network.models import build
from ncore.pictures.caption import caption
from ncore.spec import SpecError, parse_spec
from ncore.train import begin

VIT = {
    "kind": "torchvision", "name": "VisionTransformer", "pool": "cls", "layers": ["encoder.layers.encoder_layer_1"],
    "options": {"patch_size": 4, "num_layers": 2, "num_heads": 2, "hidden_dim": 16, "mlp_dim": 24, "dropout": 0.2},
}  # fmt: skip
DENSENET = {
    "kind": "torchvision", "name": "DenseNet", "stem": "cifar", "layers": ["features.denseblock1", "features.norm5"],
    "options": {"growth_rate": 4, "block_config": [2, 2], "num_init_features": 8},
}  # fmt: skip
RESNET = {"kind": "torchvision", "name": "resnet18", "stem": "cifar", "layers": ["layer1", "layer4"]}
VGG = {"kind": "torchvision", "name": "vgg11_bn", "stem": "cifar", "options": {"dropout": 0.1}}
MODELS = {"ViT": (VIT, 8), "DenseNet": (DENSENET, 8), "ResNet": (RESNET, 8)}


def body(model, size=8, epochs=2, **more):
    return {
        "model": model, "loss": "cross_entropy", "seeds": [0], "device": "cpu",
        "data": {"name": "digits", "image_size": size, "samples_per_class": 6},
        "optimizer": {"kind": "sgd", "learning_rate": 0.02, "epochs": epochs, "batch_size": 30}, **more,
    }  # fmt: skip


def finished(run):
    found = []
    while not run.done:
        found += run.advance()
    return found


@pytest.mark.parametrize("name", MODELS)
def test_they_are_trained_and_measured_as_a_probe_measures(name):
    model, size = MODELS[name]
    spec = parse_spec(body(model, size))
    run = begin(spec)
    found = finished(run)
    assert found[-1].values["loss", None] < found[0].values["loss", None]
    assert run.layers == tuple(model["layers"])
    network = run._network
    hooked = [f"stages.features.model.{layer}" for layer in model["layers"]]
    data = run._data.train
    batches = DataLoader(TensorDataset(run._data.standardise(data.images), data.labels), batch_size=20)
    probed = Probe(network, hooked, "classifier", pool=model.get("pool", "mean"))(batches)
    for layer, its_name in zip(model["layers"], hooked, strict=True):
        for metric in ("nc1", "nc2_etf", "cdnv"):
            assert found[-1].values[metric, layer] == pytest.approx(probed[metric, its_name], rel=2e-3), (metric, layer)
    assert found[-1].values["accuracy", None] == probed["accuracy", None]
    assert (("nc3", "layer4") in found[-1].values) == (name == "ResNet")  # what the classifier takes
    assert spec.model.name in caption(spec)


def test_dropout_is_the_same_after_a_checkpoint():
    spec = parse_spec(body(VIT, epochs=3))
    whole = finished(begin(spec))
    run = begin(spec)
    before = run.advance() + run.advance()
    assert before[-1].step
    run = begin(spec, checkpoint=copy.deepcopy(run.checkpoint()))
    assert finished(run)[-1].values == pytest.approx(whole[-1].values, nan_ok=True, rel=0, abs=0)


def test_the_head_is_the_specs():
    model = {**DENSENET, "layers": None, "head_layers": 1, "fixed_etf": True, "bias": False}
    spec = parse_spec(body(model))
    found = finished(begin(spec))
    assert {layer for _, layer in found[-1].values} == {None, "features", "head1"}
    assert ("nc3", "head1") in found[-1].values
    network = begin(spec)._network
    gram = network.classifier.weight @ network.classifier.weight.T
    torch.testing.assert_close(gram, torch.eye(10) * 10 / 9 - 1 / 9, rtol=1e-5, atol=1e-5)
    assert network.classifier.bias is None
    assert not network.classifier.weight.requires_grad
    narrow = {**VIT, "options": {**VIT["options"], "hidden_dim": 8}, "layers": None, "fixed_etf": True}
    with pytest.raises(ValueError, match=r"model\.fixed_etf: the last layer has 8 features, must have at least"):
        begin(parse_spec(body(narrow)))


def test_memory_is_estimated_from_a_pass_without_numbers():
    spec = parse_spec(body(RESNET, 32))
    ours = parse_spec(body({"kind": "resnet", "depth": 18, "layers": ["layer1", "layer4"]}, 32))
    assert memory_bytes(spec) == pytest.approx(memory_bytes(ours), rel=0.1)  # the same network, estimated by formulas
    assert spec.model.parameters(1, 32) == pytest.approx(ours.model.parameters(1, 32), rel=0.01)
    wide = {**VIT, "options": {**VIT["options"], "hidden_dim": 32_768, "mlp_dim": 32_768}}
    with pytest.raises(SpecError, match=r"model: needs about .* GiB .* for the weights and their gradients"):
        check_limits(parse_spec(body(wide)))


REFUSED = {
    "model.name": [
        ({"name": "resnet19"}, "torchvision.models has no 'resnet19'; it has .* models, as resnet1"),
        ({"name": "squeezenet1_0"}, "squeezenet1_0 has no nn.Linear"),
        ({"name": "inception_v3", "options": {"init_weights": False}}, "does not take images of 1 x 8 x 8"),
        ({"name": "../resnet18"}, "must be letters, digits"),
    ],
    "model.options": [
        ({"name": "resnet18", "options": {"depth": 3}}, "resnet18 is not made: TypeError: .* 'depth'"),
        ({"name": "resnet18", "options": list("ab")}, "must be an object"),
        ({"name": "resnet18", "options": {"a": [0] * 99}}, "must hold at most 64 values"),
        ({"name": "resnet18", "options": {"a": [[[[[1]]]]]}}, "nested deeper than 4"),
    ],
    "model.options.weights": [({"name": "resnet18", "options": {"weights": "DEFAULT"}}, "would read files")],
    "model.options.num_classes": [({"name": "resnet18", "options": {"num_classes": 3}}, "is said by the data")],
    "model.layers": [({"name": "resnet18", "layers": ["layer9"]}, "there is no module 'layer9'; .* as layer4")],
    "model.stem": [({**VIT, "layers": None, "stem": "cifar"}, "must be imagenet for VisionTransformer")],
    "model.pool": [({"name": "resnet18", "pool": "max"}, "must be 'mean', 'cls' or 'channels_last'")],
}


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("field", REFUSED)
def test_what_cannot_be_built_is_refused_by_field(field):
    for model, message in REFUSED[field]:
        with pytest.raises(SpecError, match=message) as refused:
            check_limits(parse_spec(body({"kind": "torchvision", **model})))
        assert [error["field"] for error in refused.value.errors] == [field]


def test_where_nothing_is_known_the_worker_finds_out():
    describe_by(lambda model, channels, size: None)
    try:
        check_limits(parse_spec(body({"kind": "torchvision", "name": "resnet19"})))
    finally:
        describe_by(None)
    with pytest.raises(SpecError, match="has no 'resnet19'"):
        begin(parse_spec(body({"kind": "torchvision", "name": "resnet19"})))


PACKAGE = """
import numpy as np
from torch import nn

def net(classes, channels, width=6):
    return nn.Sequential(nn.Flatten(), nn.Linear(64 * channels, width), nn.Tanh(), nn.Linear(width, classes))

def scores(classes, channels):
    return nn.Sequential(net(classes, channels), nn.Softmax(1))

def pictures(n=8):
    labels = np.arange(3 * n) % 3
    draw = np.random.default_rng(0)
    return (60 * labels[:, None, None, None] + draw.integers(0, 50, (3 * n, 1, 8, 8))).astype(np.uint8), labels

def both():
    return pictures(8), pictures(4)

def wrong():
    return [1.5, 2.5], [0, 1]
"""
ENTRIES = """[ncore.models]
tiny = package_of_a_test:net
scores = package_of_a_test:scores
gone = package_of_a_test:gone
[ncore.datasets]
pictures = package_of_a_test:pictures
both = package_of_a_test:both
wrong = package_of_a_test:wrong
"""


@pytest.fixture
def _package(tmp_path, monkeypatch):
    (tmp_path / "package_of_a_test.py").write_text(PACKAGE)
    about = tmp_path / "package_of_a_test-1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: package-of-a-test\nVersion: 1\n")
    (about / "entry_points.txt").write_text(ENTRIES)
    monkeypatch.syspath_prepend(tmp_path)
    describe_by(None)


@pytest.mark.usefixtures("_package")
@pytest.mark.parametrize("by", ["entry point", "function"])
def test_plugins_are_found_by_entry_points(by):
    names = ("tiny", "pictures") if by == "entry point" else ("package_of_a_test:net", "package_of_a_test:both")
    spec = parse_spec({
        **body({"kind": "plugin", "name": names[0], "options": {"width": 5}, "layers": ["1", "features"]}),
        "data": {"name": "plugin", "plugin": names[1], "image_size": 8},
    })  # fmt: skip
    run = begin(spec)
    assert run.classes == 3
    last = finished(run)[-1].values
    assert {layer for _, layer in last} == {None, "1", "features"}
    assert (("test_accuracy", None) in last) == (by == "function")
    assert ("nc3", "features") in last


@pytest.mark.usefixtures("_package")
def test_plugins_that_are_not_installed_or_do_not_fit_are_refused_by_name():
    for name, message in {
        "other": r"no installed package offers 'other' by an entry point ncore.models; offered: tiny \(package_of_a_t",
        "os:system": "no installed package offers 'os:system'",
        "gone": "gone cannot be imported",
        "scores": "scores must end in its last nn.Linear, '0.3', on vectors; it does not",
    }.items():
        with pytest.raises(SpecError, match=f"^model.name: {message}"):
            check_limits(parse_spec(body({"kind": "plugin", "name": name})))
    data = {"name": "plugin", "image_size": 8}
    for plugin, options, message in (
        ("other", {}, "data.plugin: no installed package offers 'other'"),
        ("wrong", {}, r"data.plugin: wrong must give images \(N, C, S, S\) of uint8; it gave \(2,\) of torch.float32"),
        ("pictures", {"m": 3}, "data.options: pictures gives no images: TypeError"),
    ):
        spec = {**body({"kind": "mlp"}), "data": {**data, "plugin": plugin, "options": options}}
        with pytest.raises(ValueError, match=message):
            begin(parse_spec(spec))
    for wrong, message in (
        ({"name": "plugin"}, "data.plugin: must be given for the data set 'plugin'"),
        ({"name": "digits", "plugin": "both"}, "data.plugin: must be given .* and only for it"),
        ({"name": "digits", "options": {"a": 1}}, "data.options: may be given beside data.plugin only"),
    ):
        with pytest.raises(SpecError, match=message):
            parse_spec({**body({"kind": "mlp"}), "data": wrong})


def test_timm_by_name_and_without_it_the_extra_is_named(monkeypatch):
    timm = {"kind": "timm", "name": "test_vit", "options": {"embed_dim": 16, "num_heads": 2}, "layers": ["blocks.0"]}
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(SpecError, match=r"model.kind: timm needs the package timm: pip install 'ncore\[timm\]'"):
        check_limits(parse_spec(body(timm, 32)))
    monkeypatch.undo()
    pytest.importorskip("timm")
    last = finished(begin(parse_spec(body(timm, 32, epochs=1))))[-1].values
    assert {layer for _, layer in last} == {None, "blocks.0"}
    with pytest.raises(SpecError, match=r"model\.options\.checkpoint_path: may not be given: it would read files"):
        check_limits(parse_spec(body({**timm, "options": {"checkpoint_path": "/etc/passwd"}}, 32)))


def test_the_service_trains_them_and_refuses_what_cannot_be_built(client):
    made = client.submit(body(VIT, name="a small transformer", epochs=1))
    for model, field in (
        ({"kind": "torchvision", "name": "resnet19"}, "model.name"),
        ({**VIT, "layers": ["encoder.layers.encoder_layer_2"]}, "model.layers"),
        ({**VIT, "options": {**VIT["options"], "hidden_dim": 32_768}}, "model"),
        ({"kind": "plugin", "name": "os:system"}, "model.name"),
    ):
        with pytest.raises(ApiError) as refused:
            client.submit(body(model))
        assert [error["field"] for error in refused.value.errors] == [field]
    wait_for("its end", lambda: made.refresh().is_ended, 120)
    assert made.status == "succeeded", made.data["error"]
    assert {one["layer"] for one in made.series(metric="nc1")} == set(VIT["layers"])


@pytest.mark.nightly
@pytest.mark.parametrize("model", [
    VGG, {"kind": "torchvision", "name": "densenet121", "stem": "cifar"},
    {"kind": "torchvision", "name": "wide_resnet50_2"},
    {"kind": "torchvision", "name": "convnext_tiny", "layers": ["features.7"]},
    {"kind": "torchvision", "name": "swin_t", "layers": ["features.7"], "pool": "channels_last"},
    {"kind": "torchvision", "name": "googlenet", "options": {"init_weights": False}},
], ids=lambda model: model["name"])  # fmt: skip
def test_large_ones_are_trained_too(model):
    spec = parse_spec(body(model, 32, epochs=1))
    check_limits(spec)
    last = finished(begin(spec))[-1].values
    assert all(math.isfinite(last[key]) for key in last if key[0] in ("nc1", "objective", "accuracy"))
    network = build(spec.model, 10, 1, 32, 0)
    assert isinstance(network, ForeignNetwork)
    assert isinstance(network.classifier, nn.Linear)
