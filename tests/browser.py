"""A real browser on a real service, and what the tests of the dashboard do with them alike."""

import os
import shutil
from collections.abc import Iterator

import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import kill_tree, settings_for, wait_for
from playwright.sync_api import Browser, Page, expect, sync_playwright

from api.service import Service, running
from ncore.client import Client, Experiment, ExperimentFailed, Sweep

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
MARKS = [  # CI installs it: there its absence is no reason
    pytest.mark.skipif(CHROMIUM is None and os.environ.get("CI") != "true", reason="no Chromium on this machine"),
]
expect.set_options(timeout=30_000)

LONG = {"name": "long", "optimizer.steps": 10**8, "measure.points": 20_000, "measure.spacing": "linear", "seeds": [0]}
PICTURE = ".picture:not(.small) svg"
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def served(request, tmp_path_factory) -> Iterator[Service]:
    with running(settings_for("sqlite", tmp_path_factory.mktemp("dashboard"), request)) as started:
        yield started


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    assert CHROMIUM is not None, "CI has to install Chromium"
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield made
        made.close()


@pytest.fixture
def provoked() -> list[str]:
    """What the browser itself may report on its console, because the test brings it about."""
    return []


@pytest.fixture
def page(browser: Browser, served: Service, provoked: list[str]) -> Iterator[Page]:
    """A page whose console must stay free of errors and warnings."""
    made = browser.new_page(viewport={"width": 1280, "height": 900})
    complaints: list[str] = []
    made.on("console", lambda said: complaints.append(said.text) if said.type in ("error", "warning") else None)
    made.on("pageerror", lambda error: complaints.append(str(error)))
    made.goto(served.url)
    expect(made.get_by_role("heading", name="Experiments")).to_be_visible()
    yield made
    made.close()
    stop_all(served)
    assert not [text for text in complaints if not any(part in text for part in provoked)]


@pytest.fixture(scope="module")
def ended(served) -> dict[str, Experiment]:
    """Three that have ended, one of them in failure."""
    with Client(served.url) as client:
        short = {"optimizer.steps": 300, "measure.points": 30}
        made = {name: client.submit("fig2", {**short, "name": name}) for name in ("left", "right")}
        made["broken"] = client.submit("fig1", {**short, "name": "broken", "optimizer.learning_rate": 1e9})
        for name in ("left", "right"):
            made[name].wait(progress=False, timeout_seconds=60)
        with pytest.raises(ExperimentFailed):
            made["broken"].wait(progress=False, timeout_seconds=60)
    return made


def stop_all(served: Service) -> None:
    """The one worker is free for the next test, whatever became of this one."""
    with Client(served.url) as client:
        for state in ("queued", "running"):
            for one in client.experiments(status=state):
                one.cancel()


def status_of(page: Page):
    return page.locator(".facts .status")


def drawn(page: Page) -> str:
    return page.locator(PICTURE).inner_html()


def last_drawn(page: Page) -> int:
    """The last step on the screen, as the picture itself tells it; 0 while there are no curves."""
    said = page.locator(f"{PICTURE} [aria-label^=\"X-axis titled 'step'\"]").first.get_attribute("aria-label")
    return int(float(said.split(" to ")[-1].replace(",", "")))


def expect_growth(page: Page) -> None:
    expect(page.locator(PICTURE)).not_to_contain_text("nothing has been measured")
    picture, step = drawn(page), last_drawn(page)  # in this order: it may be drawn anew between the two
    wait_for("a curve that has grown", lambda: last_drawn(page) > step)
    assert drawn(page) != picture


def lose_server(page: Page, served: Service, provoked: list[str]) -> None:
    """Kills the API while the page is open, and waits until it is back."""
    provoked += [f"ERR_{name}" for name in ("CONNECTION_REFUSED", "CONNECTION_RESET", "EMPTY_RESPONSE")]
    provoked += ["ERR_INCOMPLETE_CHUNKED_ENCODING", "503"]
    kill_tree(served.children["api"].process.pid)
    expect(page.locator("#connection")).to_be_visible()
    expect(page.locator("#connection")).to_be_hidden(timeout=60_000)


def edit(page: Page, old: str, new: str, editor: str = "#spec") -> None:
    text = page.locator(editor).input_value()
    assert old in text
    page.locator(editor).fill(text.replace(old, new))


def tab_to(page: Page, name: str, key: str = "Tab") -> None:
    """Presses the key until what has this text or label has the focus."""
    said = "(e => e.getAttribute('aria-label') || (e.labels?.[0] ?? e).innerText)(document.activeElement)"
    seen = []
    for _ in range(100):
        page.keyboard.press(key)
        seen.append(page.evaluate(said).strip())
        if seen[-1].startswith(name):
            return
    raise AssertionError(f"{name!r} is not reached by {key}; reached were {seen}")


@pytest.fixture(scope="module")
def swept(served) -> Sweep:
    """Two levels, so that there are layers to choose from."""
    base = {"optimizer.steps": 100, "measure.points": 3, "seeds": [0]}
    axes = {"regularization.features": [0.001, 0.002], "model.classes": [3, 4]}
    with Client(served.url) as client:
        return client.sweep("fig3", axes, base, "decay and classes").wait(progress=False, timeout_seconds=60)


@pytest.fixture
def guarded(request, tmp_path) -> Iterator[str]:
    """URL of an API that wants a token."""
    with running(settings_for("sqlite", tmp_path, request, tokens="open-sesame"), with_workers=False) as service:
        yield service.url


def serious(page: Page) -> list[tuple[str, str]]:
    """What axe finds wrong with a page."""
    found = Axe().run(page).response["violations"]
    return [(one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS]


FIXTURES = (browser, ended, guarded, page, provoked, served, swept)
"""pytest finds them by their names in the modules that import them."""
