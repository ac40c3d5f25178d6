"""Figures for a paper: symbols with subscripts, texts as texts, fonts inside, dots per inch."""

import re
import struct
import xml.etree.ElementTree as ET
import zlib
from io import BytesIO

import pytest
from PIL import Image

import ncore
from ncore.pictures.files import MOST_DOTS, DotsError, rendered
from ncore.pictures.panels import PANELS
from ncore.pictures.subscripts import DROP, subscripted
from ncore.presets import spec_of
from ncore.train import train

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def run():
    spec = spec_of({"preset": "fig3", "set": {"optimizer.steps": 20, "measure.points": 3, "seeds": [0]}})
    return spec, list(train(spec))


def lowered(svg):
    """[what stands before, what is lowered] of the texts, and how far below its line each text ends, in its size."""
    found, ends = [], []
    for text in ET.fromstring(svg).iter(f"{SVG}text"):
        pieces = [(one.text or "", one) for one in text.iter()] + [(one.tail or "", None) for one in text.iter()]
        low = [one for words, one in pieces if one is not None and one.get("font-size") == "72%" and words]
        found += [one.text for one in low]
        shifts = [(float(one.get("dy")[:-2]), one.get("font-size")) for one in text.iter(f"{SVG}tspan")
                  if (one.get("dy") or "").endswith("em")]  # fmt: skip
        ends.append(sum(dy * (0.72 if size else 1) for dy, size in shifts))
    return found, ends


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("λ_W = 0.1, λ_H", ["W", "H"]),
        ("λ_W2 of λ_b", ["W2", "b"]),
        ("Tr Σ_W / Tr Σ_B†", ["W", "B"]),
        ("rows of W_M, n_3 and d_12", ["M", "3", "12"]),
        ("(λ_b = critical)", ["b"]),
        ("my_run nc2_of x_1 W_Meaning a-λ_W a.W_M λ_W.1 W_M_2 _W n_ 3", []),
    ],
)
def test_symbols_get_subscripts_and_names_stay_as_they_are(text, expected):
    """Lowered and raised by the same, so that what follows stands on its line again."""
    made = subscripted(f'<svg xmlns="http://www.w3.org/2000/svg"><text>{text}</text></svg>')
    found, ends = lowered(made)
    assert found == expected
    assert ends == [pytest.approx(0, abs=0.01)]
    assert "".join(ET.fromstring(made).itertext()).replace("\u200b", "") == re.sub(
        r"([λΣWnd])_", r"\1", text
    ) if expected else made.count(text) == 1  # fmt: skip


def test_a_figure_has_subscripts_as_text_in_all_forms_and_its_fonts_inside(run):
    picture = ncore.figure(*run, panels=["sizes", "nc1_trace"], title="λ_W and λ_H")
    svg = picture.as_bytes("svg").decode()
    assert sorted(lowered(svg)[0]) == ["H", "M", "W"]
    assert not re.search(r"<path[^>]*glyph|<image", svg)
    pdf = ncore.figure(*run, panels=list(PANELS)).as_bytes("pdf")
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", pdf, re.DOTALL)
    plain = b"".join([pdf, *(zlib.decompressobj().decompress(one) for one in streams if one[:1] == b"x")])
    fonts = set(re.findall(rb"/BaseFont\s*/\w+\+([\w-]+)", plain))  # another one would be this machine's
    assert fonts == {b"LiberationSans", b"LiberationSans-Bold"}
    assert re.search(rb"/FontFile[23]", plain)
    assert b"BT" in plain  # texts, not outlines
    assert "href" not in svg


def test_a_lowered_letter_is_drawn_lower(run):
    """Of the same texts, one with and one without a subscript: the dark pixels of the first reach further down."""
    lows = []
    for text in ("λ_W", "λW"):
        made = ncore.figure(*run, panels=["nc1"], title=text, dpi=288)
        image = Image.open(BytesIO(made.as_bytes("png"))).convert("L").crop((0, 0, 160, 110))
        lows.append(image.point(lambda grey: 255 * (grey < 128)).getbbox()[3])
    assert 0.5 * DROP * 14 * 4 < lows[0] - lows[1] < 1.5 * DROP * 14 * 4


@pytest.mark.parametrize("dpi", [72, 144, 300])
def test_a_png_has_the_dots_per_inch_that_are_asked_for(run, dpi):
    made = ncore.figure(*run, panels=["nc1"], style="paper", dpi=dpi)
    width = float(re.search(r'<svg[^>]* width="([\d.]+)"', made.as_bytes("svg").decode())[1])
    png = made.as_bytes("png")
    assert abs(Image.open(BytesIO(png)).width - width * dpi / 72) <= 1
    at = png.index(b"pHYs") + 4
    assert struct.unpack(">I", png[at : at + 4])[0] == pytest.approx(dpi / 0.0254, rel=0.01)


def test_dots_are_bounded_and_the_message_says_how_many_fit(run):
    for wrong in (0, 35, 1201, float("nan")):
        with pytest.raises(ValueError, match="dpi: must be from 36 to 1200"):
            ncore.figure(*run, dpi=wrong)
    large = {"panels": list(PANELS), "width": 2000, "height": 2000}
    with pytest.raises(DotsError, match="dpi: must be at most") as caught:
        ncore.figure(*run, **large, dpi=1200).as_bytes("png")
    most = int(re.search(r"at most (\d+)", str(caught.value))[1])
    size = re.search(r'width="([\d.]+)" height="([\d.]+)"', ncore.figure(*run, **large).as_bytes("svg").decode())
    dots = float(size[1]) * float(size[2]) / 72**2
    assert dots * most**2 <= MOST_DOTS < dots * (most + 2) ** 2


def test_panels_of_a_column_begin_at_the_same_place(run):
    """Whatever the widths of their labels."""
    made = ncore.figure(*run, panels=["nc1", "nc4", "objective", "norms"], columns=2, title="none").vega_lite
    panels = [
        group[0] for group in ET.fromstring(rendered(made, "svg")).iter(f"{SVG}g")
        if re.search(r"concat_\d_group", group.get("class") or "")
    ]  # fmt: skip
    columns = [re.search(r"translate\(([\d.]+)", panel.get("transform"))[1] for panel in panels]
    assert len(columns) == 4
    assert columns[:2] == columns[2:]
