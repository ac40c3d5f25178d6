"""How a command writes its answer: as a table, JSON, CSV, or ids alone."""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import orjson
from rich.table import Table

from ncore.cli.terminal import console
from ncore.client import Client, Experiment
from ncore.series import csv_lines

Row = Mapping[str, Any]
WHOLE_ID = 12
"""Characters of an experiment's id."""
SHOWN = 10
"""Experiments that are named where a beginning fits several."""


def put(given: Namespace, rows: Sequence[Row], table: Callable[[Sequence[Row]], Table], key: str = "id") -> None:
    """Writes rows as the options say; `key` is what is left of them under --quiet."""
    if getattr(given, "json", False):
        put_json(rows)
    elif getattr(given, "csv", False):
        names = list(dict.fromkeys(name for row in rows for name in row))
        write(csv_lines([names, *([_cell(row.get(name)) for name in names] for row in rows)]))
    elif given.quiet:
        for row in rows:
            console.print(str(row[key]))
    else:
        console.print(table(rows))


def put_json(value: Any) -> None:
    write(orjson.dumps(value, option=orjson.OPT_INDENT_2).decode() + "\n")


def write(text: str) -> None:
    """Writes to standard output unchanged, for programs."""
    sys.stdout.write(text)
    sys.stdout.flush()


def _cell(value: Any) -> Any:
    return orjson.dumps(value).decode() if isinstance(value, dict | list) else value


def experiment_of(client: Client, text: str) -> Experiment:
    """The one experiment with this id, or with an id that begins so. Raises ValueError naming those that fit."""
    if len(text) >= WHOLE_ID or not text.isalnum():
        return client.experiment(text)
    asked: dict[str, Any] = {"where": f'id:"{text}"', "archived": "true", "columns": ["name", "status"]}
    found = list(client.experiments(limit=SHOWN, **asked))
    if len(found) == 1:
        return client.experiment(found[0].id)
    if not found:
        raise ValueError(f"ID: no experiment's id begins with {text!r}")
    lines = "".join(f"\n  {one.id}  {one.data['status']}  {one.data['name']}" for one in found)
    raise ValueError(f"ID: {text!r} is the beginning of several ids; give more characters:{lines}")


def experiments_of(client: Client, texts: Iterable[str]) -> list[Experiment]:
    """All of them; nothing is done to any where one is not found."""
    return [experiment_of(client, text) for text in texts]


def sweep_id_of(client: Client, text: str) -> str:
    """The id of the sweep whose id begins so, among the newest. Raises ValueError."""
    if len(text) >= WHOLE_ID:
        return text
    found = [item for item in client.sweeps(200) if item["id"].startswith(text)]
    if len(found) != 1:
        several = "".join(f"\n  {item['id']}  {item['name']}" for item in found)
        raise ValueError(
            f"ID: {text!r} is the beginning of {f'several ids:{several}' if found else 'no id of a sweep'}"
        )
    return str(found[0]["id"])
