"""`ncore run`: the engine alone, with the tables and pictures of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson
from rich.console import Console
from rich.progress import Progress

from ncore.cli.terminal import comparison_table, verdict_lines
from ncore.pictures import curves
from ncore.pictures.files import Form, rendered
from ncore.pictures.subject import subject_of
from ncore.presets import spec_of
from ncore.run import Measurement
from ncore.series import as_csv, as_series
from ncore.spec import NetworkSpec, UfmSpec
from ncore.theory import predict
from ncore.theory.comparison import compare

SLICE_SECONDS = 0.2
FORMS: tuple[Form, ...] = ("svg", "png", "pdf")


def run_here(body: Any, out: Path | None, console: Console) -> int:
    """Trains the spec in this process; saves series, result and pictures in `out`. Exit status 1 where it failed."""
    from ncore.run import DeviceError
    from ncore.train import Diverged, begin, outcome

    spec = spec_of(body)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # before the work, lest it be in vain
    measured: list[Measurement] = []
    result: dict[str, Any] | None = None
    steps = 0
    try:
        run = begin(spec)
        steps = run.total
        with Progress(console=console) as bar:
            task = bar.add_task(spec.name or "run", total=run.total)
            while not run.done:
                measured += run.advance(SLICE_SECONDS)
                bar.update(task, completed=run.step)
        result = outcome(spec, run, list({m.seed: m for m in measured}.values()))
    except (Diverged, DeviceError, MemoryError) as error:
        console.print(str(error), style="red", markup=False)
    found = as_series(measured)
    if result is not None:
        console.print(comparison_table([row.model_dump() for row in compare(predict(spec), found)]))
        for line in verdict_lines({"result": result}):
            console.print(line, markup=False)
    if out is not None:
        _save(out, spec, found, result, steps)
        console.print(f"saved in {out}", markup=False, soft_wrap=True)
    return 1 if result is None else 0


def _save(
    out: Path, spec: UfmSpec | NetworkSpec, found: list[dict[str, Any]], result: dict[str, Any] | None, steps: int
) -> None:
    (out / "metrics.csv").write_bytes(as_csv(found)[0])
    for name, content in (("metrics", found), ("result", result), ("spec", spec.model_dump(mode="json"))):
        (out / f"{name}.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    chart = curves.figure(found, subject_of(spec, steps))
    for form in FORMS:
        (out / f"picture.{form}").write_bytes(rendered(chart, form))
