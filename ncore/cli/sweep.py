"""`ncore sweep`: one experiment for each combination of values, followed to its end and shown as a table."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.table import Table

from ncore.client.client import Client

console = Console()


def sweep(given: Namespace) -> int:
    with Client(given.url) as client:
        made = client.sweep(given.spec, dict(given.axes), dict(given.changes), given.name)
        console.print(made.id, markup=False, highlight=False)
        if not given.wait:
            return 0
        made.wait()
        console.print(_table(made.data, given.metric))
        if given.out:
            made.plot(Path(given.out), metric=given.metric)
    return 0 if set(made.data["statuses"]) == {"succeeded"} else 1


def _table(data: dict[str, Any], metric: str) -> Table:
    table = Table(*data["axes"], "status", "layer", metric, "predicted", "experiment")
    for item in data["items"]:
        point = [orjson.dumps(value).decode() for value in item["point"].values()]
        levels = [level for level in item["metrics"] if level["metric"] == metric]
        for level in levels or [{"layer": None, "mean": None, "predicted": None}]:
            numbers = ["–" if level[name] is None else f"{level[name]:.6g}" for name in ("mean", "predicted")]
            table.add_row(*point, item["status"], level["layer"] or "", *numbers, item["experiment"])
    return table
