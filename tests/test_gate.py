"""Tokens, sizes, and what the API process needs to start."""

import resource
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest
import uvicorn
from conftest import settings_for, wait_for
from pydantic import ValidationError

from api import broker
from api.__main__ import warn_of_open_doors
from api.service import environment, free_port, running
from api.settings import Settings, get_settings
from api.web import hosts
from api.web.sockets import Sockets

on_sqlite = pytest.mark.parametrize("service", ["sqlite"], indirect=True)


@pytest.fixture(scope="module")
def guarded(request, tmp_path_factory):
    home = tmp_path_factory.mktemp("guarded")
    settings = settings_for(
        "sqlite", home, request, tokens="first, second", read_tokens="reader", max_body_bytes=5000, max_queued=2
    )
    with running(settings, with_workers=False) as service:
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


def test_a_read_only_token_reads_and_changes_nothing(guarded):
    with httpx.Client(base_url=guarded.url) as client:
        reader, writer = ({"Authorization": f"Bearer {token}"} for token in ("reader", "first"))
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
        assert client.delete(f"/experiments/{made}", headers=writer).status_code == 204


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


def test_nobody_waits_for_a_broker_that_is_away(monkeypatch):
    monkeypatch.setenv("NCORE_BROKER_URL", f"redis://127.0.0.1:{free_port('127.0.0.1')}/0")
    caches = (get_settings, broker.get_celery)
    for cached in caches:
        cached.cache_clear()
    assert not broker.send("x", "cpu")  # its imports take a second
    began = time.monotonic()
    assert not broker.send("x", "cpu")
    assert broker.waiting() is None
    assert "refused" in broker.why_not_sending()
    assert time.monotonic() - began < 1.5  # each pause of Celery's own would be of two seconds
    for cached in caches:
        cached.cache_clear()


def not_reached(port: int) -> list[str]:
    answer = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=30)
    assert answer.status_code == 503
    return [error["field"] for error in answer.json()["errors"]]


def is_healthy(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.TransportError:
        return False


@pytest.mark.parametrize("listed", [",", " ", " , ,", "\t"])
@pytest.mark.parametrize("field", ["tokens", "read_tokens"])
def test_a_list_of_tokens_without_a_token_is_no_open_door(field, listed):
    with pytest.raises(ValidationError, match=r"which has none|must not be blank"):
        Settings(**{field: listed})
    assert not Settings(**{field: ""}).asks_for_tokens


@on_sqlite
@pytest.mark.parametrize(
    ("host", "status"),
    [("localhost", 200), ("LOCALHOST.:1", 200), ("[::1]:80", 200), ("127.9.9.9", 200), ("a.localhost:8", 200),
     ("evil.example", 403), ("127.0.0.1.evil.example", 403), ("localhost.evil.example:8000", 403), ("10.0.0.1", 403),
     ("[::ffff:1.2.3.4]", 403), ("", 403), ("[", 403), ("evil.example@127.0.0.1x", 403)],
)  # fmt: skip
def test_without_tokens_only_our_own_names_are_answered(service, host, status):
    for method, path in (("GET", "/experiments"), ("POST", "/theory"), ("DELETE", "/experiments/x"), ("GET", "/")):
        body = {"json": {"preset": "fig1"}} if method == "POST" else {}
        answer = httpx.request(method, f"{service.url}{path}", headers={"Host": host}, **body)
        assert answer.status_code == (404 if status == 200 and method == "DELETE" else status)
    assert httpx.get(f"{service.url}/healthz", headers={"Host": host}).status_code == 200


def test_names_can_be_allowed_and_tokens_make_any_name_good(guarded):
    scope = {"headers": [(b"host", b"Lab.Example:80")], "path": "/", "method": "GET", "server": ("10.1.1.1", 1)}
    assert hosts.refusal(Settings(), scope).status == 403
    for settings in (
        Settings(allowed_hosts="x, lab.example"),
        Settings(allowed_hosts="*"),
        Settings(host="lab.example"),
    ):
        assert hosts.refusal(settings, scope) is None
    headers = {"Host": "evil.example", "Authorization": "Bearer first"}
    assert httpx.get(f"{guarded.url}/experiments", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Origin": "OWN"}, 403),
        ({"Origin": "http://evil.example"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://["}, 403),
        ({"Origin": "OWN"}, 404),
        ({"Sec-Fetch-Site": "same-origin", "Origin": "https://behind.a.proxy"}, 404),
        ({"Sec-Fetch-Site": "none"}, 404),
        ({}, 404),
    ],
)  # fmt: skip
@pytest.mark.parametrize("guard", ["guarded", "service"])
@on_sqlite
def test_another_sites_page_changes_nothing_with_or_without_a_token(request, service, guard, headers, status):
    url = request.getfixturevalue(guard).url
    headers = {name: url if value == "OWN" else value for name, value in headers.items()}
    headers |= {"Authorization": "Bearer first"}
    for method, path in (("POST", "/experiments/x/cancel"), ("POST", "/sweeps/x/cancel"), ("DELETE", "/sweeps/x")):
        assert httpx.request(method, f"{url}{path}", headers=headers).status_code == status
    assert httpx.get(f"{url}/presets", headers=headers).status_code == 200


def test_silent_and_slow_connections_are_closed_and_shut_nobody_out(monkeypatch):
    monkeypatch.setattr("api.web.sockets.HEAD_SECONDS", 1.0)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    port = free_port("127.0.0.1")
    server = uvicorn.Server(uvicorn.Config(hello, port=port, http=Sockets, log_level="error", lifespan="off"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for("the server", lambda: server.started)
        begun = (b"", b"GET / HTTP/1.1\r\nHost: lo", b"\r\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n\r\n")
        silent = [opened(port, begun[i % 4]) for i in range(1100)]
        assert httpx.get(f"http://127.0.0.1:{port}/", timeout=20).text == "hello"
        for connection in silent:
            with connection:
                while connection.recv(4096):
                    pass  # the answer to what was whole; then the end
        with opened(port, b"GET / HTTP/1.1\r\nA: " + b"a" * 100_000) as endless:
            assert b"400" in endless.recv(4096)
    finally:
        server.should_exit = True
        thread.join()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


async def hello(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"5")]})
    await send({"type": "http.response.body", "body": b"hello"})


def opened(port: int, begun: bytes) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    connection.sendall(begun)
    return connection


@pytest.mark.parametrize(
    ("host", "tokens", "is_warned"),
    [
        ("0.0.0.0", "", True),
        ("::", "", True),
        ("192.0.2.7", "", True),
        ("0.0.0.0", "t", False),
        ("127.0.0.1", "", False),
    ],
)
def test_who_starts_a_service_for_everybody_is_warned_on_the_terminal(host, tokens, is_warned, tmp_path, capsys):
    warn_of_open_doors(Settings(home=tmp_path, host=host, tokens=tokens, port=8123))
    told = capsys.readouterr().err
    assert told.startswith(f"WARNING: ANYBODY who reaches {host}:8123") if is_warned else told == ""
