"""The dashboard's pages of sweeps: the form, a line, a heat map, faults, many combinations, a server that is lost."""

import csv
import re

import pytest
from playwright.sync_api import expect
from test_dashboard import LONG, PICTURE, browser, edit, lose_server, page, provoked, served, swept, tab_to

from ncore.client import Client

FIXTURES = (browser, page, provoked, served, swept)
"""pytest finds them by their names in this module."""
pytestmark = pytest.mark.slow


def test_a_sweep_is_started_from_a_form_and_drawn_beside_its_predictions(page, swept):
    page.get_by_role("link", name="Sweeps").click()
    expect(page.get_by_role("row", name=re.compile("decay and classes.*100.*4 succeeded"))).to_be_visible()
    page.get_by_role("link", name="New sweep").click()
    edit(page, '"steps": 30000', '"steps": 500', "#base")
    expect(page.get_by_text("3 experiments")).to_be_visible()
    page.get_by_role("button", name="Run all").click()
    expect(page.locator(".counts")).to_have_text("3 succeeded", timeout=60_000)
    page.get_by_role("combobox", name="Metric").select_option("objective")
    expect(page.locator(PICTURE)).to_contain_text("objective at the end, predicted dashed")
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
    page.get_by_role("button", name="Clone").click()
    assert page.get_by_label("Axes").input_value().splitlines()[1] == "model.classes=[3,4]"


def test_the_faults_of_a_sweep_are_shown_beside_their_field(page, served, provoked):
    provoked.append("422")
    page.goto(f"{served.url}/#/sweeps/new")
    axes, run = page.get_by_label("Axes"), page.get_by_role("button", name="Run all")
    for text, told in (("seeds=3", "must be path=[value, …]"), ("optimizer.steps=[5, -1]", "-1"), ("", "at least 1")):
        axes.fill(text)
        run.click()
        expect(page.locator("#axes-faults")).to_contain_text(told)
        assert page.evaluate("document.getSelection().toString()") == text.partition("=")[0]
    axes.fill('loss=["mse"]')
    edit(page, '"classes": 4', '"classes": 1', "#base")
    run.click()
    expect(page.locator("#base-faults")).to_contain_text("model.classes")
    expect(page.locator("#axes-faults")).to_be_empty()


def test_a_long_sweep_is_paged_through_and_cancelled_by_keyboard_through_a_lost_server(page, served, provoked):
    with Client(served.url) as client:
        made = client.sweep("fig1", {"seeds": [[i] for i in range(120)]}, {**LONG, "name": ""})
        page.goto(f"{served.url}/#/sweeps/{made.id}")
        expect(page.get_by_text("No experiment has ended yet.")).to_be_visible()
        expect(page.locator(".counts")).to_contain_text("1 running")
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
