# ruff: noqa: PLC0415 - pandas, polars and pyarrow load on first use
"""The Parquet file for the good rows of a split by chunks: its types, and its atomic write."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_tasks.chunks.rules import coerced_dtype, declares
from resilient_tasks.chunks.source import without_index
from resilient_tasks.storage.files import atomic_write

if TYPE_CHECKING:
    import pyarrow as pa

_SAMPLES: tuple[Any, ...] = (1, 1.0, "1", b"1", True)


@contextmanager
def writer(target: Path, types: pa.Schema) -> Iterator[Callable[[Any], int]]:
    """Yield a function that appends frames to a Parquet file of these types."""
    import pyarrow.parquet as pq

    with atomic_write(target) as temporary, pq.ParquetWriter(temporary, types) as parquet:

        def write(frame: Any) -> int:
            table = _table(frame, types)
            parquet.write_table(table)
            return int(table.num_rows)

        yield write


def types_of(good: Any, schema: Any, stored: pa.Schema, *, keeps_index: bool) -> pa.Schema:
    """Return the types of the good rows in the file.

    Args:
        good: The schema's result for a frame without rows.
        schema: The schema.
        stored: The types of the stored rows.
        keeps_index: Whether the pandas index is written.
    """
    import pyarrow as pa

    if hasattr(good, "to_arrow"):
        return _types_of_polars(good)
    found = _noted(good, pa.Table.from_pandas(good, preserve_index=keeps_index).schema)
    for at, field in enumerate(found):
        if field.name in map(str, good.columns):
            source = stored.field(field.name).type if field.name in stored.names else pa.null()
            kind = _kind(field.type, source, coerced_dtype(schema, field.name))
            if pa.types.is_integer(source) and pa.types.is_floating(kind) and not declares(schema, field.name):
                kind = source  # pandas converts integers with nulls to floats
            found = found.set(at, field.with_type(kind))
        elif pa.types.is_null(field.type) and field.name in stored.names:  # an index of text in pandas 2
            found = found.set(at, field.with_type(stored.field(field.name).type))
    return found


def _noted(good: Any, types: pa.Schema) -> pa.Schema:
    """Record labels that are not text: pyarrow 25 omits them if it omits the index."""
    import pyarrow as pa

    notes = {**types.metadata, b"pandas": without_index(pa.Table.from_pandas(good).schema.metadata[b"pandas"])}
    return types if json.loads(types.metadata[b"pandas"])["column_indexes"] else types.with_metadata(notes)


def _types_of_polars(good: Any) -> pa.Schema:
    import polars as pl

    try:
        return good.to_arrow().schema.remove_metadata()
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException) as error:
        raise ValueError(f"polars writes no Parquet of these types, {dict(good.schema)}: {error}") from error


def _kind(kind: pa.DataType, stored: pa.DataType, dtype: Any) -> pa.DataType:
    """Return the type of a pandas column, given the type of its empty column."""
    import pyarrow as pa

    if pa.types.is_dictionary(kind) and pa.types.is_null(kind.value_type):
        return pa.dictionary(pa.int32(), _plain(stored), kind.ordered)
    in_objects = str(getattr(dtype, "type", None)) == "object" or pa.types.is_null(kind)  # text, in pandas 2
    of_objects = in_objects and dtype is not None and str(dtype) != "object"
    return _of_objects(stored, dtype) if of_objects else stored if pa.types.is_null(kind) else kind


def _plain(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    return kind.value_type if pa.types.is_dictionary(kind) else kind


def _of_objects(stored: pa.DataType, dtype: Any) -> pa.DataType:
    """Return the type of a column that pandera coerces to Python objects."""
    import pandas as pd
    import pyarrow as pa

    if hasattr(dtype, "precision") and hasattr(dtype, "scale"):
        return pa.decimal128(dtype.precision, dtype.scale)
    for value in _SAMPLES:
        try:
            one = pa.array([value]).cast(_plain(stored)).to_pandas()
            made = pa.Array.from_pandas(dtype.coerce(pd.Series(one)))
        except Exception:  # noqa: S112 - a value that is not of this type, or not coercible
            continue
        return stored if pa.types.is_null(made.type) else made.type
    return stored


def _table(frame: Any, types: pa.Schema) -> pa.Table:
    import pyarrow as pa

    if hasattr(frame, "to_arrow"):
        return frame.to_arrow().cast(types)
    frame = frame.set_axis(list(map(str, frame.columns)), axis="columns")
    keeps_index = len(types) > frame.shape[1]
    return pa.Table.from_pandas(frame, schema=types, preserve_index=keeps_index).replace_schema_metadata(types.metadata)
