"""The dashboard in a real browser: submit, watch, cancel, compare, a bad spec, a reload, a server that is lost."""

import json
import os
import re
import shutil
import sqlite3
import time
import zipfile
from collections.abc import Iterator

import httpx
import pytest
from axe_playwright_python.sync_playwright import Axe
from conftest import kill_tree, settings_for, wait_for
from playwright.sync_api import Browser, Page, expect, sync_playwright

from api.children import Child
from api.service import Service, _api_command, environment, free_port, running
from ncore.client import Client, Experiment, ExperimentFailed, NotReached, Sweep

NAMES = ("chromium", "chromium-browser", "google-chrome")
CHROMIUM = next((path for path in map(shutil.which, NAMES) if path), None)
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking"]
FLAGS += ["--disable-component-update", "--disable-sync", "--disable-dev-shm-usage"]
if CHROMIUM is None and os.environ.get("CI") != "true":
    pytest.skip("no Chromium on this machine: the dashboard is not tested", allow_module_level=True)
pytestmark = pytest.mark.slow
expect.set_options(timeout=30_000)

LONG = {"name": "long", "optimizer.steps": 10**8, "measure.points": 20_000, "measure.spacing": "linear", "seeds": [0]}
PICTURE = ".picture svg"
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
    for _ in range(60):
        page.keyboard.press(key)
        seen.append(page.evaluate(said).strip())
        if seen[-1].startswith(name):
            return
    raise AssertionError(f"{name!r} is not reached by {key}; reached were {seen}")


def test_figure_1_is_submitted_and_its_curves_and_table_agree_with_the_theory(page):
    page.get_by_role("link", name="New", exact=True).click()
    page.get_by_label("Start from").select_option("fig1")
    page.get_by_role("button", name="Run").click()
    expect(status_of(page)).to_have_text("succeeded", timeout=60_000)
    expect(page.locator(PICTURE)).to_contain_text("f* = 0.1314")
    expect(page.locator(".caption")).to_contain_text("K = 4, d = 20, n = 50")
    expect(page.get_by_role("row", name=re.compile(r"objective \d 0.13142136 0.13142136"))).to_have_count(1)
    page.get_by_role("combobox", name="Seeds").select_option("all")
    expect(page.get_by_role("row", name=re.compile(r"objective \d 0.13142136 0.13142136"))).to_have_count(3)
    expect(page.locator("li", has_text="seed 0: orthogonal frame")).to_be_visible()
    page.locator(f"{PICTURE} .mark-symbol path").nth(20).hover()
    expect(page.locator("#vg-tooltip-element")).to_contain_text(re.compile("seeds.*3", re.S))
    logarithmic = drawn(page)
    page.get_by_role("combobox", name="Values").select_option("linear")
    wait_for("linear axes", lambda: drawn(page) != logarithmic)


def test_curves_grow_through_a_reload_and_a_lost_server_and_runs_are_cancelled(page, served, provoked):
    with Client(served.url) as client:
        made, second = (client.submit("fig1", {**LONG, "name": name}) for name in ("long", "second"))
        page.goto(f"{served.url}/#/experiments/{second.id}")
        expect(status_of(page)).to_have_text("queued")
        expect(page.locator(PICTURE)).to_contain_text("nothing has been measured")
        page.get_by_role("button", name="Cancel").click()
        expect(status_of(page)).to_have_text("cancelled")

        page.goto(f"{served.url}/#/experiments/{made.id}")
        expect(status_of(page)).to_have_text("running")
        expect_growth(page)
        page.reload()
        expect(status_of(page)).to_have_text("running")
        expect_growth(page)

        lose_server(page, served, provoked)
        expect_growth(page)
        page.get_by_role("button", name="Cancel").click()
        expect(status_of(page)).to_have_text("cancelled")
        expect(page.get_by_role("button", name="Retry")).to_be_enabled()
        page.get_by_text("What happened").click()
        expect(page.locator("details li", has_text="cancel asked for")).to_be_visible()


def test_what_is_stored_is_on_the_screen_within_a_second(page, served):
    with Client(served.url) as client:
        made = client.submit("fig1", LONG)
        page.goto(f"{served.url}/#/experiments/{made.id}")
        expect_growth(page)
        waits = []
        for _ in range(8):
            stored, began = made.series(metric="objective")[0]["steps"][-1], time.monotonic()
            wait_for("the newest step on the screen", lambda least=stored: last_drawn(page) >= least)
            waits.append(time.monotonic() - began)
        made.cancel()
    assert sorted(waits)[2] < 1  # not the slowest: the machine may have other work


def test_the_fault_of_a_spec_is_shown_and_its_place_is_selected(page, provoked):
    provoked.append("422")
    page.get_by_role("link", name="New", exact=True).click()
    page.get_by_label("Start from").select_option("fig1")
    edit(page, '"classes": 4', '"classes": 1')
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("button", name="model.classes")).to_be_visible()
    assert page.evaluate("document.getSelection().toString()") == '"classes"'
    edit(page, '"classes": 1', '"classes": ')
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".errors")).to_contain_text("This is not JSON")


def test_an_experiment_is_submitted_and_cancelled_by_keyboard_alone(page):
    tab_to(page, "Skip to content")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "New", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New experiment")).to_be_visible()
    tab_to(page, "Start from")
    page.keyboard.type("Figure 2")
    expect(page.locator("#spec")).to_have_value(re.compile('"figure 2"'))
    tab_to(page, "Spec")
    edit(page, '"steps": 30000', '"steps": 100000000')
    tab_to(page, "Run", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(status_of(page)).to_have_text("running")
    tab_to(page, "Cancel")
    page.wait_for_timeout(2000)  # the page tells of progress meanwhile, and the focus stays where it was
    page.keyboard.press("Enter")
    expect(status_of(page)).to_have_text("cancelled")


def test_two_experiments_are_compared_from_the_list_by_keyboard_alone(page, ended):
    expect(page.get_by_role("link", name="right")).to_be_visible()
    for name in ("right", "left"):
        tab_to(page, f"choose {name}")
        page.keyboard.press("Space")
    tab_to(page, "Compare chosen", "Shift+Tab")
    page.keyboard.press("Enter")
    for name in ("left", "right"):
        expect(page.locator(PICTURE)).to_contain_text(name)
    page.get_by_role("combobox", name="Metric").select_option("nc2_etf")
    expect(page.locator(PICTURE)).to_contain_text("simplex ETF")


def test_the_list_is_searched_and_says_when_nothing_fits(page, ended):
    expect(page.get_by_role("heading", name="Workers")).to_be_visible()
    expect(page.locator("section li", has_text="GiB").first).to_be_visible()
    page.get_by_label("Name").fill("lef")
    expect(page.get_by_role("link", name="left")).to_be_visible()
    expect(page.get_by_role("link", name="right")).to_be_hidden()
    page.get_by_label("Name").fill("no such thing")
    expect(page.get_by_text("No experiment fits these filters.")).to_be_visible()


def test_an_experiment_is_cloned_and_deleted(page, served):
    with Client(served.url) as client:
        made = client.submit("fig1", {"name": "a copy of me", "optimizer.steps": 50}).wait(progress=False)
    page.goto(f"{served.url}/#/experiments/{made.id}")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export").click()
    assert zipfile.is_zipfile(saved.value.path())
    page.get_by_role("button", name="Clone").click()
    assert '"a copy of me"' in page.locator("#spec").input_value()
    page.go_back()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Experiments")).to_be_visible()
    expect(page.get_by_text("a copy of me")).to_be_hidden()


@pytest.fixture(scope="module")
def swept(served) -> Sweep:
    """Two levels, so that there are layers to choose from."""
    base = {"optimizer.steps": 100, "measure.points": 3, "seeds": [0]}
    axes = {"regularization.features": [0.001, 0.002], "model.classes": [3, 4]}
    with Client(served.url) as client:
        return client.sweep("fig3", axes, base, "decay and classes").wait(progress=False, timeout_seconds=60)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_page_is_accessible_and_fits_a_phone(browser, served, ended, swept, scheme):
    page = browser.new_page(viewport={"width": 360, "height": 780}, color_scheme=scheme)
    left, right, broken = (f"experiments/{ended[name].id}" for name in ("left", "right", "broken"))
    places = {
        "#/": "tbody tr",
        "#/new": "#spec",
        f"#/{left}": PICTURE,
        f"#/{broken}": ".errors",
        "#/experiments/none": ".errors",
        "#/compare": "fieldset",
        f"#/compare?{left.replace('s/', '=')}&{right.replace('s/', '=')}": PICTURE,
        "#/sweeps": "tbody tr",
        "#/sweeps/new": "#base",
        f"#/sweeps/{swept.id}": PICTURE,
        "#/sweeps/none": ".errors",
        "docs": "section",
    }
    for path, sign in places.items():
        page.goto(f"{served.url}/{path}")
        expect(page.locator(sign).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        found = Axe().run(page).response["violations"]
        assert not [(path, one["id"], one["nodes"][0]["html"]) for one in found if one["impact"] in SERIOUS]
    page.close()


def test_routes_and_pictures_are_shown_without_anything_from_elsewhere(page, served, ended):
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.goto(f"{served.url}/docs")
    expect(page.get_by_role("heading", name="POST /experiments", exact=True)).to_be_visible()
    page.goto(f"{served.url}/#/experiments/{ended['left'].id}")
    expect(page.locator(PICTURE)).to_be_visible()
    assert any(url.endswith("vega.js") for url in asked)
    assert all(url.startswith(served.url) for url in asked)


@pytest.fixture
def guarded(request, tmp_path) -> Iterator[str]:
    """URL of an API that wants a token; nothing is run on it, so it needs no worker."""
    settings = settings_for("sqlite", tmp_path, request, tokens="open-sesame")
    settings = settings.model_copy(update={"port": free_port(settings.host)})
    api = Child("api", _api_command(settings), {**os.environ, **environment(settings)}, tmp_path / "log")
    with Client(f"http://127.0.0.1:{settings.port}", token="open-sesame") as client:
        wait_for("the API", lambda: is_there(client), seconds=60)
        yield client.url
    api.stop()


def is_there(client: Client) -> bool:
    try:
        return list(client.experiments()) == []
    except NotReached:
        return False


def test_a_token_is_asked_for_refused_with_a_word_and_used(browser, guarded):
    page = browser.new_page()
    page.goto(guarded)
    told = page.get_by_role("dialog").get_by_role("alert")
    expect(page.get_by_role("textbox", name="Token")).to_be_visible()
    expect(told).to_be_hidden()
    for given, words in (("shut", "refused this token"), ("geschloßen ☃", "no spaces"), ("shut again", "no spaces")):
        page.get_by_role("textbox", name="Token").fill(given)
        page.get_by_role("button", name="Use it").click()
        expect(told).to_contain_text(words)
    found = Axe().run(page).response["violations"]
    assert not [one["id"] for one in found if one["impact"] in SERIOUS]
    page.get_by_role("textbox", name="Token").fill("open-sesame")
    page.keyboard.press("Enter")
    expect(page.get_by_text("Nothing has been run yet.")).to_be_visible()
    page.close()


LARGE = [2**53 + 1, 2**63 - 1]


def test_integers_that_javascript_cannot_hold_are_read_kept_and_sent(page, served):
    texts = [
        json.dumps(value)
        for value in (
            LARGE,
            {
                "a": [-(2**53) - 1, 10**400, 0.1, 1e22, 1.5e300, 12345678901234567.25],
                "9007199254740993": "9007199254740993",
            },
            {"name": "\u202e\u0001\ud800 漢字 \U0001f469\u200d\U0001f467", "escaped": '"\\ 9007199254740993'},
        )
    ]
    copied = page.evaluate(
        "async (texts) => { const { parse, print } = await import('./static/json.js');"
        " return texts.map((text) => print(parse(text))); }",
        texts,
    )
    assert [json.loads(text) for text in copied] == [json.loads(text) for text in texts]
    assert not re.search(
        r"[^\x20-\x7e]", copied[2].replace("漢字", "").replace("\U0001f469", "").replace("\U0001f467", "")
    )

    page.goto(f"{served.url}/#/new")
    spec = json.loads(page.locator("#spec").input_value())
    spec["optimizer"]["steps"], spec["seeds"] = 50, LARGE
    page.locator("#spec").fill(json.dumps(spec))
    page.get_by_role("button", name="Run").click()
    expect(status_of(page)).to_have_text("succeeded")
    page.get_by_role("combobox", name="Seeds").select_option("all")
    expect(page.get_by_role("cell", name=str(LARGE[1])).first).to_be_visible()
    page.get_by_role("button", name="Clone").click()
    assert json.loads(page.locator("#spec").input_value())["seeds"] == LARGE

    page.goto(f"{served.url}/#/sweeps/new")
    page.get_by_label("Axes").fill(f"seeds={[[seed] for seed in LARGE]}")
    edit(page, '"steps": 30000', '"steps": 50', "#base")
    page.get_by_role("button", name="Run all").click()
    expect(page.locator(".counts")).to_have_text("2 succeeded")
    expect(page.get_by_role("cell", name=f"[{LARGE[0]}]", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Clone").click()
    assert page.get_by_label("Axes").input_value() == f"seeds=[[{LARGE[0]}],[{LARGE[1]}]]"


ODD = {
    "\x01\x1b[31m\u202egnp.exe\u2066": r"\u0001\u001b[31m\u202egnp.exe\u2066",
    "\ufeff\u2028a\uffff\x7f": r"\ufeff\u2028a\uffff\u007f",
    "<img src=x onerror=alert(1)><b>&amp;": "<img src=x onerror=alert(1)><b>&amp;",
    "W" * 100 + "神经坍缩" * 25: "W" * 100 + "神经坍缩" * 25,
    "e" + "\u0301" * 150: "e" + "\u0301" * 150,
    " \u200b\u3164 ": None,
}
"""Names as rows of earlier versions may hold them, and how they are shown; None: by the id."""


def test_names_of_odd_characters_are_shown_readable_on_every_page(browser, served, ended, swept):
    right = ended["right"].id
    for odd, shown in ODD.items():
        with sqlite3.connect(served.settings.home / "ncore.db") as database:
            database.execute("UPDATE experiments SET name = ?, tags = ? WHERE id = ?", (odd, json.dumps([odd]), right))
            database.execute("UPDATE sweeps SET name = ? WHERE id = ?", (odd, swept.id))
        page = browser.new_page(viewport={"width": 390, "height": 800})
        for place in ("#/", f"#/experiments/{right}", "#/compare", "#/sweeps", f"#/sweeps/{swept.id}"):
            page.goto(f"{served.url}/{place}")
            known = shown or (swept.id if "sweeps" in place else right)
            expect(page.locator(".name").get_by_text(known, exact=True).first).to_be_visible()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, place
            heights = page.locator(".name, .tag").evaluate_all("all => all.map((one) => one.offsetHeight)")
            assert max(heights) < 300, place
            assert not page.locator("main img, main b").count()
            if place.count("/") == 2:
                assert page.title() == f"{known} · ncore"
        page.close()
    with sqlite3.connect(served.settings.home / "ncore.db") as database:
        database.execute("UPDATE experiments SET name = ?, tags = '[]' WHERE id = ?", (ended["right"].name, right))


def test_a_spec_is_copied_where_pages_have_no_clipboard(browser, served, ended):
    """As over plain http."""
    page = browser.new_page()
    page.add_init_script("delete Navigator.prototype.clipboard")
    page.goto(f"{served.url}/#/experiments/{ended['left'].id}")
    page.get_by_role("button", name="Copy spec").click()
    expect(page.get_by_text("Spec copied.")).to_be_visible()
    page.goto(f"{served.url}/#/new")
    page.locator("#spec").fill("")
    page.locator("#spec").press("Control+v")
    assert (
        json.loads(page.locator("#spec").input_value())
        == httpx.get(f"{served.url}/experiments/{ended['left'].id}").json()["spec"]
    )
    page.close()
