"""Kinds of requests that have hurt, each tried at every place where it can occur."""

import gzip
import json
import time
import uuid
import zlib

import httpx
import pytest

from api.app import app
from api.routes.sweeps import SweepRequest
from ncore.faults import MAX_FAULTS
from ncore.series import csv_lines
from ncore.spec import ExternalSpec, NetworkSpec, SpecError, UfmSpec, parse_spec
from ncore.text import odd_character

on_sqlite = pytest.mark.parametrize("service", ["sqlite"], indirect=True)
"""One database does where none of its own ways of comparing is tried."""
DOCUMENT = app.openapi()
GETS = [path for path, operations in DOCUMENT["paths"].items() if "get" in operations]
ODD = [
    "\x01",
    "\x0b",
    "\x1b",
    "\t",
    "\n",
    "\x7f",
    "\x85",
    "\u2028",
    "\ufffe",
    "\uffff",
    "\ufdd0",
    "\U0001fffe",
    "\ud800",
]
FIG1 = {"preset": "fig1", "set": {"optimizer.steps": 5, "measure.points": 3, "seeds": [0]}}
NETWORK = {"model": {"kind": "mlp"}, "data": {"name": "folder", "path": "a"}}


def post(service, path, body, **headers):
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Content-Type": "application/json", **headers}
    return httpx.post(f"{service.url}{path}", content=content, headers=headers, timeout=60)


def filled(path: str) -> str:
    return (
        path.replace("{experiment_id}", "x").replace("{sweep_id}", "x").replace("{name}", "x").replace("{form}", "svg")
    )


def faults(answer) -> dict[str, str]:
    """Of a refusal in the one shape, bounded."""
    assert 400 <= answer.status_code < 500, answer.text[:500]
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert len(answer.content) <= 100_000
    errors = answer.json()["errors"]
    assert len(errors) <= MAX_FAULTS
    return {error["field"]: error["message"] for error in errors}


def text_fields(where, value):
    """A body with `value` at each field that holds a text."""
    return {
        "name": {**FIG1, "set": {"name": value}},
        "tags.0": {**FIG1, "set": {"tags": [value]}},
        "preset": {"preset": value},
        "device": {**FIG1, "set": {"device": value}},
        "loss": {**FIG1, "set": {"loss": value}},
        "model.layers.0": {**NETWORK, "model": {"kind": "mlp", "layers": [value]}},
        "data.path": {**NETWORK, "data": {"name": "folder", "path": value}},
    }[where]


@pytest.mark.parametrize("where", ["name", "tags.0", "preset", "device", "loss", "model.layers.0", "data.path"])
@on_sqlite
def test_no_text_of_a_spec_holds_an_odd_character(service, where):
    for odd in ODD:
        answer = post(service, "/theory", text_fields(where, f"a{odd}b"))
        assert answer.status_code == 422
        (field,) = faults(answer)
        assert where in (field, f"{field}.0"), (odd, field)
    with pytest.raises(SpecError, match="U\\+0085"):
        parse_spec({"model": {"kind": "ufm"}, "name": "\x85"})


@on_sqlite
def test_no_text_of_a_sweep_or_a_header_holds_an_odd_character(service):
    for odd in ODD:
        text = f"a{odd}b"
        for body in (
            {"name": text, "base": FIG1, "axes": {"seeds": [[1]]}},
            {"base": FIG1, "axes": {text: [1]}},
            {"base": {**FIG1, "set": {text: 1}}, "axes": {"seeds": [[1]]}},
            {"base": FIG1, "axes": {"name": [text]}},
        ):
            assert faults(post(service, "/sweeps", body)), (odd, body)
    for odd in ("\x85", "\x9f"):
        answer = post(service, "/experiments", FIG1, **{"Idempotency-Key": f"a{odd}b".encode("latin-1")})
        assert answer.status_code == 422


def test_every_list_of_a_spec_is_bounded():
    def unbounded(schema, path=""):
        if isinstance(schema, dict):
            if schema.get("type") == "array" and "maxItems" not in schema:
                yield path
            if schema.get("type") == "string" and not {"maxLength", "enum", "const"} & schema.keys():
                yield path
            for name, inner in schema.items():
                yield from unbounded(inner, f"{path}.{name}")
        elif isinstance(schema, list):
            for inner in schema:
                yield from unbounded(inner, path)

    for kind in (UfmSpec, NetworkSpec, ExternalSpec, SweepRequest):
        assert list(unbounded(kind.model_json_schema())) == []


@pytest.mark.parametrize("path", GETS)
@on_sqlite
def test_an_unknown_parameter_is_refused_by_name_on_every_route(service, path):
    answer = httpx.get(f"{service.url}{filled(path)}", params={"stauts": "failed"})
    assert answer.status_code == 422
    assert "unknown parameter" in faults(answer)["stauts"]
    for parameter in DOCUMENT["paths"][path]["get"].get("parameters", []):
        if parameter["in"] == "query":
            assert parameter["name"] in faults(answer)["stauts"]
            for value in ("\x0b", "\uffff", "q" * 50_000):
                wrong = httpx.get(f"{service.url}{filled(path)}", params={parameter["name"]: value})
                assert wrong.status_code == 422
                assert parameter["name"] in faults(wrong)
            if parameter["schema"].get("type") != "array":
                twice = httpx.get(f"{service.url}{filled(path)}", params={parameter["name"]: ["1", "1"]})
                assert twice.status_code == 422


@pytest.mark.parametrize("path", [*GETS, "/", "/docs", "/static/app.js", "/openapi.json"])
@on_sqlite
def test_head_is_get_without_its_body(service, path):
    if path == "/experiments/{experiment_id}/events":
        return
    got, head = (httpx.request(method, f"{service.url}{filled(path)}", timeout=30) for method in ("GET", "HEAD"))
    assert (head.status_code, head.content) == (got.status_code, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]


@on_sqlite
def test_head_of_what_never_ends_answers_at_once(service):
    made = post(service, "/experiments", {**FIG1, "set": {"optimizer.steps": 10**9}}).json()["id"]
    answer = httpx.head(f"{service.url}/experiments/{made}/events", timeout=5)
    assert (answer.status_code, answer.content) == (200, b"")
    httpx.post(f"{service.url}/experiments/{made}/cancel")


def deep(levels: int) -> object:
    body: object = 1
    for _ in range(levels):
        body = [body]
    return body


MULTIPLIED = {
    "unknown fields": {
        "base": {**FIG1, "set": {f"f{i}": 1 for i in range(150)}},
        "axes": {"name": ["v" * 200_000, "w"]},
    },
    "too many unknown fields": {
        "base": {**FIG1, "set": {f"f{i}": 1 for i in range(20_000)}},
        "axes": {"loss": ["mse"]},
    },
    "wrong seeds": {"base": {**FIG1, "set": {"seeds": ["x"] * 150_000}}, "axes": {"loss": ["mse"]}},
    "wrong seeds within the bound": {"base": {**FIG1, "set": {"seeds": ["x"] * 1000}}, "axes": {"loss": ["mse"] * 99}},
    "a long path": {"base": FIG1, "axes": {"a" * 400_000: [1]}},
    "a deep path": {"base": FIG1, "axes": {"a." * 100_000 + "a": [1]}},
    "a deep value": {"base": FIG1, "axes": {"seeds": [deep(300)]}},
    "more than 64 bits": {"base": FIG1, "axes": {"optimizer.steps": [10**30, -(10**25)]}},
    "half a surrogate pair": {"base": FIG1, "axes": {"name": ["\ud800"]}},
    "a surrogate as a key": {"base": {**FIG1, "\udfff": 1}, "axes": {"seeds": [[1]]}},
    "many axes": {"base": FIG1, "axes": {f"a{i}": [1] for i in range(300)}},
    "many values": {"base": FIG1, "axes": {"model.init_scale": [1] * 100_000}},
    "a long name": {"name": "n" * 500_000, "base": FIG1, "axes": {"seeds": [[1]]}},
}


@pytest.mark.parametrize("kind", MULTIPLIED)
@on_sqlite
def test_a_refusal_is_short_and_fast_however_much_is_wrong(service, kind):
    body, began = MULTIPLIED[kind], time.monotonic()
    assert faults(post(service, "/sweeps", body))
    assert faults(post(service, "/experiments", {**body["base"], "base": 1, **body["axes"]}))
    assert time.monotonic() - began < 15  # by one who computes beside others


@on_sqlite
def test_one_fault_gives_one_message(service):
    for seeds in ([1.0], ["x"], [], [0] * 2000):
        assert len(faults(post(service, "/experiments", {**FIG1, "set": {"seeds": seeds}}))) == 1


GOOD = json.dumps(FIG1).encode()
MEMBERS = gzip.compress(GOOD[:9]) + gzip.compress(GOOD[9:])
BOMB = gzip.compress(gzip.compress(bytes(10**8)))


@pytest.mark.parametrize(
    ("content", "headers", "status"),
    [
        pytest.param(gzip.compress(GOOD), {"Content-Encoding": "gzip"}, 200, id="gzip"),
        pytest.param(MEMBERS, {"Content-Encoding": "x-gzip"}, 200, id="members"),
        pytest.param(zlib.compress(GOOD), {"Content-Encoding": "deflate"}, 200, id="deflate"),
        pytest.param(gzip.compress(zlib.compress(GOOD)), {"Content-Encoding": "deflate, gzip"}, 200, id="both"),
        pytest.param(GOOD, {"Content-Encoding": "identity"}, 200, id="identity"),
        pytest.param(gzip.compress(bytes(3_000_000)), {"Content-Encoding": "gzip"}, 413, id="a bomb"),
        pytest.param(BOMB, {"Content-Encoding": "gzip, gzip"}, 413, id="two bombs"),
        pytest.param(gzip.compress(GOOD)[:-9], {"Content-Encoding": "gzip"}, 400, id="cut off"),
        pytest.param(GOOD, {"Content-Encoding": "gzip"}, 400, id="not packed"),
        pytest.param(GOOD, {"Content-Encoding": "br"}, 415, id="unknown coding"),
        pytest.param(b"\xef\xbb\xbf" + GOOD, {}, 200, id="byte order mark"),
        pytest.param(GOOD.decode().encode("utf-16"), {}, 200, id="UTF-16"),
        pytest.param(GOOD.decode().encode("utf-16-be"), {}, 200, id="UTF-16, no mark"),
        pytest.param(GOOD.decode().encode("utf-32"), {}, 200, id="UTF-32"),
        pytest.param(GOOD, {"Content-Type": "application/vnd.ncore+json; charset=utf-8"}, 200, id="a kind of JSON"),
        pytest.param(GOOD, {"Content-Type": "application/x-www-form-urlencoded"}, 415, id="a form"),
        pytest.param(GOOD, {"Content-Type": "text/plain"}, 415, id="plain text"),
    ],
)  # fmt: skip
@on_sqlite
def test_bodies_come_as_clients_send_them(service, content, headers, status):
    answer = post(service, "/theory", content, **headers)
    assert answer.status_code == status, answer.text
    if status >= 400:
        faults(answer)


@on_sqlite
def test_a_body_without_a_content_type_is_json(service):
    assert httpx.post(f"{service.url}/theory", content=GOOD).status_code == 200


def test_a_tag_is_found_by_itself_and_a_name_in_any_case_on_both_databases(service):
    mark = uuid.uuid4().hex
    names = {"STRASSE Ünïted": ["straße", "üNÏTED"], "ΣΊΣΥΦΟΣ": ["σίσυφος"], "Ａｂ İx": ["ａｂ i̇X"], "50%_": ["0%_"]}
    for name in names:
        post(
            service,
            "/experiments",
            {**FIG1, "set": {**FIG1["set"], "name": f"{mark} {name}", "tags": [mark, 'q"', "é"]}},
        )

    def found(**query):
        items = httpx.get(f"{service.url}/experiments", params={**query, "columns": ["name"]}).json()["items"]
        return [item["name"].removeprefix(f"{mark} ") for item in items if item["name"].startswith(mark)]

    for name, words in names.items():
        for word in words:
            assert found(q=word, tag=mark) == [name]
    assert found(q="50__", tag=mark) == []
    assert len(found(tag='q"')) == len(found(tag="é")) == len(found(tag=mark)) == len(names)
    for tag in (",", '", "', '","', mark[:-1], '"', f'{mark}", "q'):
        assert found(tag=tag) == []


def test_the_list_has_only_the_columns_that_are_asked_for_on_both_databases(service):
    post(service, "/experiments", FIG1)
    url = f"{service.url}/experiments"
    (item,) = httpx.get(url, params={"columns": ["name", "progress"], "limit": 1}).json()["items"]
    assert item.keys() == {"id", "name", "progress"}
    fat = {"preset": "fig2", "set": {"seeds": [10**15 + i for i in range(1024)], "optimizer.steps": 1, "priority": -9}}
    key = uuid.uuid4().hex
    sweep = post(
        service, "/sweeps", {"base": fat, "axes": {"model.init_scale": [1 + i / 999 for i in range(300)]}, "name": key}
    ).json()
    try:
        page = httpx.get(url, params={"limit": 200})
        assert len(page.content) < 5_000_000
        assert page.json()["next_cursor"]
        seen, cursor = 0, None
        while True:
            page = httpx.get(url, params={"limit": 200, **({"cursor": cursor} if cursor else {})}).json()
            seen, cursor = seen + len(page["items"]), page["next_cursor"]
            if seen > 300 or cursor is None:
                break
        assert seen > 300
    finally:
        httpx.post(f"{service.url}/sweeps/{sweep['id']}/cancel", timeout=60)


def test_texts_in_csv_are_no_formulas():
    row = ["=1+1", "+1", "-1", "@A1", "\tx", "\rx", "a=1", "", -1, -1.5, None, "'"]
    assert csv_lines([row]) == "'=1+1,'+1,'-1,'@A1,'\\tx,'\\rx,a=1,,-1,-1.5,,'\n"


def test_odd_characters_are_those_that_break_lines_terminals_xml_and_databases():
    assert [odd_character(text) for text in ODD] == [f"U+{ord(text):04X}" for text in ODD]
    for text in ("", "a b", "λ̂ → 中文 🎉 👩‍🔬", "\xa0", "�"):
        assert odd_character(text) is None
