"""NCORE_HOME: one service at a time, closed to others, its broker's socket mended, its disk and its file watched."""

import os
import shutil
import socket
import stat
import time
from pathlib import Path

import httpx
import pytest
from conftest import fill, ncore_process, quick_settings, settings_for, small_disk, wait_for

from api import children
from api import home as homes
from api.children import Child
from api.database import integrity
from api.home import HomeInUseError
from api.service import ServiceError, running
from ncore.client import Client

QUICK = {"optimizer.steps": 20, "measure.points": 5}
__all__ = ["small_disk"]


def modes(folder):
    return {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*")}


def ready(service) -> httpx.Response:
    return httpx.get(f"{service.url}/readyz", timeout=20)


def test_a_home_is_held_by_one_and_free_after_it(tmp_path):
    homes.prepare(tmp_path)
    for url in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        with homes.locked(tmp_path, url):
            with pytest.raises(HomeInUseError, match=f"in use by process {os.getpid()} on .*{url}"):
                homes.locked(tmp_path, "http://other").__enter__()
            assert (tmp_path / homes.LOCK).read_text().endswith(f"({url})\n")


def test_an_old_home_is_closed_to_others_and_what_is_not_ours_is_left_alone(tmp_path, caplog):
    for name in ("ncore.db", "experiments/a/final.safetensors", "logs/api.log", "data/mine.sh"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o755)
    (tmp_path / "experiments" / "link").symlink_to(tmp_path / "data")
    tmp_path.chmod(0o755)
    homes.prepare(tmp_path)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
    found = modes(tmp_path)
    assert {found[name] for name in ("ncore.db", "final.safetensors", "api.log")} == {0o600}
    assert {found[name] for name in ("experiments", "a", "logs")} == {0o700}
    assert {found[name] for name in ("data", "mine.sh")} == {0o755}
    assert "could be read by others" in caplog.text
    caplog.clear()
    homes.prepare(tmp_path)
    assert caplog.text == ""


def test_two_services_on_one_home_and_a_broker_whose_socket_is_removed_or_stolen(request, tmp_path):
    """The second is refused and harms nothing; whatever happens to the socket, what is queued is run."""
    settings = settings_for("sqlite", tmp_path, request)
    path = settings.broker_socket
    with running(settings) as service, Client(service.url) as client:
        before = path.stat().st_ino
        began = time.monotonic()
        with pytest.raises(HomeInUseError, match=f"process {os.getpid()} on .*{service.url}"):
            running(settings).__enter__()
        assert time.monotonic() - began < 5
        assert path.stat().st_ino == before
        assert modes(tmp_path / "experiments") == {}
        for harm in (path.unlink, lambda: steal(path)):
            restarts = service.children["broker"].restarts
            harm()
            wait_for("the broker anew", lambda r=restarts: service.children["broker"].restarts > r)
            made = client.submit("fig1", QUICK)
            wait_for("its end", lambda made=made: made.refresh().status == "succeeded", 60)
        assert ready(service).status_code == 200
        assert set(modes(tmp_path).values()) <= {0o700, 0o600}


def steal(path):
    """Another server takes the path over, as a second service of an older version does."""
    path.unlink()
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))


def test_a_part_that_cannot_be_started_again_is_tried_until_it_can(tmp_path, caplog, monkeypatch):
    """Whatever the system refuses must not end the thread that watches all parts."""
    monkeypatch.setattr(children, "LONGEST_PAUSE_SECONDS", 0.1)
    home, log = tmp_path / "home", tmp_path / "home" / "logs" / "part.log"
    log.parent.mkdir(parents=True)
    part = Child("part", ["sleep", "60"], os.environ, log, home)
    try:
        shutil.rmtree(home)
        part.process.kill()
        wait_for("a try", lambda: part.restart_if_dead() or "next try" in caplog.text)
        assert f"part could not be started ([Errno 2] No such file or directory: '{log}')" in caplog.text
        assert part.tail() == f"([Errno 2] No such file or directory: '{log}')"
        part.replace()  # of what is not running, and cannot be started
        assert part.process.poll() is not None
        log.parent.mkdir(parents=True)
        wait_for("the part", lambda: part.restart_if_dead() or part.process.poll() is None)
    finally:
        part.stop()


def test_ready_asks_for_what_a_message_is_sent_over(request, tmp_path):
    """A broker that answers on connections of before, but that nobody new would find."""
    with running(settings_for("sqlite", tmp_path / "broker", request), with_workers=False) as broker:
        url = f"unix://{broker.settings.broker_socket}"
        settings = settings_for("sqlite", tmp_path / "api", request, broker_url=url)
        with running(settings, with_workers=False) as service:
            assert ready(service).status_code == 200
            broker._socket = None  # nobody mends it
            broker.settings.broker_socket.rename(tmp_path / "hidden.sock")
            answer = ready(service)
            assert answer.status_code == 503
            assert [fault["field"] for fault in answer.json()["errors"]] == ["broker"]
            (tmp_path / "hidden.sock").rename(broker.settings.broker_socket)
            assert ready(service).status_code == 200


def test_a_service_on_a_full_disk_is_not_ready_and_says_why(request, tmp_path, small_disk):
    artifacts = small_disk / "artifacts"
    settings = settings_for("sqlite", tmp_path / "home", request, artifacts=str(artifacts))
    with running(settings, with_workers=False) as service:
        filler = fill(small_disk)
        answer = ready(service)
        assert answer.status_code == 503
        assert answer.json()["errors"] == [{"field": "artifacts", "message": f"{artifacts}: No space left on device"}]
        filler.unlink()
        assert ready(service).status_code == 200


DAMAGES = {
    "no database": lambda size: (0, b"x" * size),
    "a header overwritten": lambda size: (0, os.urandom(100)),
    "cut in half": lambda size: (size // 2 + 100, None),
    "pages overwritten": lambda size: (4096, os.urandom(size - 4096)),
}


def damage(path, how):
    place, data = DAMAGES[how](path.stat().st_size)
    with path.open("r+b") as file:
        file.seek(place)
        if data is None:
            file.truncate()
        else:
            file.write(data)
    for left in ("-wal", "-shm"):
        path.with_name(path.name + left).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A database that has just been made."""
    home = tmp_path_factory.mktemp("whole")
    assert ncore_process("migrate", env={"NCORE_HOME": str(home)}).returncode == 0
    return home / "ncore.db"


@pytest.mark.parametrize("how", DAMAGES)
def test_a_damaged_database_is_named_at_the_start(whole, tmp_path, how):
    path = Path(shutil.copy(whole, tmp_path))
    assert integrity.damage_of(f"sqlite:///{path}") is None
    damage(path, how)
    ended = ncore_process("migrate", env={"NCORE_HOME": str(tmp_path)})
    assert ended.returncode == 1
    assert ended.stderr.startswith(f"the database {path} is damaged (")
    assert "docs/operations.md, Backup and restore" in ended.stderr
    assert ended.stderr.count("\n") == 1
    with pytest.raises(ServiceError, match="is damaged"):
        running(quick_settings(tmp_path, "")).__enter__()


def test_a_database_that_is_damaged_under_a_running_service_is_reported_within_seconds(request, tmp_path):
    with running(settings_for("sqlite", tmp_path, request)) as service:
        assert ready(service).status_code == 200
        with (tmp_path / "ncore.db").open("r+b") as file:
            file.write(os.urandom(20_000))
        wait_for("words", lambda: ready(service).status_code == 503, 10)
        assert f"the database {tmp_path / 'ncore.db'} is damaged" in ready(service).json()["detail"]
        refused = httpx.post(f"{service.url}/experiments", json={"preset": "fig1"}, timeout=20)
        assert refused.status_code == 503, refused.text
        assert "is damaged" in refused.json()["detail"]
