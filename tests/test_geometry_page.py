"""The dashboard's section of the geometry: any kept step, in the address, beside what is predicted."""

import math
import re

import httpx
import pytest
from browser import MARKS, browser, page, provoked
from conftest import wait_for
from playwright.sync_api import expect

from ncore.client import Client

FIXTURES = (browser, page, provoked)
pytestmark = MARKS


@pytest.fixture(scope="module")
def served(service):
    """What is looked at here leaves the shared service as it is."""
    return service


def cosine_of(page, maps, cell: int) -> float:
    """As the pointer shows it over a cell of the first map, counted row by row; NaN while it shows nothing."""
    maps.locator(".mark-rect path").nth(cell).hover()
    found = re.search(r"cosine\s+(\S+)", page.locator("#vg-tooltip-element").inner_text())
    return float(found[1].replace("−", "-")) if found else math.nan


def test_the_geometry_is_shown_at_each_kept_step_and_its_address_brings_it_again(page, served, provoked):
    with Client(served.url) as client:
        changes = {"name": "shapes", "optimizer.steps": 300, "measure.points": 30, "seeds": [0, 1]}
        path = f"experiments/{client.submit('fig1', changes).wait(progress=False).id}"
        other = client.submit({"model": {"kind": "external", "classes": 3, "layers": ["h1"]}})
    kept = httpx.get(f"{served.url}/{path}/geometry?seed=1&step=0").json()
    expected = pytest.approx(kept["items"][0]["cosines"][0][1], rel=1e-3)
    page.goto(f"{served.url}/#/{path}")
    section = page.locator("details", has=page.locator("summary", has_text="Geometry"))
    section.locator("summary").click()
    expect(section.locator("svg[aria-label='Cosines of shapes, seed 0, step 300']")).to_be_visible()
    section.get_by_role("combobox", name="Seed").select_option("1")
    section.get_by_role("slider").press("Home")
    maps = section.locator("svg[aria-label='Cosines of shapes, seed 1, step 0']")
    for _ in range(2):
        expect(maps).to_be_visible()
        assert "geometry=0&geometry_seed=1" in page.url
        wait_for("the cosine at this step", lambda: cosine_of(page, maps, 1) == expected)
        expect(section.get_by_text("class means, h1, predicted")).to_be_visible()
        expect(section.locator("svg[aria-label='Singular values of shapes, seed 1']")).to_contain_text("predicted = ")
        page.reload()
    provoked.append("409")
    page.goto(f"{served.url}/#/experiments/{other.id}?geometry=last")
    expect(section).to_contain_text("is measured elsewhere, and its loop has sent none")
