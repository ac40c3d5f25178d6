"""Tables and lines for the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

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
