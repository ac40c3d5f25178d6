"""The dashboard: submit, watch, cancel, find, compare, delete; bad configs, reloads, a server that is lost, a token."""

import json
import re
import time

import httpx
import pytest
from browser import (
    LONG,
    MARKS,
    PICTURE,
    browser,
    drawn,
    edit,
    ended,
    expect_growth,
    guarded,
    last_drawn,
    lose_server,
    page,
    provoked,
    serious,
    served,
    status_of,
    swept,
    tab_to,
)
from conftest import wait_for
from playwright.sync_api import expect

from ncore.client import Client

FIXTURES = (browser, ended, guarded, page, provoked, served, swept)
pytestmark = MARKS
MOST_BYTES = 150_000
"""Sent for a page, its data included, without what draws the pictures or shows the API."""


def test_figure_1_is_submitted_and_its_curves_and_table_agree_with_the_theory(page):
    page.get_by_role("link", name="New", exact=True).click()
    expect(page.get_by_role("region", name="Prediction")).to_contain_text(re.compile("0.13142136.*KiB", re.S))
    page.get_by_role("button", name="Run").click()
    expect(status_of(page)).to_have_text("succeeded", timeout=60_000)
    expect(page.locator(PICTURE)).to_contain_text("f* = 0.1314")
    expect(page.locator(".caption").first).to_contain_text("K = 4, d = 20, n = 50")
    row = page.get_by_role("row", name=re.compile(r"^objective \d 0.13142136 0.13142136"))
    expect(row).to_have_count(1)
    page.get_by_role("combobox", name="Seeds").select_option("all")
    expect(row).to_have_count(3)
    expect(page.get_by_text("orthogonal frame · 3 of 3 seeds")).to_be_visible()
    verdict = page.get_by_role("link", name="orthogonal frame")
    expect(verdict).to_have_attribute("title", re.compile(r"nc1.*nc2", re.S))
    expect(verdict).to_have_attribute("href", "#/verdicts?verdict=orthogonal_frame")
    page.get_by_text("each seed").click()
    expect(
        page.get_by_text(re.compile("seed 0: orthogonal frame, objective .* (above|below) the predicted value"))
    ).to_be_visible()
    page.locator(f"{PICTURE} .mark-symbol path").nth(20).hover()
    tooltip = page.locator("#vg-tooltip-element")
    expect(tooltip).to_contain_text(re.compile("seeds.*3", re.S))
    assert not re.search(r"sort_index|\d\.\d{8}", tooltip.inner_text())
    bands, lines = page.locator(f"{PICTURE} .mark-area path"), page.locator(f"{PICTURE} .mark-line path")
    expect(bands).not_to_have_count(0)
    count = lines.count()
    page.get_by_role("combobox", name="Seed", exact=True).select_option("each")
    expect(lines).to_have_count(3 * count)
    expect(bands).to_have_count(0)
    frame = page.locator(f"{PICTURE} .role-scope > g > path.background").first.bounding_box()
    middle = frame["y"] + frame["height"] / 2
    page.mouse.move(frame["x"] + 0.5 * frame["width"], middle)
    page.mouse.down()
    page.mouse.move(frame["x"] + 0.9 * frame["width"], middle)
    expect(page.locator(f"{PICTURE} .brush.shown")).to_have_count(4)
    page.mouse.up()
    axis = page.locator(f"{PICTURE} [aria-label^=\"X-axis titled 'step'\"]").first
    expect(axis).not_to_have_attribute("aria-label", re.compile("from 0 to"))
    page.reload()
    expect(axis).not_to_have_attribute("aria-label", re.compile("from 0 to"))
    expect(lines).to_have_count(3 * count)
    expect(row).to_have_count(3)
    page.get_by_role("button", name="All steps").click()
    expect(axis).to_have_attribute("aria-label", re.compile("from 0 to"))
    logarithmic = drawn(page)
    page.get_by_role("combobox", name="Values").select_option("linear")
    wait_for("linear axes", lambda: drawn(page) != logarithmic)


def test_curves_grow_through_a_reload_and_a_lost_server_and_runs_are_cancelled(page, served, provoked):
    with Client(served.url) as client:
        made = client.submit("fig1", {**LONG, "name": "long"})
        wait_for("the first", lambda: made.refresh().status == "running")  # or both were trained as one batch
        second = client.submit("fig1", {**LONG, "name": "second"})
        page.goto(f"{served.url}/#/experiments/{second.id}")
        expect(status_of(page)).to_have_text("queued")
        expect(page.locator("dl.facts", has_text="Predicted objective, f*")).to_contain_text("orthogonal frame")
        expect(page.locator(PICTURE)).to_contain_text("nothing has been measured")
        expect(page.get_by_text("Next in the queue.")).to_be_visible()
        page.get_by_role("button", name="Cancel").click()
        expect(status_of(page)).to_have_text("cancelled")

        page.goto(f"{served.url}/#/experiments/{made.id}")
        expect(status_of(page)).to_have_text("running")
        expect_growth(page)
        page.reload()
        expect_growth(page)

        waits = []
        for _ in range(8):
            stored, began = made.series(metric="objective")[0]["steps"][-1], time.monotonic()
            wait_for("the newest step on the screen", lambda least=stored: last_drawn(page) >= least)
            waits.append(time.monotonic() - began)
        assert min(waits) < 1  # the fastest: the machine may have other work

        lose_server(page, served, provoked)
        expect_growth(page)
        page.get_by_role("button", name="Cancel").click()
        expect(status_of(page)).to_have_text("cancelled")
        expect(page.get_by_role("button", name="Retry")).to_be_enabled()
        page.locator("summary", has_text="Log").click()
        expect(page.locator("details li", has_text="cancel asked for")).to_be_visible()


def test_a_page_that_is_opened_while_the_server_is_away_is_shown_when_it_is_back(page, provoked):
    provoked.append("ERR_INTERNET_DISCONNECTED")
    page.context.set_offline(True)
    page.get_by_role("link", name="Sweeps").click()
    expect(page.locator("#connection")).to_be_visible()
    page.context.set_offline(False)
    expect(page.get_by_role("heading", name="Sweeps")).to_be_visible()
    expect(page.locator("#connection")).to_be_hidden()


def test_a_config_is_written_as_a_form_and_as_json_and_its_faults_are_shown_in_both(page, provoked):
    provoked.append("422")
    page.get_by_role("link", name="New", exact=True).click()
    editor, classes = page.locator("#spec"), page.locator("[id='field-model.classes']")
    page.get_by_role("button", name="Figure 3: ").click()
    expect(editor).to_have_value(re.compile('"figure 3"'))
    page.locator("[id='field-model.widths']").fill("30, 40")
    page.locator("[id='field-model.activation']").select_option("relu")
    written = json.loads(editor.input_value())["model"]
    assert (written["widths"], written["activation"]) == ([30, 40], "relu")
    edit(page, '"classes": 4', '"classes": 5')
    expect(classes).to_have_value("5")
    expect(page.get_by_role("region", name="Prediction")).to_contain_text("Predicted objective")
    classes.fill("1")
    expect(page.locator("[id='fault-model.classes']")).to_contain_text("2")
    page.get_by_role("button", name="Run").click()
    expect(page.get_by_role("button", name="model.classes")).to_be_visible()
    assert page.evaluate("document.getSelection().toString()") == '"classes"'
    edit(page, '"classes": 1', '"classes": ')
    page.get_by_role("button", name="Run").click()
    expect(page.locator(".errors")).to_contain_text("This is not JSON")
    page.reload()
    expect(editor).to_have_value(re.compile('"figure 3"'))


def test_an_experiment_is_submitted_and_cancelled_by_keyboard_alone(page):
    tab_to(page, "Skip to content")
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    tab_to(page, "New", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="New experiment")).to_be_visible()
    tab_to(page, "Figure 2")
    page.keyboard.press("Enter")
    expect(page.locator("#spec")).to_have_value(re.compile('"figure 2"'))
    tab_to(page, "steps")
    page.keyboard.press("Control+a")
    page.keyboard.type("100000000")
    tab_to(page, "Run", "Shift+Tab")
    page.keyboard.press("Enter")
    expect(status_of(page)).to_have_text("running")
    tab_to(page, "Cancel")
    page.wait_for_timeout(1000)  # the page tells of progress meanwhile, and the focus stays where it was
    page.keyboard.press("Enter")
    expect(status_of(page)).to_have_text("cancelled")


def test_two_experiments_are_compared_from_the_list_by_keyboard_alone(page, ended):
    expect(page.get_by_role("link", name="right")).to_be_visible()
    for name in ("right", "left"):
        tab_to(page, f"choose {name}")
        page.keyboard.press("Space")
    tab_to(page, "Compare", "Shift+Tab")
    page.keyboard.press("Enter")
    for name in ("left", "right"):
        expect(page.locator(PICTURE)).to_contain_text(name)
    page.locator("summary", has_text="Metrics").click()
    for name, on in (("nc2_etf", True), ("nc1", False)):
        page.get_by_role("checkbox", name=name, exact=True).set_checked(on)
    expect(page.locator(PICTURE)).to_contain_text("simplex ETF")
    expect(page.get_by_role("columnheader", name="nc2_etf h1")).to_be_visible()
    page.reload()
    expect(page.locator(PICTURE)).to_contain_text("simplex ETF")


def test_experiments_are_found_sorted_grouped_and_shown_with_columns_of_choice(page, served, ended, swept):
    expect(page.locator("section li", has_text="GiB").first).to_be_visible()
    page.get_by_role("searchbox", name="Name").fill("lef")
    expect(page.get_by_role("link", name="right")).to_be_hidden()
    expect(page.get_by_role("link", name="left")).to_be_visible()
    page.get_by_role("searchbox", name="Name").fill("no such thing")
    expect(page.get_by_text("No experiment matches these filters.")).to_be_visible()
    page.get_by_role("searchbox", name="Name").fill("figure 3: ")
    expect(page.get_by_text("4 experiments")).to_be_visible()

    page.locator("summary", has_text="Columns").click()
    for column in ("regularization.features", "model.classes", "nc1.h2"):
        page.get_by_role("checkbox", name=column, exact=True).check()
    page.keyboard.press("Escape")
    swept_values = httpx.get(f"{served.url}/sweeps/{swept.id}?metric=nc1&layer=h2").json()["items"]
    known = sorted(one["metrics"][0]["mean"] for one in swept_values)
    for order in (known, known[::-1]):
        page.get_by_role("button", name="nc1.h2").click()
        expect(page.get_by_role("columnheader", name="nc1.h2")).to_have_attribute(
            "aria-sort", "ascending" if order == known else "descending"
        )
        shown = page.locator("tbody td:nth-child(11)").all_inner_texts()
        assert [float(text) for text in shown] == pytest.approx(order, rel=1e-4)

    page.get_by_label("Group by").select_option("tag")
    expect(page.get_by_role("button", name="paper (4)")).to_have_attribute("aria-expanded", "false")
    expect(page.locator("tbody a")).to_have_count(0)
    page.get_by_role("button", name="paper (4)").click()
    page.locator("tbody a").first.click()
    expect(page.get_by_role("heading", name="figure 3: ")).to_be_visible()
    page.go_back()
    expect(page.locator("tbody a")).to_have_count(4)
    expect(page.get_by_role("columnheader", name="nc1.h2")).to_be_visible()

    page.get_by_label("Group by").select_option("name")
    expect(page.get_by_role("button", name="figure 3 (4)")).to_be_visible()
    page.get_by_label("Group by").select_option("sweep")
    expect(page.get_by_role("link", name="open the sweep")).to_have_attribute("href", f"#/sweeps/{swept.id}")
    page.get_by_role("button", name="figure 3 (4)").click()
    page.locator("summary", has_text="Columns").click()
    for column in ("Gap to prediction", "Duration", "Number of seeds", "Sweep", "Worker"):
        page.get_by_role("checkbox", name=column, exact=True).check()
    page.keyboard.press("Escape")
    run = httpx.get(f"{served.url}/experiments", params={"where": f"sweep:{swept.id}", "limit": 1}).json()["items"][0]
    gap, seconds, seeds, sweep, worker = page.locator("tbody tr:nth-child(2) td").all_inner_texts()[-5:]
    assert re.fullmatch(r"-?\d\S*", gap)
    assert re.fullmatch(r"\d+ (ms|s)", seconds)
    assert (seeds, sweep, worker) == ("1", swept.id, run["worker"])

    page.on("dialog", lambda dialog: dialog.accept("marked"))
    for verb, told in (("Tag", "4 tagged marked."), ("Archive", "4 archived.")):
        page.get_by_label("choose all").check()
        page.get_by_role("button", name=verb).click()
        expect(page.get_by_text(told)).to_be_visible()
    expect(page.get_by_text("No experiment matches these filters.")).to_be_visible()
    with Client(served.url) as client:
        found = list(client.experiments(where="archived:true and tag:marked"))
        assert {one.data["sweep_id"] for one in found} == {swept.id}
        for one in found:
            one.annotate(archived=False)
    assert len(found) == 4


@pytest.mark.nightly
def test_a_query_chooses_or_is_refused_at_its_box_and_notes_are_written(page, served, ended, provoked):
    box = page.get_by_role("searchbox", name="Query")
    provoked.append("422")
    box.fill("nc1.h1 <")
    expect(page.get_by_role("alert")).to_contain_text("expected a value")
    expect(box).to_have_attribute("aria-invalid", "true")
    box.fill("name:left and nc1 < 1e9")
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(page.locator("tbody a")).to_have_text(["left"])
    expect(page.locator("tbody .spark")).to_be_visible()
    page.reload()
    expect(box).to_have_value("name:left and nc1 < 1e9")
    page.get_by_role("link", name="left").click()
    page.get_by_role("button", name="Edit").click()
    page.get_by_label("Name").fill("left of all")
    page.get_by_label("Priority").fill("7")
    page.get_by_label("Tags").fill("mine, second")
    page.get_by_label("Notes").fill("# Head\n\n- *one*\n- <b>two</b>")
    page.get_by_role("button", name="Save").click()
    notes = page.get_by_role("region", name="Notes")
    expect(notes.locator("em")).to_have_text("one")
    expect(notes.locator("li").nth(1)).to_have_text("<b>two</b>")
    expect(page.locator("h1 + p .tag")).to_have_text(["mine", "second"])
    expect(page.get_by_role("heading", name="left of all")).to_be_visible()
    with Client(served.url) as client:
        left = client.experiment(ended["left"].id).annotate(name="left")
    assert left.data["priority"] == 7
    page.get_by_role("button", name="Archive").click()
    expect(page.locator(".archived")).to_be_visible()
    page.goto(f"{served.url}/#/?where=name:left")
    expect(page.get_by_text("No experiment matches")).to_be_visible()
    page.get_by_role("checkbox", name="archived too").check()
    expect(page.locator("tbody a")).to_have_text(["left"])
    with Client(served.url) as client:
        client.experiment(next(client.experiments(where="name:left", archived="true")).id).annotate(archived=False)


@pytest.mark.nightly  # a minute
def test_all_of_a_long_list_is_reached_and_many_are_cancelled_and_deleted_at_once(page, served):
    with Client(served.url) as client:
        client.sweep("fig1", {"seeds": [[i] for i in range(120)]}, {**LONG, "name": "many"})
    page.goto(f"{served.url}/#/?q=many")
    expect(page.get_by_text(re.compile(r"^\d+\+ experiments"))).to_be_visible()
    down, whole = "scrollTo(0, document.body.scrollHeight)", page.get_by_text("120 experiments", exact=True)
    wait_for("the end of the list", lambda: page.evaluate(down) or whole.count())
    assert page.locator("tbody tr").count() < 60
    addresses = page.locator("tbody a").evaluate_all("links => links.map((link) => link.getAttribute('href'))")
    late = page.locator(f'tbody a[href="{addresses[-2]}"]')
    late.scroll_into_view_if_needed()
    depth = page.evaluate("scrollY")
    late.click()
    expect(page.get_by_role("heading", name="many: ")).to_be_visible()
    page.go_back()
    expect(page.get_by_text("120 experiments", exact=True)).to_be_visible()
    wait_for("the place in the list", lambda: abs(page.evaluate("scrollY") - depth) < 300)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_label("choose all").check()
    expect(page.get_by_text("120 chosen")).to_be_visible()
    page.get_by_role("button", name="Cancel").click()
    expect(page.get_by_text("120 cancelled.")).to_be_visible(timeout=60_000)
    with Client(served.url) as client:  # a batch's members end when it hears of it
        wait_for("their end", lambda: not [*client.experiments(status="running"), *client.experiments(status="queued")])
    page.reload()
    wait_for("the end of the list, read anew", lambda: page.evaluate(down) or whole.count())
    page.get_by_label("choose all").check()
    expect(page.get_by_text("120 chosen")).to_be_visible()
    page.get_by_role("button", name="Delete").click()
    expect(page.get_by_text("No experiment matches these filters.")).to_be_visible(timeout=60_000)


@pytest.mark.parametrize("scheme", ["light", pytest.param("dark", marks=pytest.mark.nightly)])
def test_every_page_is_accessible_small_fits_a_phone_and_asks_nobody_else(browser, served, ended, swept, scheme):
    page = browser.new_page(viewport={"width": 360, "height": 780}, color_scheme=scheme)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    left, right, broken = (f"experiments/{ended[name].id}" for name in ("left", "right", "broken"))
    places = {
        "#/": "tbody tr",
        "#/new": ".prediction .phase",
        f"#/{left}?geometry=last": "details .picture svg",
        f"#/{broken}": ".errors",
        "#/experiments/none": ".errors",
        f"#/compare?{left.replace('s/', '=')}&{right.replace('s/', '=')}": PICTURE,
        "#/verdicts?verdict=between": "tr.chosen",
        "#/sweeps": "tbody tr",
        "#/sweeps/new": ".ends .phase",
        f"#/sweeps/{swept.id}": PICTURE,
        "#/sweeps/none": ".errors",
        "docs#?route=get-/experiments": "openapi-explorer",
    }
    for path, sign in places.items():
        page.goto("about:blank")
        page.goto(f"{served.url}/{path}")
        expect(page.locator(sign).first).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 360, path
        assert not serious(page), path
        sizes = page.evaluate("performance.getEntriesByType('resource').map((one) => [one.name, one.encodedBodySize])")
        own = [size for name, size in sizes if not name.endswith("vega.js") and "/vendor/" not in name]
        assert 0 < sum(own) <= MOST_BYTES, (path, sum(own))
    page.close()
    assert any(url.endswith("vega.js") for url in asked)
    assert all(url.startswith((served.url, "about:")) for url in asked)


def test_a_call_is_tried_on_the_page_of_the_api_with_the_token(browser, guarded):
    page = browser.new_page()
    page.goto(guarded)
    told = page.get_by_role("dialog").get_by_role("alert")
    expect(page.get_by_role("textbox", name="Token")).to_be_visible()
    expect(told).to_be_hidden()
    for given, words in (("shut", "refused this token"), ("geschloßen ☃", "no spaces"), ("shut again", "no spaces")):
        page.get_by_role("textbox", name="Token").fill(given)
        page.get_by_role("button", name="Use it").click()
        expect(told).to_contain_text(words)
    assert not serious(page)
    page.get_by_role("textbox", name="Token").fill("open-sesame")
    page.keyboard.press("Enter")
    expect(page.get_by_text("No experiments yet.")).to_be_visible()
    page.goto(f"{guarded}/docs")
    page.get_by_text("GET /presets", exact=True).first.click()
    page.get_by_role("button", name="Execute").click()
    expect(page.get_by_text("Figure 1: plain UFM").first).to_be_visible()
    page.close()


def test_a_config_is_copied_where_pages_have_no_clipboard(browser, served, ended):
    """As over plain http."""
    page = browser.new_page()
    page.add_init_script("delete Navigator.prototype.clipboard")
    page.goto(f"{served.url}/#/experiments/{ended['left'].id}")
    page.get_by_role("button", name="Copy config").click()
    expect(page.get_by_text("Config copied.")).to_be_visible()
    page.goto(f"{served.url}/#/new")
    page.locator("#spec").fill("")
    page.locator("#spec").press("Control+v")
    copied = json.loads(page.locator("#spec").input_value())
    assert copied == httpx.get(f"{served.url}/experiments/{ended['left'].id}").json()["spec"]
    page.close()
