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
from ncore.cli.examples import examples_of
from ncore.cli.options import add_options
from ncore.status import ENDED, LOST

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
    "list": ("listing.list_", "list experiments, newest first, or those that a query chooses"),
    "show": ("commands.show", "show an experiment: final values, beside predicted ones, and verdict"),
    "watch": ("commands.watch", "follow an experiment to its end"),
    "cancel": ("commands.cancel", "cancel an experiment"),
    "retry": ("commands.retry", "go on with a failed or cancelled experiment"),
    "compare": ("listing.compare", "parameters that differ and final values, side by side; with --out one picture"),
    "figure": ("figure.figure", "save the picture of experiments: curves, or the geometry of one at a step"),
    "open": ("annotations.open_", "open an experiment, or the list, in the browser"),
    "tag": ("annotations.tag", "show, add and remove tags of an experiment"),
    "note": ("annotations.note", "show or write the notes of an experiment"),
    "archive": ("annotations.archive", "hide experiments from lists that do not ask for them"),
    "export": ("commands.export", "save an experiment's spec, series, geometry, theory and picture into a folder"),
    "logs": ("admin.logs", "the events of an experiment, a line each"),
    "workers": ("admin.workers", "which workers there are, on what, and what runs there"),
    "delete": ("admin.delete", "delete an experiment, or a sweep with its experiments"),
    "prune": ("admin.prune", "delete what has ended some days ago"),
    "sync": ("sync.sync", "send what loops have logged into folders while no service was there"),
    "import": ("sync.import_", "make an experiment of measurements that other programs wrote down"),
    "theory": ("commands.theory", "what the theory predicts for a spec or a preset"),
    "run": ("commands.run", "run a spec or a preset here, without a service"),
    "measure": ("measure.measure", "the metrics of features that were saved, or of a model's checkpoints"),
    "completion": ("completion.completion", "print what makes a shell complete the command"),
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
    made = {
        name: parts.add_parser(
            name, help=text, description=text, epilog=examples_of(name), formatter_class=argparse.RawTextHelpFormatter
        )
        for name, (_, text) in COMMANDS.items()
    }
    for name in ("submit", "theory", "run", "sweep"):
        of_sweeps = ", of a spec or of a whole sweep" if name == "sweep" else ""
        made[name].add_argument("spec", help=f"a JSON file or a preset's name{of_sweeps}", metavar="FILE|PRESET")
        made[name].add_argument(
            "--set", action="append", default=[], type=_change, metavar="PATH=VALUE", dest="changes"
        )
    for name in ("show", "watch", "export", "logs", "tag", "note"):
        made[name].add_argument("id", metavar="ID", help="an experiment's id, or its beginning")
    for name in ("cancel", "retry", "delete", "archive", "figure", "compare"):
        made[name].add_argument("ids", metavar="ID", nargs="+", help="ids of experiments, or their beginnings")
    add_options(made)
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
    made["sweeps"].add_argument("--limit", type=int, default=20)
    made["delete"].add_argument("--sweep", action="store_true", help="they are sweeps' ids")
    made["prune"].add_argument("--days", type=_days, required=True, help="ended or fell silent longer ago")
    made["prune"].add_argument(
        "--status", choices=(*ENDED, LOST), help="only these (default: all that have ended; a lost one may yet go on)"
    )
    made["prune"].add_argument("--tag", help="only those with this tag")
    made["prune"].add_argument("--dry-run", action="store_true", help="list them and delete nothing")
    made["export"].add_argument("--out", type=Path, help="the folder, or the zip file (default: named by the id)")
    made["export"].add_argument(
        "--zip", action="store_true", help="everything in one zip file, to run it again elsewhere"
    )
    made["sync"].add_argument(
        "folder",
        nargs="?",
        type=Path,
        metavar="FOLDER",
        help="of a run, or of runs (default: NCORE_RUNS, else ncore-runs)",
    )
    made["export"].add_argument(
        "--to", choices=("tensorboard", "mlflow", "wandb"), help="the series into another tracker, by its own library"
    )
    made["run"].add_argument("--out", type=Path, help="folder for the series and the picture")
    _measure_arguments(made["measure"])
    _import_arguments(made["import"])
    return parser


def _import_arguments(parser: argparse.ArgumentParser) -> None:
    forms = "a .csv, a TensorBoard event file, or a folder of these; all make one experiment"
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help=forms)
    parser.add_argument("--name", help="of the experiment (default: the first file's)")
    parser.add_argument("--tag", action="append", default=[], help="may be repeated")
    parser.add_argument("--classes", type=int, metavar="K", help="number of classes, for a verdict")
    parser.add_argument(
        "--seed", action="append", default=[], type=int, help="of what says none: one for all, or one for each file"
    )
    parser.add_argument("--again", action="store_true", help="another experiment, though the same was imported before")


def _measure_arguments(parser: argparse.ArgumentParser) -> None:
    forms = ".npz .npy .pt .safetensors .csv .parquet, or a folder of them"
    parser.add_argument("file", nargs="?", help=f"features and labels, maybe weight and bias: {forms}", metavar="FILE")
    for role in ("labels", "weight", "bias"):
        parser.add_argument(f"--{role}", help=f"a file of the {role} alone", metavar="FILE")
    parser.add_argument(
        "--key", action="append", default=[], type=_key, metavar="ROLE=NAME", dest="keys", help="features=hidden_7"
    )
    parser.add_argument("--classes", choices=("all", "present"), default="all", help="present: leave empty ones out")
    parser.add_argument("--json", action="store_true", help="as JSON, NaN as null")
    parser.add_argument("--model", help="function that makes the model, with --checkpoints", metavar="MODULE:FUNCTION")
    parser.add_argument("--checkpoints", help="files of its weights: 'ckpt/*.pt'", metavar="PATTERN")
    parser.add_argument("--data", help="a data set's name, or folder:PATH", metavar="NAME")
    parser.add_argument("--image-size", type=int, default=32, help="side that images are scaled to")
    parser.add_argument("--layers", nargs="+", help="names of modules, or patterns (default: the classifier's input)")
    parser.add_argument("--classifier", help="name of the last linear map (default: the last nn.Linear)")


def options_of() -> dict[str, list[str]]:
    """{command: its options, and ID or SPEC where it takes one}: what a shell completes."""
    found: dict[str, list[str]] = {}
    for action in _parser()._actions:  # noqa: SLF001 (argparse has no other way to ask)
        if isinstance(action, argparse._SubParsersAction):  # noqa: SLF001
            for name, parser in action.choices.items():
                actions = parser._actions  # noqa: SLF001
                places = ["ID" for one in actions if one.metavar == "ID"] + [
                    "SPEC" for one in actions if one.metavar == "FILE|PRESET"
                ]
                found[name] = [*(flag for one in actions for flag in one.option_strings), *places]
    return found


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


def _key(text: str) -> tuple[str, str]:
    """`features=hidden_7`."""
    role, _, name = text.partition("=")
    if role not in ("features", "labels", "weight", "bias") or not name:
        raise argparse.ArgumentTypeError(f"must be features, labels, weight or bias = a name; got {text!r}")
    return role, name


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
