"""Reads of the largest experiments: in bounded memory, and while others are answered."""

import itertools
import json
import sqlite3
import threading
import time
from pathlib import Path

import httpx
import pytest
from conftest import settings_for

from api.app import app
from api.service import running

SEEDS, POINTS, METRICS = 4, 50_000, 20
READS = [
    path
    for path, operations in app.openapi()["paths"].items()
    if path.startswith("/experiments") and "get" in operations and not path.endswith("/events")
]
VARIANTS = {
    "/experiments/{experiment_id}/metrics": ["", "?max_points=50", "?format=csv", "?format=ndjson", "?format=parquet"],
    "/experiments": ["?limit=200"],
}


@pytest.fixture(scope="module")
def large(request, tmp_path_factory):
    """A service with one experiment of 200,000 rows and 20 metrics."""
    home = tmp_path_factory.mktemp("large")
    with running(settings_for("sqlite", home, request)) as service:
        body = {
            "preset": "fig1",
            "set": {"seeds": list(range(SEEDS)), "measure.points": POINTS, "optimizer.steps": 10**8},
        }
        made = httpx.post(f"{service.url}/experiments", json=body, timeout=60).json()["id"]
        httpx.post(f"{service.url}/experiments/{made}/cancel", timeout=60)
        while httpx.get(f"{service.url}/experiments/{made}").json()["status"] != "cancelled":
            time.sleep(0.2)
        fill(home / "ncore.db", made)
        yield service, made


def fill(path: Path, experiment_id: str) -> None:
    keys = [f"m{i} h{i % 4}" for i in range(METRICS)]
    numbers = itertools.count(1)
    moment = "2026-01-01 00:00:00.000000"
    rows = (
        (
            experiment_id,
            seed,
            step,
            next(numbers),
            moment,
            json.dumps({key: (step + i) / 7 for i, key in enumerate(keys)}),
        )
        for step in range(POINTS)
        for seed in range(SEEDS)
    )
    with sqlite3.connect(path, timeout=60) as database:
        database.execute("DELETE FROM measurements WHERE experiment_id = ?", (experiment_id,))
        database.executemany(
            'INSERT INTO measurements (experiment_id, seed, step, seq, at, "values") VALUES (?, ?, ?, ?, ?, ?)', rows
        )
        database.execute(
            "UPDATE experiments SET last_seq = ?, total = ? WHERE id = ?", (SEEDS * POINTS, POINTS, experiment_id)
        )
    database.close()


def resident_mb(pid: int, kind: str) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(kind)) / 1024


@pytest.mark.nightly
@pytest.mark.parametrize("path", READS)
def test_a_read_of_the_largest_takes_little_memory_and_stands_in_nobodys_way(large, path):
    service, made = large
    pid = service.children["api"].process.pid
    at_rest: list[float] = []  # what this machine needs, whoever else computes on it
    resting = threading.Event()
    threading.Timer(2.0, resting.set).start()
    watch(service.url, at_rest, resting)
    for variant in VARIANTS.get(path, [""]):
        url = (
            service.url
            + path.replace("{experiment_id}", made).replace("{form}", "svg").replace("{name}", "x")
            + variant
        )
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        before, waits, done = resident_mb(pid, "VmRSS"), [], threading.Event()
        watcher = threading.Thread(target=watch, args=(service.url, waits, done))
        watcher.start()
        try:
            with httpx.stream("GET", url, timeout=120) as answer:
                assert answer.status_code in (200, 404, 405)
                for _ in answer.iter_raw():
                    pass
        finally:
            done.set()
            watcher.join()
        assert resident_mb(pid, "VmHWM") - before < 300, url
        assert slowest(waits) < 0.5 + 3 * slowest(at_rest), url


def slowest(waits: list[float]) -> float:
    """All but the last twentieth are faster."""
    return sorted(waits)[-1 - len(waits) // 20] if waits else 0.0


def watch(url: str, waits: list[float], done: threading.Event) -> None:
    while not done.wait(0.05):
        began = time.monotonic()
        httpx.get(f"{url}/healthz", timeout=60)
        waits.append(time.monotonic() - began)
