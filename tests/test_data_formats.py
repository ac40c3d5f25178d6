"""Published data sets in their own file formats, small and made here: what was written is read and trained on."""

import pickle
import struct

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat
from test_data import loaded

from ncore.network.sources import DataError
from ncore.spec import parse_spec
from ncore.train import begin

OF_A_CLASS = 2


def drawn(classes, side, channels=3):
    """Images (N, channels, side, side) and labels, in no order."""
    draw = np.random.default_rng(classes + side)
    labels = draw.permutation(np.repeat(np.arange(classes), OF_A_CLASS))
    return draw.integers(0, 256, (len(labels), channels, side, side), dtype=np.uint8), labels


def kmnist(base, images, labels):
    raw = base / "KMNIST" / "raw"
    raw.mkdir(parents=True)
    for part in ("train", "t10k"):
        head = struct.pack(">IIII", 2051, len(images), 28, 28)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(head + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, len(labels)) + bytes(labels.tolist()))


def cifar(folder, names, key, protocol):
    def write(base, images, labels):
        (base / folder).mkdir()
        for name, part in names.items():
            rows = range(len(labels))[part]
            batch = {
                "data": images[rows].reshape(len(rows), -1),
                key: [int(labels[i]) for i in rows],
                "batch_label": name,
            }
            (base / folder / name).write_bytes(pickle.dumps(batch, protocol=protocol))

    return write


BATCHES = {f"data_batch_{i + 1}": slice(4 * i, 4 * i + 4) for i in range(5)} | {"test_batch": slice(None)}


def svhn(base, images, labels):
    for part in ("train", "test"):
        y = np.where(labels == 0, 10, labels)[:, None].astype(np.uint8)
        savemat(base / f"{part}_32x32.mat", {"X": images.transpose(2, 3, 1, 0), "y": y})


def stl10(base, images, labels):
    (base / "stl10_binary").mkdir()
    for part in ("train", "test"):
        (base / "stl10_binary" / f"{part}_X.bin").write_bytes(images.transpose(0, 1, 3, 2).tobytes())
        (base / "stl10_binary" / f"{part}_y.bin").write_bytes(bytes((labels + 1).tolist()))


def tiny_imagenet(base, images, labels):
    root, lines = base / "tiny-imagenet-200", []
    (root / "val" / "images").mkdir(parents=True)
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        picture, name = Image.fromarray(image.transpose(1, 2, 0)), f"n{label:08}"
        (root / "train" / name / "images").mkdir(parents=True, exist_ok=True)
        # without losses where it matters; the ending is the data set's
        picture.save(root / "train" / name / "images" / f"{name}_{i:03}.JPEG", "png")
        picture.save(root / "val" / "images" / f"val_{i}.JPEG", "png")
        lines.append(f"val_{i}.JPEG\t{name}\t0\t0\t62\t62\n")
        (root / "train" / name / f"{name}_boxes.txt").write_text("0\t0\t62\t62\n")
    (root / "val" / "val_annotations.txt").write_text("".join(lines))


FORMATS = {
    "kmnist": (kmnist, 10, 28, 1),
    "cifar10": (cifar("cifar-10-batches-py", BATCHES, "labels", 2), 10, 32, 3),
    "cifar100": (
        cifar("cifar-100-python", {"train": slice(None), "test": slice(None)}, "fine_labels", 5), 100, 32, 3,
    ),
    "svhn": (svhn, 10, 32, 3),
    "stl10": (stl10, 10, 96, 3),
    "tiny_imagenet": (tiny_imagenet, 5, 64, 3),
}  # fmt: skip


@pytest.mark.parametrize("name", FORMATS)
def test_what_was_written_is_read_and_trained_on(tmp_path, name):
    write, classes, side, channels = FORMATS[name]
    images, labels = drawn(classes, side, channels)
    write(tmp_path, images, labels)
    data = loaded(tmp_path, name=name, image_size=side)
    assert data.classes == classes
    order = np.argsort(labels, kind="stable")
    for part in (data.train, data.test):
        assert part.labels.tolist() == labels[order].tolist()
        assert np.array_equal(part.images.numpy(), images[order])
    body = {
        "model": {"kind": "mlp", "widths": [5]},
        "data": {"name": name, "image_size": 8, "augment": True},
        "optimizer": {"epochs": 1, "batch_size": 32},
        "device": "cpu",
    }
    run, found = begin(parse_spec(body), data_dir=str(tmp_path)), []
    while not run.done:
        found += run.advance()
    assert ("nc1", "hidden1") in found[-1].values


class Harmful:
    def __reduce__(self):
        return (open, ("/dev/null",))


DAMAGES = {
    ("cifar100", "cifar-100-python/train"): pickle.dumps({"data": Harmful(), "fine_labels": []}),
    ("cifar100", "cifar-100-python/test"): pickle.dumps({"data": np.zeros((2, 5), np.uint8), "fine_labels": [1, 2]}),
    ("svhn", "train_32x32.mat"): b"MATLAB 5.0" + bytes(200),
    ("stl10", "stl10_binary/test_X.bin"): bytes(30_000),
    ("tiny_imagenet", "tiny-imagenet-200/val/val_annotations.txt"): b"val_0.JPEG\tcat\t0\t0\t1\t1\n",
}


@pytest.mark.parametrize(("name", "file"), DAMAGES)
def test_a_damaged_file_is_named_and_runs_nothing(tmp_path, name, file):
    write, classes, side, channels = FORMATS[name]
    write(tmp_path, *drawn(classes, side, channels))
    (tmp_path / file).write_bytes(DAMAGES[name, file])
    with pytest.raises(DataError, match=rf"'{name}' .*is damaged: .*{file.rpartition('/')[2]}"):
        loaded(tmp_path, name=name)


def test_what_is_not_downloaded_is_named_with_its_layout(tmp_path):
    with pytest.raises(DataError, match=rf"'tiny_imagenet' is not in {tmp_path} .*train/CLASS/images/\*\.JPEG"):
        loaded(tmp_path, name="tiny_imagenet")


def test_some_classes_in_the_order_of_the_spec():
    whole, some = loaded(name="digits", image_size=8), loaded(name="digits", image_size=8, classes=[7, 2, 5])
    assert some.classes == 3
    for part in ("train", "test"):
        all_of, chosen = getattr(whole, part), getattr(some, part)
        for new, old in enumerate((7, 2, 5)):
            assert torch.equal(chosen.images[chosen.labels == new], all_of.images[all_of.labels == old])
    with pytest.raises(DataError, match=r"^data\.classes: 'digits' has classes 0 to 9; got 10$"):
        loaded(name="digits", classes=[1, 10])


def test_classes_by_name(tmp_path):
    tiny_imagenet(tmp_path, *drawn(5, 64))
    data = loaded(tmp_path, name="tiny_imagenet", image_size=8, classes=["n00000004", 0])
    assert (data.classes, len(data.train)) == (2, 2 * OF_A_CLASS)
    with pytest.raises(DataError, match=r"has n00000000, .*; got 'cat'"):
        loaded(tmp_path, name="tiny_imagenet", classes=["cat", 0])
    with pytest.raises(DataError, match="must not repeat"):
        loaded(tmp_path, name="tiny_imagenet", classes=["n00000000", 0])


def test_imbalance_is_of_the_training_set_alone():
    def sizes(kind):
        data = loaded(name="digits", image_size=8, samples_per_class=30, imbalance={"kind": kind, "ratio": 10})
        assert torch.bincount(data.test.labels).min() == 30
        return torch.bincount(data.train.labels).tolist()

    assert sizes("step") == [30] * 5 + [3] * 5
    assert sizes("long_tail") == [round(30 * 10 ** (-k / 9)) for k in range(10)]
    with pytest.raises(DataError, match=r"^data\.imbalance\.ratio: leaves 1 images of a class, must leave 2$"):
        loaded(name="digits", samples_per_class=30, imbalance={"kind": "step", "ratio": 30})
