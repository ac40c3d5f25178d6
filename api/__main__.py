"""The service's own commands: `python -m api up | migrate | demo`, which `ncore` hands over to."""

from __future__ import annotations

import argparse
import math
import signal
import sys
import threading
from argparse import Namespace
from typing import Any

from api.database import migrating
from api.service import ServiceError, running
from api.settings import Settings, get_settings
from ncore.cli.commands import exit_status_of
from ncore.cli.terminal import comparison_table, console, faults, verdict_lines
from ncore.client import Client

DEMO_GAP = 1e-6
DEMO_NC1 = 1e-10


def up(given: Namespace) -> int:
    settings = get_settings()
    if given.port is not None:
        settings = settings.model_copy(update={"port": given.port})
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with running(settings) as service:
        console.print(f"ncore is at {service.url} (data and logs in {settings.home}); Ctrl-C stops it")
        stop.wait()
        console.print("stopping ...")
    return 0


def migrate(_: Namespace) -> int:
    """The URL is printed without its password: the output goes to logs."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import OperationalError

    database = make_url(get_settings().database)
    try:
        migrating.migrate()
    except OperationalError as error:
        faults.print(f"{database} does not answer: {error.orig}", style="red")
        return 1
    console.print(f"{database} has the tables of this version")
    return 0


def demo(_: Namespace) -> int:
    settings = Settings().model_copy(update={"port": 0})
    console.print("starting broker, API and worker ...")
    with running(settings) as service, Client(service.url) as client:
        console.print(f"the service is at {service.url}; submitting preset fig1")
        experiment = client.submit("fig1").wait(timeout_seconds=300)
        theory = experiment.theory()
        console.print(comparison_table(theory["comparison"]))
        for line in verdict_lines(experiment.result):
            console.print(line)
        paths = [experiment.plot(settings.home / f"fig1.{form}") for form in ("svg", "png")]
    for path in paths:
        console.print(f"picture: {path}")
    return _judge(theory["comparison"])


def _judge(comparison: list[dict[str, Any]]) -> int:
    """The demo fails where figure 1 does not come out as the theory has it."""

    def worst_of(quantity: str, column: str) -> float:
        values = [row[column] for row in comparison if row["quantity"] == quantity]
        return max((math.inf if value is None else abs(value) for value in values), default=math.inf)

    worst, highest, least = (
        worst_of("objective", "gap"),
        worst_of("nc1", "measured"),
        worst_of("objective", "predicted"),
    )
    console.print(f"objective: f* = {least:.8f}, largest relative gap {worst:.1e}; NC1 ≤ {highest:.1e}")
    if worst <= DEMO_GAP and highest < DEMO_NC1:
        return 0
    faults.print(f"expected a gap of at most {DEMO_GAP:g} and NC1 below {DEMO_NC1:g}", style="red")
    return 1


COMMANDS = {"up": up, "migrate": migrate, "demo": demo}


def main() -> int:
    """Exit status: 0 done, 1 failed, 2 not understood."""
    parser = argparse.ArgumentParser(prog="python -m api", description=__doc__)
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--port", type=int, help="of the API")
    given = parser.parse_args()
    try:
        return exit_status_of(COMMANDS[given.command], given)
    except ServiceError as error:
        faults.print(str(error), style="red")
        return 1
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
