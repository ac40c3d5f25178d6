"""The command `ncore`: its parts and their arguments. `run` and `theory` need no service."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson

from ncore.cli import commands, service, upkeep
from ncore.cli import sweep as grid
from ncore.client.client import ENDED

LONGEST_DAYS = 100_000
COMMANDS = {
    "up": (service.hand_over, "start the whole service here and keep it running until Ctrl-C"),
    "migrate": (service.hand_over, "bring the database to this version's tables"),
    "demo": (service.hand_over, "figure 1 through the whole service, then stop it"),
    "presets": (commands.presets, "list the presets"),
    "submit": (commands.submit, "submit a spec or a preset"),
    "sweep": (grid.sweep, "submit one experiment for each combination of values"),
    "list": (commands.list_, "list experiments, newest first"),
    "show": (commands.show, "show an experiment with measured beside predicted values"),
    "watch": (commands.watch, "follow an experiment to its end"),
    "cancel": (commands.cancel, "cancel an experiment"),
    "export": (commands.export, "save an experiment's spec, series, theory and picture into a folder"),
    "logs": (upkeep.logs, "what happened to an experiment, a line an event"),
    "workers": (upkeep.workers, "who trains, on what, and what runs there"),
    "prune": (upkeep.prune, "delete what has ended some days ago"),
    "theory": (commands.theory, "what the theory predicts for a spec or a preset"),
    "run": (commands.run, "run a spec or a preset here, without a service"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 not understood."""
    given = _parser().parse_args(arguments)
    try:
        return commands.exit_status_of(COMMANDS[given.command][0], given)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ncore", description="Neural-collapse experiments beside theory.")
    parser.add_argument("--url", help="the service (default: NCORE_URL, else http://127.0.0.1:8000)")
    parts = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {name: parts.add_parser(name, help=text, description=text) for name, (_, text) in COMMANDS.items()}
    for name in ("submit", "theory", "run", "sweep"):
        made[name].add_argument("spec", help="a JSON file or a preset's name", metavar="FILE|PRESET")
        made[name].add_argument(
            "--set", action="append", default=[], type=_change, metavar="PATH=VALUE", dest="changes"
        )
    for name in ("show", "watch", "cancel", "export", "logs"):
        made[name].add_argument("id", metavar="ID")
    made["submit"].add_argument("--wait", action="store_true", help="follow it to its end")
    made["sweep"].add_argument(
        "--axis", action="append", required=True, type=_axis, metavar="PATH=[…]", dest="axes", help="values of a field"
    )
    made["sweep"].add_argument("--name", default="", help="of the sweep")
    made["sweep"].add_argument("--wait", action="store_true", help="follow it to its end and show the table")
    made["sweep"].add_argument("--metric", default="objective", help="of the table and the picture")
    made["sweep"].add_argument("--out", help="file of the picture: .svg, .png, .pdf")
    made["up"].add_argument("--port", type=int, help="port of the API (default: NCORE_PORT, else 8000)")
    made["list"].add_argument("--status")
    made["list"].add_argument("--tag")
    made["list"].add_argument("--q", help="text in the name")
    made["list"].add_argument("--limit", type=int, default=20)
    made["prune"].add_argument("--days", type=_days, required=True, help="ended more than so many days ago")
    made["prune"].add_argument("--status", choices=ENDED, help="only these (default: all that have ended)")
    made["prune"].add_argument("--tag", help="only those with this tag")
    made["prune"].add_argument("--dry-run", action="store_true", help="list them and delete nothing")
    made["export"].add_argument("--out", type=Path, help="the folder, or the zip file (default: named by the id)")
    made["export"].add_argument(
        "--zip", action="store_true", help="everything in one zip file, to run it again elsewhere"
    )
    made["run"].add_argument("--out", type=Path, help="folder for the series and the picture")
    return parser


def _change(text: str) -> tuple[str, Any]:
    """`optimizer.steps=500`: the value as JSON, or as it stands where it is none."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"must be PATH=VALUE; got {text!r}")
    try:
        return path, orjson.loads(value)
    except orjson.JSONDecodeError:
        return path, value


def _axis(text: str) -> tuple[str, list[Any]]:
    """`regularization.features=[0.001, 0.01]`."""
    path, values = _change(text)
    if not isinstance(values, list) or not values:
        raise argparse.ArgumentTypeError(f"must be PATH=[value, …], a JSON list; got {text!r}")
    return path, values


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f"must be a number of days from 0 to {LONGEST_DAYS}; got {text!r}")
    return days
