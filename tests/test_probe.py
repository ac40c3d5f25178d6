"""The probe in loops of one's own: against plain torch code, on wrapped models, with labels that are none."""

import os
import random
import socket

import numpy as np
import pytest
import torch
from test_geometry import assert_geometry
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ncore import Probe, measure

torch.manual_seed(0)
IMAGES, LABELS = torch.randn(60, 1, 8, 8), torch.arange(60) % 3


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5))
        self.deep = nn.Sequential(nn.Conv2d(6, 5, 3), nn.ReLU())
        self.fc = nn.Linear(5, 3)

    def forward(self, x):
        return self.fc(self.deep(self.body(x)).mean((2, 3)))


class Tokens(nn.Module):
    """A transformer in the form of Hugging Face: keywords in, a dict out."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Linear(8, 6)
        self.block = nn.TransformerEncoderLayer(6, 2, 12, batch_first=True)
        self.head = nn.Linear(6, 3)

    def forward(self, pixels, scale=1.0):
        return {"logits": self.head(self.block(self.embed(pixels[:, 0] * scale))[:, 0])}


def batches(size=17):
    return DataLoader(TensorDataset(IMAGES, LABELS), batch_size=size)


def by_hand(net):
    """Features saved by plain torch code, and measured."""
    net.eval()
    with torch.no_grad():
        maps = net.body(IMAGES)
        pooled = net.deep(maps)
        last = pooled.mean((2, 3))
    return {
        "body": measure(maps.double().mean((2, 3)), LABELS),
        "deep": measure(pooled.double().mean((2, 3)), LABELS, net.fc.weight, net.fc.bias),
    }, (net.fc(last).argmax(1) == LABELS).double().mean().item()


def features_of(net):
    """By layer, (d, N)."""
    with torch.no_grad():
        maps = net.body(IMAGES)
        return {name: x.double().mean((2, 3)).T.numpy() for name, x in (("body", maps), ("deep", net.deep(maps)))}


def test_it_gives_what_saved_features_give():
    net = Net()
    found = Probe(net, ["body", "deep"], "fc", classes=3)(batches())
    expected, accuracy = by_hand(net)
    for layer, metrics in expected.items():
        for metric in set(metrics) - {"nc4"}:
            if (metric, layer) in found:
                assert found[metric, layer] == pytest.approx(metrics[metric], rel=1e-9, abs=1e-12, nan_ok=True), metric
        assert {"nc1", "nc2_etf", "cdnv"} <= {metric for metric, one in found if one == layer}
    assert found["accuracy", None] == accuracy
    assert ("nc3", "deep") in found
    assert ("nc3", "body") not in found
    assert_geometry(found.geometry, features_of(net), LABELS.numpy(), net.fc.weight.detach().numpy(), rtol=1e-5)
    few = DataLoader(TensorDataset(IMAGES[LABELS > 0], LABELS[LABELS > 0]), batch_size=20)
    assert Probe(net, ["body", "deep"], "fc", classes=3, missing="present")(few).geometry == ()
    assert [one.name for one in Probe(net, ["body"], "fc", classes=3)(batches()).geometry] == ["body", "W"]


@pytest.mark.parametrize("layers", ["deep", ["bod*", "deep"], None], ids=str)
def test_layers_are_names_patterns_modules_or_the_classifiers_input(layers):
    net = Net()
    reference = Probe(net, "deep", "fc")(batches())["nc3", "deep"]
    found = Probe(net, layers)(batches())
    assert found["nc3", "features" if layers is None else "deep"] == pytest.approx(reference, rel=1e-5)
    assert Probe(net, [net.deep], net.fc)(batches())["nc3", "deep"] == reference


def test_nothing_of_the_loop_is_changed():
    net = Net().train()
    net.deep.eval()
    states = torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate()  # noqa: NPY002
    buffers = {name: value.clone() for name, value in net.state_dict().items()}
    shuffled = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=16, shuffle=True)
    first, again = (Probe(net, "deep", "fc")(shuffled) for _ in range(2))
    assert first == again
    assert (net.training, net.body.training, net.deep.training) == (True, True, False)
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (np.random.get_state()[1].tolist(), random.getstate()) == states[1:]  # noqa: NPY002
    assert all(torch.equal(value, buffers[name]) for name, value in net.state_dict().items())
    assert not net.deep._forward_hooks


def test_batches_as_hugging_face_gives_them_and_tokens():
    net = Tokens().eval()
    dicts = [{"pixels": x, "labels": y, "scale": 2.0} for x, y in batches()]
    found = Probe(net, "block", pool="cls")(dicts)
    with torch.no_grad():
        features = net.block(net.embed(IMAGES[:, 0] * 2.0))
    expected = measure(features[:, 0], LABELS, net.head.weight, net.head.bias)
    assert found["nc1", "block"] == pytest.approx(expected["nc1"], rel=1e-4)
    assert found["nc3", "block"] == pytest.approx(expected["nc3"], rel=1e-4)
    mean = Probe(net, "block")(dicts)
    assert mean["nc1", "block"] == pytest.approx(measure(features.double().mean(1), LABELS)["nc1"], rel=1e-4)
    assert ("nc3", "block") not in mean  # the classifier takes the first token
    odd = [(y, {"pixels": x}, "more") for x, y in batches()]
    assert Probe(net, "block", batch_to_inputs=lambda batch: (batch[1], batch[0]))(odd)["nc1", "block"] > 0


def test_wrapped_models_and_autocast():
    net = Net().eval()
    plain = Probe(net, "deep", "fc")(batches())
    compiled = torch.compile(net, backend="eager")
    compiled(IMAGES[:2])  # in evaluation mode: batch norm is to stay
    assert Probe(compiled, "deep", "fc")(batches()) == plain
    assert Probe(nn.DataParallel(net), "deep", "fc")(batches()) == plain
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert Probe(net, "deep", "fc")(batches())["nc1", "deep"] == pytest.approx(plain["nc1", "deep"], rel=0.1)


def on_rank(rank, port, folder):
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.distributed.init_process_group("gloo", rank=rank, world_size=2)
    net = Net()
    net.load_state_dict(torch.load(f"{folder}/net.pt"))
    model = nn.parallel.DistributedDataParallel(net)
    mine = [(IMAGES[rank::2], LABELS[rank::2])]
    torch.save({**Probe(model, ["body", "deep"], "fc")(mine)}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.mark.nightly
def test_ranks_share_their_sums(tmp_path):
    net = Net()
    torch.save(net.state_dict(), tmp_path / "net.pt")
    torch.save((IMAGES, LABELS), tmp_path / "data.pt")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    torch.multiprocessing.spawn(on_rank, (port, str(tmp_path)), nprocs=2)
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    alone = Probe(net, ["body", "deep"], "fc")(batches())
    assert ranks[0] == ranks[1]
    assert ranks[0].keys() == alone.keys()
    for key, value in alone.items():
        assert ranks[0][key] == pytest.approx(value, rel=1e-4, abs=1e-6, nan_ok=True), key


REFUSED = [
    ({"layers": "nothing"}, r"layers: the model has no module 'nothing'; it has body, body.0"),
    ({"classifier": "nothing"}, "classifier: the model has no module 'nothing'"),
    ({"layers": []}, "layers: must name at least one"),
    ({"pool": "max"}, "pool: must be mean, cls, none or a function; got 'max'"),
    ({"max_batches": 0}, "max_batches: must be at least 1; got 0"),
    ({"missing": "skip"}, "missing: must be error or present; got 'skip'"),
]


@pytest.mark.parametrize(("given", "message"), REFUSED, ids=lambda value: str(value)[:30])
def test_what_it_cannot_do_is_refused_by_name(given, message):
    with pytest.raises(ValueError, match=message):
        Probe(Net(), **given)


LABELS_REFUSED = [
    (LABELS.float(), "no regression"),
    (torch.nn.functional.one_hot(LABELS), r"one class for each sample, shape \(n,\); got \(60, 3\)"),
    (LABELS + 1, "must be 0 … 2; got 1 … 3"),
    (LABELS % 2, "no sample of class 2 of 3; missing='present'"),
]


@pytest.mark.parametrize(("labels", "message"), LABELS_REFUSED, ids=["float", "one-hot", "range", "missing"])
def test_labels_that_are_no_classes_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        Probe(Net(), "deep", "fc")([(IMAGES, labels)])


def test_a_missing_class_can_be_left_out_and_a_pass_ended_early():
    found = Probe(Net(), "deep", "fc", missing="present")([(IMAGES, LABELS % 2)])
    assert found["absent_classes", "deep"] == 1
    assert np.isfinite(found["nc1", "deep"])
    few = Probe(Net(), "deep", "fc", max_batches=2)((IMAGES, LABELS) for _ in iter(int, 1))  # batches without end
    assert ("nc1", "deep") in few


def test_a_model_without_a_linear_map_needs_layers_and_classes():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten())
    with pytest.raises(ValueError, match="classes: must be given"):
        Probe(net, "0")
    with pytest.raises(ValueError, match="layers: must be given"):
        Probe(net, classes=3)
    assert ("nc1", "0") in Probe(net, "0", classes=3)(batches())
