"""Folders of images as people have them: parts in any letter case, hidden folders, links, and what is refused."""

import re
import shutil

import pytest
from test_data import loaded, write_folder

from ncore.network.sources import DataError
from ncore.spec import SpecError, parse_spec


def read(base, path, **fields):
    return loaded(base, name="folder", path=path, image_size=8, **fields)


PARTS = [("train", "test"), ("Train", "Test"), ("TRAINING", "testing"), ("train", "val"), ("Training", "Validation"),
         ("train", "valid")]  # fmt: skip


@pytest.mark.parametrize("parts", PARTS, ids="-".join)
def test_parts_are_parts_in_any_letter_case(tmp_path, parts):
    for part, n in zip(parts, (3, 2), strict=True):
        write_folder(tmp_path / "split" / part, n=n)
    data = read(tmp_path, "split")
    assert (data.classes, len(data.train), len(data.test)) == (2, 6, 4)


def test_what_systems_leave_behind_is_no_class_and_no_image(tmp_path):
    write_folder(tmp_path / "plain")
    plain = read(tmp_path, "plain")
    for name in (".ipynb_checkpoints", "__MACOSX", ".git", "@eaDir", "__pycache__"):
        write_folder(tmp_path / "plain" / name, n=1)
        shutil.copytree(tmp_path / "plain" / name, tmp_path / "plain" / "cat" / name)
    for file in ("Thumbs.db", "._0.png", ".DS_Store", "notes.txt"):
        (tmp_path / "plain" / "dog" / file).write_bytes(b"no picture")
    (tmp_path / "plain" / "README.md").write_text("no class")
    again = read(tmp_path, "plain")
    assert again.classes == 2
    assert again.train.images.equal(plain.train.images)


def test_a_class_may_be_called_like_a_part_and_may_hold_folders(tmp_path):
    write_folder(tmp_path / "vehicles", classes=("bus", "train", "test"))
    write_folder(tmp_path / "vehicles" / "bus", classes=("red", "train"), n=2)
    data = read(tmp_path, "vehicles")
    assert (data.classes, len(data.train), data.test) == (3, 13, None)


def test_links_in_circles_are_followed_once(tmp_path):
    write_folder(tmp_path / "linked")
    (tmp_path / "linked" / "cat" / "again").symlink_to(tmp_path / "linked" / "cat")
    (tmp_path / "linked" / "dog" / "up").symlink_to(tmp_path / "linked" / "dog")
    (tmp_path / "linked" / "dog" / "self").symlink_to("self")
    data = read(tmp_path, "linked")
    assert len(data.train) == 6


def nested(base):
    write_folder(base / "deep" / "pictures")


def parts_too_deep(base):
    for name in ("deep/one", "deep/two"):
        for part in ("train", "test"):
            write_folder(base / name / part)


def parts_within_classes(base):
    for name in ("cat", "dog"):
        write_folder(base / "deep" / name, classes=("train", "test"))


def two_held_out(base):
    for part in ("train", "val", "Test"):
        write_folder(base / "deep" / part)


def beside(base):
    for part in ("train", "extra"):
        write_folder(base / "deep" / part)


def twice(base):
    for part in ("train", "Train"):
        write_folder(base / "deep" / part)


def hollow(base):
    write_folder(base / "deep")
    (base / "deep" / "eel").mkdir()


def one_class(base):
    write_folder(base / "deep", classes=("cat",))


def one_class_in_its_part(base):
    write_folder(base / "deep" / "train", classes=("cat",))


def parts_without_classes(base):
    write_folder(base / "deep", classes=("Train", "Test"))


REFUSED = {
    "parts without classes": (parts_without_classes, "has Test, Train, but in them no folder for each class$"),
    "a level too high": (nested, "has one class, 'pictures', must have at least two; .* lower, in 'deep/pictures'$"),
    "one class": (one_class, "has one class, 'cat', must have at least two$"),
    "one class in its part": (one_class_in_its_part, "/train' has one class, 'cat', must have at least two$"),
    "parts a level lower": (parts_too_deep, "has the class 'one', in which 'deep/one' has the parts test, train"),
    "parts within classes": (
        parts_within_classes,
        "has the class 'cat', in which 'deep/cat' has the parts test, train",
    ),
    "no train": (lambda base: write_folder(base / "deep" / "TEST"), "has TEST, but no train beside it"),
    "two parts to test on": (two_held_out, "has both Test and val"),
    "a folder beside the parts": (beside, "has the parts train, and beside them extra"),
    "a part twice": (twice, "has both Train and train"),
    "images without classes": (lambda base: write_folder(base, classes=("deep",)), "has images, but folders"),
    "nothing": (lambda base: (base / "deep").mkdir(), "has neither images nor folders"),
    "an empty class": (hollow, r"there are none \(.*\.png.*\) in 'eel'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_folder_that_is_not_clear_is_refused_with_what_to_do(tmp_path, case):
    write, told = REFUSED[case]
    write(tmp_path)
    with pytest.raises(DataError, match=f"^data.path: 'deep.*{told}"):
        read(tmp_path, "deep")


@pytest.mark.parametrize("character", ["\0", "\x01", "\n", "\t", "\x1b", "\x7f", "\x85", "\u2028", "\ufffe", "\uffff"])
def test_a_path_with_an_odd_character_is_refused_by_the_spec(character):
    body = {"model": {"kind": "mlp"}, "data": {"name": "folder", "path": f"pic{character}tures"}}
    with pytest.raises(SpecError, match=r"^data\.path: ") as refused:
        parse_spec(body)
    assert all(ord(c) >= 32 for c in str(refused.value))


@pytest.mark.parametrize("path", ["a" * 300, "b/" * 500, "ä ö", "{}", "a%2fb", "💾"])
def test_a_path_that_is_not_there_is_named(tmp_path, path):
    with pytest.raises(DataError, match=rf"^data\.path: {re.escape(repr(path))} "):
        read(tmp_path, path)
