"""What each command of `ncore` does."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import orjson
from rich.console import Console

from ncore.cli.terminal import comparison_table, experiments_table, prediction_table, verdict_lines
from ncore.client.client import ApiError, Client, Experiment, ExperimentFailed, NotReached, body_of
from ncore.spec import SpecError

console = Console()
faults = Console(stderr=True)


def exit_status_of(command: Callable[[Namespace], int], given: Namespace) -> int:
    """Runs a command; what users can get wrong becomes a message and an exit status."""
    try:
        return command(given)
    except (ApiError, SpecError) as error:
        for fault in error.errors or [{"field": "", "message": str(error)}]:
            faults.print(f"{fault['field']}: {fault['message']}".removeprefix(": "), style="red", markup=False)
        return 2
    except (OSError, ValueError) as error:
        faults.print(str(error), style="red", markup=False)
        return 2
    except (ExperimentFailed, NotReached) as error:
        faults.print(str(error), style="red", markup=False)
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
    from ncore.presets import spec_of
    from ncore.theory import predict

    prediction = predict(spec_of(body_of(given.spec, dict(given.changes))))
    console.print(prediction_table(prediction.model_dump(exclude={"gram", "levels"})))
    return 0


def run(given: Namespace) -> int:
    from ncore.cli.run import run_here

    return run_here(body_of(given.spec, dict(given.changes)), given.out, console)
