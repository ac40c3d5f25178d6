"""Series of an experiment for other trackers, through their own libraries: TensorBoard, MLflow, Weights & Biases."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from ncore.series import Series, tag_of

Steps = Iterator[tuple[int, dict[str, float]]]
MAX_BATCH = 1000
"""Metrics that MLflow's server takes at once."""
MAX_PARAM = 500
"""Characters of a parameter that MLflow's server keeps."""
MAX_PARAMS = 100
"""Parameters that it takes at once."""


def to_tensorboard(experiment: Mapping[str, Any], series: Sequence[Series], folder: Path) -> str:
    """Event files below `folder`, a run for each seed, tags as `nc1/layer4`."""
    del experiment
    writer = _library("tensorboard", "tensorboard.summary.writer.event_file_writer")
    event, summary = (import_module(f"tensorboard.compat.proto.{name}_pb2") for name in ("event", "summary"))
    for seed in _seeds(series):
        events = writer.EventFileWriter(str(folder / f"seed_{seed}"))
        for step, values in _steps(series, seed):
            found = [summary.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()]
            events.add_event(event.Event(step=step, summary=summary.Summary(value=found)))
        events.close()
    return f"{folder} (tensorboard --logdir {folder})"


def to_mlflow(experiment: Mapping[str, Any], series: Sequence[Series], folder: Path) -> str:
    """A run for each seed on the server that MLFLOW_TRACKING_URI names, below the experiment `ncore`."""
    del folder
    client = _library("mlflow", "mlflow.tracking").MlflowClient()
    entities = import_module("mlflow.entities")
    parent = client.get_experiment_by_name("ncore")
    place = client.create_experiment("ncore") if parent is None else parent.experiment_id
    runs = []
    for seed in _seeds(series):
        run = client.create_run(place, run_name=_name(experiment, seed), tags={"ncore.id": experiment["id"]})
        config = {_mlflow_name(key): str(value)[:MAX_PARAM] for key, value in _config(experiment, seed).items()}
        parameters = [entities.Param(key, value) for key, value in config.items()]
        for i in range(0, len(parameters), MAX_PARAMS):
            client.log_batch(run.info.run_id, params=parameters[i : i + MAX_PARAMS])
        steps = [(step, *item) for step, values in _steps(series, seed) for item in values.items()]
        metrics = [entities.Metric(_mlflow_name(tag), value, 0, step) for step, tag, value in steps]
        for i in range(0, len(metrics), MAX_BATCH):
            client.log_batch(run.info.run_id, metrics=metrics[i : i + MAX_BATCH])
        client.set_terminated(run.info.run_id)
        runs.append(run.info.run_id)
    return f"MLflow runs {', '.join(runs)}"


def to_wandb(experiment: Mapping[str, Any], series: Sequence[Series], folder: Path) -> str:
    """A run for each seed in the project `ncore`, where WANDB_PROJECT names none; offline as WANDB_MODE says."""
    library = _library("wandb", "wandb")
    folder.mkdir(parents=True, exist_ok=True)
    runs = []
    for seed in _seeds(series):
        run = library.init(
            project=library.env.get_project() or "ncore",
            name=_name(experiment, seed),
            tags=list(experiment["tags"]),
            config=_config(experiment, seed),
            dir=str(folder),
            reinit="create_new",
        )
        for step, values in _steps(series, seed):
            run.log(values, step=step)
        run.finish()
        runs.append(run.id)
    return f"Weights & Biases runs {', '.join(runs)}"


TRACKERS: dict[str, Callable[[Mapping[str, Any], Sequence[Series], Path], str]] = {
    "tensorboard": to_tensorboard,
    "mlflow": to_mlflow,
    "wandb": to_wandb,
}
"""Each is called with (experiment, series, folder) and says where it has written."""


def _library(extra: str, module: str) -> Any:
    try:
        return import_module(module)
    except ImportError:
        raise ImportError(f"{extra} needs its package: pip install 'ncore[{extra}]'") from None


def _mlflow_name(tag: str) -> str:
    """MLflow's names have letters, digits and _ - . blank : / only."""
    return re.sub(r"[^\w\-. :/]", "_", tag)


def _seeds(series: Sequence[Series]) -> list[int]:
    return sorted({one["seed"] for one in series})


def _steps(series: Sequence[Series], seed: int) -> Steps:
    """(step, {tag: value}) of a seed; what is undefined is left out."""
    found: dict[int, dict[str, float]] = {}
    for one in series:
        if one["seed"] == seed:
            for step, value in zip(one["steps"], one["values"], strict=True):
                if value is not None and math.isfinite(value):
                    found.setdefault(step, {})[tag_of(one["metric"], one["layer"])] = value
    return iter(sorted(found.items()))


def _name(experiment: Mapping[str, Any], seed: int) -> str:
    return f"{experiment['name'] or experiment['id']} seed {seed}"


def _config(experiment: Mapping[str, Any], seed: int) -> dict[str, Any]:
    """The spec under dotted names."""
    return {"seed": seed, **dict(_flat_spec(experiment["spec"], ""))}


def _flat_spec(spec: Any, above: str) -> Iterator[tuple[str, Any]]:
    for name, value in spec.items():
        path = f"{above}.{name}" if above else name
        if isinstance(value, Mapping):
            yield from _flat_spec(value, path)
        else:
            yield path, value
