"""Tokens, sizes, and what the API process needs to start."""

import subprocess
import sys

import httpx
import pytest
from conftest import settings_for, wait_for

from api.service import environment, free_port, running


@pytest.fixture(scope="module")
def guarded(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("guarded")
    settings = settings_for("sqlite", home, request, tokens="first, second", max_body_bytes=5000, max_queued=2)
    with running(settings) as service:
        yield service


def test_every_call_but_healthz_and_the_empty_pages_needs_a_token(guarded):
    for path in ("/experiments", "/presets", "/readyz", "/openapi.json", "/nothing"):
        answer = httpx.get(f"{guarded.url}{path}")
        assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
        assert answer.json()["status"] == 401
        wrong = httpx.get(f"{guarded.url}{path}", headers={"Authorization": "Bearer firs"})
        assert wrong.status_code == 401
    for token in ("first", "second"):
        assert httpx.get(f"{guarded.url}/presets", headers={"Authorization": f"Bearer {token}"}).status_code == 200
    for path in ("/healthz", "/", "/static/app.js"):
        assert httpx.get(f"{guarded.url}{path}").status_code == 200


def test_tokens_are_in_no_log(guarded):
    for log in (guarded.settings.home / "logs").iterdir():
        assert "first" not in log.read_text().replace("first tables", "")
        assert "second" not in log.read_text()


def test_a_body_over_the_limit_is_refused_with_and_without_its_length(guarded):
    body, headers = b'{"name": "' + b"x" * 6000 + b'"}', {"Authorization": "Bearer first"}
    for content in (body, iter([body[:3000], body[3000:]])):
        answer = httpx.post(f"{guarded.url}/experiments", content=content, headers=headers)
        assert answer.status_code == 413
        assert "NCORE_MAX_BODY_BYTES = 5000" in answer.json()["detail"]


def test_a_full_queue_asks_to_come_again(guarded):
    headers = {"Authorization": "Bearer first"}
    body = {"preset": "fig1", "set": {"optimizer.steps": 10**8, "seeds": [0], "measure.points": 10}}
    answers = [httpx.post(f"{guarded.url}/experiments", json=body, headers=headers) for _ in range(6)]
    assert {answer.status_code for answer in answers} == {201, 429}
    assert answers[-1].headers["Retry-After"] == "30"
    assert "NCORE_MAX_QUEUED" in answers[-1].json()["detail"]


def test_files_outside_the_static_folder_are_not_served(guarded):
    for name in ("..%2Fapp.py", "%2Fetc%2Fpasswd", "nothing.js"):
        assert httpx.get(f"{guarded.url}/static/{name}").status_code == 404


def test_the_api_imports_no_torch_and_nothing_slow():
    code = "import sys, api.app; print([m for m in ('torch', 'altair', 'pyarrow', 'vl_convert') if m in sys.modules])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_readyz_says_503_naming_what_is_not_reached(request, tmp_path):
    port = free_port("127.0.0.1")
    settings = settings_for("sqlite", tmp_path, request, broker_url=f"redis://127.0.0.1:{free_port('127.0.0.1')}/0")
    command = [sys.executable, "-m", "uvicorn", "api.app:app", "--port", str(port)]
    process = subprocess.Popen(command, env=environment(settings) | {"PATH": ""}, stderr=subprocess.DEVNULL)
    try:
        wait_for("the API", lambda: is_healthy(port))
        wait_for("the database", lambda: not_reached(port) == ["broker"])
        made = httpx.post(f"http://127.0.0.1:{port}/experiments", json={"preset": "fig1"}, timeout=30)
        assert (made.status_code, made.json()["status"]) == (201, "queued")  # the row is safe, the reconciler will send
    finally:
        process.terminate()
        process.wait(20)


def not_reached(port: int) -> list[str]:
    answer = httpx.get(f"http://127.0.0.1:{port}/readyz")
    assert answer.status_code == 503
    return [error["field"] for error in answer.json()["errors"]]


def is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.TransportError:
        return False


def test_a_read_only_token_reads_and_changes_nothing(request, tmp_path):
    settings = settings_for("sqlite", tmp_path, request, tokens="writer", read_tokens="reader")
    with running(settings) as service, httpx.Client(base_url=service.url) as client:
        reader, writer = ({"Authorization": f"Bearer {token}"} for token in ("reader", "writer"))
        made = client.post("/experiments", json={"preset": "fig1"}, headers=writer).json()["id"]
        assert client.get(f"/experiments/{made}/metrics", headers=reader).status_code == 200
        assert client.post("/theory", json={"preset": "fig1"}, headers=reader).status_code == 200
        for method, path in (
            ("POST", "/experiments"),
            ("POST", f"/experiments/{made}/cancel"),
            ("DELETE", f"/experiments/{made}"),
        ):
            refused = client.request(method, path, headers=reader)
            assert refused.status_code == 403
            assert f"not {method} {path}" in refused.json()["detail"]
            assert client.request(method, path).status_code == 401
        assert client.get(f"/experiments/{made}", headers=writer).status_code == 200
