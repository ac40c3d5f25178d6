"""Commands about sweeps: one experiment for each combination of values, as one table and picture."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from ncore.cli.output import put
from ncore.cli.terminal import console, faults, new_table, number, sweeps_table
from ncore.client import Client, Sweep


def sweep(given: Namespace) -> int:
    with Client(given.url) as client:
        made = client.sweep(given.spec, dict(given.axes), dict(given.changes), given.name)
        console.print(made.id)
        if not given.wait:
            return 0
        _wait(made)
        console.print(_table(made.data, given.metric))
        if given.out:
            made.plot(Path(given.out), metric=given.metric)
    return 0 if set(made.data["statuses"]) == {"succeeded"} else 1


def sweeps(given: Namespace) -> int:
    with Client(given.url) as client:
        put(given, client.sweeps(given.limit), sweeps_table)
    return 0


def _wait(made: Sweep) -> None:
    try:
        made.wait()
    except KeyboardInterrupt:
        faults.print(f"\nsweep {made.id} goes on without this terminal: `ncore sweeps` and the dashboard show it")
        raise


def _table(data: dict[str, Any], metric: str) -> Table:
    table = new_table(*data["axes"], "status", "layer", metric, "predicted", "experiment", right=(metric, "predicted"))
    for item in data["items"]:
        point = [orjson.dumps(value).decode() for value in item["point"].values()]
        levels = [level for level in item["metrics"] if level["metric"] == metric]
        for level in levels or [{"layer": None, "mean": None, "predicted": None}]:
            numbers = [number(level[name], ".6g") for name in ("mean", "predicted")]
            table.add_row(*point, item["status"], level["layer"] or "", *numbers, item["experiment"])
    return table
