"""The dashboard's pages of one run and of runs beside each other: panels, layers, depth, config, files; a lens."""

import csv
import re
import zipfile

import httpx
import pytest
from browser import MARKS, PICTURE, browser, drawn, page, provoked, swept
from conftest import wait_for
from playwright.sync_api import expect

from ncore.client import Client

FIXTURES = (browser, page, provoked, swept)
pytestmark = MARKS


@pytest.fixture(scope="module")
def served(service):
    """What is looked at here leaves the shared service as it is."""
    return service


def test_a_run_is_shown_by_panel_and_layer_over_depth_and_beside_a_preset(page, served, swept):
    run = httpx.get(f"{served.url}/sweeps/{swept.id}").json()["items"][0]["experiment"]
    page.goto(f"{served.url}/#/experiments/{run}")
    expect(page.locator(PICTURE)).to_contain_text("NC3")
    page.get_by_role("combobox", name="Panel").select_option("nc1")
    expect(page.locator(PICTURE)).not_to_contain_text("NC3")
    expect(page.locator(f"{PICTURE} .mark-line path")).to_have_count(2)
    page.get_by_role("checkbox", name="h1").uncheck()
    expect(page.locator(f"{PICTURE} .mark-line path")).to_have_count(1)
    page.get_by_role("combobox", name="Panel").select_option("")
    expect(page.locator(PICTURE)).to_contain_text("NC3")
    page.locator(f"{PICTURE} .role-scope > g > path.background").first.hover(force=True)
    expect(page.locator(f"{PICTURE} line.cross.shown")).to_have_count(4)
    page.get_by_role("checkbox", name="h1").check()
    page.locator(f"{PICTURE} .role-legend-label text", has_text="h2").click()
    expect(page.locator(f"{PICTURE} text.pale")).to_have_text("h2")
    page.reload()
    expect(page.locator(f"{PICTURE} text.pale")).to_have_text("h2")
    page.locator(f"{PICTURE} .role-legend-label text", has_text="h2").click()
    expect(page.locator(f"{PICTURE} .pale")).to_have_count(0)
    page.get_by_role("combobox", name="Panel").select_option("nc1")
    page.get_by_role("slider", name="Step").fill("0")
    expect(page.get_by_text("step 0", exact=True)).to_be_visible()
    series = httpx.get(f"{served.url}/experiments/{run}/metrics?metric=nc1").json()["series"]
    page.locator(".picture.small .mark-symbol path").first.hover()
    tooltip = page.locator("#vg-tooltip-element")
    expect(tooltip).to_have_text(re.compile(r"layer\s*h\d\s*value\s*\S"))
    told = re.search(r"layer\s*(h\d)\s*value\s*([-+.\de]+)", tooltip.text_content())  # the text stays when it hides
    assert told, tooltip.text_content()
    begin = next(one["values"][0] for one in series if one["layer"] == told[1])
    assert float(told[2]) == pytest.approx(begin, rel=1e-4)
    page.reload()
    expect(page.get_by_text("step 0", exact=True)).to_be_visible()
    expect(page.locator(PICTURE)).not_to_contain_text("NC3")

    page.locator("summary", has_text="Config").click()
    expect(page.get_by_role("row", name="optimizer.steps 100 60000").locator("strong")).to_have_text("100")
    expect(page.get_by_role("row", name="loss mse mse").locator("strong")).to_have_count(0)
    page.locator("summary", has_text="Final values").click()
    expect(page.get_by_role("row", name=re.compile("^nc1 h2"))).not_to_have_count(0)
    page.locator("summary", has_text="Artifacts").click()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Save final.safetensors").click()
    assert saved.value.path().stat().st_size > 100
    page.reload()
    for opened in ("optimizer.steps 100 60000", "final.safetensors"):
        expect(page.get_by_role("row", name=opened)).to_be_visible()


def test_an_enlarged_panel_is_zoomed_with_shift_and_wheel_and_shown_whole_again(page, served, swept):
    run = httpx.get(f"{served.url}/sweeps/{swept.id}").json()["items"][0]["experiment"]
    page.goto(f"{served.url}/#/experiments/{run}?panel=nc1")
    expect(page.locator(f"{PICTURE} .mark-line path")).to_have_count(2)
    texts, plot = page.locator(f"{PICTURE} .role-axis-label text"), page.locator(f"{PICTURE} .mark-line path").last
    whole = sorted(texts.all_text_contents())
    plot.hover(force=True)
    depth = page.evaluate("scrollY")
    page.mouse.wheel(0, 30)
    wait_for("the page to scroll", lambda: page.evaluate("scrollY") != depth)
    assert sorted(texts.all_text_contents()) == whole
    page.keyboard.down("Shift")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Shift")
    wait_for("other ticks", lambda: sorted(texts.all_text_contents()) != whole)
    plot.dblclick(force=True)
    wait_for("the ticks of before", lambda: sorted(texts.all_text_contents()) == whole)


def test_a_comparison_is_coloured_along_a_parameter_and_saved_as_it_is_seen(page, served, swept):
    ids = [item["experiment"] for item in httpx.get(f"{served.url}/sweeps/{swept.id}").json()["items"]]
    page.goto(f"{served.url}/#/compare?{'&'.join(f'experiment={one}' for one in ids)}&metric=nc1&metric=objective")
    expect(page.locator(f"{PICTURE} .role-legend-label")).to_contain_text(["λ", "λ", "λ", "λ"])
    dotted = page.locator(f"{PICTURE} .mark-rule line[stroke-dasharray='2,3']")
    expect(dotted).to_have_count(4)
    lines = page.locator(f"{PICTURE} .mark-line path")
    expect(lines).to_have_count(4 * 2 + 4)
    page.get_by_role("checkbox", name="h1").uncheck()
    expect(lines).to_have_count(4 + 4)
    page.get_by_role("combobox", name="Colour").select_option("regularization.features")
    expect(page.locator(f"{PICTURE} .role-legend-gradient").first).to_be_visible()
    for axis in ("Steps", "Values"):
        before = drawn(page)
        page.get_by_role("combobox", name=axis).select_option("linear")
        wait_for(f"linear {axis}", lambda before=before: drawn(page) != before)
    page.locator("tbody input[type=checkbox]").first.uncheck()
    for _ in range(2):
        expect(dotted).to_have_count(3 + 1)  # on a linear axis that of NC1, 0, has a place
        page.reload()
    expect(lines).to_have_count(3 + 3)
    saved = {}
    for form in ("CSV", "SVG", "PDF"):
        with page.expect_download() as download:
            page.get_by_role("button", name=form).click()
        saved[form] = download.value.path().read_bytes()
    assert saved["PDF"].startswith(b"%PDF")
    assert b"<svg" in saved["SVG"][:200]
    rows = list(csv.DictReader(saved["CSV"].decode().splitlines()))
    assert {(row["metric"], row["layer"]) for row in rows} == {("nc1", "h2"), ("objective", "")}
    assert {row["experiment"] for row in rows} == set(ids[1:])


def test_an_experiment_is_duplicated_and_deleted(page, served):
    with Client(served.url) as client:
        made = client.submit("fig1", {"name": "a copy of me", "optimizer.steps": 50}).wait(progress=False)
    page.goto(f"{served.url}/#/experiments/{made.id}")
    with page.expect_download() as saved:
        page.get_by_role("button", name="Export").click()
    assert zipfile.is_zipfile(saved.value.path())
    page.get_by_role("button", name="Duplicate").click()
    assert '"a copy of me"' in page.locator("#spec").input_value()
    page.go_back()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_role("heading", name="Experiments")).to_be_visible()
    expect(page.get_by_text("a copy of me")).to_be_hidden()


def test_a_queued_run_says_its_place_and_when_it_starts(page, served):
    long = {"optimizer.steps": 10**7, "measure.points": 20, "seeds": [0]}
    with Client(served.url) as client:
        client.submit("fig1", {**long, "optimizer.steps": 500}).wait(progress=False)  # so that times are known
        runs = [client.submit("fig1", {**long, "model.classes": 3 + i}) for i in range(4)]  # no two in one batch
        page.goto(f"{served.url}/#/experiments/{runs[-1].id}")
        place = page.get_by_text("before it in the queue.")
        expect(place).to_have_text(re.compile(r"^[12] before it in the queue. It starts in about \S+ (s|min|h)\.$"))
        for one in runs[:-1]:
            one.cancel()
        expect(place).to_be_hidden()
        expect(page.locator(".status", has_text="running")).to_be_visible()
        runs[-1].cancel()
