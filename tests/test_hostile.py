"""Requests that no honest client sends: each is refused with a problem, on both databases alike; none is a 5xx."""

import base64

import httpx
import pytest

JSON = {"Content-Type": "application/json"}


def preset(changes: str) -> bytes:
    return b'{"preset": "fig1", "set": {%s}}' % changes.encode()


@pytest.mark.parametrize(
    ("body", "status", "field"),
    [
        pytest.param(b'{"a": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400, None, id="nested too deep"),
        pytest.param(b'{"preset": "\xff"}', 400, None, id="not UTF-8"),
        pytest.param(preset('"optimizer.steps": 1' + "0" * 5000), 400, None, id="5000 digits"),
        pytest.param(preset('"optimizer.steps": 1' + "0" * 30), 422, "optimizer.steps", id="31 digits"),
        pytest.param(preset('"optimizer.learning_rate": NaN'), 422, "optimizer.learning_rate", id="NaN"),
        pytest.param(preset('"optimizer.learning_rate": 1e999'), 422, "optimizer.learning_rate", id="infinity"),
        pytest.param(preset(r'"name": "\ud800"'), 422, "name", id="half a surrogate pair"),
        pytest.param(preset(r'"name": "a\u0000b"'), 422, "name", id="NUL in the name"),
        pytest.param(preset(r'"tags": ["\u0000"]'), 422, "tags.0", id="NUL in a tag"),
        pytest.param(rb'{"preset": "\u0000"}', 422, "preset", id="NUL as a preset"),
        pytest.param(preset(r'"seeds": [1, 0.5]'), 422, "seeds.1", id="half a seed"),
        pytest.param(b"", 422, "body", id="empty"),
        pytest.param(b"null", 422, "", id="null"),
    ],
)
@pytest.mark.parametrize("path", ["/experiments", "/theory"])
def test_a_hostile_body_is_refused(service, path, body, status, field):
    answer = httpx.post(service.url + path, content=body, headers=JSON)
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == ([] if field is None else [field])


@pytest.mark.parametrize("path", ["/experiments?q=%00", "/experiments?kind=%00", "/experiments/%00/plot.svg", "/%00"])
def test_a_nul_in_the_address_is_refused(service, path):
    answer = httpx.get(service.url + path)
    assert (answer.status_code, answer.json()["status"]) == (400, 400)


@pytest.mark.parametrize(
    "position", ['["2024-01-01", "\\u0000"]', '["0001-01-01T00:00:00+23:59", "a"]', "[1, 2]", "{}"]
)
def test_a_made_up_cursor_gives_a_page_or_a_refusal(service, position):
    cursor = base64.urlsafe_b64encode(position.encode()).decode()
    answer = httpx.get(f"{service.url}/experiments", params={"cursor": cursor})
    assert answer.status_code in (200, 422)


@pytest.mark.parametrize("name", ["..%2Fncore.db", "%2Fetc%2Fpasswd", "x" * 5000, "'; DROP TABLE experiments; --"])
def test_a_name_that_is_none_is_not_found(service, name):
    for path in (f"/experiments/{name}", f"/presets/{name}", f"/experiments/{name}/metrics"):
        assert httpx.get(service.url + path).status_code == 404
    assert httpx.get(f"{service.url}/experiments").status_code == 200
