"""Commands that put experiments side by side: the list, and a comparison."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from ncore.cli.figure import names_in, save
from ncore.cli.output import Row, experiments_of, put
from ncore.cli.terminal import console, experiments_table, new_table, number, shown_finals
from ncore.client import Client, Experiment
from ncore.differences import leaves

COLUMNS = ["name", "tags", "status", "created_at", "started_at", "finished_at", "progress", "worker", "device"]
FILTERS = ("status", "tag", "q", "where", "sort")


def list_(given: Namespace) -> int:
    filters = {name: value for name in FILTERS if (value := getattr(given, name))}
    more = [name.strip() for name in (given.columns or "").split(",") if name.strip()]
    asked = {**filters, "columns": COLUMNS + more, **({"archived": "true"} if given.archived else {})}
    with Client(given.url) as client:
        items = [one.data for one in client.experiments(limit=given.limit, **asked)]
    rows = [_flat(item) for item in items] if given.csv else items
    put(given, rows, lambda found: experiments_table(found, more))
    return 0


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """A row of CSV: progress and chosen fields as columns of their own."""
    flat = {name: value for name, value in item.items() if name not in ("progress", "values")}
    return {**flat, **item["progress"], **item.get("values", {})}


def compare(given: Namespace) -> int:
    with Client(given.url) as client:
        found = experiments_of(client, given.ids)
        rows = [_side(one) for one in found]
        if given.out:
            save(client, found, given.out, {"metric": names_in(given.metric)})
            console.print(str(given.out))
            return 0
    same = {name for name in rows[0] if name != "id" and len({repr(row.get(name)) for row in rows}) == 1}
    kept = {name for name in same if name.startswith("final.")} if len(rows) > 1 else same
    rows = [{name: value for name, value in row.items() if name not in same - kept} for row in rows]
    put(given, rows, _sides)
    return 0


def _side(experiment: Experiment) -> dict[str, Any]:
    """One experiment: its parameters, and its final values as the mean over the seeds is shown."""
    data = experiment.data
    front = {"id": data["id"], "name": data["name"], "status": data["status"]}
    return {**front, **leaves(data["spec"]), **shown_finals(data["result"])}


def _sides(rows: Sequence[Row]) -> Table:
    """A column for each experiment."""
    table = new_table("", *(str(row["id"]) for row in rows), right=[str(row["id"]) for row in rows])
    for name in dict.fromkeys(name for row in rows for name in row if name != "id"):
        table.add_row(name.removeprefix("final."), *(_text(row.get(name)) for row in rows))
    return table


def _text(value: Any) -> str:
    return number(value, ".6g") if isinstance(value, float) or value is None else str(value)
