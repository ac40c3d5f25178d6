"""Memory of the whole embedded service: at rest, and of the API after many pictures and exports.

Counted as on a machine where nothing else runs: what a process has of its own, and once what its parts share of files.
(The proportional set size would be less while other programs use the same libraries.)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import psutil

from api.service import Service, running
from api.settings import Settings
from benchmarks import NotRun, Row
from ncore.client import Client

AT_REST = 600.0
"""Megabytes."""
ADDED = 50.0
LEAST = 1.0
"""Less is not told apart."""
REST_SECONDS = 3.0
"""After which a started service has done what it does once."""
KINDS = ("plot.svg", "plot.png", "plot.pdf", "export.zip", "metrics?format=csv")
ONLY_TORCH = "import sys, torch; print(flush=True); sys.stdin.read()"
POINTS = {"measure.points": 500, "optimizer.steps": 2000}


def run(smallest: bool = False) -> list[Row | NotRun]:
    if sys.platform != "linux":
        return [NotRun("memory", "what a process holds is read as Linux tells it")]
    with (
        tempfile.TemporaryDirectory() as home,
        running(Settings(home=Path(home), port=0)) as service,
        Client(service.url) as client,
        httpx.Client(base_url=service.url, timeout=120) as http,
    ):
        while not http.get("/workers").json()["items"]:
            time.sleep(0.2)
        time.sleep(REST_SECONDS)
        parts = megabytes(service)
        whole = held([pid for child in service.children.values() for pid in tree(child.process.pid)])
        made = client.submit("fig1", POINTS).wait(progress=False).id
        ask(http, made, 5)
        before = megabytes(service)["api"]
        ask(http, made, 3 if smallest else 20)
        time.sleep(0 if smallest else REST_SECONDS)
        after = megabytes(service)["api"]
    return [
        Row.of_goal("the whole service at rest", [whole], AT_REST, "MB")._replace(note=listed(parts)),
        Row.of_goal(
            f"added to the API by {20 * len(KINDS)} pictures and exports", [max(after - before, LEAST)], ADDED, "MB"
        ),
    ]


def megabytes(service: Service) -> dict[str, float]:
    """Of each part of the service, its own children included; this process, which started it, is none of it."""
    return {name: held(tree(child.process.pid)) for name, child in service.children.items()}


def held(pids: Sequence[int]) -> float:
    """Megabytes that some processes hold together: pages of no file, and of each file what any of them has of it."""
    own, files = 0, Counter[str]()
    for pid in pids:
        of_process, name = Counter[str](), ""
        for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
            first, _, rest = line.partition(" ")
            if not first.endswith(":"):
                name = rest.split(maxsplit=4)[4] if len(rest.split()) > 4 else ""
            elif first == "Rss:":
                of_process[name] += int(rest.split()[0])
            elif first == "Anonymous:":
                of_process[name] -= int(rest.split()[0])
                own += int(rest.split()[0])
        files |= of_process
    return (own + files.total()) / 1024


def listed(parts: Mapping[str, float]) -> str:
    own = ", ".join(f"{name} {value:.0f}" for name, value in parts.items())
    return f"{own}; a process that only imports torch holds {only_torch():.0f}"


def only_torch() -> float:
    with subprocess.Popen([sys.executable, "-c", ONLY_TORCH], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = held([process.pid])
        process.communicate()
    return found


def tree(pid: int) -> list[int]:
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def ask(http: httpx.Client, experiment: str, times: int) -> None:
    for _ in range(times):
        for kind in KINDS:
            http.get(f"/experiments/{experiment}/{kind}").raise_for_status()
