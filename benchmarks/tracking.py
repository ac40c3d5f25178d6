"""Storing, reading, listing and drawing, beside MLflow's tracking server and the least that it could cost."""

from __future__ import annotations

import os
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import orjson
from sqlalchemy import insert, select

from api.database.sessions import get_engine, reading, writing
from api.database.states import Progress, save_measurements
from api.database.tables import Experiment
from api.service import environment, running
from api.settings import Settings, get_settings
from benchmarks import NotRun, Row, seconds_in_turns
from benchmarks._mlflow import NotThere, tracking_server
from ncore.client import Client

METRICS = [f"metric_{i}" for i in range(20)]
THOUSAND = {"measure.points": 1000, "measure.spacing": "linear", "optimizer.steps": 2000}


@dataclass(frozen=True)
class Size:
    """How much is stored, listed, asked for and drawn."""

    steps: int
    batch: int
    listed: int
    requests: int
    pictures: int

    @property
    def points(self) -> int:
        return self.steps * len(METRICS)


FULL = Size(steps=5_000, batch=500, listed=10_000, requests=400, pictures=16)
SMALLEST = Size(steps=10, batch=5, listed=5, requests=16, pictures=1)


def run(smallest: bool = False) -> list[Row | NotRun]:
    size = SMALLEST if smallest else FULL
    with tempfile.TemporaryDirectory() as home:
        settings = Settings(home=Path(home), port=0)
        os.environ |= environment(settings)
        get_settings.cache_clear()
        get_engine.cache_clear()
        headers = {"Accept-Encoding": "identity"}
        with (
            running(settings) as service,
            Client(service.url) as client,
            httpx.Client(base_url=service.url, headers=headers, timeout=60) as http,
        ):
            # with how fast the machine is at that moment
            drawn = Row.of_seconds(
                "first picture, 1,000 points a series", _first_pictures(client, http, size), 150, "ms"
            )
            listed, alive = _p95_of_list_and_health(client, http, size)
            stored, made = _stored(client, size)
            works: dict[str, Callable[[], object]] = {
                "http": lambda: http.get(f"/experiments/{made}/metrics").raise_for_status().content,
                "floor": lambda: _floor(settings, made),
            }
            read, floor = seconds_in_turns(works, 7).values()
    return [
        *([NotRun("beside MLflow", "left out")] if smallest else _beside_mlflow(stored, read, size)),
        Row.of_turns(f"reading {size.points:,} points by HTTP", read, floor, "s", "<= 3", "bare query and orjson"),
        Row.of_turns(f"p95 of GET /experiments ({size.listed:,})", listed, alive, "ms", "<= 5", "p95 of /healthz"),
        drawn,
    ]


def _beside_mlflow(stored: float, read: list[float], size: Size) -> list[Row | NotRun]:
    try:
        with tracking_server() as tracking:
            points = [(metric, step, step * 0.5) for step in range(size.steps) for metric in METRICS]
            logged = seconds_in_turns({"log": lambda: tracking.log(points)}, 1)["log"]
            history = seconds_in_turns(
                {"history": lambda: [tracking.history(metric) for metric in METRICS]}, len(read)
            )["history"]
    except NotThere as error:
        return [NotRun("beside MLflow", str(error))]
    return [
        Row.of_turns(f"storing {size.points:,} points", [stored], logged, "s", ">= 20", "MLflow's log-batch"),
        Row.of_turns(f"reading {size.points:,} points", read, history, "s", ">= 50", "MLflow's get-history"),
    ]


def _stored(client: Client, size: Size) -> tuple[float, str]:
    """Seconds that a worker needs to store the points, and the id under which they are."""
    made = client.submit("fig1", {"optimizer.steps": 1, "seeds": [0], "measure.points": 2}).wait(progress=False)
    with writing() as session:
        row = session.get_one(Experiment, made.id)
        row.status, attempt = "running", row.attempt
    began = time.perf_counter()
    for start in range(1, size.steps + 1, size.batch):
        steps = range(start, start + size.batch)
        rows = [
            {"experiment_id": made.id, "seed": 1, "step": step, "seq": 10 + step,
             "values": dict.fromkeys(METRICS, step * 0.5)} for step in steps
        ]  # fmt: skip
        with writing() as session:
            made_now = Progress(attempt, rows, steps[-1], steps[-1], size.steps, 10 + steps[-1], None, "cpu")
            assert save_measurements(session, {made.id: made_now}) == {made.id}
    seconds = time.perf_counter() - began
    with writing() as session:
        session.get_one(Experiment, made.id).status = "succeeded"
    return seconds, made.id


def _floor(settings: Settings, experiment_id: str) -> bytes:
    """The rows as they are, read and written again."""
    with sqlite3.connect(settings.home / "ncore.db") as connection:
        query = 'SELECT seed, step, "values" FROM measurements WHERE experiment_id = ? ORDER BY step, seed'
        rows = connection.execute(query, [experiment_id]).fetchall()
    return orjson.dumps([(seed, step, orjson.loads(values)) for seed, step, values in rows])


def _p95_of_list_and_health(client: Client, http: httpx.Client, size: Size) -> tuple[list[float], list[float]]:
    made = client.submit("fig1", {"optimizer.steps": 500}).wait(progress=False)
    with reading() as session:
        found = session.execute(select(Experiment.__table__).where(Experiment.id == made.id)).mappings().one()
    began = datetime.now(UTC)
    copies = [
        {
            **found,
            "id": f"copy{i:06}",
            "name": f"copy {i}",
            "idempotency_key": None,
            "created_at": began + timedelta(seconds=i),
        }
        for i in range(size.listed)
    ]
    with writing() as session:
        session.execute(insert(Experiment), copies)
    waits: dict[str, list[float]] = {"/experiments": [], "/healthz": []}
    for _ in range(size.requests):
        for path, found_waits in waits.items():
            began_at = time.perf_counter()
            http.get(path).raise_for_status()
            found_waits.append(time.perf_counter() - began_at)
    listed, alive = (_p95s(found_waits[size.requests // 8 :]) for found_waits in waits.values())
    return listed, alive


def _p95s(waits: list[float], parts: int = 5) -> list[float]:
    """Milliseconds, of some parts of the waits one by one."""
    length = max(2, len(waits) // parts)
    cut = [waits[start : start + length] for start in range(0, len(waits) - length + 1, length)]
    return [1e3 * statistics.quantiles(part, n=20)[-1] for part in cut]


def _first_pictures(client: Client, http: httpx.Client, size: Size) -> list[float]:
    """Milliseconds for the first picture of an experiment, in a process that has drawn before."""
    made = [client.submit("fig1", {**THOUSAND, "name": f"{i}"}) for i in range(size.pictures + 1)]
    for one in made:
        one.wait(progress=False)
    warming, *others = made
    http.get(f"/experiments/{warming.id}/plot.svg").raise_for_status()
    waits = []
    for one in others:
        began = time.perf_counter()
        http.get(f"/experiments/{one.id}/plot.svg").raise_for_status()
        waits.append(1e3 * (time.perf_counter() - began))
    return waits
