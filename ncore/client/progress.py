"""Progress bars of an experiment and of a sweep, in a terminal (on stderr) or a notebook."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from ncore.text import printable


@contextmanager
def progress_of(experiment: dict[str, Any], shown: bool = True) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar with status and time left; the function that is given takes the experiment's newest JSON."""
    name = printable(experiment["name"] or experiment["id"])
    with _bar(shown) as bar:
        task = bar.add_task(name, total=None, note="")

        def show(data: dict[str, Any]) -> None:
            at, eta = data["progress"], data["progress"]["eta_seconds"]
            left = f"{eta:.0f} s left" if eta and data["status"] == "running" else ""
            total = at["total"] or None
            bar.update(task, completed=at["step"], total=total, description=f"{name} ({data['status']})", note=left)

        yield show


@contextmanager
def progress_of_sweep(data: dict[str, Any], shown: bool = True) -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar of all steps of a sweep, with how many experiments are in each status."""
    with _bar(shown) as bar:
        task = bar.add_task(printable(data["name"] or data["id"]), total=1.0, note="")

        def show(now: dict[str, Any]) -> None:
            counts = ", ".join(f"{count} {status}" for status, count in now["statuses"].items())
            bar.update(task, completed=now["progress"], note=counts)

        yield show


def _bar(shown: bool) -> Progress:
    """Names are shown as they are: brackets are no markup."""
    text = (TextColumn("{task.description}", markup=False), TextColumn("{task.fields[note]}", markup=False))
    return Progress(
        text[0], BarColumn(), TaskProgressColumn(), text[1], console=Console(stderr=True), disable=not shown
    )
