"""The terminal: a console that prints names as they are, and tables and lines of experiments."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ncore.outcome import Final, Outcome
from ncore.text import printable

UNBOUNDED = 100_000
"""Columns of a pipe: nothing is wrapped or cut in what another program reads."""
SHOWN_METRICS = ("accuracy", "test_accuracy", "objective", "loss", "nc1", "nc2_of", "nc2_etf", "nc3", "nc4")


class Terminal(Console):
    """A console for texts of users: no markup, no emoji codes, no escapes in them; unwrapped and plain in a pipe."""

    def __init__(self, stderr: bool = False) -> None:
        stream = sys.stderr if stderr else sys.stdout
        width = None if stream.isatty() or os.environ.get("COLUMNS") else UNBOUNDED
        super().__init__(stderr=stderr, markup=False, emoji=False, highlight=False, soft_wrap=True, width=width)

    def render_str(self, text: str, **options: Any) -> Text:
        return super().render_str(printable(text), **options)


def new_table(*columns: str, title: str | None = None, right: Sequence[str] = ()) -> Table:
    """An empty table; columns named in `right` are aligned there. In a pipe it has no frame."""
    table = Table(title=title, box=box.HEAVY_HEAD if sys.stdout.isatty() or os.environ.get("COLUMNS") else None)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    return table


def number(value: Any, form: str = ".8g") -> str:
    return "–" if value is None else format(value, form)


def comparison_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """measured | predicted | gap, a row for each quantity, layer and seed."""
    columns = ("quantity", "layer", "seed", "measured", "predicted", "gap")
    table = new_table(*columns, title="theory beside measurement", right=columns[3:])
    for row in rows:
        numbers = (number(row["measured"]), number(row["predicted"]), number(row["gap"], ".1e"))
        table.add_row(row["quantity"], row["layer"] or "", str(row["seed"]), *numbers)
    return table


def final_table(final: Sequence[Final], title: str = "final values", everything: bool = False) -> Table:
    """Each seed's last measurement: a row a metric and layer, a column a seed; of the main metrics, or of all."""
    seeds = [f"seed {one['seed']}" for one in final]
    table = new_table("metric", "layer", *seeds, title=title, right=seeds)
    values = [{(m["metric"], m["layer"]): m["value"] for m in one["metrics"]} for one in final]
    order = {metric: i for i, metric in enumerate(SHOWN_METRICS)}
    keys = [key for key in dict.fromkeys(key for one in values for key in one) if everything or key[0] in order]
    for metric, layer in sorted(keys, key=lambda key: (key[1] is not None, order.get(key[0], len(order)))):
        table.add_row(metric, layer or "", *(number(one.get((metric, layer)), ".6g") for one in values))
    return table


def shown_finals(result: Outcome | None) -> dict[str, Any]:
    """The main final values, each the mean over the seeds, by "final.METRIC.LAYER"; and the verdict."""
    found: dict[str, list[float]] = {}
    for m in (m for one in (result.get("final", []) if result else []) for m in one["metrics"]):
        if m["metric"] in SHOWN_METRICS and m["value"] is not None:
            found.setdefault(".".join(filter(None, ("final", m["metric"], m["layer"]))), []).append(m["value"])
    verdicts = result.get("verdict", []) if result else []
    reached = dict.fromkeys(one["reached"] or "not known" for one in verdicts)
    verdict = {"final.verdict": ", ".join(reached)} if reached else {}
    return {**{name: sum(values) / len(values) for name, values in found.items()}, **verdict}


def experiments_table(items: Iterable[Mapping[str, Any]], fields: Sequence[str] = ()) -> Table:
    """A row for each; `fields` are more columns, which the API was asked for."""
    table = new_table("id", "name", "status", "progress", "submitted", "device", *fields, right=fields)
    for item in items:
        at = item["progress"]
        share = f"{100 * at['step'] // at['total']} %" if at["total"] else ""
        front = (item["id"], item["name"], item["status"], share, moment(item["created_at"]), item["device"] or "")
        table.add_row(*front, *(_plain(item.get("values", {}).get(name, item.get(name))) for name in fields))
    return table


def sweeps_table(items: Iterable[Mapping[str, Any]]) -> Table:
    table = new_table("id", "name", "experiments", "done", "submitted", "axes")
    for item in items:
        done = f"{100 * item['progress']:.0f} %"
        axes = ", ".join(item["axes"])
        table.add_row(item["id"], item["name"], str(item["total"]), done, moment(item["created_at"]), axes)
    return table


def moment(text: str) -> str:
    """A time as the API writes it, to the second."""
    return text[:19].replace("T", " ")


def prediction_table(prediction: Mapping[str, Any]) -> Table:
    table = new_table("quantity", "predicted")
    for name, value in prediction.items():
        table.add_row(name, "\n".join(map(str, value)) if name == "notes" else _plain(value))
    return table


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {_plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(_plain(item) for item in value)
    return number(value) if isinstance(value, float) else ("not known" if value is None else str(value))


def verdict_lines(result: Outcome | None) -> Iterable[str]:
    for verdict in result.get("verdict", []) if result else []:
        gap = "" if verdict["gap"] is None else f", relative gap to the predicted objective {verdict['gap']:.1e}"
        note = f" ({verdict['note']})" if verdict["note"] else ""
        reached = (verdict["reached"] or "not known").replace("_", " ")
        yield f"seed {verdict['seed']}: {reached}{gap}{note}"


console = Terminal()
faults = Terminal(stderr=True)
