"""Reads of the largest experiments: in bounded memory, and while others are answered."""

import itertools
import json
import sqlite3
import threading
import time
from pathlib import Path

import httpx
import pytest
from conftest import settings_for, wait_for

from api.app import app
from api.service import running

SEEDS, POINTS, METRICS = 4, 50_000, 20
LONGEST_SECONDS = 0.3
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
    """Counted is the processor's time of the event loop while /healthz waits: whoever else computes on the machine."""
    service, made = large
    pid = service.children["api"].process.pid
    for variant in VARIANTS.get(path, [""]):
        url = (
            service.url
            + path.replace("{experiment_id}", made).replace("{form}", "svg").replace("{name}", "x")
            + variant
        )
        Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak begins anew
        before, waits, done = resident_mb(pid, "VmRSS"), [], threading.Event()
        watcher = threading.Thread(target=watch, args=(service.url, pid, waits, done))
        watcher.start()
        try:
            with httpx.stream("GET", url, timeout=120) as answer:
                assert answer.status_code in (200, 404, 405, 409)
                for _ in answer.iter_raw():
                    pass
        finally:
            done.set()
            watcher.join()
        assert resident_mb(pid, "VmHWM") - before < 300, url
        assert max(waits, default=0.0) < LONGEST_SECONDS, url


def loop_seconds(pid: int) -> float:
    """Processor time of the API's first thread, whose event loop answers everybody."""
    return int(Path(f"/proc/{pid}/task/{pid}/schedstat").read_text().split()[0]) / 1e9


def watch(url: str, pid: int, waits: list[float], done: threading.Event) -> None:
    """Adds what the event loop has computed while each call of /healthz waited for its turn."""
    while not done.wait(0.05):
        before = loop_seconds(pid)
        assert httpx.get(f"{url}/healthz", timeout=60).status_code == 200
        waits.append(loop_seconds(pid) - before)


@pytest.mark.nightly
def test_others_write_while_the_largest_is_deleted(large):
    service, made = large
    waits: list[float] = []
    done = threading.Event()
    writer = threading.Thread(target=write_on, args=(service.settings.home / "ncore.db", waits, done))
    writer.start()
    try:
        assert httpx.delete(f"{service.url}/experiments/{made}", timeout=60).status_code == 204
        wait_for("the end of its rows", lambda: rows_of(service.settings.home / "ncore.db", made) == 0, seconds=240)
    finally:
        done.set()
        writer.join()
    late = [one for one in waits if one > LONGEST_SECONDS]
    assert len(late) <= len(waits) // 20, sorted(late)  # of a machine on which others compute
    assert max(waits) < 5, "a transaction as long as the whole"


def write_on(path: Path, waits: list[float], done: threading.Event) -> None:
    with sqlite3.connect(path, timeout=60, isolation_level=None) as database:
        while not done.wait(0.02):
            began = time.monotonic()
            database.execute("BEGIN IMMEDIATE")
            database.execute("UPDATE workers SET seen_at = seen_at")
            database.execute("COMMIT")
            waits.append(time.monotonic() - began)
    database.close()


def rows_of(path: Path, experiment_id: str) -> int:
    with sqlite3.connect(path, timeout=60) as database:
        query = "SELECT count(*) FROM measurements WHERE experiment_id = ?"
        (count,) = database.execute(query, (experiment_id,)).fetchone()
    database.close()
    return count
