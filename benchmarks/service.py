"""The service: from POST to running, and from start to alive; the command line from the shell."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import httpx

from api.service import free_port, running
from api.settings import Settings
from benchmarks import Row, cpu_seconds_of, yardstick
from ncore.client import Client

QUICK = {"optimizer.steps": 20, "measure.points": 2, "seeds": [0]}


def run(smallest: bool = False) -> list[Row]:
    submitted, started = (3, 1) if smallest else (30, 5)
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), port=0)
        with running(settings) as service, Client(service.url) as client:
            client.submit("fig1", QUICK).wait(progress=False)
            waits = [1e3 * _to_running(client) for _ in range(submitted)]
    shell = [cpu_seconds_of("-m", "ncore", "run", "fig1") for _ in range(started)]
    torch = statistics.median(yardstick() for _ in range(started))
    return [
        Row.of_seconds("POST to running", waits, 50.0, "ms"),
        Row.of_seconds("API start to /healthz", [_to_alive() for _ in range(started)], 1.5, "s"),
        Row.of_seconds("`ncore run fig1` from the shell, CPU time", shell, 1.2, "s")._replace(
            note=f"`import torch` alone takes {torch:.2f} s"
        ),
    ]


def _to_running(client: Client) -> float:
    """Seconds from before the request was sent to the worker's claim, both by this machine's clock."""
    sent = time.time()
    made = client.submit("fig1", QUICK).wait(progress=False)
    return datetime.fromisoformat(made.data["started_at"]).timestamp() - sent


def _to_alive() -> float:
    with tempfile.TemporaryDirectory() as home:
        port = free_port("127.0.0.1")
        began = time.perf_counter()
        command = [sys.executable, "-m", "uvicorn", "api.app:app", "--port", str(port), "--log-level", "error"]
        process = subprocess.Popen(command, env={**os.environ, "NCORE_HOME": home}, stderr=subprocess.DEVNULL)
        try:
            while not _alive(port):
                time.sleep(0.005)
            return time.perf_counter() - began
        finally:
            process.terminate()
            process.wait()


def _alive(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
    except httpx.TransportError:
        return False
