"""Commands that submit experiments to a service and look at them."""

from __future__ import annotations

from argparse import Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
from rich.table import Table

from ncore.cli.output import experiment_of, experiments_of, put, put_json
from ncore.cli.terminal import (
    comparison_table,
    console,
    experiments_table,
    faults,
    final_table,
    new_table,
    prediction_table,
    verdict_lines,
)
from ncore.client import ApiError, Client, Experiment, ExperimentFailed, NotReached, body_of
from ncore.outcome import Final
from ncore.spec import SpecError

NONE_KEPT = 409
"""The status of the answer where an experiment has no geometry."""
CANCELLED = {
    "queued": "it is still queued and will not start",
    "running": "it stops at its next step; its measurements are kept",
    "cancelled": "it does not run; its measurements are kept (`ncore retry` continues it)",
}


def exit_status_of(command: Callable[[Namespace], int], given: Namespace) -> int:
    """Runs a command; what users can get wrong becomes a message and an exit status."""
    try:
        return command(given)
    except (ApiError, SpecError) as error:
        for fault in error.errors or [{"field": "", "message": str(error)}]:
            faults.print(f"{fault['field']}: {fault['message']}".removeprefix(": "), style="red")
        return 2
    except OSError as error:
        faults.print(f"{error.filename}: {error.strerror}" if error.filename else str(error), style="red")
        return 2
    except ValueError as error:
        faults.print(str(error), style="red")
        return 2
    except (ExperimentFailed, NotReached, TimeoutError, ImportError) as error:
        faults.print(str(error), style="red")
        return 1


def presets(given: Namespace) -> int:
    from ncore.presets import PRESETS
    from ncore.sweeps.presets import SWEEPS

    if given.json or given.csv or given.quiet:
        rows = [{"name": one.name, "title": one.title, "description": one.description} for one in PRESETS.values()]
        put(given, rows, lambda _: new_table(), key="name")
        return 0
    for preset in PRESETS.values():
        console.print(f"{preset.name:14} {preset.title}")
        console.print(f"{'':14} {preset.description}", style="dim")
    console.print("\nof sweeps (`ncore sweep NAME`):")
    for one in SWEEPS.values():
        console.print(f"{one.name:14} {one.title}")
        console.print(f"{'':14} {one.description}", style="dim")
    return 0


def submit(given: Namespace) -> int:
    with Client(given.url) as client:
        experiment = client.submit(given.spec, dict(given.changes))
        console.print(experiment.id)
        if given.quiet and given.wait:
            experiment.wait(progress=False)
            return 0
        return _follow(experiment) if given.wait else 0


def show(given: Namespace) -> int:
    with Client(given.url) as client:
        experiment = experiment_of(client, given.id)
        if given.json:
            put_json(experiment.data)
            return 0
        if given.csv or given.quiet:
            put(given, _final_rows(experiment), lambda _: _final_table(experiment))
            return 0
        console.print(experiments_table([experiment.data]))
        if experiment.data["error"]:
            console.print(experiment.data["error"], style="red")
        _print_outcome(experiment)
    return 0


def _final_rows(experiment: Experiment) -> list[dict[str, Any]]:
    """The last value of each series, a row each."""
    return [
        {"id": experiment.id, "seed": one["seed"], **metric} for one in _final(experiment) for metric in one["metrics"]
    ]


def watch(given: Namespace) -> int:
    with Client(given.url) as client:
        return _follow(experiment_of(client, given.id))


def _follow(experiment: Experiment) -> int:
    try:
        experiment.wait()
    except KeyboardInterrupt:
        faults.print(
            f"\nexperiment {experiment.id} keeps running: `ncore watch {experiment.id}` follows it "
            f"again, `ncore cancel {experiment.id}` stops it"
        )
        raise
    _print_outcome(experiment)
    return 0


def _print_outcome(experiment: Experiment) -> None:
    """Measured beside predicted where something is predicted, else the last values; and the verdict."""
    rows = experiment.theory()["comparison"]
    if rows:
        console.print(comparison_table(rows))
    else:
        console.print(_final_table(experiment))
    for line in verdict_lines(experiment.result):
        console.print(line)


def _final_table(experiment: Experiment) -> Table:
    title = "final values" if experiment.is_ended else "values so far"
    return final_table(_final(experiment), title, everything=experiment.data["source"] == "external")


def _final(experiment: Experiment) -> list[Final]:
    """The last value of each series, as a result has them."""
    if experiment.result:
        return experiment.result["final"]
    seeds: dict[int, Final] = {}
    for one in experiment.series(max_points=2):
        last = seeds.setdefault(one["seed"], {"seed": one["seed"], "step": 0, "metrics": []})
        last["step"] = max(last["step"], one["steps"][-1])
        last["metrics"].append({"metric": one["metric"], "layer": one["layer"], "value": one["values"][-1]})
    return [last for _, last in sorted(seeds.items())]


def cancel(given: Namespace) -> int:
    with Client(given.url) as client:
        for experiment in experiments_of(client, given.ids):
            status = experiment.cancel().status
            console.print(experiment.id if given.quiet else f"{experiment.id}: {CANCELLED.get(status, status)}")
    return 0


def retry(given: Namespace) -> int:
    with Client(given.url) as client:
        for experiment in experiments_of(client, given.ids):
            experiment.retry()
            is_external = experiment.data["source"] == "external"
            loop = f"its loop continues it by ncore.start(id={experiment.id!r})"
            how = loop if is_external else "it continues from its checkpoint"
            console.print(experiment.id if given.quiet else f"{experiment.id}: {experiment.status}; {how}")
    return 0


def export(given: Namespace) -> int:
    folder: Path
    with Client(given.url) as client:
        experiment = experiment_of(client, given.id)
        if given.to is not None:
            from ncore.integrations.writing import TRACKERS

            folder = given.out or Path(f"{experiment.id}-{given.to}")
            console.print(TRACKERS[given.to](experiment.data, experiment.series(), folder))
            return 0
        if given.zip:
            console.print(str(experiment.bundle(given.out or Path(f"{experiment.id}.zip"))))
            return 0
        folder = given.out or Path(experiment.id)
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in (("experiment", experiment.data), ("theory", experiment.theory())):
            (folder / f"{name}.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
        (folder / "spec.json").write_bytes(orjson.dumps(experiment.data["spec"], option=orjson.OPT_INDENT_2))
        for form in ("csv", "json", "parquet"):
            experiment.download(folder / f"metrics.{form}", form)
        for form in ("svg", "png", "pdf"):
            experiment.plot(folder / f"picture.{form}")
        try:
            experiment.download_geometry(folder / "geometry.npz")
        except ApiError as error:
            if error.status != NONE_KEPT:
                raise
    console.print(str(folder))
    return 0


def theory(given: Namespace) -> int:
    from ncore.presets import spec_of
    from ncore.theory import predict

    prediction = predict(spec_of(body_of(given.spec, dict(given.changes))))
    values = prediction.model_dump(mode="json", exclude={"gram", "weight_gram", "logits", "matrix_name", "levels"})
    if given.json:
        put_json(values)
    else:
        rows = [{"quantity": name, "predicted": value} for name, value in values.items()]
        put(given, rows, lambda _: prediction_table(values), key="predicted")
    return 0


def run(given: Namespace) -> int:
    from ncore.cli.run import run_here

    return run_here(body_of(given.spec, dict(given.changes)), given.out)
