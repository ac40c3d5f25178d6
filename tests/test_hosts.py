"""Several hosts, as network namespaces of this machine: API, database and broker on one, workers on two others.

Addresses are those of the namespaces only; nothing of the machine's own network is touched. Needs root and iproute2.
"""

import ctypes
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from conftest import open_folder, quick_settings, started_postgresql, wait_for

from api.children import Child
from api.service import _api_command, _broker_command, environment
from api.settings import Settings
from ncore.client import Client, Experiment
from ncore.spec import parse_spec
from ncore.train import train

HUB, *SPOKES = (f"n{os.getpid()}-{name}" for name in ("hub", "one", "two"))
"""Names of namespaces, and of hosts and links; of this process alone, so that two runs do not meet."""
NETWORK = "10.77.0"
CLONE_NEWNET = 0x40000000
CHANGES = {"optimizer.steps": 2_000_000, "measure.points": 40}
EXPERIMENTS = 10
CUT_SECONDS = 9.0
"""Three leases: what ran on the host that is cut off goes on elsewhere meanwhile."""
libc = ctypes.CDLL(None, use_errno=True)


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)


def why_not() -> str | None:
    commands = ("ip", "unshare", "setpriv", "hostname")
    if sys.platform != "linux" or os.geteuid() != 0 or not all(map(shutil.which, commands)):
        return f"network namespaces need Linux, root and the commands {', '.join(commands)}"
    try:
        ip("netns", "add", HUB)
        ip("-n", HUB, "link", "add", "bridge", "type", "bridge")
    except subprocess.CalledProcessError as error:
        return f"no network namespaces here: {' '.join(error.cmd)}: {error.stderr.strip()}"
    finally:
        subprocess.run(["ip", "netns", "delete", HUB], check=False, capture_output=True)
    return None


@contextmanager
def network() -> Iterator[None]:
    """A hub and two spokes on a bridge inside the hub."""
    try:
        for name in (HUB, *SPOKES):
            ip("netns", "add", name)
            ip("-n", name, "link", "set", "lo", "up")
        ip("-n", HUB, "link", "add", "bridge", "type", "bridge")
        ip("-n", HUB, "address", "add", f"{NETWORK}.1/24", "dev", "bridge")
        ip("-n", HUB, "link", "set", "bridge", "up")
        for number, name in enumerate(SPOKES, start=2):
            ip("-n", HUB, "link", "add", name, "type", "veth", "peer", "name", "uplink", "netns", name)
            ip("-n", HUB, "link", "set", name, "master", "bridge", "up")
            ip("-n", name, "address", "add", f"{NETWORK}.{number}/24", "dev", "uplink")
            ip("-n", name, "link", "set", "uplink", "up")
        yield
    finally:
        for name in (HUB, *SPOKES):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)


@contextmanager
def inside(namespace: str) -> Iterator[None]:
    """This thread, its sockets and the processes that it starts are in the namespace."""
    with Path("/proc/thread-self/ns/net").open() as home, Path("/run/netns", namespace).open() as there:
        enter(there.fileno())
        try:
            yield
        finally:
            enter(home.fileno())


def enter(descriptor: int) -> None:
    if libc.setns(descriptor, CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def started(name: str, command: list[str | Path], settings: Settings, namespace: str) -> Child:
    log = settings.home / f"{name}.log"
    with inside(namespace):
        return Child(name, [str(word) for word in command], {**os.environ, **environment(settings)}, log, settings.home)


def postgresql_command(folder: Path) -> list[str | Path]:
    """A server that answers on the hub's address: the tests' own only has a socket."""
    with started_postgresql(folder) as server:
        data, user, postgres = server.pgdata, server.system_user, server.bin_path / "postgres"
    with (data / "pg_hba.conf").open("a") as rules:
        rules.write(f"\nhost all all {NETWORK}.0/24 trust\n")
    listening = ["-h", f"{NETWORK}.1", "-p", "5432", "-k", ""]
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", postgres, "-D", data, *listening]


def worker_command(host: str) -> list[str | Path]:
    return ["unshare", "--uts", "sh", "-c", 'hostname "$0" && exec "$@"', host, sys.executable, "-m", "worker"]


@contextmanager
def hosts(home: Path) -> Iterator[Settings]:
    database, broker = f"postgresql://postgres@{NETWORK}.1:5432/postgres", f"redis://{NETWORK}.1:6379/0"
    settings = quick_settings(home, database, broker_url=broker, host=f"{NETWORK}.1", max_attempts=10)
    settings = settings.model_copy(update={"port": 8000})
    listening = ["--port", "6379", "--bind", f"{NETWORK}.1", "--protected-mode", "no", "--dir", str(home)]
    parts: list[Child] = []
    with network(), open_folder() as folder:
        try:
            parts.append(started("database", postgresql_command(folder), settings, HUB))
            parts.append(started("broker", [_broker_command(settings)[0], *listening], settings, HUB))
            parts.append(started("api", _api_command(settings), settings, HUB))
            parts.extend(started(spoke, worker_command(spoke), settings, spoke) for spoke in SPOKES)
            yield settings
        finally:
            for part in reversed(parts):
                part.stop()


def is_ready(url: str) -> bool:
    try:
        return httpx.get(f"{url}/readyz", timeout=2).status_code == 200
    except httpx.TransportError:
        return False


def assert_whole(experiment: Experiment) -> None:
    """The numbers of an uninterrupted run, each once."""
    stored = {(s["metric"], s["layer"]): list(zip(s["steps"], s["values"], strict=True)) for s in experiment.series()}
    expected: dict[tuple[str, str | None], list[tuple[int, float]]] = {}
    for m in train(parse_spec(experiment.data["spec"])):
        for key, value in m.values.items():
            expected.setdefault(key, []).append((m.step, value))
    assert stored == expected


@pytest.mark.nightly
def test_a_host_that_is_cut_off_and_joined_again_loses_and_doubles_nothing(tmp_path):
    if reason := why_not():
        pytest.skip(reason)
    with hosts(tmp_path) as settings, inside(HUB):
        url = f"http://{settings.host}:{settings.port}"
        wait_for("the API", lambda: is_ready(url), seconds=60)
        with Client(url) as client:  # the first worker would take all as one batch if it were alone
            wait_for("both workers", lambda: len(client.request("GET", "/workers").json()["items"]) == 2, seconds=60)
            made = [client.submit("fig1", {**CHANGES, "seeds": [seed]}) for seed in range(EXPERIMENTS)]
            for spoke in SPOKES:
                wait_for(f"{spoke} at work", lambda spoke=spoke: runs_on(client, spoke), seconds=60)
            lost = cut_off_at_work(client, SPOKES[0])
            time.sleep(CUT_SECONDS)
            wait_for("the leases to be taken back", lambda: not runs_on(client, SPOKES[0]))
            ip("-n", HUB, "link", "set", SPOKES[0], "up")
            for one in made:
                wait_for(f"the end of {one.id}", lambda one=one: one.refresh().status == "succeeded", seconds=600)
                assert_whole(one)
            assert all(client.experiment(one).data["attempt"] > 1 for one in lost)
            wait_for(f"{SPOKES[0]} at work again", lambda: runs_on(client, SPOKES[0]) or fed(client), seconds=90)


def cut_off_at_work(client: Client, host: str) -> list[str]:
    """What ran there when its link went down: never nothing, though it may have been between two experiments."""
    while True:
        ip("-n", HUB, "link", "set", host, "down")
        if lost := runs_on(client, host):
            return lost
        ip("-n", HUB, "link", "set", host, "up")
        time.sleep(0.2)


def fed(client: Client) -> bool:
    """False, after seeing to it that there is something to do."""
    if not list(client.experiments(status="queued")):
        client.submit("fig1", {**CHANGES, "seeds": [EXPERIMENTS]})
    return False


def runs_on(client: Client, host: str) -> list[str]:
    return [one.id for one in client.experiments(status="running") if one.data["worker"].startswith(f"{host}:")]
