"""The dashboard's pages of sweeps: the form, a line, a heat map, faults, many combinations, a server that is lost.

And what every page shows and sends as it is: large integers, names of odd characters.
"""

import csv
import json
import re
import sqlite3

import pytest
from browser import (
    LONG,
    MARKS,
    PICTURE,
    browser,
    edit,
    ended,
    lose_server,
    page,
    provoked,
    served,
    status_of,
    swept,
    tab_to,
)
from playwright.sync_api import expect

from ncore.client import Client
from ncore.presets import spec_of
from ncore.theory import predict

FIXTURES = (browser, ended, page, provoked, served, swept)
pytestmark = MARKS


def test_a_sweep_is_started_from_a_form_and_drawn_beside_its_predictions(page, swept):
    page.get_by_role("link", name="Sweeps").click()
    expect(page.get_by_role("row", name=re.compile("decay and classes.*100.*4 succeeded"))).to_be_visible()
    page.get_by_role("link", name="New sweep").click()
    edit(page, '"steps": 30000', '"steps": 500', "#request")
    every = page.get_by_role("region", name="All combinations")
    expect(every).to_contain_text(re.compile(r"3 experiments.*at most .*KiB each.*Trained on\s*CPU", re.S))
    least = predict(spec_of({"preset": "fig1", "set": {"regularization.features": 0.002}})).objective
    first, last = (page.get_by_role("region", name=f"{which} combination") for which in ("First", "Last"))
    expect(first).to_contain_text(re.compile(rf"Predicted objective, f\*\s*{least:.8g}", re.S))
    values = page.get_by_role("textbox", name="Values")
    values.fill("0.002, 0.005, 0.02, 10")
    expect(last).to_contain_text("zero")
    expect(every).to_contain_text("orthogonal frame (3), zero (1)")
    expect(every).to_contain_text(re.compile(r"3 below, 1 at it or above; at it and above all features are zero"))
    assert written(page)["axes"] == {"regularization.features": [0.002, 0.005, 0.02, 10]}
    values.fill("0.002, 0.005, 0.02")
    expect(last).to_contain_text("orthogonal frame")
    page.get_by_role("button", name="Run all").click()
    expect(page.locator(".counts")).to_have_text("3 succeeded", timeout=60_000)
    page.get_by_role("combobox", name="Metric").select_option("objective")
    expect(page.locator(PICTURE)).to_contain_text("objective at the end, f* dotted")
    expect(page.get_by_role("row", name=re.compile(r"^experiment 2 0.005 \S+ 0.13142136"))).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="CSV").click()
    rows = list(csv.DictReader(saved.value.path().read_text().splitlines()))
    assert [row["regularization.features"] for row in rows if row["metric"] == "objective"] == [
        "0.002",
        "0.005",
        "0.02",
    ]
    page.get_by_role("link", name="experiment 2").click()
    expect(page.get_by_role("heading", name="figure 1: features = 0.005")).to_be_visible()


def test_a_sweep_over_two_axes_is_a_heat_map_of_the_chosen_layer(page, served, swept):
    page.goto(f"{served.url}/#/sweeps/{swept.id}")
    expect(page.locator(PICTURE)).to_contain_text("nc1 of h2 at the end")
    expect(page.locator("tbody tr")).to_have_count(8)
    page.get_by_role("combobox", name="Layer").select_option("h1")
    expect(page.locator(PICTURE)).to_contain_text("nc1 of h1 at the end")
    page.reload()
    expect(page.locator("tbody tr")).to_have_count(4)
    page.locator(f"{PICTURE} .mark-rect path").first.click()
    expect(page.get_by_role("heading", name="figure 3: ")).to_be_visible()
    page.go_back()
    page.get_by_role("button", name="Duplicate").click()
    expect(page.get_by_role("group", name="axis 2").get_by_role("textbox", name="Values")).to_have_value("3, 4")
    assert written(page)["axes"]["model.classes"] == [3, 4]


def written(page) -> dict:
    return json.loads(page.locator("#request").input_value())


def test_every_form_of_a_sweep_is_written_by_fields_and_by_json_and_its_faults_stand_at_their_field(
    page, served, provoked
):
    provoked.append("422")
    page.goto(f"{served.url}/#/sweeps/new")
    page.locator(".card", has_text="Regularised bias: from").click()
    group, every = page.locator("#form-zip"), page.get_by_role("region", name="All combinations")
    expect(group.get_by_label("Path", exact=True)).to_have_count(2)
    body = written(page)
    expect(every).to_contain_text("Threshold λ_b")
    group.get_by_label("points", exact=True).first.fill("7")
    expect(group.locator(".bad", has_text="must have 7 values")).to_be_visible()
    group.get_by_label("points", exact=True).last.fill("7")
    expect(every).to_contain_text(" × 7 = ")
    sent = written(page)
    assert {points["points"] for points in sent.pop("zip").values()} == {7}
    assert sent == {name: value for name, value in body.items() if name != "zip"}

    page.get_by_role("button", name="Add a sample").click()
    assert written(page)["sample"]["points"] == 64
    page.locator("#field-sample-method").select_option("random")
    page.get_by_role("group", name="side 1").get_by_label("Path", exact=True).fill("optimizer.stepz")
    expect(page.get_by_role("group", name="side 1").locator(".bad")).to_contain_text("unknown field")
    page.get_by_role("button", name="Remove the sample").click()
    page.get_by_role("button", name="Refine", exact=True).click()
    expect(page.locator("#form-refine .bad").first).to_contain_text("neither zip nor sample")
    assert written(page)["refine"] == {"metric": "rank", "budget": 500}

    page.locator("#request").fill(json.dumps({
        "name": "typed", "base": {"preset": "fig1", "set": {"optimizer.steps": 50}},
        "axes": {"loss": ["mse", "cross_entropy"], "regularization.features": {"from": 0.01, "to": 0.1, "points": 3}},
        "refine": {"metric": "gap", "budget": 20},
    }))  # fmt: skip
    expect(page.locator("#name")).to_have_value("typed")
    expect(page.locator("#field-base-optimizer\\.steps")).to_have_value("50")
    expect(page.get_by_role("group", name="axis 1").get_by_role("textbox", name="Values")).to_have_value(
        '"mse", "cross_entropy"'
    )
    expect(page.get_by_role("group", name="axis 1").locator(".bad")).to_contain_text("must be a range")
    page.get_by_role("group", name="axis 1").get_by_role("textbox", name="Values").fill("mse")
    expect(every).to_contain_text(re.compile("3 experiments, refined up to 20"))
    assert written(page)["axes"]["loss"] == ["mse"]

    edit(page, '"classes": 4', '"classes": 1', "#request")
    expect(page.locator("[id='fault-base-model.classes']")).to_contain_text("greater than or equal to 2")
    page.get_by_role("button", name="Run all").click()
    expect(page.locator("#faults")).to_contain_text("base.model.classes")
    assert page.evaluate("document.getSelection().toString()") == '"classes"'


@pytest.mark.nightly
def test_a_long_sweep_is_paged_through_and_cancelled_by_keyboard_through_a_lost_server(page, served, provoked):
    with Client(served.url) as client:
        made = client.sweep("fig1", {"seeds": [[i] for i in range(120)]}, {**LONG, "name": ""})
        page.goto(f"{served.url}/#/sweeps/{made.id}")
        expect(page.get_by_text("No experiment has finished yet.")).to_be_visible()
        expect(page.locator(".counts")).to_contain_text("120 running")  # in one batch
        tab_to(page, "Next")
        for first, last in ((51, 100), (101, 120)):
            page.keyboard.press("Enter")
            expect(page.get_by_text(f"{first}–{last} of 120")).to_be_visible()
        expect(page.locator("tbody tr")).to_have_count(20)
        lose_server(page, served, provoked)
        page.on("dialog", lambda dialog: dialog.accept())
        tab_to(page, "Cancel", "Shift+Tab")
        page.keyboard.press("Enter")
        expect(page.locator(".counts")).to_have_text("120 cancelled")
        expect(page.get_by_text("No experiment has succeeded.")).to_be_visible()


def test_older_sweeps_are_reached_and_the_address_brings_them_again(page, served):
    now, columns = "2020-01-01 00:00:00.000000", "id, name, created_at, base, axes, total"
    with sqlite3.connect(served.settings.home / "ncore.db") as database:
        older = [(f"older{i:03}", f"older {i:03}", now, "{}", '{"seeds": [[0]]}', 1) for i in range(230)]
        database.executemany(f"INSERT INTO sweeps ({columns}) VALUES (?, ?, ?, ?, ?, ?)", older)
    try:
        page.goto(f"{served.url}/#/sweeps?show=200")
        expect(page.locator("tbody tr")).to_have_count(200)
        page.get_by_role("button", name="Show older").click()
        expect(page.get_by_role("link", name="older 000")).to_be_visible()
        expect(page.get_by_role("button", name="Show older")).to_be_hidden()
        page.reload()
        expect(page.get_by_role("link", name="older 000")).to_be_visible()
    finally:
        with sqlite3.connect(served.settings.home / "ncore.db") as database:
            database.execute("DELETE FROM sweeps WHERE id LIKE 'older%'")


LARGE = [2**53 + 1, 2**63 - 1]


def test_integers_that_javascript_cannot_hold_are_read_kept_and_sent(page, served, provoked):
    provoked.append("422")  # between a path and its values
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
        "async (texts) => { const { parse, print } = await import('./static/server/json.js');"
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
    page.get_by_role("button", name="Duplicate").click()
    assert json.loads(page.locator("#spec").input_value())["seeds"] == LARGE

    page.goto(f"{served.url}/#/sweeps/new")
    page.get_by_label("Path", exact=True).fill("seeds")
    page.get_by_role("textbox", name="Values").fill(", ".join(f"[{seed}]" for seed in LARGE))
    edit(page, '"steps": 30000', '"steps": 50', "#request")
    page.get_by_role("button", name="Run all").click()
    expect(page.locator(".counts")).to_have_text("2 succeeded")
    expect(page.get_by_role("cell", name=f"[{LARGE[0]}]", exact=True).first).to_be_visible()
    page.get_by_role("button", name="Duplicate").click()
    assert written(page)["axes"] == {"seeds": [[seed] for seed in LARGE]}
    expect(page.get_by_role("textbox", name="Values")).to_have_value(f"[{LARGE[0]}], [{LARGE[1]}]")


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
        database.execute("UPDATE experiments SET name = ?, tags = '[]' WHERE id = ?", ("right", right))
