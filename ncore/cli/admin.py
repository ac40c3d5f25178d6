"""Commands of those who keep a service: who works, what happened to an experiment, and retention."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from rich.table import Table

from ncore.cli.output import experiment_of, experiments_of, put, sweep_id_of
from ncore.cli.terminal import console, new_table
from ncore.client import ENDED, ApiError, Client, Experiment, Sweep


def workers(given: Namespace) -> int:
    with Client(given.url) as client:
        items = client.request("GET", "/workers").json()["items"]
    put(given, items, _workers_table)
    return 0


def _workers_table(items: Sequence[Mapping[str, Any]]) -> Table:
    table = new_table("worker", "kind", "device", "memory", "seen", "runs")
    for item in items:
        memory = f"{item['used_bytes'] / 2**30:.1f} of {item['memory_bytes'] / 2**30:.1f} GiB"
        seen = "now" if item["alive"] else f"lost, last at {item['seen_at']}"
        table.add_row(item["id"], item["kind"], item["device"], memory, seen, item["experiment"] or "")
    return table


def logs(given: Namespace) -> int:
    with Client(given.url) as client:
        lines = experiment_of(client, given.id).logs()
    if given.json or given.csv or given.quiet:
        put(given, lines, lambda _: new_table(), key="event")
        return 0
    for line in lines:
        about = " ".join(str(line[name]) for name in ("worker", "detail") if line[name])
        attempt = f" (attempt {line['attempt']})" if line["attempt"] else ""
        console.print(f"{line['at']} {line['event']}{attempt} {about}".rstrip())
    return 0


def delete(given: Namespace) -> int:
    """Deletes experiments, or sweeps with all their experiments."""
    with Client(given.url) as client:
        chosen: list[Sweep | Experiment] = (
            [client.sweep_of(sweep_id_of(client, text)) for text in given.ids]
            if given.sweep
            else [*experiments_of(client, given.ids)]
        )
        for one in chosen:
            one.delete()
            console.print(one.id if given.quiet else f"{one.id}: deleted with its measurements and files")
    return 0


def prune(given: Namespace) -> int:
    """Deletes what ended or fell silent `given.days` ago, with rows and files; `given.dry_run` only lists it."""
    before = datetime.now(UTC) - timedelta(days=given.days)
    statuses, count = [given.status] if given.status else ENDED, 0
    with Client(given.url) as client:
        for status in statuses:
            for experiment in client.experiments(status=status, **({"tag": given.tag} if given.tag else {})):
                last = _last_moment(experiment)
                if datetime.fromisoformat(last) >= before:
                    continue
                if not given.dry_run:
                    try:
                        experiment.delete(status)
                    except ApiError as error:
                        if error.status not in (404, 409):  # gone meanwhile, or asked for again
                            raise
                        continue
                count += 1
                about = f"{experiment.id} {status} {last} {experiment.data['name']}"
                console.print(about)
    console.print(f"{count} experiments {'would be deleted' if given.dry_run else 'deleted'}")
    return 0


def _last_moment(experiment: Experiment) -> str:
    """The moment it ended; for a lost one, when it was found silent."""
    moment: str = experiment.data["finished_at"] or experiment.logs()[-1]["at"]
    return moment
