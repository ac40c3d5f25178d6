"""Tables: `.csv` and `.parquet`, a sample in each row, its class in the column of the labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ncore.saved.contents import Contents, UnreadableError, check_size
from ncore.saved.names import ROLES

if TYPE_CHECKING:
    import pyarrow as pa

INDEX_COLUMNS = ("", "Unnamed: 0", "index", "id", "__index_level_0__")
"""Numbers of rows that pandas and others write down: no features."""
NUMBER_BYTES = 8


def csv(source: Path, limit_bytes: int) -> Contents:
    import pyarrow as pa
    from pyarrow import csv as reader

    check_size("the table", source.stat().st_size, limit_bytes)
    try:
        table = reader.read_csv(source)
    except pa.ArrowInvalid as error:
        raise UnreadableError(f"is no CSV table with a header: {_short(error)}") from None
    return _contents(table)


def parquet(source: Path, limit_bytes: int) -> Contents:
    import pyarrow as pa
    from pyarrow import parquet as reader

    try:
        with reader.ParquetFile(source) as file:
            groups = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
            values = sum(group.column(i).num_values for group in groups for i in range(group.num_columns))
            check_size("the table", NUMBER_BYTES * values, limit_bytes)  # few bytes can stand for many equal ones
            table = file.read()
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UnreadableError(f"is no Parquet file, or was cut off: {_short(error)}") from None
    return _contents(table)


def _contents(table: pa.Table) -> Contents:
    """A column of lists is an array by its own name; columns of numbers are the features together."""
    import pyarrow as pa

    names: list[str] = table.column_names
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise UnreadableError(f"has several columns {sorted(twice)[0]!r}")
    lists = [name for name in names if pa.types.is_nested(table.schema.field(name).type)]
    labels = [name for name in names if name not in lists and name.lower() in ROLES["labels"]]
    numbers = [name for name in names if name not in (*lists, *labels, *INDEX_COLUMNS)]
    found = (["features"] if numbers and "features" not in lists else []) + lists + labels

    def read(name: str) -> Any:
        if name in lists:
            return _rows(name, table.column(name))
        if name in labels:
            return _numbers(name, table.column(name))
        return np.stack([_numbers(one, table.column(one)).astype(np.float64) for one in numbers], axis=1)

    return Contents(tuple(found), read)


def _numbers(name: str, column: pa.ChunkedArray) -> Any:
    import pyarrow as pa

    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind)):
        raise UnreadableError(f"column {name!r}: must be numbers; it is of type {kind}")
    if column.null_count:
        raise UnreadableError(f"column {name!r}: has {column.null_count} empty cells")
    return column.to_numpy()


def _rows(name: str, column: pa.ChunkedArray) -> Any:
    """(N, d) of a column of lists that are all as long."""
    import pyarrow as pa

    if pa.types.is_struct(column.type) or column.null_count:
        raise UnreadableError(f"column {name!r}: must be lists of numbers in every row; it is of type {column.type}")
    whole = pa.concat_arrays([chunk.flatten() for chunk in column.chunks]) if column.num_chunks else pa.array([])
    lengths = {*column.combine_chunks().value_lengths().to_pylist()} if len(column) else set()
    if len(lengths) != 1:
        raise UnreadableError(f"column {name!r}: must hold lists of one length; it has {sorted(lengths)[:5]}")
    return _numbers(name, pa.chunked_array([whole])).reshape(len(column), lengths.pop())


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
