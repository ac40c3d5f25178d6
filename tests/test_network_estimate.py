"""What a network is said to need: against its parameters, its data and a process that trains it; the limit."""

import json
import re
import subprocess
import sys

import pytest

from api.submission import check_limits
from ncore.estimate import memory_bytes
from ncore.network.data import load
from ncore.network.estimate import images, maps, parameters
from ncore.network.models import build
from ncore.spec import SpecError, parse_spec

MODELS = [
    {"kind": "resnet", "depth": 18, "stem": "imagenet"},
    {"kind": "resnet", "depth": 34, "head_layers": 1},
    {"kind": "resnet", "depth": 50, "stem": "imagenet"},
    {"kind": "mlp", "widths": [7, 9], "head_layers": 2},
    {"kind": "convnet", "channels": [4, 6, 8]},
]


def spec_of(model, **data):
    return parse_spec({"model": model, "data": {"name": "synthetic", "image_size": 32, **data}, "device": "cpu"})


@pytest.mark.parametrize("model", MODELS, ids=lambda model: f"{model['kind']}{model.get('depth', '')}")
def test_parameters_and_widths_are_those_of_the_network(model):
    spec = spec_of(model)
    network = build(spec.model, 10, 3, 32, 0, cut_padding_taps=False)
    assert parameters(spec, 10) == sum(p.numel() for p in network.parameters() if p.ndim > 1)
    widths = maps(spec).widths
    assert tuple(widths) == network.layers
    assert widths[network.layers[-1]] == network.classifier.in_features


@pytest.mark.parametrize(
    "data",
    [
        {"name": "digits", "samples_per_class": [2, 3, 4, 5, 6, 7, 8, 9, 10, 11]},
        {"name": "digits"},
        {"name": "synthetic"},
        {"name": "synthetic", "samples_per_class": [4, 5, 6]},
        {"name": "synthetic", "samples_per_class": 6, "classes": 4},
    ],
)
def test_images_are_those_of_the_data(data):
    spec = spec_of({"kind": "mlp"}, **data, image_size=8)
    found = load(spec.data, None, "cpu")
    assert images(spec.data) == (len(found.train), len(found.test))


TRAINED = """
import json, re, sys
import torchvision
from ncore.spec import parse_spec
from ncore.train import begin

def peak():  # of this program alone; getrusage's begins at its parent's
    return int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1])

small = {"model": {"kind": "convnet", "channels": [4]}, "device": "cpu",
         "data": {"name": "synthetic", "samples_per_class": 20, "image_size": 8}}
run = begin(parse_spec(small))
run.advance()
run.advance(seconds=0)
before = peak()
run = begin(parse_spec(json.loads(sys.argv[1])))
run.advance()
for _ in range(3):
    run.advance(seconds=0)
print(peak() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process's own peak, in /proc")
@pytest.mark.parametrize(
    ("model", "samples", "batch"),
    [
        pytest.param({"kind": "mlp", "widths": [1024, 1024]}, 300, 500, id="mlp", marks=pytest.mark.nightly),
        pytest.param({"kind": "convnet", "channels": [64, 64]}, 100, 400, id="convnet", marks=pytest.mark.nightly),
    ],
)
def test_a_process_that_trains_needs_about_as_much(model, samples, batch):
    body = {"model": model, "data": {"name": "synthetic", "samples_per_class": samples, "image_size": 32}}
    body |= {"optimizer": {"batch_size": batch, "learning_rate": 0.001}, "device": "cpu", "measure": {"points": 2}}
    command = [sys.executable, "-c", TRAINED, json.dumps(body)]
    used = 1024 * int(subprocess.run(command, capture_output=True, text=True, timeout=300, check=True).stdout)
    assert 0.5 * used < memory_bytes(parse_spec(body)) < 2 * used


def test_more_than_the_limit_is_refused_with_the_estimate():
    body = {
        "model": {"kind": "resnet", "depth": 50},
        "data": {"name": "cifar10", "image_size": 224, "samples_per_class": 200},
    }
    check_limits(parse_spec({**body, "optimizer": {"batch_size": 8}}))
    told = r"needs about \d+\.?\d* GiB \(.* GiB for .*\), the limit is NCORE_MAX_MEMORY_BYTES = 16 GiB"
    with pytest.raises(SpecError, match=told):
        check_limits(parse_spec({**body, "optimizer": {"batch_size": 64}}))


MLP, RESNET = {"kind": "mlp"}, {"kind": "resnet", "depth": 50}
WIDE = {"kind": "mlp", "widths": [16_384] * 3}


@pytest.mark.parametrize(
    ("model", "data", "batch", "field", "words"),
    [
        (MLP, {"samples_per_class": 2000, "image_size": 512}, 8, "data.samples_per_class", "40000 images of 512 x 512"),
        (RESNET, {"image_size": 224}, 64, "optimizer.batch_size", "224 x 224 pixels, 64 in a batch"),
        (RESNET, {"image_size": 224}, 4096, "optimizer.batch_size", "224 x 224 pixels, 1000 in a batch"),
        (RESNET, {"image_size": 512}, 64, "data.image_size", "512 x 512 pixels, 64 in a batch"),
        ({**MLP, "widths": [16_384, 16_384]}, {"image_size": 256}, 8, "model", "the weights and their gradients"),
        (
            WIDE,
            {"samples_per_class": 5000, "image_size": 4},
            8,
            "data.samples_per_class",
            "the features of 50000 images in hidden1, hidden2, hidden3 (model.layers)",
        ),
        (
            WIDE,
            {"samples_per_class": 40_000, "image_size": 4},
            8,
            "model",
            "the sums over the features in hidden1, hidden2",
        ),
        (MLP, {"samples_per_class": 30, "classes": 10_000, "image_size": 4}, 8, "data.samples_per_class", "the logits"),
    ],
    ids=["images", "batch", "all in a batch", "pixels", "weights", "features", "sums", "logits"],
)
def test_the_field_whose_share_is_largest_is_named_with_its_bytes(model, data, batch, field, words):
    spec = spec_of(model, **data)
    spec = spec.model_copy(update={"optimizer": spec.optimizer.model_copy(update={"batch_size": batch})})
    with pytest.raises(SpecError) as caught:
        check_limits(spec)
    (fault,) = caught.value.errors
    assert fault["field"] == field
    assert words in fault["message"]
    needed, share = (float(n) for n in re.findall(r"([\d.e+]+) GiB", fault["message"])[:2])
    assert needed == pytest.approx(memory_bytes(spec) / 2**30, rel=1e-2)
    assert needed / 5 < share <= needed
