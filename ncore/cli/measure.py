"""`ncore measure`: the metrics of features that were saved, or of the checkpoints of a model of your own."""

from __future__ import annotations

import glob
import sys
from argparse import Namespace
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from ncore.cli.terminal import Terminal, new_table, number

Values = Mapping[tuple[str, str | None], float]
Row = dict[str, Any]


def measure(given: Namespace) -> int:
    """A table of the metrics: of one file, or of the files of a folder or the checkpoints, a column for each step."""
    given.keys = dict(given.keys)
    rows: list[Row] = list(_of_checkpoints(given) if given.model else _of_files(given))
    if given.json:
        shown = rows[0] if len(rows) == 1 and rows[0]["step"] is None else {"rows": rows}
        sys.stdout.write(orjson.dumps(shown, option=orjson.OPT_INDENT_2).decode() + "\n")
    else:
        Terminal().print(_table(rows))
    return 0


def _of_files(given: Namespace) -> Iterator[Row]:
    from ncore.saved import read, steps_of

    if given.file is None:
        raise ValueError("FILE: must be given, or --model, --checkpoints and --data")
    path = Path(given.file)
    beside = {role: getattr(given, role) for role in ("labels", "weight", "bias")}
    files: list[tuple[int | None, Path]] = [(None, path)]
    if path.is_dir():
        steps, shared = steps_of(path)
        files, beside = [*steps], {role: file or shared.get(role) for role, file in beside.items()}
    for step, file in files:
        saved = read(file, keys=given.keys, **beside)
        yield {"file": file.name, "step": step, **saved.shape, "metrics": _listed(saved.measure(given.classes))}


def _of_checkpoints(given: Namespace) -> Iterator[Row]:
    from ncore.network.checkpoints import measured

    if given.file is not None:
        raise ValueError("FILE: may not be given beside --model")
    if not given.checkpoints or not given.data:
        raise ValueError("--model: needs --checkpoints FILES and --data NAME or folder:PATH")
    files = [Path(name) for name in glob.glob(given.checkpoints, recursive=True)]  # noqa: PTH207 (a user's pattern)
    if not files:
        raise ValueError(f"--checkpoints: no file is {given.checkpoints!r}")
    sys.path.insert(0, "")  # the user's own module, as `python -c` finds it
    try:
        for step, file, values in measured(
            given.model, files, given.data, given.image_size, given.layers, given.classifier
        ):
            yield {"file": file.name, "step": step, "metrics": _listed(values)}
    finally:
        sys.path.remove("")


def _listed(values: Values) -> list[dict[str, Any]]:
    return [{"metric": metric, "layer": layer, "value": value} for (metric, layer), value in values.items()]


def _table(rows: Sequence[Row]) -> Any:
    columns = [row["file"] if row["step"] is None else f"step {row['step']}" for row in rows]
    table = new_table("metric", "layer", *columns, right=columns)
    values = [{(one["metric"], one["layer"]): one["value"] for one in row["metrics"]} for row in rows]
    for key in dict.fromkeys(key for one in values for key in one):
        table.add_row(key[0], key[1] or "", *(number(one.get(key), ".6g") for one in values))
    return table
