"""Measurements that other programs wrote down: CSV tables and TensorBoard's event files, as rows."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from ncore.client.given import name_of
from ncore.kinds.external import MAX_STEP
from ncore.rows import MAX_SEED
from ncore.series import FORMULA

Key = tuple[str, str | None]
Values = dict[Key, float]
Row = tuple[int, int, Values]
"""Seed, step, and the values {(metric, layer): value}; NaN is undefined."""
STEPS = ("step", "global_step", "_step", "iteration", "epoch")
"""Columns that say the step, the first that is there; their capitals do not matter."""
LONG = ("metric", "step", "value")
"""Columns of a table with a value in each row, as `ncore export` writes it."""
NO_METRICS = (*STEPS, "seed", "wall time")
DOWNLOADED = ["wall time", "step", "value"]
"""Columns of what TensorBoard gives for download: one metric, which is in the file's name."""
MAX_NAME = 64
FilePoint = tuple[int, int, Key, float]


def read_rows(path: Path, seed: int = 0) -> list[Row]:
    """The rows of a CSV file, a TensorBoard event file or a folder of those, in the order of seeds and steps.

    `seed`: of what says none. Raises ValueError naming the file, the line and the column, and OSError.
    """
    if path.is_dir() or ".tfevents." in path.name:
        rows = _of_events(path, seed)
    elif path.suffix.lower() == ".csv":
        rows = _of_csv(path, seed)
    else:
        raise ValueError(f"{path.name}: must be a .csv file, a TensorBoard event file or a folder of them")
    if not rows:
        raise ValueError(f"{path.name}: holds no measurement")
    return rows


def joined(parts: Mapping[str, Sequence[Row]]) -> list[Row]:
    """The rows of several files, by the files' names, as one. Raises ValueError where two say different things."""
    found: dict[tuple[int, int], Values] = {}
    owners: dict[tuple[int, int, Key], str] = {}
    for name, rows in parts.items():
        for seed, step, values in rows:
            row = found.setdefault((seed, step), {})
            for key, value in values.items():
                if _differ(row.setdefault(key, value), value):
                    other = owners[seed, step, key]
                    what = f"{_word(key)} = {row[key]:g} for seed {seed}, step {step}"
                    raise ValueError(
                        f"{name}: {other} has {what}, and this one {value:g}: import each alone, or give each a seed"
                    )
                owners.setdefault((seed, step, key), name)
    return [(*place, values) for place, values in sorted(found.items())]


def _of_csv(path: Path, seed: int) -> list[Row]:
    rows: dict[tuple[int, int], Values] = {}
    try:
        for line, (of, step, key, value) in _points_of_csv(path, seed):
            row = rows.setdefault((of, step), {})
            if _differ(row.setdefault(key, value), value):
                what = f"{_word(key)} is {row[key]:g} for seed {of}, step {step} further up, and {value:g} here"
                raise ValueError(f"{path.name}: line {line}: {what}")
    except csv.Error as error:
        raise ValueError(f"{path.name}: is no CSV table: {error}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path.name}: is no text in UTF-8") from None
    return [(*place, values) for place, values in sorted(rows.items())]


def _points_of_csv(path: Path, seed: int) -> Iterator[tuple[int, FilePoint]]:
    """(number of the line, point)."""
    with path.open(newline="", encoding="utf-8-sig") as file:
        table = csv.DictReader(file)
        columns = _columns_of(path, table.fieldnames or [])
        table.fieldnames = columns
        step = next(name for name in STEPS if name in columns)
        keys = {} if set(LONG) <= set(columns) else _keys_of(path, columns)
        for line in table:
            where = f"{path.name}: line {table.line_num}"
            if None in line or None in line.values():
                raise ValueError(f"{where}: must have {len(columns)} cells, one for each column")
            of = _whole(line.get("seed") or str(seed), "seed", where, MAX_SEED)
            at = _whole(line[step], step, where, MAX_STEP)
            if not keys:
                key = _key_of_line(line, where)
                yield table.line_num, (of, at, key, _number(line["value"], "value", where))
            for name, key in keys.items():
                if line[name]:
                    yield table.line_num, (of, at, key, _number(line[name], name, where))


def _columns_of(path: Path, names: Sequence[str]) -> list[str]:
    """The names of the columns, those that mean something here in small letters."""
    known = (*NO_METRICS, *LONG, "layer")
    columns = [name.strip().lower() if name.strip().lower() in known else name.strip() for name in names]
    twice = sorted({name for name in columns if columns.count(name) > 1})
    if twice:
        raise ValueError(f"{path.name}: has several columns {', '.join(map(repr, twice))}")
    if not set(STEPS) & set(columns):
        raise ValueError(f"{path.name}: needs a column {', '.join(STEPS)}; it has {', '.join(columns) or 'none'}")
    return columns


def _keys_of(path: Path, columns: Sequence[str]) -> dict[str, Key]:
    """The metric that each column of a wide table holds."""
    if columns == DOWNLOADED:
        return {"value": key_of_tag(path.stem.rpartition("-tag-")[2])}
    keys = _Keys()
    found = {name: keys[name] for name in columns if name and name not in NO_METRICS}
    if not found:
        raise ValueError(f"{path.name}: needs a column of a metric beside {', '.join(columns)}")
    return found


def _key_of_line(line: Mapping[str, str], where: str) -> Key:
    """Metric and layer of a line of a long table, as `ncore export` writes them."""
    metric, layer = (_unquoted(line.get(name) or "") for name in ("metric", "layer"))
    key = metric, layer or None
    try:
        name_of(key)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    return key


def _unquoted(cell: str) -> str:
    """The text without the apostrophe that keeps spreadsheets from reading it as a formula."""
    return cell[1:] if cell.startswith("'") and cell[1:].startswith(FORMULA) else cell


def _of_events(path: Path, seed: int) -> list[Row]:
    """Reads all event files below a folder; `seed 3` (or seed_3) in a folder's name says the seed.

    Within a folder the later value of a step counts, as for TensorBoard: a run that was begun again writes on there.
    """
    files = sorted(path.rglob("*.tfevents.*")) if path.is_dir() else [path]
    keys, folders = _Keys(), dict[str, list[Row]]()
    for folder in dict.fromkeys(file.parent for file in files):
        name = str(folder.relative_to(path)) if path.is_dir() else path.name
        named = re.findall(r"seed[ _=-]?(\d+)", name) if path.is_dir() else []
        of = _whole(named[-1] if named else str(seed), "seed", name, MAX_SEED)
        rows: dict[int, Values] = {}
        for step, tag, value in _scalars_of(file for file in files if file.parent == folder):
            if not 0 <= step <= MAX_STEP:
                raise ValueError(f"{name}: step must be from 0 to {MAX_STEP}; got {step}")
            rows.setdefault(step, {})[keys[tag]] = value
        folders[name] = [(of, step, values) for step, values in sorted(rows.items())]
    return joined(folders)


def _scalars_of(files: Iterable[Path]) -> Iterator[tuple[int, str, float]]:
    try:
        from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
        from tensorboard.util.tensor_util import make_ndarray
    except ImportError:
        raise ImportError(
            "TensorBoard's files need the package tensorboard: pip install 'ncore[tensorboard]'"
        ) from None
    for file in files:
        for event in EventFileLoader(str(file)).Load():
            for value in event.summary.value:
                if value.HasField("simple_value"):
                    yield event.step, value.tag, value.simple_value
                elif value.HasField("tensor") and value.metadata.plugin_data.plugin_name in ("scalars", ""):
                    numbers = make_ndarray(value.tensor)
                    if numbers.size == 1 and numbers.dtype.kind == "f":
                        yield event.step, value.tag, float(numbers.reshape(()))


class _Keys(dict[str, Key]):
    """Names of other programs as ours. Raises ValueError where two would become the same."""

    def __missing__(self, tag: str) -> Key:
        key = key_of_tag(tag)
        other = next((name for name, one in self.items() if one == key), None)
        if other is not None:
            raise ValueError(f"{other!r} and {tag!r} would both be {_word(key)!r} here: rename one")
        self[tag] = key
        return key


def key_of_tag(tag: str) -> Key:
    """`nc1/layer4` is a metric of ours in a layer; other names are metrics as they are, blanks as _."""
    from ncore.metrics.catalogue import OF_LEVEL, OF_MEASURE, OTHERS_OF_LEVEL

    metric, _, layer = tag.replace(" ", "/", 1).partition("/")
    if layer and metric in {**OF_LEVEL, **OF_MEASURE, **OTHERS_OF_LEVEL}:
        return metric, layer[:MAX_NAME]
    return re.sub(r"[^A-Za-z0-9_./:@+-]", "_", tag)[:MAX_NAME] or "value", None


def _word(key: Key) -> str:
    return " ".join(filter(None, key))


def _differ(one: float, other: float) -> bool:
    return one != other and not (math.isnan(one) and math.isnan(other))


def _whole(text: str, column: str, where: str, most: int) -> int:
    """A whole number, also as `3.0`."""
    try:
        number = int(text)
    except ValueError:
        value = _number(text, column, where)
        number = int(value) if math.isfinite(value) and value == int(value) else -1
    if not 0 <= number <= most:
        raise ValueError(f"{where}: {column} must be a whole number from 0 to {most}; got {text[:40]!r}")
    return number


def _number(text: str, column: str, where: str) -> float:
    """A number; an empty cell is undefined."""
    try:
        return float(text) if text else math.nan
    except ValueError:
        raise ValueError(f"{where}: {column} must be a number; got {text[:40]!r}") from None
