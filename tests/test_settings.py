"""Every setting: what it may be, and in which words what it may not be is refused."""

import os
import subprocess
import sys

import httpx
import pytest
from conftest import ncore_process, quick_settings, wait_for

from api import addresses
from api.service import running
from api.settings import Settings, SettingsError, read_settings

SECRET = "s3cret"
ODD = {
    "empty": "",
    "blank": " \t ",
    "garbage": "\x1b[31m{{'%s'",
    "negative": "-1",
    "not finite": "nan",
    "huge": "9" * 5000,
    "fraction": "1.5",
    "other bytes": "caf\udce9",
    "a URL of nothing known": f"gopher://u:{SECRET}@host/x",
    "a URL with a wrong port": f"redis://:{SECRET}@host:123456/0",
    "list": ",;,",
}


@pytest.mark.parametrize("name", Settings.model_fields)
@pytest.mark.parametrize("kind", ODD)
def test_a_setting_is_taken_or_refused_in_one_line_naming_it(monkeypatch, name, kind):
    variable = f"NCORE_{name.upper()}"
    monkeypatch.setattr(os, "environ", {variable: ODD[kind]})
    settings, refused = settings_or_refusal()
    if settings is not None:
        assert settings.database
        assert settings.broker
        assert kind not in ("blank", "other bytes")
        assert kind != "empty" or settings == Settings()
        return
    assert kind != "empty"
    assert refused.startswith(f"{variable}: must ")
    assert "\n" not in refused
    assert len(refused) < 400
    assert SECRET not in refused


def settings_or_refusal() -> tuple[Settings | None, str]:
    try:
        return read_settings(), ""
    except SettingsError as error:
        return None, str(error)


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("port", "65536", "a whole number from 0 to 65535; got '65536'"),
        ("lease_seconds", "0", "a number from 0.1 to 86400; got '0'"),
        ("gpus", "all", "auto, none or indexes like 0,2; got 'all'"),
        ("cuda_graphs", "off", "auto or none; got 'off'"),
        ("tokens", " , ", "tokens with commas between them; got ' , '"),
        ("database_url", "mysql://u:p@h/db", "postgresql://USER:PASSWORD@HOST:PORT/DATABASE; got 'mysql://…@h/db'"),
        ("database_url", "sqlite://", "it must be a file; got 'sqlite://'"),
        ("database_url", "sqlite:///:memory:", "it must be a file"),
        ("database_url", "sqlite:////tmp/what?x=1", "are written %3F and %23"),
        ("database_url", "postgresql+asyncpg://h/d", "got 'postgresql+asyncpg://h/d'"),
        ("broker_url", "amqp://h", "got 'amqp://h'"),
        ("broker_url", "redis://h/zero", "got the number 'zero'"),
        ("broker_url", f"unix:///{'x' * 120}", "at most 100 bytes"),
        ("broker_url", "rediss://h?ssl_cert_reqs=maybe", "one of required, optional, none; got 'maybe'"),
        ("artifacts", "s3://", "got 's3://'"),
        ("artifacts", "memory://x", "must be a folder or a URL like s3://BUCKET/FOLDER"),
    ],
)
def test_a_message_says_what_is_allowed(monkeypatch, name, value, told):
    monkeypatch.setattr(os, "environ", {f"NCORE_{name.upper()}": value})
    with pytest.raises(SettingsError) as caught:
        read_settings()
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ("redis://:p%23w@h:1/2", "redis://:p%23w@h:1/2"),
        ("rediss://h", "rediss://h?ssl_cert_reqs=required"),
        ("rediss://h?ssl_cert_reqs=none", "rediss://h?ssl_cert_reqs=none"),
        ("unix:///a%20b.sock?db=2", "redis+socket:///a%20b.sock?virtual_host=2"),
    ],
)
def test_the_brokers_url_is_as_celery_wants_it(given, taken):
    assert addresses.broker(given) == taken


def test_wrong_settings_end_a_command_with_status_2_and_a_line_each(tmp_path):
    wrong = {"NCORE_PORT": "-1", "NCORE_DATABASE_URL": "mysql://u:p@h/db", "NCORE_HOME": str(tmp_path)}
    worker = [sys.executable, "-m", "worker"]
    for ended in (
        ncore_process("migrate", env=wrong),
        subprocess.run(worker, env={**os.environ, **wrong}, capture_output=True, text=True, check=False),
    ):
        assert ended.returncode == 2
        lines = ended.stderr.strip().splitlines()
        assert sorted(line.partition(":")[0] for line in lines) == ["NCORE_DATABASE_URL", "NCORE_PORT"]
    (tmp_path / "file").touch()
    for home in (tmp_path / "file", tmp_path / ("x" * 300)):
        ended = ncore_process("migrate", env={"NCORE_HOME": str(home)})
        assert (ended.returncode, ended.stderr.count("\n")) == (2, 1)
        assert ended.stderr.startswith("NCORE_HOME: must be a folder that can be written")


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("no.such.name.invalid", "NCORE_HOST: must be an address or a name"),
        ("8.8.8.8", "NCORE_HOST: must be an address"),
    ],
)
def test_where_the_api_cannot_listen_is_reported_before_anything_starts(tmp_path, host, told):
    ended = ncore_process("up", "--port", "0", env={"NCORE_HOME": str(tmp_path), "NCORE_HOST": host})
    assert ended.returncode == 2
    assert ended.stderr.startswith(told)
    assert not list(tmp_path.glob("logs/*"))


def test_the_service_runs_with_odd_settings_in_an_odd_place(tmp_path, monkeypatch):
    """IPv6, a token that is not ASCII, a home of special characters and too long a path for a socket; and in a folder
    with files that are named as ours and as what we use, in an environment with others' settings."""
    here = tmp_path / "here"
    for name in ("api", "worker", "ncore", "celery", "redis", "uvicorn", "sqlalchemy"):
        (here / name).mkdir(parents=True)
        (here / name / "__init__.py").write_text(f"raise SystemExit('this is the {name} of somebody else')")
    (here / "celeryconfig.py").write_text("raise SystemExit('not our configuration')")
    monkeypatch.chdir(here)
    for name, value in {"CELERY_BROKER_URL": "amqp://nobody", "CELERY_CONFIG_MODULE": "celeryconfig"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("WEB_CONCURRENCY", "3")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    home = tmp_path / "a #home? of 100%25 ünïcode'" / ("x" * 120)
    settings = quick_settings(home, "", tokens="schlüssel", host="::1")
    with running(settings) as service:
        assert service.url.startswith("http://[::1]:")
        headers = [(b"Authorization", "Bearer schlüssel".encode())]
        with httpx.Client(base_url=service.url, headers=headers, trust_env=False) as http:
            made = http.post("/experiments", json={"preset": "fig1", "set": {"optimizer.steps": 20}}).json()
            wait_for("its end", lambda: http.get(f"/experiments/{made['id']}").json()["status"] == "succeeded", 90)
        assert (home / "ncore.db").is_file()
        assert (home / "experiments" / made["id"] / "final.safetensors").is_file()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a #home? of 100%25 ünïcode'", "here"]
