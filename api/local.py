"""`ncore run`: the engine alone, with the tables and pictures of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress

from api import pictures, series
from api.experiments import spec_of
from api.plots import Form, rendered
from api.subject import subject_of
from api.terminal import comparison_table, verdict_lines
from api.theory import compare
from ncore.measurement import Measurement
from ncore.theory import predict

SLICE_SECONDS = 0.2
FORMS: tuple[Form, ...] = ("svg", "png", "pdf")


def run_here(body: Any, out: Path | None, console: Console) -> int:
    """Trains the spec in this process; saves series, result and picture in `out`. Exit status 1 when it diverged."""
    from ncore.train import DeviceError, Diverged, begin, outcome

    spec = spec_of(body)
    measured: list[Measurement] = []
    try:
        run = begin(spec)
        with Progress(console=console) as bar:
            task = bar.add_task(spec.name or "run", total=run.total)
            while not run.done:
                measured += run.advance(SLICE_SECONDS)
                bar.update(task, completed=run.step)
    except (Diverged, DeviceError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    finals = list({m.seed: m for m in measured}.values())
    result = outcome(spec, run, finals)
    found, prediction = as_series(measured), predict(spec)
    console.print(comparison_table([row.model_dump() for row in compare(prediction, found)]))
    for line in verdict_lines({"result": result}):
        console.print(line, markup=False)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "metrics.csv").write_bytes(series.as_csv(found)[0])
        (out / "result.json").write_bytes(orjson.dumps(result, option=orjson.OPT_INDENT_2))
        (out / "spec.json").write_bytes(orjson.dumps(spec.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        chart = pictures.figure(found, subject_of(spec, run.total))
        for form in FORMS:
            (out / f"picture.{form}").write_bytes(rendered(chart, form).body)
        console.print(f"saved in {out}", markup=False)
    return 0


def as_series(measured: list[Measurement]) -> list[dict[str, Any]]:
    """Measurements as the series of GET …/metrics."""
    found: dict[tuple[str, str | None, int], dict[str, Any]] = {}
    for m in measured:
        for (metric, layer), value in m.values.items():
            blank: dict[str, Any] = {"metric": metric, "layer": layer, "seed": m.seed, "steps": [], "values": []}
            one = found.setdefault((metric, layer, m.seed), blank)
            one["steps"].append(m.step)
            one["values"].append(value)
    return list(found.values())
