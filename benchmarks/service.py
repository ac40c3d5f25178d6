"""The service: from POST to running, and from start to alive."""

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
from benchmarks import Row
from ncore.client import Client

QUICK = {"optimizer.steps": 20, "measure.points": 2, "seeds": [0]}


def run(smallest: bool = False) -> list[Row]:
    submitted, started = (3, 1) if smallest else (30, 3)
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), port=0)
        with running(settings) as service, Client(service.url) as client:
            client.submit("fig1", QUICK).wait(progress=False)
            waits = [_to_running(client) for _ in range(submitted)]
    starts = [_to_alive() for _ in range(started)]
    return [
        Row(f"POST to running, median of {submitted}", statistics.median(waits) * 1e3, 50.0, "ms", "<= 1"),
        Row(f"API start to /healthz, best of {started}", min(starts), 1.5, "s", "<= 1"),
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
