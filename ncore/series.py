"""Series of measurements: one metric of one layer of one seed over the steps. Thinned; as a file, as a frame."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import orjson

if TYPE_CHECKING:
    import pyarrow as pa

    from ncore.run import Measurement

Point = tuple[str, str | None, int, int, float | None]
COLUMNS = ("metric", "layer", "seed", "step", "value")
PARQUET = "application/vnd.apache.parquet"


def merged(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """One series from two that have no step in common."""
    pairs = sorted(zip(one["steps"] + other["steps"], one["values"] + other["values"], strict=True), key=itemgetter(0))
    return {**one, "steps": [step for step, _ in pairs], "values": [value for _, value in pairs]}


def thinned(series: dict[str, Any], points: int) -> dict[str, Any]:
    """At most `points` of a series: both ends, and lowest and highest of equal parts of the rest; always the same."""
    values: list[float | None] = series["values"]
    if len(values) <= points:
        return series
    kept, parts, inner = {0, len(values) - 1}, max(1, (points - 2) // 2), len(values) - 2
    for part in range(parts if points > 3 else 0):
        indices = range(1 + part * inner // parts, 1 + (part + 1) * inner // parts)
        known = [i for i in indices if values[i] is not None]
        if known:
            kept |= {min(known, key=lambda i: (values[i], i)), max(known, key=lambda i: (values[i], -i))}
    order = sorted(kept)
    return {**series, "steps": [series["steps"][i] for i in order], "values": [values[i] for i in order]}


def _points(series: list[dict[str, Any]]) -> list[Point]:
    return [
        (one["metric"], one["layer"], one["seed"], step, value)
        for one in series
        for step, value in zip(one["steps"], one["values"], strict=True)
    ]


def as_csv(series: list[dict[str, Any]]) -> tuple[bytes, str]:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_points(series))
    return text.getvalue().encode(), "text/csv"


def as_ndjson(series: list[dict[str, Any]]) -> tuple[bytes, str]:
    lines = [orjson.dumps(dict(zip(COLUMNS, point, strict=True))) for point in _points(series)]
    return b"".join(line + b"\n" for line in lines), "application/x-ndjson"


def as_parquet(series: list[dict[str, Any]]) -> tuple[bytes, str]:
    import pyarrow.parquet as pq

    sink = io.BytesIO()
    pq.write_table(table_of(_points(series)), sink)
    return sink.getvalue(), "application/vnd.apache.parquet"


def table_of(points: Sequence[Point]) -> pa.Table:
    """An Arrow table of the points, of the same types whatever they are."""
    import pyarrow as pa

    kinds = (pa.string(), pa.string(), pa.int64(), pa.int64(), pa.float64())
    arrays = [pa.array([point[i] for point in points], kind) for i, kind in enumerate(kinds)]
    return pa.table(arrays, names=list(COLUMNS))


def as_series(measured: Iterable[Measurement]) -> list[dict[str, Any]]:
    """Measurements as the series of GET …/metrics: undefined values are None."""
    found: dict[tuple[str, str | None, int], dict[str, Any]] = {}
    for m in measured:
        for (metric, layer), value in m.values.items():
            blank: dict[str, Any] = {"metric": metric, "layer": layer, "seed": m.seed, "steps": [], "values": []}
            one = found.setdefault((metric, layer, m.seed), blank)
            one["steps"].append(m.step)
            one["values"].append(value if math.isfinite(value) else None)
    return list(found.values())


def framed(series: Sequence[Mapping[str, Any]], library: str | None = None, required: bool = False) -> Any:
    """One row a point: metric, layer (null: it has none), seed, step, value (null: undefined).

    `library`: pandas, polars, or records for a list of dicts; None takes the first that is installed. Without either
    a list of dicts, or, where a frame is `required`, an ImportError that names them.
    """
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for one in series:
        count = len(one["steps"])
        for name in COLUMNS[:3]:
            columns[name] += [one[name]] * count
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
