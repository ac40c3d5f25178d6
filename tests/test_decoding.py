"""Images of every depth and mode: read as what they show, by arithmetic on what was written, or refused by name."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image
from test_data import loaded

SIZE = 8
RAMP = np.linspace(0, 1, SIZE * SIZE).reshape(SIZE, SIZE)
"""What each file shows: from black at the upper left to white at the lower right."""


def png(path, depth, colour, samples):
    """A PNG with `depth` bits a channel, which Pillow itself writes only for some modes."""
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples.reshape(SIZE, -1))
    head = struct.pack(">IIBBBBB", SIZE, SIZE, depth, colour, 0, 0, 0)
    chunks = [(b"IHDR", head), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = [struct.pack(">I", len(b)) + a + b + struct.pack(">I", zlib.crc32(a + b)) for a, b in chunks]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(body))


def tiff(path, bits, samples, photometric=1, sample_format=1):
    """An uncompressed grey TIFF of 16 or 32 bits: a little-endian head, one strip, and the tags that say so."""
    strip = samples.tobytes()
    tags = [
        (256, SIZE), (257, SIZE), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, SIZE),
        (279, len(strip)), (339, sample_format),
    ]  # fmt: skip
    entries = b"".join(struct.pack("<HHII", tag, 4 if tag in (273, 279) else 3, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + struct.pack("<I", 0)
    path.write_bytes(b"II*\0" + struct.pack("<I", 8 + len(strip)) + strip + directory)


def grey(levels, dtype):
    return np.round(RAMP * levels).astype(dtype)


def as_mode(mode):
    def write(path):
        Image.fromarray(grey(255, np.uint8)).convert(mode).save(path)

    return write


def with_alpha(mode, alpha):
    def write(path):
        image = Image.fromarray(grey(255, np.uint8)).convert(mode)
        image.putalpha(alpha if isinstance(alpha, int) else Image.fromarray(alpha))
        image.save(path)

    return write


def palette(path):
    image = Image.fromarray(grey(255, np.uint8)).convert("RGB").quantize(64)
    image.save(path)


def only_alpha(path):
    """Black ink whose opacity shows the ramp upside down: on white paper it is the ramp."""
    image = Image.new("L", (SIZE, SIZE), 0)
    image.putalpha(Image.fromarray(255 - grey(255, np.uint8)))
    image.save(path)


SHOWN = {
    "8 bits.png": as_mode("L"),
    "colours.png": as_mode("RGB"),
    "palette.png": palette,
    "CMYK.tiff": as_mode("CMYK"),
    "16 bits.png": lambda path: Image.fromarray(grey(65_535, np.uint16)).save(path),
    "16 bits.tiff": lambda path: Image.fromarray(grey(65_535, np.uint16)).save(path),
    "16 bits, white is zero.tif": lambda path: tiff(path, 16, grey(65_535, "<u2").max() - grey(65_535, "<u2"), 0),
    "16 bits.pgm": lambda path: path.write_bytes(b"P5 8 8 65535\n" + grey(65_535, ">u2").tobytes()),
    "10 bits.pgm": lambda path: path.write_bytes(b"P5 8 8 1023\n" + grey(1023, ">u2").tobytes()),
    "16 bits, colours.png": lambda path: png(path, 16, 2, np.repeat(grey(65_535, np.uint16)[..., None], 3, 2)),
    "16 bits, grey and opaque.png": lambda path: png(
        path, 16, 4, np.stack([grey(65_535, np.uint16), np.full((SIZE, SIZE), 65_535)], 2)
    ),
    "opaque.png": with_alpha("RGB", 255),
    "grey and opaque.png": with_alpha("L", 255),
    "only transparency.png": only_alpha,
}


def read(directory, name, write):
    for k in ("a", "b"):
        (directory / k).mkdir()
        for n in range(2):
            write(directory / k / f"{n} {name}")
    data = loaded(directory.parent, name="folder", path=directory.name, image_size=SIZE)
    return data.train.images[0].permute(1, 2, 0).numpy().astype(int)


@pytest.fixture
def directory(tmp_path):
    made = tmp_path / "pictures"
    made.mkdir()
    return made


@pytest.mark.parametrize("name", SHOWN)
def test_what_a_file_shows_is_what_is_read(directory, name):
    found = read(directory, name, SHOWN[name])
    assert np.abs(found - np.round(RAMP * 255)[..., None]).max() <= (3 if "palette" in name else 1)


def test_one_bit_is_black_and_white(directory):
    found = read(directory, "1.png", lambda path: Image.fromarray(RAMP > 0.5).convert("1").save(path))
    assert np.array_equal(found, np.where(RAMP > 0.5, 255, 0)[..., None].repeat(3, 2))


def test_a_transparent_image_is_seen_on_white(directory):
    alpha = grey(255, np.uint8)
    found = read(directory, "black.png", with_alpha("RGB", alpha))
    colour = grey(255, np.uint8).astype(float)
    assert np.abs(found - (colour * alpha / 255 + 255 - alpha)[..., None]).max() <= 1


FLOATS, INTEGERS, SIGNED = (RAMP.astype(dtype) for dtype in (np.float32, np.int32, np.int16))
REFUSED = {
    "float.tif": (lambda path: Image.fromarray(FLOATS).save(path), r"floating-point numbers \(mode F\)"),
    "32 bits.tif": (lambda path: Image.fromarray(INTEGERS).save(path), r"32 bits or a sign \(mode I\)"),
    "signed.tif": (lambda path: tiff(path, 16, SIGNED, sample_format=2), r"32 bits or a sign \(mode I\)"),
    "white.png": (
        lambda path: Image.merge("LA", (Image.new("L", (8, 8), 255), Image.fromarray(grey(255, np.uint8)))).save(path),
        r"its transparency \(mode LA\) leaves it blank on white",
    ),
    "invisible.png": (with_alpha("RGB", 0), r"its transparency \(mode RGBA\) leaves it blank on white"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_does_not_say_what_it_shows_is_refused_by_file_and_mode(directory, name):
    write, told = REFUSED[name]
    with pytest.raises(ValueError, match=rf"pictures/a/0 {name} cannot be read: .*{told}"):
        read(directory, name, write)
