"""Series as a table, for pandas, polars or neither."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from importlib.util import find_spec
from typing import Any


def framed(series: Sequence[Mapping[str, Any]], library: str | None = None) -> Any:
    """One row a point: metric, layer (null: it has none), seed, step, value (null: undefined).

    `library`: pandas, polars, or records for a list of dicts; None takes the first that is installed.
    """
    columns: dict[str, list[Any]] = {name: [] for name in ("metric", "layer", "seed", "step", "value")}
    for one in series:
        count = len(one["steps"])
        for name in ("metric", "layer", "seed"):
            columns[name] += [one[name]] * count
        columns["step"] += one["steps"]
        columns["value"] += one["values"]
    library = library or next((name for name in ("pandas", "polars") if find_spec(name)), "records")
    if library == "pandas":
        pd: Any = import_module(library)
        return pd.DataFrame(columns).astype({"value": float})
    if library == "polars":
        pl: Any = import_module(library)
        types = {"metric": pl.String, "layer": pl.String, "seed": pl.Int64, "step": pl.Int64, "value": pl.Float64}
        return pl.DataFrame(columns, schema=types)
    if library != "records":
        raise ValueError(f"must be pandas, polars or records; got {library!r}")
    return [dict(zip(columns, point, strict=True)) for point in zip(*columns.values(), strict=True)]
