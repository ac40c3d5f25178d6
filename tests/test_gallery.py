"""The pictures of the gallery are drawn again: none changes unseen."""

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scripts.gallery import DOCS, EXHIBITS, FOLDER, page

QUICK = ("fig1", "fig2", "fig1-paper")
"""The others train for seconds, or many seeds."""


def thumbnail(picture: bytes | Path) -> np.ndarray:
    """Means over 8 × 8 pixels, 0 to 1, (height, width, 3): fonts that differ by a hair are equal there."""
    image = Image.open(BytesIO(picture) if isinstance(picture, bytes) else picture).convert("RGB")
    size = (image.width // 8, image.height // 8)
    return np.asarray(image.resize(size, Image.Resampling.BOX), dtype=float) / 255


def distance(one: np.ndarray, other: np.ndarray) -> float:
    """Mean absolute difference; infinity for other sizes."""
    return float(np.abs(one - other).mean()) if one.shape == other.shape else np.inf


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.nightly) for name in EXHIBITS]
)
def test_a_picture_of_the_gallery_is_drawn_as_it_is_kept(name):
    drawn = thumbnail(EXHIBITS[name].png())
    assert distance(drawn, thumbnail(FOLDER / f"{name}.png")) < 0.004
    others = [thumbnail(FOLDER / f"{other}.png") for other in EXHIBITS if other != name]
    assert min(distance(drawn, other) for other in others) > 0.01  # so that a wrong picture would be seen


def test_the_page_shows_each_picture_with_its_code():
    def words(text: str) -> str:
        """Without white space and the commas that a formatter puts at ends of lists."""
        return "".join(text.split()).replace(",}", "}").replace(",)", ")").replace(",]", "]")

    assert words((DOCS / "gallery.md").read_text()) == words(page())
