"""`ncore run`: the engine alone, with the tables and pictures of the service."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import orjson
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

from ncore.cli.terminal import comparison_table, console, faults, final_table, verdict_lines
from ncore.outcome import Outcome, as_final
from ncore.presets import spec_of, trainable
from ncore.run import Measurement
from ncore.series import Series, as_series, csv_parts
from ncore.spec import NetworkSpec, UfmSpec
from ncore.text import printable
from ncore.theory import predict
from ncore.theory.comparison import compare

SLICE_SECONDS = 0.2
FORMS: tuple[Literal["svg", "png", "pdf"], ...] = ("svg", "png", "pdf")


def run_here(body: Any, out: Path | None) -> int:
    """Trains the spec in this process; saves series, result and pictures in `out`, whatever ends it.

    Exit status 1 where it failed, 130 where it was interrupted.
    """
    spec = trainable(spec_of(body))
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)  # before the work, lest it be in vain
    measured: list[Measurement] = []
    result, steps, status = _trained(spec, measured)
    found = as_series(measured)
    rows = [row.model_dump() for row in compare(predict(spec), found)]
    if rows:
        console.print(comparison_table(rows))
    elif found:
        console.print(final_table(as_final(_last(measured)), "final values" if result else "values so far"))
    for line in verdict_lines(result):
        console.print(line)
    if out is not None:
        _save(out, spec, found, result, steps)
        console.print(f"saved in {out}")
    return status


def _trained(spec: UfmSpec | NetworkSpec, measured: list[Measurement]) -> tuple[Outcome | None, int, int]:
    """Adds to `measured` while it trains. (result, None where it did not end well; steps in all; exit status)."""
    from ncore.run import DeviceError, Diverged

    steps = 0
    try:
        from ncore.train import begin, outcome  # torch: seconds, in which one may interrupt too

        run = begin(spec)
        steps = run.total
        columns = (TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn())
        with Progress(*columns, console=faults) as bar:
            task = bar.add_task(printable(spec.name) or "run", total=run.total)
            while not run.done:
                measured += run.advance(SLICE_SECONDS)
                bar.update(task, completed=run.step)
        return outcome(spec, run, _last(measured)), steps, 0
    except (Diverged, DeviceError, MemoryError) as error:
        faults.print(str(error) or "out of memory", style="red")
        return None, steps, 1
    except KeyboardInterrupt:
        faults.print("\ninterrupted; what was measured until here:")
        return None, steps, 130


def _last(measured: list[Measurement]) -> list[Measurement]:
    """The last measurement of each seed."""
    return list({m.seed: m for m in measured}.values())


def _save(out: Path, spec: UfmSpec | NetworkSpec, found: list[Series], result: Outcome | None, steps: int) -> None:
    from ncore.pictures import curves  # slow to import, and only needed here
    from ncore.pictures.files import rendered
    from ncore.pictures.histogram import ends_of
    from ncore.pictures.points import curves_of
    from ncore.pictures.setting import setting_of

    (out / "metrics.csv").write_bytes(b"".join(csv_parts(found)))
    for name, content in (("metrics", found), ("result", result), ("spec", spec.model_dump(mode="json"))):
        (out / f"{name}.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    chart = curves.figure(curves_of(found), setting_of(spec, steps), ends=ends_of(found))
    for form in FORMS:
        (out / f"picture.{form}").write_bytes(rendered(chart, form))
