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
    forms = {"zip": given.zip, "sample": given.sample, "refine": given.refine}
    with Client(given.url) as client:
        axes = dict(given.axes) if given.axes else None
        made = client.sweep(given.spec, axes, dict(given.changes), given.name, **forms)
        console.print(made.id)
        if not given.wait:
            return 0
        _wait(made)
        picture = (made.data.get("request") or {}).get("picture") or {}
        console.print(_table(made, given.metric or _metric_of(picture)))
        if given.out:
            made.plot(Path(given.out), **({"metric": given.metric} if given.metric else {}))
    return 0 if set(made.data["statuses"]) == {"succeeded"} else 1


def _metric_of(picture: dict[str, Any]) -> str:
    """The metric of the table: the picture's, where that is a metric."""
    metric: str = picture.get("metric", "objective")
    return "objective" if metric in ("verdict", "gap") or set(metric) & set("<=") else metric


def sweeps(given: Namespace) -> int:
    with Client(given.url) as client:
        put(given, client.sweeps(given.limit), sweeps_table)
    return 0


def _wait(made: Sweep) -> None:
    try:
        made.wait()
    except KeyboardInterrupt:
        faults.print(f"\nsweep {made.id} keeps running: `ncore sweeps` and the dashboard show it")
        raise


def _table(made: Sweep, metric: str) -> Table:
    columns = (*made.data["axes"], "status", "layer", metric, "predicted", "reached", "experiment")
    table = new_table(*columns, right=(metric, "predicted"))
    for item in made.items(metric=metric):
        point = [orjson.dumps(value).decode() for value in item["point"].values()]
        levels = [level for level in item["metrics"] if level["metric"] == metric]
        for level in levels or [{"layer": None, "mean": None, "predicted": None}]:
            numbers = [number(level[name], ".6g") for name in ("mean", "predicted")]
            reached = ", ".join(dict.fromkeys(one["reached"].replace("_", " ") for one in item["verdict"]))
            table.add_row(*point, item["status"], level["layer"] or "", *numbers, reached, item["experiment"])
    return table
