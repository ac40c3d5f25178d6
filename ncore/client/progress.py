"""Progress bars of an experiment and of a sweep in a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn


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
