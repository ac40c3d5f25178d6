"""The command `ncore`: its parts and their arguments. `run` and `theory` need no service."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import orjson

import ncore
from ncore.status import ENDED

LONGEST_DAYS = 100_000
COMMANDS = {
    "up": ("service.hand_over", "start the whole service here and keep it running until Ctrl-C"),
    "migrate": ("service.hand_over", "bring the database to this version's tables"),
    "worker": ("service.hand_over", "train for a service: NCORE_DATABASE_URL, NCORE_BROKER_URL name it"),
    "demo": ("service.hand_over", "figure 1 through the whole service, then stop it"),
    "presets": ("commands.presets", "list the presets"),
    "submit": ("commands.submit", "submit a spec or a preset"),
    "sweep": ("sweep.sweep", "submit one experiment for each combination of values"),
    "sweeps": ("sweep.sweeps", "list sweeps, newest first"),
    "list": ("commands.list_", "list experiments, newest first"),
    "show": ("commands.show", "show an experiment: final values, beside predicted ones, and verdict"),
    "watch": ("commands.watch", "follow an experiment to its end"),
    "cancel": ("commands.cancel", "cancel an experiment"),
    "retry": ("commands.retry", "go on with a failed or cancelled experiment"),
    "export": ("commands.export", "save an experiment's spec, series, theory and picture into a folder"),
    "logs": ("admin.logs", "the events of an experiment, a line each"),
    "workers": ("admin.workers", "which workers there are, on what, and what runs there"),
    "delete": ("admin.delete", "delete an experiment, or a sweep with its experiments"),
    "prune": ("admin.prune", "delete what has ended some days ago"),
    "theory": ("commands.theory", "what the theory predicts for a spec or a preset"),
    "run": ("commands.run", "run a spec or a preset here, without a service"),
}
"""Each command's module and function, imported only when it is called, and what its help says."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status: 0 done, 1 failed, 2 not understood."""
    given = _parser().parse_args(arguments)
    module, function = COMMANDS[given.command][0].split(".")
    try:
        from ncore.cli.commands import exit_status_of

        return exit_status_of(getattr(import_module(f"ncore.cli.{module}"), function), given)
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ncore", description="Neural-collapse experiments beside theory.")
    parser.add_argument("--url", help="the service (default: NCORE_URL, else http://127.0.0.1:8000)")
    parser.add_argument("--version", action=_Version, nargs=0, help="print the version and exit")
    parts = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    made = {name: parts.add_parser(name, help=text, description=text) for name, (_, text) in COMMANDS.items()}
    for name in ("submit", "theory", "run", "sweep"):
        of_sweeps = ", of a spec or of a whole sweep" if name == "sweep" else ""
        made[name].add_argument("spec", help=f"a JSON file or a preset's name{of_sweeps}", metavar="FILE|PRESET")
        made[name].add_argument(
            "--set", action="append", default=[], type=_change, metavar="PATH=VALUE", dest="changes"
        )
    for name in ("show", "watch", "cancel", "retry", "delete", "export", "logs"):
        made[name].add_argument("id", metavar="ID")
    made["submit"].add_argument("--wait", action="store_true", help="follow it to its end")
    made["sweep"].add_argument(
        "--axis", action="append", default=[], type=_axis, metavar="PATH=[…]", dest="axes",
        help='values of a field: a list, or {"from": …, "to": …, "points": …, "spacing": "log"}',
    )  # fmt: skip
    made["sweep"].add_argument(
        "--zip", action="append", type=_object, metavar="{PATH: […], …}", help="fields whose values move together"
    )
    made["sweep"].add_argument(
        "--sample", type=_object, metavar="{…}", help='points of a box: {"points": 64, "box": {PATH: {"from", "to"}}}'
    )
    made["sweep"].add_argument(
        "--refine", type=_object, metavar="{…}", help='divide on: {"metric": "verdict", "budget": 500}'
    )
    made["sweep"].add_argument("--name", default="", help="of the sweep")
    made["sweep"].add_argument("--wait", action="store_true", help="follow it to its end and show the table")
    made["sweep"].add_argument("--metric", help="of the table and the picture (default: the sweep's own)")
    made["sweep"].add_argument("--out", help="file of the picture: .svg, .png, .pdf")
    made["up"].add_argument("--port", type=int, help="port of the API (default: NCORE_PORT, else 8000)")
    made["list"].add_argument("--status")
    made["list"].add_argument("--tag")
    made["list"].add_argument("--q", help="text in the name")
    made["list"].add_argument("--limit", type=int, default=20)
    made["sweeps"].add_argument("--limit", type=int, default=20)
    made["delete"].add_argument("--sweep", action="store_true", help="ID is a sweep's")
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


class _Version(argparse.Action):
    """Looks the version up only when it is asked for."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        sys.stdout.write(f"ncore {ncore.__version__}\n")
        parser.exit()


def _change(text: str) -> tuple[str, Any]:
    """`optimizer.steps=500`: the value as JSON, or as it stands where it is none."""
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise argparse.ArgumentTypeError(f"must be PATH=VALUE; got {text!r}")
    try:
        return path, orjson.loads(value)
    except orjson.JSONDecodeError:
        return path, value


def _axis(text: str) -> tuple[str, Any]:
    """`regularization.features=[0.001, 0.01]`, or a range."""
    path, values = _change(text)
    if not isinstance(values, list | dict) or not values:
        what = 'a JSON list or a range {"from", "to", "points", "spacing"}'
        raise argparse.ArgumentTypeError(f"must be PATH=[value, …], {what}; got {text!r}")
    return path, values


def _object(text: str) -> dict[str, Any]:
    """A JSON object."""
    try:
        found = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise argparse.ArgumentTypeError(f"must be a JSON object; got {text!r} ({error})") from None
    if not isinstance(found, dict):
        raise argparse.ArgumentTypeError(f"must be a JSON object; got {text!r}")
    return found


def _days(text: str) -> float:
    try:
        days = float(text)
    except ValueError:
        days = -1.0
    if not 0 <= days <= LONGEST_DAYS:
        raise argparse.ArgumentTypeError(f"must be a number of days from 0 to {LONGEST_DAYS}; got {text!r}")
    return days
