"""/experiments/{id}/export.zip: everything about an experiment in one file, enough to run it again elsewhere."""

from __future__ import annotations

import csv
import platform
import re
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import IO, Any

import orjson
from fastapi import APIRouter, Request
from fastapi.responses import StreamingResponse
from sqlalchemy.orm import Session

from api.companion import CrowdedError
from api.database.curves import load_curves
from api.database.measurements import latest, stream
from api.database.sessions import reading
from api.database.tables import Experiment
from api.drawing import PictureError
from api.routes.plots import too_many
from api.routes.theory import theory_of
from api.shapes import write_archive
from api.shown import ExperimentOut, find, shown
from api.web.errors import PROBLEMS, Problem
from api.web.files import file_answer
from ncore.pictures import curves
from ncore.pictures.files import Converter, Form, rendered
from ncore.pictures.histogram import ends_of
from ncore.pictures.panels import needed
from ncore.pictures.setting import setting_of
from ncore.series import COLUMNS, table_of
from ncore.spec import stored_spec
from ncore.text import cleaned

router = APIRouter(tags=["experiments"], responses=PROBLEMS)
LIBRARIES = ("ncore", "vl-convert-python", "pyarrow", "sqlalchemy", "pydantic")
FORMS: tuple[Form, ...] = ("svg", "pdf")
NO_NAME = re.compile(r"[^A-Za-z0-9._+-]")
README = """# {title}

- `spec.json`: what was asked for; `result.json`, `theory.json`, `experiment.json`: its results
- `series.parquet`: every measured value, a row each (metric, layer, seed, step, value); `series.csv`: the same
- `geometry.npz`: Gram matrices of class means and of W, W H̄, and their singular values, at the steps at which they are
  kept: `ncore.geometry_file.read_geometry(path)`, or `numpy.load`, arrays SEED/LAYER/steps, /matrices, /singular_values
- `pictures/`: the curves beside what is predicted, all and each panel by itself
- `versions.json`: what it was run with

{again}
{missing}"""
AGAIN = """To run it again, with the versions of `versions.json` installed:

    {command}

On the same kind of CPU this gives the same numbers, digit for digit; elsewhere the last digits may differ.
"""
ELSEWHERE = "It was trained and measured by its owner's own loop: `spec.json` holds what that loop reported about it.\n"


@router.get(
    "/experiments/{experiment_id}/export.zip",
    response_class=StreamingResponse,
    responses={200: {"content": {"application/zip": {}}}},
)
def export_experiment(request: Request, experiment_id: str) -> StreamingResponse:
    """Spec, result, theory, all series as Parquet and CSV, the geometry, pictures, versions, how to run it again."""
    with ExitStack() as stack:
        bundle = stack.enter_context(tempfile.TemporaryFile())
        with tempfile.TemporaryDirectory() as folder:
            try:
                with reading() as session:
                    _write(session, experiment_id, Path(folder), request.state.drawing.convert)
            except CrowdedError as error:
                raise too_many(error) from None
            _pack(Path(folder), bundle, f"ncore-{experiment_id}")
        stack.pop_all()  # what sends the file closes it
    return file_answer(bundle, "application/zip", f"{experiment_id}.zip")


def _write(session: Session, experiment_id: str, folder: Path, convert: Converter) -> None:
    row = find(session, experiment_id)
    experiment = shown(row)
    prediction = theory_of(session, row)
    missing = _write_pictures(session, experiment, folder / "pictures", convert)
    _write_series(session, experiment_id, folder)
    missing += _write_geometry(session, row, folder / "geometry.npz")
    used: Mapping[str, Any] | None = (row.result or {}).get("versions")
    parts: dict[str, Any] = {
        "experiment": experiment.model_dump(mode="json"),
        "spec": experiment.spec,
        "result": experiment.result,
        "theory": prediction.model_dump(mode="json"),
        "versions": {"run": used, "export": _versions()},
    }
    for name, content in parts.items():
        (folder / f"{name}.json").write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
    title = f"{experiment.name or experiment.id} (experiment {experiment.id}, {experiment.status})"
    again = ELSEWHERE if row.source == "external" else AGAIN.format(command=_command(used))
    text = README.format(title=title, again=again, missing="".join(missing))
    (folder / "README.md").write_text(cleaned(text), encoding="utf-8")


def _command(used: Mapping[str, Any] | None) -> str:
    threads = "" if used is None else f"OMP_NUM_THREADS={used['threads']} "
    device = "" if used is None or "cuda" in used else " --set device=cpu"
    return f"{threads}ncore run spec.json{device} --out again"


def _versions() -> dict[str, str]:
    return {"python": platform.python_version()} | {name: version(name) for name in LIBRARIES}


def _write_series(session: Session, experiment_id: str, folder: Path) -> None:
    """Both files in one pass over the rows, of which only some are in memory."""
    import pyarrow.parquet as pq

    schema = table_of([]).schema
    tables, texts = folder / "series.parquet", folder / "series.csv"
    with texts.open("w", newline="") as text, pq.ParquetWriter(tables, schema) as table:
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(COLUMNS)
        for points in stream(session, experiment_id):
            writer.writerows(points)
            table.write_table(table_of(points))


def _write_geometry(session: Session, row: Experiment, path: Path) -> list[str]:
    """Returns a line where there is none."""
    try:
        with path.open("wb") as file:
            write_archive(session, row, file)
    except Problem as problem:
        path.unlink()
        return [f"\ngeometry.npz is missing: {problem.detail}\n"]
    return []


def _write_pictures(session: Session, experiment: ExperimentOut, folder: Path, convert: Converter) -> list[str]:
    """Returns a line for each picture that could not be drawn."""
    folder.mkdir()
    setting = setting_of(stored_spec(experiment.spec), experiment.progress.total, experiment.name or experiment.id)
    ends = ends_of(latest(session, experiment.id))
    shown = setting.shown(ends)
    found = load_curves(session, experiment.id, needed(shown))
    drawn = [("all", shown), *((panel, [panel]) for panel in shown)]
    missing = []
    for name, (_, panels) in zip(file_names([name for name, _ in drawn]), drawn, strict=True):
        chart = curves.figure(found, setting, panels, ends=ends)
        for form in FORMS:
            try:
                (folder / f"{name}.{form}").write_bytes(rendered(chart, form, convert))
            except PictureError as error:
                missing.append(f"\npictures/{name}.{form} is missing, because it could not be drawn: {error}\n")
    return missing


def file_names(texts: Sequence[str]) -> list[str]:
    """A name of its own for each text, without an ending, that is one in every system and leads nowhere else.

    Metrics of external experiments are named by their owners: `../x`, `a/b`, `all`.
    """
    found: list[str] = []
    taken: set[str] = set()
    for text in texts:
        plain = NO_NAME.sub("_", text)
        plain = plain if plain.strip(".") else f"_{plain}"
        name = next(one for n in count(1) if (one := plain if n == 1 else f"{plain}-{n}").casefold() not in taken)
        taken.add(name.casefold())
        found.append(name)
    return found


def _pack(folder: Path, bundle: IO[bytes], name: str) -> None:
    with zipfile.ZipFile(bundle, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in sorted(folder.rglob("*")):
            if path.is_file():
                archive.write(path, f"{name}/{path.relative_to(folder)}")
