"""Memory of the whole embedded service: at rest, and of the API after many pictures and exports.

Proportional set size (PSS): of pages that processes share each counts its part.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import httpx
import psutil

from api.service import Service, running
from api.settings import Settings
from benchmarks import NotRun, Row
from ncore.client import Client

MEGABYTE = 1 << 20
AT_REST = 600.0
"""Megabytes."""
ADDED = 50.0
REST_SECONDS = 3.0
"""After which a started service has done what it does once."""
KINDS = ("plot.svg", "plot.png", "plot.pdf", "export.zip", "metrics?format=csv")
ONLY_TORCH = "import sys, torch; print(flush=True); sys.stdin.read()"
POINTS = {"measure.points": 500, "optimizer.steps": 2000}


def run(smallest: bool = False) -> list[Row | NotRun]:
    if sys.platform != "linux":
        return [NotRun("memory", "proportional set sizes are Linux's")]
    with (
        tempfile.TemporaryDirectory() as home,
        running(Settings(home=Path(home), port=0)) as service,
        Client(service.url) as client,
        httpx.Client(base_url=service.url, timeout=120) as http,
    ):
        time.sleep(REST_SECONDS)
        parts = megabytes(service)
        made = client.submit("fig1", POINTS).wait(progress=False).id
        ask(http, made, 5)
        before = megabytes(service)["api"]
        ask(http, made, 3 if smallest else 60)
        time.sleep(0 if smallest else REST_SECONDS)
        after = megabytes(service)["api"]
    return [
        Row.of_goal("the whole service at rest", [sum(parts.values())], AT_REST, "MB")._replace(note=told(parts)),
        Row.of_goal(
            f"added to the API by {60 * len(KINDS)} pictures and exports", [max(after - before, 0.0)], ADDED, "MB"
        ),
    ]


def megabytes(service: Service) -> dict[str, float]:
    """PSS of each part of the service, its own children included; this process, which started it, is none of it."""
    return {
        name: sum(pss(process) for process in tree(child.process.pid)) / MEGABYTE
        for name, child in service.children.items()
    }


def told(parts: Mapping[str, float]) -> str:
    own = ", ".join(f"{name} {value:.0f}" for name, value in parts.items())
    return f"{own}; a process that only imports torch has {only_torch():.0f}, and shares pages with the worker"


def only_torch() -> float:
    with subprocess.Popen([sys.executable, "-c", ONLY_TORCH], stdout=subprocess.PIPE, stdin=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        found = pss(psutil.Process(process.pid)) / MEGABYTE
        process.communicate()
    return found


def tree(pid: int) -> list[psutil.Process]:
    top = psutil.Process(pid)
    return [top, *top.children(recursive=True)]


def pss(process: psutil.Process) -> int:
    lines = Path(f"/proc/{process.pid}/smaps_rollup").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith("Pss:"))


def ask(http: httpx.Client, experiment: str, times: int) -> None:
    for _ in range(times):
        for kind in KINDS:
            http.get(f"/experiments/{experiment}/{kind}").raise_for_status()
