"""Pictures are drawn in a process that may die or hang: the next one is drawn all the same."""

import os
import signal
import threading
import time
import xml.etree.ElementTree as ET
from concurrent.futures import ThreadPoolExecutor

import orjson
import psutil
import pytest

from api import drawing
from api.companion import CrowdedError
from api.drawing import EMPTY, MOST_CHILDREN, MOST_WAITING, Drawing, PictureError
from ncore.pictures.files import rendered
from ncore.text import UNDRAWABLE, cleaned

STARTS = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF", "json": b"{"}
ODD = {
    "control": "".join(map(chr, (*range(0x20), 0x7F, 0x80, 0x85, 0x9F))),
    "non-characters": "\ufffe\uffff\ufdd0\ufdef\U0001fffe\U0010ffff",
    "surrogates": "\ud800 \udfff \udc80",
    "markup": "<&>\"'`\\ ]]> <!-- %00 \\u0001 \x1b[31m {{x}} datum.x",
    "invisible": "\u200b\u202e\u2028\u2029\ufeff\u00ad\u0301\U000e0001",
    "wide": "神经坍缩 신경 붕괴 ニューラル 🧠👩‍🔬 مرحبا",
}
ENDLESS = {
    "data": {"sequence": {"start": 0, "stop": 20_000_000, "as": "x"}},
    "transform": [{"calculate": "sin(datum.x)", "as": "y"}],
    "mark": "point",
    "encoding": {"y": {"field": "y", "type": "quantitative"}},
}


@pytest.fixture(scope="module")
def drawn():
    made = Drawing()
    yield made
    made.stop()


def with_text(text):
    """A picture with the text at every place where a user's text can stand."""
    return {
        "title": {"text": text, "subtitle": [text]},
        "description": text,
        "data": {"values": [{text: 1, "name": text}, {"name": "x"}]},
        "mark": "point",
        "encoding": {
            "x": {"field": "name", "type": "nominal", "title": text, "sort": [text]},
            "color": {"field": "name", "type": "nominal", "scale": {"domain": [text, "x"]}},
        },
        "config": {},
    }


@pytest.mark.parametrize("form", STARTS)
@pytest.mark.parametrize("kind", ODD)
def test_no_text_ends_the_process_that_draws(drawn, kind, form):
    before = drawn.convert(EMPTY, "svg") and drawn.pids
    image = rendered(with_text(ODD[kind]), form, drawn.convert)
    assert image.startswith(STARTS[form])
    if form == "svg":
        ET.fromstring(image)
    assert set(before) <= set(drawn.pids)  # a second one may have been started meanwhile


def test_what_is_replaced_is_what_xml_cannot_hold_non_characters_and_line_separators():
    """XML 1.0: Char ::= #x9 | #xA | #xD | [#x20-#xD7FF] | [#xE000-#xFFFD] | [#x10000-#x10FFFF]."""
    chars = [9, 10, 13, *range(0x20, 0xD800), *range(0xE000, 0xFFFE), *range(0x10000, 0x110000)]
    non_characters = {
        *range(0xFDD0, 0xFDF0),
        *(plane + last for plane in range(0, 2**20, 2**16) for last in (65534, 65535)),
    }
    non_characters |= {0x10FFFE, 0x10FFFF, 0x2028, 0x2029}
    everything = "".join(map(chr, range(0x110000)))
    assert UNDRAWABLE.sub("", everything) == "".join(chr(code) for code in chars if code not in non_characters)
    assert cleaned("a\x00b\ud800c") == "a\ufffdb\ufffdc"


@pytest.mark.parametrize("form", ["svg", "png", "pdf"])
def test_a_process_that_aborts_is_replaced(drawn, form):
    """Text that was not cleaned: vl-convert aborts."""
    spoilt = orjson.dumps({**orjson.loads(EMPTY), "title": "a\x01b"}).decode()
    with pytest.raises(PictureError, match="the process that drew it has ended"):
        drawn.convert(spoilt, form)
    assert drawn.convert(EMPTY, form).startswith(STARTS[form])


def test_a_picture_whose_process_is_killed_is_not_drawn_again_and_the_next_one_is(monkeypatch):
    monkeypatch.setattr(drawing, "MOST_CHILDREN", 1)
    alone = Drawing()
    alone.convert(EMPTY, "svg")
    [pid] = alone.pids
    child = psutil.Process(pid)
    began, spent = time.monotonic(), child.cpu_times().user

    def kill_it_at_work():
        while child.cpu_times().user < spent + 0.3 and time.monotonic() < began + 25:
            time.sleep(0.02)
        child.kill()

    killer = threading.Thread(target=kill_it_at_work)
    killer.start()
    try:
        with pytest.raises(PictureError, match="the process that drew it has ended"):
            alone.convert(orjson.dumps(ENDLESS).decode(), "svg")
        assert alone.convert(EMPTY, "svg").startswith(b"<svg")
        [after] = alone.pids
        os.kill(after, signal.SIGKILL)  # while it waits: another one draws
        assert alone.convert(EMPTY, "svg").startswith(b"<svg")
    finally:
        killer.join()
        alone.stop()


def test_a_picture_that_takes_too_long_is_given_up_and_another_is_drawn_meanwhile(drawn, monkeypatch):
    drawn.convert(EMPTY, "svg")
    monkeypatch.setattr(drawn, "seconds", 2.0)
    with ThreadPoolExecutor() as threads:
        endless = threads.submit(drawn.convert, orjson.dumps(ENDLESS).decode(), "png")
        time.sleep(0.2)
        monkeypatch.setattr(drawn, "seconds", 20.0)
        assert drawn.convert(EMPTY, "pdf").startswith(b"%PDF")
        with pytest.raises(PictureError, match="longer than 2 s"):
            endless.result()


def test_what_vega_lite_refuses_is_reported_and_ends_nothing(drawn):
    before = drawn.convert(EMPTY, "svg") and drawn.pids
    with pytest.raises(PictureError, match="Vega-Lite"):
        drawn.convert('{"mark": 3}', "svg")
    assert set(before) <= set(drawn.pids)  # a second one may have been started meanwhile


def test_a_process_is_replaced_after_some_pictures(drawn, monkeypatch):
    drawn.convert(EMPTY, "svg")
    before = set(drawn.pids)
    monkeypatch.setattr(drawn, "pictures_per_child", 1)
    drawn.convert(EMPTY, "svg")
    assert before - set(drawn.pids)


def test_no_more_pictures_wait_than_there_is_room_for(drawn):
    places = MOST_CHILDREN + MOST_WAITING
    for _ in range(places):
        drawn._places.acquire()
    with pytest.raises(CrowdedError, match="try again"):
        drawn.convert(EMPTY, "svg")
    drawn._places.release(places)
    assert drawn.convert(EMPTY, "svg")
