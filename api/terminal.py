"""Tables and lines for the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn
from rich.table import Table


def _number(value: Any, form: str = ".8g") -> str:
    return "–" if value is None else format(value, form)


def comparison_table(rows: list[dict[str, Any]]) -> Table:
    """measured | predicted | gap, a row for each quantity, layer and seed."""
    table = Table("quantity", "layer", "seed", title="theory beside measurement" if rows else "nothing is predicted")
    for name in ("measured", "predicted", "gap"):
        table.add_column(name, justify="right")
    for row in rows:
        numbers = (_number(row["measured"]), _number(row["predicted"]), _number(row["gap"], ".1e"))
        table.add_row(row["quantity"], row["layer"] or "", str(row["seed"]), *numbers)
    return table


def experiments_table(items: list[dict[str, Any]]) -> Table:
    table = Table("id", "name", "status", "progress", "submitted", "device")
    for item in items:
        at = item["progress"]
        share = f"{100 * at['step'] // at['total']} %" if at["total"] else ""
        submitted = item["created_at"][:19].replace("T", " ")
        table.add_row(item["id"], item["name"], item["status"], share, submitted, item["device"] or "")
    return table


def prediction_table(prediction: dict[str, Any]) -> Table:
    table = Table("quantity", "predicted", show_lines=False)
    for name, value in prediction.items():
        table.add_row(name, "\n".join(map(str, value)) if name == "notes" else _plain(value))
    return table


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return _number(value) if isinstance(value, float) else ("not known" if value is None else str(value))


def verdict_lines(experiment: dict[str, Any]) -> Iterable[str]:
    result = experiment["result"] or {}
    for verdict in result.get("verdict", []):
        gap = "" if verdict["gap"] is None else f", gap of the objective {verdict['gap']:.1e}"
        note = f" ({verdict['note']})" if verdict["note"] else ""
        yield f"seed {verdict['seed']}: {verdict['reached'].replace('_', ' ')}{gap}{note}"


@contextmanager
def progress_of(experiment: dict[str, Any], shown: bool = True) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar with status and time left; the function that is given takes the experiment's newest JSON."""
    name = experiment["name"] or experiment["id"]
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[left]}"))
    with Progress(*columns, disable=not shown) as bar:
        task = bar.add_task(name, total=None, left="")

        def show(data: dict[str, Any]) -> None:
            at, eta = data["progress"], data["progress"]["eta_seconds"]
            left = f"{eta:.0f} s left" if eta and data["status"] == "running" else ""
            total = at["total"] or None
            bar.update(task, completed=at["step"], total=total, description=f"{name} ({data['status']})", left=left)

        yield show


@contextmanager
def progress_of_sweep(data: dict[str, Any], shown: bool = True) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar of all steps of a sweep, with how many experiments are in each status."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[told]}"))
    with Progress(*columns, disable=not shown, transient=False) as bar:
        task = bar.add_task(data["name"] or data["id"], total=1.0, told="")

        def show(now: dict[str, Any]) -> None:
            told = ", ".join(f"{count} {status}" for status, count in now["statuses"].items())
            bar.update(task, completed=now["progress"], told=told)

        yield show
