"""Commands that change what an experiment is called and found by, and the one that opens it in the browser."""

from __future__ import annotations

import sys
import webbrowser
from argparse import Namespace

from ncore.cli.output import experiment_of, experiments_of, put
from ncore.cli.terminal import console
from ncore.client import Client


def tag(given: Namespace) -> int:
    with Client(given.url) as client:
        experiment = experiment_of(client, given.id)
        if given.tags or given.remove:
            kept = [one for one in experiment.data["tags"] if one not in given.remove]
            experiment.annotate(tags=list(dict.fromkeys([*kept, *given.tags])))
        rows = [{"id": experiment.id, "tags": experiment.data["tags"]}]

    def lines(_: object) -> object:
        return "\n".join(experiment.data["tags"])

    put(given, rows, lines)  # type: ignore[arg-type]
    return 0


def note(given: Namespace) -> int:
    with Client(given.url) as client:
        experiment = experiment_of(client, given.id)
        if given.text is None:
            console.print(experiment.data["notes"])
            return 0
        text = sys.stdin.read() if given.text == "-" else given.text
        if given.append and experiment.data["notes"]:
            text = f"{experiment.data['notes'].rstrip()}\n\n{text}"
        experiment.annotate(notes=text)
    console.print(experiment.id if given.quiet else f"{experiment.id}: notes written")
    return 0


def archive(given: Namespace) -> int:
    with Client(given.url) as client:
        for experiment in experiments_of(client, given.ids):
            experiment.annotate(archived=not given.undo)
            done = "in lists again" if given.undo else "archived: `ncore list --archived` shows it"
            console.print(experiment.id if given.quiet else f"{experiment.id}: {done}")
    return 0


def open_(given: Namespace) -> int:
    """Opens the page, and prints its address for where there is no browser."""
    with Client(given.url) as client:
        address = f"{client.url}/"
        if given.id is not None:
            address += f"#/experiments/{experiment_of(client, given.id).id}"
    console.print(address)
    webbrowser.open(address)
    return 0
