"""The service's own commands: `python -m api up | migrate | demo`, which `ncore` hands over to."""

from __future__ import annotations

import argparse
import math
import os
import secrets
import signal
import sys
import threading
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from api import home
from api.addresses import ListeningError
from api.database import integrity, migrating
from api.home import HomeInUseError
from api.service import ServiceError, running
from api.settings import Settings, SettingsError, get_settings, read_settings
from ncore.cli.commands import exit_status_of
from ncore.cli.terminal import comparison_table, console, faults, verdict_lines
from ncore.client import Client

DEMO_GAP = 1e-6
DEMO_NC1 = 1e-10


def up(given: Namespace) -> int:
    settings = get_settings() if given.port is None else read_settings(port=given.port)
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with running(settings) as service:
        console.print(f"ncore is at {service.url} (data and logs in {settings.home}); Ctrl-C stops it")
        warn_of_open_doors(service.settings)
        stop.wait()
        console.print("stopping ...")
    return 0


def warn_of_open_doors(settings: Settings) -> None:
    """Prints the warning on the terminal too: nobody reads the API's log before something has gone wrong."""
    from api.web.hosts import open_doors

    warning = open_doors(settings)
    if warning is not None:
        faults.print(f"WARNING: {warning}", style="bold red")


def migrate(_: Namespace) -> int:
    """The URL is printed without its password: the output goes to logs."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import SQLAlchemyError

    settings = get_settings()
    migrating.prepare_home(settings)
    damage = integrity.damage_of(settings.database)
    if damage is not None:
        raise ServiceError(damage)
    database = make_url(settings.database)
    try:
        migrating.migrate()
    except SQLAlchemyError as error:
        raise ServiceError(f"{database}: {integrity.explain(error)} ({getattr(error, 'orig', error)})") from error
    console.print(f"{database} has the tables of this version")
    return 0


def demo(_: Namespace) -> int:
    """A service of its own, on embedded parts in a folder that goes with it: it meets no other on NCORE_HOME."""
    pictures = get_settings().home
    home.prepare(pictures)
    console.print("starting broker, API and worker ...")
    with (
        TemporaryDirectory(prefix="ncore-demo-") as folder,
        running(_of_its_own(Path(folder))) as service,
        Client(service.url, token=service.settings.tokens) as client,
    ):
        console.print(f"the service is at {service.url}; submitting preset fig1")
        experiment = client.submit("fig1").wait(timeout_seconds=300)
        theory = experiment.theory()
        console.print(comparison_table(theory["comparison"]))
        for line in verdict_lines(experiment.result):
            console.print(line)
        paths = [experiment.plot(pictures / f"fig1.{form}") for form in ("svg", "png")]
    for path in paths:
        console.print(f"picture: {path}")
    return _judge(theory["comparison"])


def _of_its_own(folder: Path) -> Settings:
    given = {"home": folder, "database_url": "", "broker_url": "", "artifacts": "", "workers": 1}
    return read_settings(**given, host="127.0.0.1", port=0, tokens=secrets.token_urlsafe(), read_tokens="")


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
    os.umask(0o077)  # what it makes is for its owner only
    try:
        return exit_status_of(lambda given: _run(COMMANDS[given.command], given), given)
    except KeyboardInterrupt:
        return 130


def _run(command: Callable[[Namespace], int], given: Namespace) -> int:
    """Exit status; what is wrong with settings, or with the service, in lines that are not broken."""
    try:
        return command(given)
    except (SettingsError, ListeningError) as error:
        message, status = str(error), 2
    except (ServiceError, HomeInUseError) as error:
        message, status = str(error), 1
    faults.print(message, style="red")
    return status


if __name__ == "__main__":
    sys.exit(main())
