"""What a network is measured on besides its training set: test images, noisy labels, images from outside."""

import itertools
import math

import numpy as np
import pytest
import torch
from PIL import Image
from test_data import loaded
from test_network_run import finish

from ncore.estimate import memory_bytes
from ncore.metrics import measure
from ncore.metrics.neco import auroc
from ncore.network.data import noisy_labels
from ncore.network.measuring import NetworkMeasurer
from ncore.network.run import _returned
from ncore.network.sources import DataError
from ncore.pictures.comparison import Compared, comparison
from ncore.pictures.curves import figure
from ncore.pictures.points import CurvePoint
from ncore.pictures.setting import setting_of
from ncore.series import as_series, key_of, metric_and_layer
from ncore.spec import SpecError, parse_spec, with_changes
from ncore.theory.label_noise import noisy_collapse
from ncore.train import begin

BODY = {
    "model": {"kind": "mlp", "widths": [20, 16]},
    "data": {
        "name": "digits",
        "classes": [0, 1, 2, 3],
        "samples_per_class": 9,
        "image_size": 8,
        "label_noise": 0.3,
        "ood": {"name": "digits", "classes": [7, 8], "samples_per_class": 5},
    },
    "optimizer": {"epochs": 2, "batch_size": 12, "momentum": 0.0},
    "measure": {"every_epochs": 2, "test": True},
    "precision": "float64",
    "device": "cpu",
}


def spec_of(**changes):
    return parse_spec(with_changes(BODY, {key.replace("__", "."): value for key, value in changes.items()}))


def features_of(run, images):
    with torch.no_grad():
        return run._network.eval().features(run._data.standardise(images))


def test_each_part_is_measured_as_anybody_would_measure_it():
    run = begin(spec_of())
    found, data = finish(run)[-1].values, run._data
    last = run._network.classifier
    weight, bias = last.weight.detach(), last.bias.detach()
    for part, suffix, at, labels in (
        (data.train, "", "", data.train.labels),
        (data.train, "_given", "", data.train.given),
        (data.test, "", "@test", data.test.labels),
    ):
        features, logits = features_of(run, part.images)
        for layer in ("hidden1", "hidden2"):
            expected = measure(features[layer], labels, *((weight, bias) if layer == "hidden2" else ()), margin=False)
            mine = {name: found[f"{name}{suffix}", f"{layer}{at}"] for name in expected}
            assert mine == pytest.approx(expected, rel=1e-8, abs=1e-12, nan_ok=True)
        name = "test_accuracy" if at else f"accuracy{suffix}"
        assert found[name, None] == float((logits.argmax(1) == labels).double().mean())
    taught = torch.nn.functional.mse_loss(
        features_of(run, data.train.images)[1], torch.eye(4).double()[data.train.given]
    )
    assert found["loss", None] == pytest.approx(float(taught))
    final = run.final_state()
    assert torch.equal(final["labels"], data.train.labels)
    assert torch.equal(final["given_labels"], data.train.given)


def test_what_is_outside_is_recognised_by_nc5_and_neco():
    run = begin(spec_of())
    found, data = finish(run)[-1].values, run._data
    inside, outside, train = (features_of(run, part.images)[0] for part in (data.test, data.ood, data.train))
    assert len(data.ood) == 10
    for layer in ("hidden1", "hidden2"):
        expected = measure(train[layer], data.train.labels, ood=outside[layer])["nc5"]
        assert found["nc5", layer] == pytest.approx(expected, rel=1e-9)
    means = torch.stack([train["hidden2"][data.train.labels == k].mean(0) for k in range(4)])
    project = means.mT @ torch.linalg.pinv(means.mT)
    scores = [[float((project @ h).norm() / h.norm()) for h in part["hidden2"]] for part in (inside, outside)]
    pairs = [(a > b) + 0.5 * (a == b) for a, b in itertools.product(*scores)]
    assert found["ood_auroc", "hidden2"] == pytest.approx(sum(pairs) / len(pairs), abs=1e-12)


@pytest.mark.parametrize("changes", [{}, {"model__layers": ["hidden1"]}, {"data__samples_per_class": [9, 4, 2, 3]}])
def test_sums_give_what_kept_features_give(changes):
    run = begin(spec_of(**changes))
    run.advance()
    network, values = run._network.eval(), []
    for limit in (2**31, 0):
        with torch.no_grad():
            values.append(_returned(NetworkMeasurer(run.spec, run._data, run._targets, limit).measure(network)))
    assert values[1] == pytest.approx(values[0], rel=1e-8, abs=1e-12, nan_ok=True)


def test_ties_and_what_says_nothing():
    a, b = torch.tensor([1.0, 2, 2, 5]).double(), torch.tensor([2.0, 0, 5]).double()
    share = np.mean([(x > y) + 0.5 * (x == y) for x in a.tolist() for y in b.tolist()])
    assert float(auroc(a, b)) == pytest.approx(share)
    assert math.isnan(float(auroc(torch.ones(3).double(), torch.ones(2).double())))


def test_noise_is_dealt_evenly_within_each_class_and_collapse_is_as_a_ufms():
    labels = torch.repeat_interleave(torch.arange(4), torch.tensor([50, 100, 20, 100]))
    given = noisy_labels(labels, 0.3, 4)
    assert torch.equal(given, noisy_labels(labels, 0.3, 4))
    for k, n in enumerate((50, 100, 20, 100)):
        counts = torch.bincount(given[labels == k], minlength=4)
        assert counts[k] == n - round(0.3 * n)
        others = torch.cat([counts[:k], counts[k + 1 :]])
        assert others.max() - others.min() <= 1
    even = labels[labels % 2 == 1]
    frame = torch.eye(4)[noisy_labels(torch.cat([even, even - 1]), 0.3, 4)].double()
    expected = noisy_collapse(4, 0.3)
    assert measure(frame, torch.cat([even, even - 1]))["nc1"] == pytest.approx(expected.nc1)


@pytest.mark.parametrize("is_outside", [False, True])
def test_pictures_draw_train_and_test_apart(is_outside):
    """Of a loop outside, whose layers are those that it sent, too."""
    setting = setting_of(spec_of(), 10)
    assert setting.measured == ("hidden1", "hidden2", "hidden1@test", "hidden2@test")
    curves = {
        ("nc1", layer): [CurvePoint(s, 1.0 + s, 1.0 + s, 1.0 + s, 1) for s in (0, 5)] for layer in setting.measured
    }
    if is_outside:
        model = {"kind": "external", "layers": list(setting.measured)}
        setting = setting_of(parse_spec({"model": model}), 10)
        assert setting.layers == ("hidden1", "hidden2", "hidden1@test", "hidden2@test")
    drawn_figure = figure(curves, setting, ["nc1"])
    rows = [row for table in drawn_figure["datasets"].values() for row in table if "metric" in row]
    drawn = {(row["metric"], row["layer"]) for row in rows}
    label = "Tr(Σ_W Σ_B†) / K"
    assert drawn == {(f"{label}{part}", layer) for part in ("", ", test") for layer in ("hidden1", "hidden2")}
    assert "@" not in str(drawn_figure)  # no colour of its own in the legend
    compared = comparison([Compared(setting, curves)], ["nc1"])["datasets"].values()
    depths = {row["depth"] for table in compared for row in table if "depth" in row}
    assert depths == {"last layer", "last layer, test", "1 before it", "1 before it, test"}
    assert metric_and_layer(key_of("nc1", "hidden1@test")) == ("nc1", "hidden1@test")


def test_series_have_the_test_layers():
    found = as_series(finish(begin(spec_of(data__ood=None, data__label_noise=0.0))))
    layers = {one["layer"] for one in found if one["metric"] == "nc4"}
    assert layers == {"hidden2", "hidden2@test"}


def pictures(base, colour, n=3):
    for name in ("a", "b", "c"):
        (base / "p" / "train" / name).mkdir(parents=True)
        (base / "p" / "val" / name).mkdir(parents=True)
        for part, i in itertools.product(("train", "val"), range(n)):
            Image.new("RGB", (6, 6), colour).save(base / "p" / part / name / f"{i}.JPEG", "png")


def test_images_from_outside_get_the_channels_of_the_data(tmp_path):
    pictures(tmp_path, (255, 0, 0))
    grey = loaded(tmp_path, name="digits", image_size=8, ood={"name": "folder", "path": "p"})
    assert grey.ood.images.shape == (9, 1, 8, 8)
    assert grey.ood.images.unique().tolist() == [round(0.299 * 255)]
    colour = loaded(tmp_path, name="folder", path="p", image_size=8, ood={"name": "digits", "samples_per_class": 2})
    assert colour.ood.images.shape == (20, 3, 8, 8)
    assert torch.equal(colour.ood.images[:, 0], colour.ood.images[:, 2])
    for ood, told in (
        ({"name": "folder", "path": "q"}, r"^data\.ood\.path: 'q' is not a directory"),
        ({"name": "digits", "classes": [3, 11]}, r"^data\.ood\.classes: 'digits' has classes 0 to 9; got 11"),
        ({"name": "folder", "path": "p", "samples_per_class": [2, 2]}, r"^data\.ood\.samples_per_class: has 2 entries"),
    ):
        with pytest.raises(DataError, match=told):
            loaded(tmp_path, name="digits", image_size=8, classes=[0, 1], ood=ood)


def test_a_subset_of_imagenet_reads_its_classes_alone(tmp_path):
    pictures(tmp_path, (1, 2, 3))
    (tmp_path / "p" / "train" / "b" / "0.JPEG").write_bytes(b"no picture")
    for name in ("train", "val"):  # a class that nobody asked for may be empty
        (tmp_path / "p" / name / "d").mkdir()
    some = loaded(tmp_path, name="imagenet_subset", path="p", image_size=8, classes=["c", 0])
    assert (some.classes, len(some.train), len(some.test)) == (2, 6, 6)
    with pytest.raises(DataError, match=r"has a, b, c, d; got 'cat'"):
        loaded(tmp_path, name="imagenet_subset", path="p", classes=["cat", "a"])
    with pytest.raises(DataError, match=r"'nowhere' is not a directory .*; 'imagenet_subset' wants train/CLASS"):
        loaded(tmp_path, name="imagenet_subset", path="nowhere", classes=["a", "b"])


def test_memory_counts_what_is_kept():
    plain = spec_of(data__ood=None, data__label_noise=0.0, data__classes=None, data__samples_per_class=50)
    body = plain.model_dump(mode="json")
    more = parse_spec(with_changes(body, {"data.ood": {"name": "mnist"}}))
    assert memory_bytes(more) - memory_bytes(plain) == pytest.approx(10_000 * 64)


def test_a_test_set_that_is_not_there_is_named(tmp_path):
    for name, i in itertools.product("ab", range(2)):
        (tmp_path / "f" / name).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 6)).save(tmp_path / "f" / name / f"{i}.png")
    body = {**BODY, "data": {"name": "folder", "path": "f", "image_size": 8}}
    with pytest.raises(DataError, match=r"^measure\.test: must be false, as 'folder' has no test images"):
        begin(parse_spec(body), data_dir=str(tmp_path))


WRONG = {
    "data.label_noise": {"data__random_labels": True},
    "data.ood": {"data__ood": {"name": "digits"}},
    "data.ood.name": {"data__ood": {"name": "nothing"}},
    "data.ood.path": {"data__ood": {"name": "mnist", "path": "x"}},
    "data.ood.image_size": {"data__ood": {"name": "mnist", "image_size": 8}},
    "data.classes": {"data": {"name": "imagenet_subset", "path": "p"}},
    "measure.test": {"measure__test": 1},
}


@pytest.mark.parametrize("field", WRONG)
def test_what_does_not_fit_is_refused_by_field(field):
    with pytest.raises(SpecError) as refused:
        spec_of(**WRONG[field])
    assert [error["field"] for error in refused.value.errors] == [field]


def test_the_test_set_may_be_asked_for_by_steps_and_alone():
    assert spec_of(measure={"points": 3, "test": True}).measure.test
    assert spec_of(measure={"test": True}).measure.every_epochs == 1


@pytest.mark.parametrize("temperature", [None, 8.0])
def test_normalized_features_and_rows(temperature):
    """Against the loss written out: logits are τ cos(w_k, h_i)."""
    model = {"kind": "mlp", "widths": [20, 16], "normalized": True, "bias": False, "temperature": temperature}
    run = begin(spec_of(model=model, loss="cross_entropy", data__label_noise=0.0, data__ood=None))
    found, data, network = finish(run)[-1].values, run._data, run._network
    with torch.no_grad():
        h = data.standardise(data.train.images)
        for stage in network.stages.values():
            h = stage(h)
        cosines = torch.nn.functional.cosine_similarity(network.classifier.weight[None], h[:, None], dim=2)
        loss = torch.nn.functional.cross_entropy((temperature or 1.0) * cosines, data.train.labels)
    assert found["loss", None] == pytest.approx(float(loss), rel=1e-9)
    assert found["weight_norm_sq", None] == pytest.approx(1)
    unit = h / h.norm(dim=1, keepdim=True)
    weight = network.classifier.weight.detach()
    expected = measure(unit, data.train.labels, weight / weight.norm(dim=1, keepdim=True))
    for name in ("nc1", "nc2_etf", "nc3", "nc4", "unc3"):
        assert found[name, "hidden2"] == pytest.approx(expected[name], rel=1e-7, abs=1e-12)
