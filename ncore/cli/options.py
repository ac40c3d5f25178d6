"""Options of several commands: how an answer is written, and which experiments are meant."""

from __future__ import annotations

from argparse import Action, ArgumentParser, Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

WRITTEN = ("list", "show", "sweeps", "presets", "workers", "logs", "theory", "compare", "tag")
"""Commands whose answer is something to read."""
QUIET = ("submit", "cancel", "retry", "delete", "archive", "note", "sweep", "import")
"""Commands that do something: with -q they say no more than the ids."""
SHELLS = ("bash", "zsh", "fish")


def add_options(made: Mapping[str, ArgumentParser]) -> None:
    """Adds them to the parsers of the commands."""
    for name in WRITTEN:
        forms = made[name].add_mutually_exclusive_group()
        forms.add_argument("--json", action="store_true", help="as JSON, everything that is known")
        forms.add_argument("--csv", action="store_true", help="as CSV, a row a line")
        if name != "list":
            made[name].add_argument("-q", "--quiet", action="store_true", help="ids or names alone, a line each")
    for name in QUIET:
        made[name].add_argument("-q", "--quiet", action="store_true", help="say no more than ids")
    _of_list(made["list"])
    _of_pictures(made["figure"])
    made["compare"].add_argument("--metric", metavar="NAME,…", default="nc1", help="of the picture, a panel each")
    made["compare"].add_argument("--out", type=Path, help="file of the picture: .svg, .png, .pdf")
    made["tag"].add_argument("tags", metavar="TAG", nargs="*", help="tags to add; none: show those it has")
    made["tag"].add_argument("--remove", metavar="TAG", action="append", default=[], help="a tag to take away")
    made["note"].add_argument("text", nargs="?", help="Markdown, - for standard input; left out: show the notes")
    made["note"].add_argument("--append", action="store_true", help="add to what is there, as lines of their own")
    made["archive"].add_argument("--undo", action="store_true", help="show them in lists again")
    made["open"].add_argument("id", metavar="ID", nargs="?", help="an experiment's id, or its beginning")
    made["completion"].add_argument("shell", choices=SHELLS)


class _QueryOrQuiet(Action):
    """`-q QUERY` is --where, `-q` alone is --quiet."""

    def __call__(self, parser: ArgumentParser, given: Namespace, values: Any, option_string: str | None = None) -> None:
        del parser, option_string
        if values is None:
            given.quiet = True
        else:
            given.where = values


def _of_list(parser: ArgumentParser) -> None:
    parser.add_argument("-w", "--where", metavar="QUERY", help="only what it chooses: nc1.h1 < 1e-6 and tag:paper")
    parser.add_argument(
        "-q", action=_QueryOrQuiet, nargs="?", metavar="QUERY", help="with a query as --where, alone as --quiet"
    )
    parser.add_argument("--quiet", action="store_true", help="ids alone, a line each")
    parser.add_argument("--sort", metavar="FIELD", help="by any field of queries, falling with a minus: --sort=-gap")
    parser.add_argument("--columns", metavar="FIELD,…", help="fields to show beside, as nc1.h1,optimizer.learning_rate")
    parser.add_argument("--status")
    parser.add_argument("--tag")
    parser.add_argument("--q", help="text in the name")
    parser.add_argument("--archived", action="store_true", help="archived ones too")
    parser.add_argument("--limit", type=int, default=20)


def _of_pictures(parser: ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="its ending says the form: .svg, .png, .pdf, .json")
    parser.add_argument("--panels", metavar="NAME,…", help="of one experiment: nc1,nc2,…; the paper's unless given")
    of_geometry = parser.add_mutually_exclusive_group()
    of_geometry.add_argument(
        "--geometry", action="store_true", help="cosines of class means, W and W H̄ at a step beside the predicted ones"
    )
    of_geometry.add_argument("--singular-values", action="store_true", help="of class means, W and W H̄ over the steps")
    parser.add_argument("--step", type=int, help="with --geometry: the kept step nearest to it (default: the last)")
    parser.add_argument("--metric", metavar="NAME,…", help="of several experiments, a panel each (default: nc1)")
    parser.add_argument("--layer", action="append", help="only this layer; may be repeated")
    parser.add_argument("--seed", action="append", help="of one experiment: only this seed; may be repeated")
    parser.add_argument("--x", choices=("step", "fraction"), help="of several experiments")
    parser.add_argument(
        "--color", metavar="FIELD", help="of several experiments: a parameter they differ in, or experiment"
    )
    for axis, words in (("xscale", "steps"), ("yscale", "values")):
        parser.add_argument(f"--{axis}", choices=("log", "linear"), help=f"of several experiments: of the {words}")
    parser.add_argument("--style", choices=("screen", "paper", "slides"))
    parser.add_argument("--theme", choices=("light", "dark"))
    for name, words in (("width", "of a panel"), ("height", "of a panel"), ("columns", "panels side by side")):
        parser.add_argument(f"--{name}", type=int, help=words)
    parser.add_argument("--font")
    parser.add_argument("--fontsize", type=float)
    parser.add_argument("--dpi", type=float, help="dots per inch of a .png")
    parser.add_argument("--title", help="none: no title")
    parser.add_argument("--legend")
