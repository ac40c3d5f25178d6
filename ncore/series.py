"""Series of measurements: one metric of one layer of one seed over the steps. Thinned; as a file, as a frame."""

from __future__ import annotations

import csv
import io
import math
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from itertools import islice, repeat
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson
from typing_extensions import TypedDict

from ncore.text import escaped

if TYPE_CHECKING:
    import pyarrow as pa

    from ncore.run import Measurement

SeriesPoint = tuple[str, str | None, int, int, float | None]
COLUMNS = ("metric", "layer", "seed", "step", "value")
FORMULA = ("=", "+", "-", "@", "\t", "\r")
WRITTEN = 5000
"""Points that are written at once."""
CHUNK_BYTES = 1 << 18
PARQUET = "application/vnd.apache.parquet"


class Series(TypedDict):
    """One metric of one layer (null: it has none) of one seed over the steps; a null value is undefined."""

    metric: str
    layer: str | None
    seed: int
    steps: list[int]
    values: list[float | None]


def merged(one: Series, other: Series) -> Series:
    """One series from two that have no step in common."""
    pairs = sorted(zip(one["steps"] + other["steps"], one["values"] + other["values"], strict=True), key=itemgetter(0))
    return {**one, "steps": [step for step, _ in pairs], "values": [value for _, value in pairs]}


def thinned(series: Series, points: int) -> Series:
    """A series of at most `points`: both ends, and the lowest and highest of equal parts of the rest; deterministic."""
    values = series["values"]
    if len(values) <= points:
        return series
    kept, parts, inner = {0, len(values) - 1}, max(1, (points - 2) // 2), len(values) - 2
    for part in range(parts if points > 3 else 0):
        begin = 1 + part * inner // parts
        some = values[begin : 1 + (part + 1) * inner // parts]
        known = [value for value in some if value is not None]
        if known:
            kept |= {begin + some.index(min(known)), begin + some.index(max(known))}
    order = sorted(kept)
    return {**series, "steps": [series["steps"][i] for i in order], "values": [values[i] for i in order]}


def key_of(metric: str, layer: str | None) -> str:
    """Metric and layer as the one text that rows are stored under; `metric_and_layer` reads it again."""
    return metric if layer is None else f"{metric} {layer}"


def metric_and_layer(key: str) -> tuple[str, str | None]:
    metric, _, layer = key.partition(" ")
    return metric, layer or None


def tag_of(metric: str, layer: str | None) -> str:
    """The name for other programs: `nc1/layer4`, and `loss`."""
    return metric if layer is None else f"{metric}/{layer}"


def points_of(one: Series) -> Iterator[SeriesPoint]:
    """A series as rows of a table."""
    for step, value in zip(one["steps"], one["values"], strict=True):
        yield one["metric"], one["layer"], one["seed"], step, value


def csv_lines(rows: Iterable[Sequence[Any]]) -> str:
    """Lines of a CSV file. A text that a spreadsheet would take for a formula gets a leading apostrophe."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_cell(value) for value in row] for row in rows)
    return text.getvalue()


def _cell(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    return f"'{escaped(value)}" if value.startswith(FORMULA) else escaped(value)


def csv_parts(series: Iterable[Series]) -> Iterator[bytes]:
    """A CSV file in parts, a row a point."""
    yield csv_lines([COLUMNS]).encode()
    for one in series:
        front = [repeat(_cell(value)) for value in (one["metric"], one["layer"], one["seed"])]
        for begin in range(0, len(one["steps"]), WRITTEN):
            text, some = io.StringIO(), slice(begin, begin + WRITTEN)
            csv.writer(text, lineterminator="\n").writerows(
                zip(*front, one["steps"][some], one["values"][some], strict=False)
            )
            yield text.getvalue().encode()


def ndjson_parts(series: Iterable[Series]) -> Iterator[bytes]:
    """A file of one JSON object a line and point, in parts."""
    for one in series:
        points = points_of(one)
        while some := list(islice(points, WRITTEN)):
            yield b"".join(
                orjson.dumps(dict(zip(COLUMNS, p, strict=True)), option=orjson.OPT_APPEND_NEWLINE) for p in some
            )


def parquet_parts(series: Iterable[Series]) -> Iterator[bytes]:
    """A Parquet file in parts. It is on disk first: its end says where all its parts are."""
    import pyarrow.parquet as pq

    with tempfile.TemporaryFile() as file:
        with pq.ParquetWriter(file, table_of([]).schema) as writer:
            for one in series:
                front = [[value] * len(one["steps"]) for value in (one["metric"], one["layer"], one["seed"])]
                writer.write_table(_table([*front, one["steps"], one["values"]]))
        file.seek(0)
        while part := file.read(CHUNK_BYTES):
            yield part


def parquet_of(kinds: Mapping[str, type], parts: Iterable[Sequence[Sequence[Any]]]) -> Iterator[bytes]:
    """Rows, some at a time, as a Parquet file in parts; `kinds`: {column: float or str}.

    What is no text is JSON in a column of texts.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([(name, pa.float64() if kind is float else pa.string()) for name, kind in kinds.items()])
    with tempfile.TemporaryFile() as file:
        with pq.ParquetWriter(file, schema) as writer:
            for rows in parts:
                columns = zip(*rows, strict=True)
                arrays = [
                    pa.array(column if kind is float else map(_as_text, column), field.type)
                    for column, kind, field in zip(columns, kinds.values(), schema, strict=True)
                ]
                writer.write_table(pa.table(arrays, schema=schema))
        file.seek(0)
        while part := file.read(CHUNK_BYTES):
            yield part


def _as_text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else orjson.dumps(value).decode()


def table_of(points: Sequence[SeriesPoint]) -> pa.Table:
    """An Arrow table of the points, of the same types whatever they are."""
    return _table([[point[i] for point in points] for i in range(len(COLUMNS))])


def _table(columns: Sequence[Any]) -> pa.Table:
    import pyarrow as pa

    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.float64())
    arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.table(arrays, names=list(COLUMNS))


def as_series(measured: Iterable[Measurement]) -> list[Series]:
    """Measurements as the series of GET …/metrics: undefined values are None."""
    found: dict[tuple[str, str | None, int], Series] = {}
    for m in measured:
        for (metric, layer), value in m.values.items():
            blank: Series = {"metric": metric, "layer": layer, "seed": m.seed, "steps": [], "values": []}
            one = found.setdefault((metric, layer, m.seed), blank)
            one["steps"].append(m.step)
            one["values"].append(value if math.isfinite(value) else None)
    return list(found.values())


def framed(series: Sequence[Series], library: str | None = None, required: bool = False) -> Any:
    """One row a point: metric, layer (null: it has none), seed, step, value (null: undefined).

    `library`: pandas, polars, or records for a list of dicts; None takes the first that is installed. Without either
    a list of dicts, or, where a frame is `required`, an ImportError that names them.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for one in series:
        count = len(one["steps"])
        columns["metric"] += [one["metric"]] * count
        columns["layer"] += [one["layer"]] * count
        columns["seed"] += [one["seed"]] * count
        columns["step"] += one["steps"]
        columns["value"] += one["values"]
    return table_of_columns(columns, library, required)


def table_of_columns(columns: Mapping[str, list[Any]], library: str | None = None, required: bool = False) -> Any:
    """Columns of equal length as a frame; `library` and `required` as for `framed`."""
    installed = next((name for name in ("pandas", "polars") if find_spec(name)), None)
    if library is None and installed is None and required:
        raise ImportError("a frame needs pandas or polars, and neither is installed: pip install pandas")
    library = library or installed or "records"
    if library == "pandas":
        pd: Any = _imported(library)
        found = pd.DataFrame(dict(columns))
        return found.astype({"value": float}) if "value" in columns else found
    if library == "polars":
        pl: Any = _imported(library)
        types = {"metric": pl.String, "layer": pl.String, "seed": pl.Int64, "step": pl.Int64, "value": pl.Float64}
        known = {name: kind for name, kind in types.items() if name in columns}
        return pl.DataFrame(dict(columns), schema_overrides=known, strict=False)
    if library != "records":
        raise ValueError(f"library: must be pandas, polars or records; got {library!r}")
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _imported(library: str) -> Any:
    try:
        return import_module(library)
    except ImportError as error:
        raise ImportError(f"a frame of {library} needs the package {library}: pip install {library}") from error
