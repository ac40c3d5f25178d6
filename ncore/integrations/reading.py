"""Measurements that other programs wrote down: CSV tables and TensorBoard's event files, as rows."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterator
from pathlib import Path

Key = tuple[str, str | None]
Row = tuple[int, int, dict[Key, float]]
"""Seed, step, and the values {(metric, layer): value}; NaN is undefined."""
STEPS = ("step", "global_step", "_step", "iteration", "epoch")
"""Columns that say the step, the first that is there."""
LONG = ("metric", "step", "value")
"""Columns of a table with a value in each row, as `ncore export` writes it."""
MAX_NAME = 64


def read_rows(path: Path) -> list[Row]:
    """The rows of a CSV file, a TensorBoard event file or a folder of those, in the order of seeds and steps.

    Raises ValueError naming the file, the line and the column, and OSError.
    """
    if path.is_dir() or ".tfevents." in path.name:
        points = _of_events(path)
    elif path.suffix.lower() == ".csv":
        points = _of_csv(path)
    else:
        raise ValueError(f"{path.name}: must be a .csv file, a TensorBoard event file or a folder of them")
    rows: dict[tuple[int, int], dict[Key, float]] = {}
    for seed, step, key, value in points:
        rows.setdefault((seed, step), {})[key] = value
    if not rows:
        raise ValueError(f"{path.name}: holds no measurement")
    return [(*place, values) for place, values in sorted(rows.items())]


Point = tuple[int, int, Key, float]


def _of_csv(path: Path) -> Iterator[Point]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = csv.DictReader(file)
        columns = lines.fieldnames or []
        is_long = set(LONG) <= set(columns)
        step = next((name for name in STEPS if name in columns), None)
        if step is None:
            raise ValueError(f"{path.name}: needs a column {', '.join(STEPS)}; it has {', '.join(columns) or 'none'}")
        try:
            for line in lines:
                where = f"{path.name}: line {lines.line_num}"
                seed, at = _whole(line.get("seed") or "0", "seed", where), _whole(line[step], step, where)
                if is_long:
                    key = (line["metric"], line.get("layer") or None)
                    yield seed, at, key, _number(line["value"], "value", where)
                    continue
                for name in columns:
                    if name not in (*STEPS, "seed") and line[name]:
                        yield seed, at, key_of_tag(name), _number(line[name], name, where)
        except csv.Error as error:
            raise ValueError(f"{path.name}: is no CSV table: {error}") from None


def _of_events(path: Path) -> Iterator[Point]:
    """Of all event files below a folder; `seed 3` (or seed_3) in a folder's name says the seed."""
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError:
        raise ImportError(
            "TensorBoard's files need the package tensorboard: pip install 'ncore[tensorboard]'"
        ) from None
    for file in sorted(path.rglob("*.tfevents.*")) if path.is_dir() else [path]:
        found = re.findall(r"seed[ _=-]?(\d+)", str(file.relative_to(path) if path.is_dir() else ""))
        seed = int(found[-1]) if found else 0
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield seed, event.step, key_of_tag(value.tag), value.simple_value
                elif value.HasField("tensor") and value.metadata.plugin_data.plugin_name in ("scalars", ""):
                    numbers = make_ndarray(value.tensor)
                    if numbers.size == 1 and numbers.dtype.kind == "f":
                        yield seed, event.step, key_of_tag(value.tag), float(numbers.reshape(()))


def key_of_tag(tag: str) -> Key:
    """`nc1/layer4` is a metric of ours in a layer; other names are metrics as they are, blanks as _."""
    from ncore.metrics.catalogue import OF_LEVEL, OF_MEASURE, OTHERS_OF_LEVEL

    metric, _, layer = tag.replace(" ", "/", 1).partition("/")
    if layer and metric in {**OF_LEVEL, **OF_MEASURE, **OTHERS_OF_LEVEL}:
        return metric, layer[:MAX_NAME]
    return re.sub(r"[^A-Za-z0-9_./:@+-]", "_", tag)[:MAX_NAME] or "value", None


def _whole(text: str | None, column: str, where: str) -> int:
    number = _number(text, column, where)
    if not math.isfinite(number) or number != int(number) or number < 0:
        raise ValueError(f"{where}: {column} must be a whole number from 0; got {text!r}")
    return int(number)


def _number(text: str | None, column: str, where: str) -> float:
    """A number; an empty cell is undefined."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise ValueError(f"{where}: {column} must be a number; got {text!r}") from None
