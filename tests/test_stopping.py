"""What comes before a run's first step hears a stop, whatever it is at, and leaves nothing running."""

import socket
import threading
import time

import numpy as np
import pytest
import torch
import torchvision  # noqa: F401 (on a busy machine its import alone takes seconds)
from PIL import Image

from ncore.kinds.networks import NETWORKS, MlpModel
from ncore.spec import parse_spec
from ncore.stopping import CHECK_SECONDS, Stopped, interruptible
from ncore.train import begin
from ncore.ufm import start

LATE_SECONDS = 1.0
"""Between the wish and its being heard: less than what is promised by far, more than a busy machine takes."""


def ufm(**model):
    model = {"kind": "ufm", "classes": 4, "samples_per_class": 3, "widths": [5], **model}
    return {"model": model, "optimizer": {"form": "full", "steps": 10}, "device": "cpu"}


def network(**data):
    return {"model": {"kind": "mlp"}, "data": {"image_size": 8, **data}, "device": "cpu"}


def many_pictures(directory):
    """A folder of links to large pictures: minutes of decoding."""
    pixels = np.random.default_rng(0).integers(0, 256, (1500, 1500), dtype=np.uint8)
    for k in ("cat", "dog"):
        (directory / "many" / k).mkdir(parents=True)
        Image.fromarray(pixels).save(directory / f"{k}.png", compress_level=0)
        for n in range(1000):
            (directory / "many" / k / f"{n}.png").symlink_to(directory / f"{k}.png")


def mute_host(monkeypatch, mute):
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.setattr("urllib.request._opener", None)  # else it keeps the proxies of its first call
    for scheme in ("http", "https"):
        monkeypatch.setenv(f"{scheme}_proxy", f"http://127.0.0.1:{mute.getsockname()[1]}")


def slow_to_build(model, classes, channels, image_size):
    time.sleep(3)
    raise AssertionError("it was not left behind")


CASES = {
    "a large draw": ufm(samples_per_class=10**7),
    "many pictures": network(name="folder", path="many"),
    "a host that says nothing": network(name="mnist"),
    "many synthetic images": network(name="synthetic", image_size=64, samples_per_class=40_000),
    "a network that takes long to build": {**network(name="synthetic", samples_per_class=2), "model": {"kind": "slow"}},
}


@pytest.mark.parametrize("case", CASES)
def test_a_start_is_left_at_once_and_leaves_nothing_running(tmp_path, monkeypatch, case):
    class Slow(MlpModel):
        kind: str = "slow"
        build = slow_to_build

    monkeypatch.setitem(NETWORKS, "slow", Slow)
    if case == "many pictures":
        many_pictures(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as mute:
        mute_host(monkeypatch, mute)
        wished_at = time.monotonic() + 0.5

        def check():
            if time.monotonic() > wished_at:
                raise Stopped

        with pytest.raises(Stopped):
            begin(parse_spec(CASES[case]), data_dir=str(tmp_path), check=check)
        assert time.monotonic() - wished_at < LATE_SECONDS
    until = time.monotonic() + 20
    while any(thread.name == "start of a run" for thread in threading.enumerate()):
        assert time.monotonic() < until, "it goes on for nobody"
        time.sleep(0.05)


def test_a_start_without_a_stop_is_as_without_a_check():
    spec = parse_spec(ufm())
    plain, checked = begin(spec).checkpoint(), begin(spec, check=lambda: None).checkpoint()
    assert all(torch.equal(plain[name], checked[name]) for name in plain | checked)


def test_what_the_work_raises_is_raised_and_what_it_returns_is_returned():
    assert interruptible(lambda check: check() or 3, lambda: None) == 3
    for error in (ValueError("odd"), TimeoutError("its own"), KeyboardInterrupt()):

        def work(check, error=error):
            time.sleep(1.5 * CHECK_SECONDS)
            raise error

        with pytest.raises(type(error)) as raised:
            interruptible(work, lambda: None)
        assert raised.value is error


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (7, 9), (13, 13), (40, 41), (1, 17), (100, 333)])
@pytest.mark.parametrize("piece", [16, 64, 2**22])
def test_pieces_of_a_draw_are_the_bits_of_the_whole(monkeypatch, shape, piece):
    monkeypatch.setattr(start, "DRAWN_AT_ONCE", piece)
    pieces, whole = (torch.Generator().manual_seed(7) for _ in range(2))
    assert torch.equal(
        start._draw(pieces, 0.3, *shape), torch.randn(*shape, generator=whole, dtype=torch.float64) * 0.3
    )
    assert torch.equal(pieces.get_state(), whole.get_state())
