"""Every text that a user may write × every class of odd characters × every face that shows it."""

import csv
import io
import json
import sqlite3
import zipfile
from xml.etree import ElementTree

import httpx
import pytest
from browser import MARKS, PICTURE, browser, page, provoked, served
from conftest import ncore
from playwright.sync_api import expect

from ncore.client import Client
from ncore.text import cleaned, odd_character, printable

FIXTURES = (browser, page, provoked, served)
pytestmark = [*MARKS, pytest.mark.nightly]
ALLOWED = {
    "markup of a terminal": "[bold]a[/bold] [/] [link=x]b [red",
    "codes of emoji": ":smile: :x: :+1:",
    "emoji": "👩‍👩‍👧🏽 🇦🇽 ❤️",
    "HTML": "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "entities": "&amp; &lt; &#0; & ]]> <!--",
    "quotes": "\"'`´ \\\" \\'",
    "placeholders": "{} {0} {a.b} %s %(x)d ${x} {{x}} %",
    "TeX": "$\\lambda_W$ \\frac{1}{2} a_b^c",
    "a path": "../../etc/passwd C:\\x %2e%2e/ ?a=b#c ~",
    "a formula": "=1+1",
    "another formula": "@SUM(A1)",
    "CJK": "神经坍缩 崩壊 신경",
    "right to left": "עברית \u202eabc العربية",
    "marks upon marks": "e\u0301" + "a\u0300\u0316" * 9,
    "an expression": "datum.x' + \" ; [0]['a'] || 1",
    "Markdown": "# h *a* [l](javascript:alert(1)) `c` | d |",
    "SQL": "'; DROP TABLE experiments; -- % _",
    "of any length": "long " * 12 + "name",
    "no text at first sight": "null",
    "a number": "1e400",
    "blanks of other kinds": "a\u00a0b\u2003c\u200bd",
    "letters that fold": "İıſßΣςÅ",
}
REFUSED = ["\x01", "\x0b", "\x1b[31m", "\t", "\n", "\x7f", "\x85", "\u2028", "\ufffe", "\uffff", "\ufdd0", "\U0001fffe"]
"""In rows of before these were refused, or of another program's writing."""
FORMS = {"svg": b"<svg", "png": b"\x89PNG", "pdf": b"%PDF", "json": b"{"}


def made_with(client: Client, text: str) -> str:
    """An experiment from outside that has ended in failure, with the text wherever a text can be."""
    layer = text[:64]
    body = {
        "name": text,
        "tags": [layer],
        "model": {"kind": "external", "classes": 3, "layers": [layer], "config": {text: text, "a": [text]}},
    }
    made = client.request("POST", "/experiments", json=body).json()["id"]
    client.request("PATCH", f"/experiments/{made}", json={"notes": text})
    metric = layer.replace(" ", "_")
    rows = {"columns": [["nc1", layer], metric, [metric, layer]], "rows": [[0, i, 1 / (i + 1), i, 2] for i in range(5)]}
    client.request("POST", f"/experiments/{made}/measurements", json=rows)
    client.request("POST", f"/experiments/{made}/finish", json={"status": "failed", "reason": text})
    return made


def faces(client: Client, made: str) -> dict[str, httpx.Response]:
    """What every read of an experiment answers."""
    paths = [f"/experiments/{made}{rest}" for rest in ("", "/logs", "/artifacts", "/theory", "/metrics", "/export.zip")]
    paths += [f"/experiments/{made}/metrics?format={form}" for form in ("csv", "ndjson", "parquet")]
    paths += [f"/experiments/{made}/plot.{form}" for form in FORMS]
    paths += [f"/compare?experiment={made}", *(f"/compare.{form}?experiment={made}&metric=nc1" for form in FORMS)]
    paths += ["/experiments", "/experiments?columns=config.model.config.a&columns=tags", "/fields"]
    found = {path: client.request("GET", path) for path in paths}
    for path, answer in found.items():
        start = next((start for form, start in FORMS.items() if f".{form}" in path), b"")
        assert answer.content.startswith(start), path
        if ".svg" in path:
            ElementTree.fromstring(answer.content)
        if answer.headers["Content-Type"].startswith("application/json"):
            json.loads(answer.content)
    return found


def drawn_texts(svg: bytes) -> str:
    return "".join(ElementTree.fromstring(svg).itertext())


def seen(text: str) -> str:
    """As a browser shows it: what turns the text around it is written out, and so is a blank without width."""
    return text.replace("\u202e", r"\u202e").replace("\u200b", r"\u200b")


@pytest.fixture(autouse=True)
def nothing_left(served):
    yield
    with Client(served.url) as client:
        for one in client.experiments():
            one.delete()


@pytest.mark.parametrize("kind", ALLOWED)
def test_a_text_comes_out_of_every_face_as_it_went_in(served, page, kind):
    text = ALLOWED[kind]
    assert odd_character(text) is None
    layer = text[:64]
    metric = layer.replace(" ", "_")
    at = {"NCORE_URL": served.url}
    with Client(served.url) as client:
        made = made_with(client, text)
        found = faces(client, made)
        told = found[f"/experiments/{made}"].json()
        assert (told["name"], told["tags"], told["notes"], told["error"]) == (text, [layer], text, text)
        assert told["spec"]["model"]["config"] == {text: text, "a": [text]}
        assert text in [one["detail"] for one in found[f"/experiments/{made}/logs"].json()["items"]]
        table = list(csv.DictReader(io.StringIO(found[f"/experiments/{made}/metrics?format=csv"].text)))
        safe = f"'{layer}" if layer[0] in "=+-@" else layer
        assert {row["layer"] for row in table} == {safe, ""}
        assert all(cell[:1] not in "=+-@" for row in table for cell in (row["metric"], row["layer"]) if cell)
        with zipfile.ZipFile(io.BytesIO(found[f"/experiments/{made}/export.zip"].content)) as packed:
            assert packed.testzip() is None
            assert {name.count("/") for name in packed.namelist()} == {1, 2}
            assert all(part.strip(".") for name in packed.namelist() for part in name.split("/"))
        series = client.request("GET", f"/experiments/{made}/metrics").json()["series"]
        assert {(one["metric"], one["layer"]) for one in series} == {("nc1", layer), (metric, None), (metric, layer)}
        chosen = client.request("GET", f"/experiments/{made}/metrics", params={"metric": metric, "layer": layer}).json()
        assert [one["values"] for one in chosen["series"]] == [[2.0] * 5]
        by = [{"q": text}, {"tag": layer}]
        assert all(made in [one.id for one in client.experiments(**one)] for one in by)
        for command in (["list"], ["show", made], ["logs", made], ["list", "--csv"], ["list", "--json"]):
            done = ncore(*command, env=at)
            assert done.returncode == 0, (command, done.stderr)
            assert "\x1b" not in done.stdout
            assert command[-1] in ("--csv", "--json") or printable(done.stdout) == done.stdout
        page.goto(f"{served.url}/#/experiments/{made}")
        expect(page.locator(PICTURE)).to_be_visible()
        expect(page.locator("h1")).to_have_text(seen(text))
        page.goto(f"{served.url}/#/compare?experiment={made}")
        expect(page.locator(PICTURE)).to_be_visible()
        page.goto(f"{served.url}/#/?tag={httpx.QueryParams({'t': layer})}".replace("t=", "", 1))
        expect(page.locator("tbody tr")).not_to_have_count(0)


@pytest.mark.parametrize("odd", REFUSED, ids=ascii)
def test_what_is_refused_today_is_shown_from_old_rows_by_every_face(served, page, odd):
    text = f"a{odd}b"
    at = {"NCORE_URL": served.url}
    with Client(served.url) as client:
        made = made_with(client, "aXb")
        with sqlite3.connect(served.settings.home / "ncore.db", timeout=30) as database:
            spec = json.loads(database.execute("SELECT spec FROM experiments WHERE id = ?", (made,)).fetchone()[0])
            renamed = json.dumps(spec).replace("aXb", json.dumps(text)[1:-1])
            database.execute(
                "UPDATE experiments SET name = ?, notes = ?, error = ?, tags = ?, spec = ? WHERE id = ?",
                (text, text, text, json.dumps([text]), renamed, made),
            )
            database.execute("UPDATE log_lines SET detail = ? WHERE experiment_id = ?", (text, made))
            rows = database.execute(
                'SELECT seq, "values" FROM measurements WHERE experiment_id = ?', (made,)
            ).fetchall()
            database.executemany(
                'UPDATE measurements SET "values" = ? WHERE experiment_id = ? AND seq = ?',
                [(values.replace("aXb", json.dumps(text)[1:-1]), made, seq) for seq, values in rows],
            )
        for path, answer in faces(client, made).items():
            if ".svg" in path:
                assert cleaned(drawn_texts(answer.content)) == drawn_texts(answer.content)
        for command in (["list"], ["show", made], ["logs", made], ["list", "--csv"]):
            done = ncore(*command, env=at)
            assert done.returncode == 0, (command, done.stderr)
            assert printable(done.stdout) == done.stdout, (command, ascii(done.stdout))
        for place in (f"experiments/{made}", f"compare?experiment={made}", ""):
            page.goto(f"{served.url}/#/{place}")
            expect(page.locator(PICTURE if place else "tbody tr").first).to_be_visible()
