"""What each command of `ncore` does."""

from __future__ import annotations

import math
import signal
import threading
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from rich.console import Console

from api.client import ApiError, Client, Experiment, ExperimentFailed, NotReached, body_of
from api.settings import Settings, get_settings
from api.terminal import comparison_table, experiments_table, prediction_table, verdict_lines
from ncore.spec import SpecError

console = Console()
faults = Console(stderr=True)
DEMO_GAP = 1e-6
DEMO_NC1 = 1e-10


def guarded(command: Callable[[Namespace], int], given: Namespace) -> int:
    """Runs a command; what users can get wrong becomes a message and an exit status."""
    from api.serve import ServiceError

    try:
        return command(given)
    except (ApiError, SpecError) as error:
        for fault in error.errors or [{"field": "", "message": str(error)}]:
            faults.print(f"{fault['field']}: {fault['message']}".removeprefix(": "), style="red", markup=False)
        return 2
    except (OSError, ValueError) as error:
        faults.print(str(error), style="red", markup=False)
        return 2
    except (ExperimentFailed, NotReached, ServiceError) as error:
        faults.print(str(error), style="red", markup=False)
        return 1


def up(given: Namespace) -> int:
    from api.serve import running

    settings = get_settings()
    if given.port is not None:
        settings = settings.model_copy(update={"port": given.port})
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with running(settings) as service:
        console.print(f"ncore is at {service.url} (data and logs in {settings.home}); Ctrl-C stops it", markup=False)
        stop.wait()
        console.print("stopping ...")
    return 0


def migrate(_: Namespace) -> int:
    """The URL is printed without its password: the output goes to logs."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import OperationalError

    from api import db

    database = make_url(get_settings().database)
    try:
        db.migrate()
    except OperationalError as error:
        faults.print(f"{database} does not answer: {error.orig}", style="red", markup=False, soft_wrap=True)
        return 1
    console.print(f"{database} has the tables of this version", markup=False, soft_wrap=True)
    return 0


def demo(_: Namespace) -> int:
    from api.serve import running

    settings = Settings().model_copy(update={"port": 0})
    console.print("starting broker, API and worker ...")
    with running(settings) as service, Client(service.url) as client:
        console.print(f"the service is at {service.url}; submitting preset fig1", markup=False)
        experiment = client.submit("fig1").wait(timeout_seconds=300)
        theory = experiment.theory()
        console.print(comparison_table(theory["comparison"]))
        for line in verdict_lines(experiment.data):
            console.print(line, markup=False)
        paths = [experiment.plot(settings.home / f"fig1.{form}") for form in ("svg", "png")]
    for path in paths:
        console.print(f"picture: {path}", markup=False, soft_wrap=True)
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


def presets(given: Namespace) -> int:
    del given
    from ncore.presets import PRESETS

    for preset in PRESETS.values():
        console.print(f"{preset.name:14} {preset.title}", highlight=False, markup=False)
        console.print(f"{'':14} {preset.description}", style="dim", highlight=False, markup=False)
    return 0


def submit(given: Namespace) -> int:
    with Client(given.url) as client:
        experiment = client.submit(given.spec, dict(given.changes))
        console.print(experiment.id, markup=False, highlight=False)
        return _follow(experiment) if given.wait else 0


def list_(given: Namespace) -> int:
    filters = {key: getattr(given, key) for key in ("status", "tag", "q") if getattr(given, key)}
    with Client(given.url) as client:
        console.print(experiments_table([one.data for one in client.experiments(limit=given.limit, **filters)]))
    return 0


def show(given: Namespace) -> int:
    with Client(given.url) as client:
        experiment = client.experiment(given.id)
        console.print(experiments_table([experiment.data]))
        if experiment.data["error"]:
            console.print(experiment.data["error"], style="red", markup=False, soft_wrap=True)
        _print_theory(experiment)
    return 0


def watch(given: Namespace) -> int:
    with Client(given.url) as client:
        return _follow(client.experiment(given.id))


def _follow(experiment: Experiment) -> int:
    experiment.wait()
    _print_theory(experiment)
    return 0


def _print_theory(experiment: Experiment) -> None:
    console.print(comparison_table(experiment.theory()["comparison"]))
    for line in verdict_lines(experiment.data):
        console.print(line, markup=False)


def cancel(given: Namespace) -> int:
    with Client(given.url) as client:
        console.print(f"{given.id}: {client.experiment(given.id).cancel().status}", markup=False)
    return 0


def export(given: Namespace) -> int:
    with Client(given.url) as client:
        experiment = client.experiment(given.id)
        if given.zip:
            console.print(str(experiment.bundle(given.out or Path(f"{given.id}.zip"))), markup=False)
            return 0
        folder: Path = given.out or Path(given.id)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("experiment", experiment.data), ("theory", experiment.theory())):
            (folder / f"{name}.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        (folder / "spec.json").write_bytes(orjson.dumps(experiment.data["spec"], option=orjson.OPT_INDENT_2))
        for form in ("csv", "json", "parquet"):
            experiment.download(folder / f"metrics.{form}", form)
        for form in ("svg", "png", "pdf"):
            experiment.plot(folder / f"picture.{form}")
    console.print(str(folder), markup=False)
    return 0


def theory(given: Namespace) -> int:
    from api.experiments import spec_of
    from ncore.theory import predict

    prediction = predict(spec_of(body_of(given.spec, dict(given.changes))))
    console.print(prediction_table(prediction.model_dump(exclude={"gram", "levels"})))
    return 0


def run(given: Namespace) -> int:
    from api.local import run_here

    return run_here(body_of(given.spec, dict(given.changes)), given.out, console)
