"""Fills a database with many experiments that have ended, and times what lists ask of it.

python -m scripts.many_runs 20000 [--database URL] [--home FOLDER]
"""

from __future__ import annotations

import argparse
import os
import random
import statistics
import tempfile
import time
from datetime import UTC, datetime, timedelta
from typing import Any

POINTS = 6
ASKED = {
    "list": {},
    "list, all fields": None,
    "query: two facts and a tag": {"where": "nc1.h1 < 1e-6 and regularization.features >= 0.01 and tag:paper"},
    "query: nothing matches": {"where": "nc1.h1 < 1e-300 or regularization.features > 1e9"},
    "query: all match": {"where": "nc1.h1 < 1e9 and not kind:resnet"},
    "query: name, time, verdict": {"where": "name ~ 1999 and started > 2020-01-01 and verdict:orthogonal_frame"},
    "sort by a final value": {"sort": "nc1.h1"},
    "sort by a parameter": {"sort": "-regularization.features"},
    "sort by duration": {"sort": "-duration"},
    "sort by name": {"sort": "name"},
    "query, sorted, with columns": {
        "where": "nc1.h1 < 1e-3",
        "sort": "-gap",
        "columns": ["name", "status", "progress", "verdict", "gap", "nc1.h1", "regularization.features", "duration"],
    },
    "page of the dashboard": {"columns": ["name", "tags", "status", "created_at", "progress", "verdict", "curve"]},
    "fields": "/fields",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int, help="0: only measure, in a home that was filled before")
    parser.add_argument("--database", default="")
    parser.add_argument("--home", default="")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        os.environ["NCORE_HOME"] = given.home or folder
        os.environ["NCORE_DATABASE_URL"] = given.database
        from api.database.migrating import migrate

        migrate()
        if given.count:
            fill(given.count)
        measure()


def fill(count: int) -> None:
    """Experiments of two kinds with random parameters and final values, as a worker would have left them."""
    from api.database import facts
    from api.database.names import folded
    from api.database.sessions import writing
    from api.database.tables import Experiment, Fact, MeasurementRow, new_id
    from ncore.presets import PRESETS
    from ncore.spec import parse_spec, with_changes

    draw, begin = random.Random(0), datetime(2026, 1, 1, tzinfo=UTC)
    bases = [parse_spec(PRESETS[name].spec).model_dump(mode="json") for name in ("fig1", "fig4", "fig5-mse-small")]
    for first in range(0, count, 500):
        rows: dict[Any, list[dict[str, Any]]] = {Experiment: [], Fact: [], MeasurementRow: []}
        for number in range(first, min(count, first + 500)):
            changes = {"seeds": [number % 7], "optimizer.learning_rate": draw.choice([0.01, 0.05, 0.1])}
            spec = with_changes(bases[number % 3], changes)
            if "regularization" in spec:
                spec["regularization"]["features"] = draw.lognormvariate(-5, 1)
            at, row_id, layers = begin + timedelta(minutes=number), new_id(), ("h1", "h2", "h3")[: 1 + number % 3]
            values = {f"{metric} {layer}": draw.lognormvariate(-12, 5) for metric in METRICS for layer in layers}
            values |= {"objective": draw.random(), "loss": draw.random(), "accuracy": draw.random()}
            reached = draw.choice(["orthogonal_frame", "simplex_etf", "not_converged"])
            verdicts = [{"seed": spec["seeds"][0], "reached": reached, "gap": draw.lognormvariate(-8, 3)}]
            metrics = [
                {"metric": k.partition(" ")[0], "layer": k.partition(" ")[2], "value": v} for k, v in values.items()
            ]
            name = f"run {number}"
            took = timedelta(seconds=draw.lognormvariate(3, 2))
            rows[Experiment].append(
                {
                    "id": row_id,
                    "name": name,
                    "search": folded(name),
                    "kind": spec["model"]["kind"],
                    "spec": spec,
                    "tags": TAGS[number % 4],
                    "status": "succeeded" if number % 11 else "failed",
                    "created_at": at,
                    "queued_at": at,
                    "started_at": at,
                    "finished_at": at + took,
                    "step": 100,
                    "total": 100,
                    "attempt": 1,
                    "last_seq": POINTS,
                    "result": {"final": [{"seed": 0, "step": 100, "metrics": metrics}], "verdict": verdicts},
                }
            )
            found = [*facts.of_spec(spec), *facts.of_end([values], verdicts)]
            rows[Fact] += [facts.as_row(row_id, fact) for fact in found]
            measured = {"experiment_id": row_id, "seed": spec["seeds"][0], "at": at, "values": values}
            rows[MeasurementRow] += [{**measured, "step": step, "seq": step + 1} for step in range(POINTS)]
        with writing() as session:
            for table, some in rows.items():
                session.execute(table.__table__.insert(), some)


METRICS = ("nc1", "nc1_trace", "nc2_of", "nc2_etf", "nc3", "nc3_centered", "cdnv", "norm_cv_h", "angle_std", "rank")
TAGS: tuple[list[str], ...] = ([], ["paper"], ["paper", "draft"], ["check"])


def measure() -> None:
    """Prints the median and the slowest of some calls, each through the whole API but the socket."""
    from fastapi.testclient import TestClient

    from api.app import app

    with TestClient(app, base_url="http://127.0.0.1") as client:
        for name, asked in ASKED.items():
            path = asked if isinstance(asked, str) else "/experiments"
            parameters = {"columns": ["name", "status"], **asked} if isinstance(asked, dict) else {}
            seconds = []
            for _ in range(7):
                began = time.process_time()  # of this process: others may compute beside it
                answer = client.get(path, params=parameters)
                seconds.append(time.process_time() - began)
                assert answer.status_code == 200, answer.text
            count = len(answer.json()["items"])
            print(
                f"{name:32} {1e3 * statistics.median(seconds):6.1f} ms, at most {1e3 * max(seconds):6.1f} ms ({count})"
            )


if __name__ == "__main__":
    main()
