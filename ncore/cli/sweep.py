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

NOTHING: dict[str, Any] = {"layer": None, "mean": None, "predicted": None, "best_known": None}
"""In place of the metric, where an experiment has not measured it."""


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
    """A known value stands under its name, f* for a proven minimum only; where names differ each cell says its own."""
    items = [(item, [one for one in item["metrics"] if one["metric"] == metric]) for item in made.items(metric=metric)]
    levels = [level for _, some in items for level in some]
    names = sorted({level["predicted_name"] for level in levels if level["predicted"] is not None})
    known = [" or ".join(names)] if names else []
    best = ["best known"] if any(level["best_known"] is not None for level in levels) else []
    columns = (*made.data["axes"], "status", "layer", metric, *known, *best, "reached", "experiment")
    table = new_table(*columns, right=(metric, *known, *best))
    for item, some in items:
        point = [orjson.dumps(value).decode() for value in item["point"].values()]
        reached = ", ".join(dict.fromkeys(one["reached"].replace("_", " ") for one in item["verdict"]))
        for level in some or [NOTHING]:
            said = f" ({level['predicted_name']})" if len(names) > 1 and level["predicted"] is not None else ""
            values = [
                number(level["mean"], ".6g"),
                *[number(level["predicted"], ".6g") + said for _ in known],
                *[number(level["best_known"], ".6g") for _ in best],
            ]
            table.add_row(*point, item["status"], level["layer"] or "", *values, reached, item["experiment"])
    return table
