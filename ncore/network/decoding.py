"""Image files of any kind as 8-bit RGB: scaled where the file says what white is, refused where it does not."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

TIFF_BITS, TIFF_PHOTOMETRIC, WHITE_IS_ZERO = 258, 262, 0
"""Tags of TIFF 6.0: bits of each channel, and what 0 stands for."""
SIXTEEN_BITS = 65_535
BACKGROUND = 255
"""The colour behind transparent pixels: white paper."""
COLOUR_MODES = ("1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV")
"""Modes of 8 bits or less that Pillow turns into RGB without a loss that matters."""
PREMULTIPLIED = {"La": "LA", "RGBa": "RGBA"}


def as_rgb(image: Image.Image) -> Image.Image:
    """The image in mode RGB. Raises ValueError naming the mode where its white is not known, or nothing of it would be
    seen."""
    if image.mode == "I" or image.mode.startswith("I;16"):
        return _of_more_bits(image)
    if image.mode in PREMULTIPLIED:
        image = image.convert(PREMULTIPLIED[image.mode])
    if image.has_transparency_data:
        return _on_white(image.convert("RGBA"), image.mode)
    if image.mode in COLOUR_MODES:
        return image.convert("RGB")
    if image.mode == "F":
        raise ValueError(
            "its pixels are floating-point numbers (mode F), which do not say what is white; save it with 8 bits"
        )
    raise ValueError(f"its mode {image.mode} cannot be turned into colours; save it as RGB with 8 bits")


def _of_more_bits(image: Image.Image) -> Image.Image:
    """Grey of up to 16 bits, its largest possible value white."""
    white = _white(image)
    if white is None:
        raise ValueError(
            f"its pixels have 32 bits or a sign (mode {image.mode}); save it with 8 or 16 bits, 0 as black"
        )
    pixels = np.asarray(image).astype(np.int64)
    if pixels.size and not 0 <= pixels.min() <= pixels.max() <= white:
        raise ValueError(f"its pixels are from {pixels.min()} to {pixels.max()}, where 0 to {white} were announced")
    grey = (pixels * 255 + white // 2) // white
    if _tag(image, TIFF_PHOTOMETRIC, None) == WHITE_IS_ZERO:
        grey = 255 - grey
    return Image.fromarray(grey.astype(np.uint8)).convert("RGB")


def _white(image: Image.Image) -> int | None:
    """The largest value a pixel can have, None where the file does not say it."""
    if image.format == "TIFF":
        bits = _tag(image, TIFF_BITS, (16,))
        return 2 ** (bits if isinstance(bits, int) else bits[0]) - 1 if image.mode != "I" else None
    # Pillow scales to 16 bits what PGM has in between, and older ones read PNG's 16 bits into mode I
    return SIXTEEN_BITS if image.mode != "I" or image.format in ("PNG", "PPM") else None


def _tag(image: Image.Image, number: int, default: Any) -> Any:
    return getattr(image, "tag_v2", {}).get(number, default)


def _on_white(image: Image.Image, mode: str) -> Image.Image:
    """A transparent image as it looks on white. Raises ValueError where on white nothing is left of it."""
    shown = Image.new("RGBA", image.size, (BACKGROUND,) * 4)
    shown.alpha_composite(image)
    flat = shown.convert("RGB")
    if any(_varies(channel) for channel in image.split()) and not any(_varies(channel) for channel in flat.split()):
        raise ValueError(f"its transparency (mode {mode}) leaves it blank on white; save it without")
    return flat


def _varies(channel: Image.Image) -> bool:
    least, most = channel.getextrema()
    return bool(least != most)
