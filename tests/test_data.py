"""The data sets: shapes, order, selection, resizing, augmentation, and the words of what is refused."""

import gzip
import socket
import struct
import urllib.request

import numpy as np
import pytest
import torch
from PIL import Image

from ncore.network import download
from ncore.network.data import DataError, augment, load
from ncore.spec import Data, SpecError, parse_spec


def loaded(directory=None, **fields):
    return load(Data(**fields), None if directory is None else str(directory), "cpu")


def write_mnist(directory, sizes=(30, 20), compress=False):
    """MNIST's own file format with `sizes` training and test images, 28 × 28, labels 0 … 9 in turn."""
    raw = directory / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, n in zip(("train", "t10k"), sizes, strict=True):
        labels = np.arange(n, dtype=np.uint8) % 10
        images = np.random.default_rng(0).integers(0, 256, (n, 28, 28), dtype=np.uint8)
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">IIII", 2051, n, 28, 28) + images.tobytes())
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">II", 2049, n) + labels.tobytes())
    return raw


def write_folder(directory, classes=("cat", "dog"), n=3, size=(9, 12)):
    for k, name in enumerate(classes):
        (directory / name).mkdir(parents=True)
        for i in range(n):
            Image.new("RGB", size, (10 * k, 20 * i, 200)).save(directory / name / f"{i}.png")


@pytest.mark.parametrize("name", ["digits", "synthetic"])
def test_what_needs_no_files(name):
    data = loaded(name=name, image_size=12, samples_per_class=7)
    assert data.classes == 10
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.shape == (70, 1 if name == "digits" else 3, 12, 12)
    assert data.train.labels.tolist() == sorted(list(range(10)) * 7)
    standardised = data.standardise(data.train.images)
    assert torch.allclose(standardised.mean((0, 2, 3)), torch.zeros(data.channels), atol=1e-5)
    assert torch.allclose(standardised.std((0, 2, 3), correction=0), torch.ones(data.channels), atol=1e-5)


def test_synthetic_classes():
    assert loaded(name="synthetic", classes=4, image_size=4).classes == 4
    assert loaded(name="synthetic", samples_per_class=[3, 4, 5], image_size=4).classes == 3
    with pytest.raises(DataError, match=r"has 3 entries, data\.classes is 2"):
        loaded(name="synthetic", samples_per_class=[3, 4, 5], classes=2, image_size=4)


def test_no_digit_is_in_both_parts():
    data = loaded(name="digits", image_size=8)
    train, test = ({part.images[i].numpy().tobytes() for i in range(len(part))} for part in (data.train, data.test))
    assert len(data.train) + len(data.test) == 1797
    assert not train & test


def test_imbalance_and_too_many():
    sizes = [5, 2, 9, 2, 3, 4, 5, 6, 7, 8]
    data = loaded(name="digits", samples_per_class=sizes)
    assert torch.bincount(data.train.labels).tolist() == sizes
    of_each = torch.bincount(loaded(name="digits", image_size=8).train.labels)
    k, least = int(of_each.argmin()), int(of_each.min())
    told = f"class {k} of 'digits' has {least} training images, so it must be at most {least} there; got 9999"
    with pytest.raises(DataError, match=rf"^data\.samples_per_class: {told}$"):
        loaded(name="digits", samples_per_class=9999)
    with pytest.raises(DataError, match="has 2 entries, 'digits' has 10 classes"):
        loaded(name="digits", samples_per_class=[3, 4])


def test_random_labels_keep_the_images_and_the_class_sizes():
    true, dealt = (loaded(name="digits", samples_per_class=20, random_labels=r) for r in (False, True))
    assert torch.equal(true.train.labels, dealt.train.labels)
    assert not torch.equal(true.train.images, dealt.train.images)
    assert true.train.images.long().sum() == dealt.train.images.long().sum()
    assert torch.equal(true.test.images, dealt.test.images)


def test_mnist_files_are_read_and_resized(tmp_path):
    write_mnist(tmp_path)
    data = loaded(tmp_path, name="mnist", image_size=28)
    assert data.train.images.shape == (30, 1, 28, 28)
    assert (len(data.train), len(data.test), data.classes) == (30, 20, 10)
    assert loaded(tmp_path, name="mnist").train.images.shape == (30, 1, 32, 32)


DAMAGES = {
    "truncated": lambda whole: whole[:-100],
    "too long": lambda whole: whole + b"more",
    "compressed": lambda _: gzip.compress(b"nothing"),
    "empty": lambda _: b"",
    "text": lambda _: b"<html>not found</html>",
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
def test_a_damaged_mnist_file_is_named_with_its_directory(tmp_path, file, damage):
    raw = write_mnist(tmp_path, sizes=(300, 200))
    (raw / file).write_bytes(DAMAGES[damage]((raw / file).read_bytes()))
    with pytest.raises(DataError, match=rf"'mnist' in {raw} is damaged: {file} \(.+\)"):
        loaded(tmp_path, name="mnist")


def test_images_without_labels_and_labels_that_are_no_digits_are_named(tmp_path):
    raw = write_mnist(tmp_path)
    labels = raw / "train-labels-idx1-ubyte"
    whole = labels.read_bytes()
    labels.write_bytes(struct.pack(">II", 2049, 29) + whole[8:-1])
    with pytest.raises(DataError, match=f"'mnist' in {tmp_path} has 30 training images, but 29 labels"):
        loaded(tmp_path, name="mnist")
    labels.write_bytes(whole[:-1] + b"\x0c")
    with pytest.raises(DataError, match=f"'mnist' in {tmp_path} has the training label 12, must be 0 to 9"):
        loaded(tmp_path, name="mnist")


def test_a_damaged_cifar_batch_is_named_with_its_directory(tmp_path):
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    (batches / "data_batch_3").write_bytes(b"half of a batch")
    with pytest.raises(DataError, match=rf"'cifar10' in {batches} is damaged: data_batch_3 \(its checksum"):
        loaded(tmp_path, name="cifar10")


@pytest.mark.parametrize("left", [0, 1])
def test_a_class_without_two_images_is_named(tmp_path, left):
    raw = write_mnist(tmp_path)
    labels = raw / "train-labels-idx1-ubyte"
    without = bytearray(n if n != 7 else 8 for n in labels.read_bytes()[8:])
    without[0:left] = b"\x07" * left
    labels.write_bytes(struct.pack(">II", 2049, 30) + without)
    images = "image" if left == 1 else "images"
    with pytest.raises(DataError, match=rf"class 7 of 'mnist' has {left} training {images}, must have at least 2"):
        loaded(tmp_path, name="mnist")


@pytest.mark.parametrize("n", [1, [3, 1, 3]])
def test_one_image_of_a_class_is_refused_by_the_spec(n):
    with pytest.raises(SpecError, match=r"^data\.samples_per_class.*greater than or equal to 2; got 1"):
        parse_spec({"model": {"kind": "mlp"}, "data": {"name": "synthetic", "samples_per_class": n}})


def test_only_the_images_that_are_asked_for_are_decoded(tmp_path):
    write_folder(tmp_path / "large", n=4)
    for k in ("cat", "dog"):
        (tmp_path / "large" / k / "3.png").write_bytes(b"not a picture")
    fields = {"name": "folder", "path": "large", "image_size": 8}
    assert len(loaded(tmp_path, samples_per_class=3, **fields).train) == 6
    with pytest.raises(DataError, match=r"large/cat/3\.png cannot be read"):
        loaded(tmp_path, samples_per_class=4, **fields)


def test_channels_are_standardised_over_all_pixels(tmp_path):
    write_mnist(tmp_path, sizes=(5000, 20))
    data = loaded(tmp_path, name="mnist", image_size=28)
    values = data.train.images.double()
    assert float(data.mean) == pytest.approx(float(values.mean()), rel=1e-6)
    assert float(data.scale) == pytest.approx(1 / float(values.std(correction=0)), rel=1e-6)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "folder"])
def test_a_directory_that_is_not_there_is_named(tmp_path, name):
    path = {"path": "pictures"} if name == "folder" else {}
    with pytest.raises(DataError, match="NCORE_DATA_DIR"):
        loaded(None, name=name, **path)
    with pytest.raises(DataError, match=str(tmp_path / "nowhere")):
        loaded(tmp_path / "nowhere", name=name, **path)
    if not path:
        with pytest.raises(DataError, match=rf"'{name}' is not in /proc .* cannot be downloaded: .*'/proc/\.download"):
            loaded("/proc", name=name)  # in which nobody can write


@pytest.mark.parametrize("name", ["mnist", "cifar10"])
def test_a_host_that_says_nothing_is_not_waited_for_for_ever(tmp_path, monkeypatch, name):
    monkeypatch.setattr(download, "SILENT_SECONDS", 0.3)
    monkeypatch.setattr(urllib.request, "_opener", None)  # else it keeps the proxies of its first call
    with socket.create_server(("127.0.0.1", 0)) as mute:
        for scheme in ("http", "https"):
            monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{mute.getsockname()[1]}")
        with pytest.raises(DataError, match=rf"'{name}' is not in {tmp_path} .* cannot be downloaded:(.|\n)*timed out"):
            loaded(tmp_path, name=name)
    assert socket.getdefaulttimeout() is None


def test_folder_with_and_without_a_test_part(tmp_path):
    write_folder(tmp_path / "plain")
    data = loaded(tmp_path, name="folder", path="plain", image_size=8)
    assert (data.train.images.shape, data.test, data.classes) == ((6, 3, 8, 8), None, 2)
    write_folder(tmp_path / "split" / "train")
    write_folder(tmp_path / "split" / "test", n=2)
    data = loaded(tmp_path, name="folder", path="split", image_size=8)
    assert (len(data.train), len(data.test)) == (6, 4)
    write_folder(tmp_path / "other" / "train")
    write_folder(tmp_path / "other" / "test", classes=("cat", "cow"))
    with pytest.raises(DataError, match="'other' must have the same classes in train and test; only one has cow, dog"):
        loaded(tmp_path, name="folder", path="other")


def test_folder_faults_are_named(tmp_path):
    with pytest.raises(DataError, match="'nothing' is not a directory"):
        loaded(tmp_path, name="folder", path="nothing")
    write_folder(tmp_path / "damaged")
    (tmp_path / "damaged" / "dog" / "1.png").write_bytes(b"not a picture")
    with pytest.raises(DataError, match=r"damaged/dog/1\.png cannot be read"):
        loaded(tmp_path, name="folder", path="damaged")
    write_folder(tmp_path / "empty")
    (tmp_path / "empty" / "eel").mkdir()
    with pytest.raises(DataError, match="eel"):
        loaded(tmp_path, name="folder", path="empty")


def test_folder_stays_inside_the_data_directory(tmp_path):
    outside, inside = tmp_path / "outside", tmp_path / "inside"
    write_folder(outside)
    write_folder(inside / "mixed")
    (inside / "link").symlink_to(outside)
    (inside / "mixed" / "dog" / "9.png").symlink_to(outside / "dog" / "0.png")
    for path in ("link", "mixed"):
        with pytest.raises(DataError, match="leads out"):
            loaded(inside, name="folder", path=path)
    for path in ("../outside", str(outside), "mixed/../../outside"):
        with pytest.raises(SpecError, match=r"^data\.path: "):
            parse_spec({"model": {"kind": "mlp"}, "data": {"name": "folder", "path": path}})
        unchecked = Data.model_construct(name="folder", path=path, image_size=8, samples_per_class=None)
        with pytest.raises(DataError, match="below the data directory"):
            load(unchecked, str(inside), "cpu")


def test_augmentation_is_a_padded_crop_and_a_mirror():
    images = torch.randn(6, 2, 10, 10, generator=torch.Generator().manual_seed(0))
    shifts = torch.tensor([[0, 0], [0, 0], [4, -4], [-3, 2], [1, 1], [-4, 4]])
    flipped = torch.tensor([False, True, False, True, False, True])
    padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
    result = augment(images, shifts, flipped)
    for i, (down, right) in enumerate(shifts.tolist()):
        expected = padded[i, :, 4 + down : 14 + down, 4 + right : 14 + right]
        assert torch.equal(result[i], expected.flip(-1) if flipped[i] else expected)
    assert torch.equal(augment(images, torch.zeros(6, 2, dtype=torch.long), None), images)
