# ruff: noqa: PLC0415 - polars and pyarrow load on first use
"""Convert frames to Arrow tables that Parquet supports, and back, without loss of values, types, labels or index.

A column keeps its type if Arrow and Parquet have it; other values become JSON text. What Arrow does not record of a
frame (labels, pandas' types, the kind of null in an object column) is the table's shape, in JSON.
"""

from __future__ import annotations

import base64
import datetime as dt
import io
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.storage.values import decode, encode, loads, texts

if TYPE_CHECKING:
    from numpy.typing import NDArray

_WIDE = 64  # bits
_VIEWS = "string_view", "binary_view"

RECORDS, PANDAS, POLARS, ARROW = "records", "pandas", "polars", "pyarrow"
PREFIX = "__quarantine_"
"""The prefix of the library's own columns; a frame's columns with this prefix are renamed."""
RECORD = "record"
_EPOCH = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)  # plus a day: no zone is further east
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
Shape = Mapping[str, Any]


def library_of(frame: Any) -> str:
    """Return the library of a frame; `"records"` for a list."""
    if isinstance(frame, list):
        return RECORDS
    return PANDAS if hasattr(frame, "iloc") else ARROW if hasattr(frame, "column_names") else POLARS


def to_arrow(frame: Any, rows: Sequence[int] | NDArray[np.intp]) -> tuple[Any, Shape]:
    """Convert a frame to an Arrow table and its shape.

    Args:
        frame: A frame of pandas or polars, an Arrow table, or a list of records.
        rows: Each row's number; an index that repeats them is not stored.

    Returns:
        A table with unique text column names, and its shape in JSON.
    """
    import pyarrow as pa

    library = library_of(frame)
    if library == RECORDS:
        part = {"name": RECORD, "label": RECORD, "json": True}
        return pa.table({RECORD: pa.array(texts(frame), pa.string())}), {"library": library, "parts": [part]}
    if library == PANDAS:
        from resilient_tasks.storage.arrow_pandas import to_arrow as stored_pandas

        return stored_pandas(frame, rows)
    frame = frame.collect() if hasattr(frame, "collect") else frame
    arrays = [frame.column(at) for at in range(frame.num_columns)] if library == ARROW else map(_polars, frame)
    columns = [to_parquet_type(array) for array in arrays]
    labels = list(frame.column_names if library == ARROW else frame.columns)
    names = column_names(labels)
    parts = [
        {"name": name, "label": encode(label), "json": json, "at": at}
        for at, (name, label, (_, json)) in enumerate(zip(names, labels, columns, strict=True))
    ]
    if library == ARROW:
        schema = frame.schema.serialize().to_pybytes()
    else:
        buffer = io.BytesIO()
        objects = [name for name, dtype in frame.schema.items() if "Object" in str(dtype)]
        frame.clear().drop(objects).write_ipc(buffer)
        schema = buffer.getvalue()
    table = pa.Table.from_arrays([array for array, _ in columns], names=names)
    return table, {"library": library, "parts": parts, "schema": base64.b64encode(schema).decode()}


def from_arrow(table: Any, shape: Shape, rows: Sequence[int]) -> Any:
    """Convert a table back to the frame that was given to `to_arrow`.

    Args:
        table: Its table, or some rows of it; further columns are ignored.
        shape: Its shape.
        rows: Each row's number.
    """
    match shape["library"]:
        case "records":
            return list(map(loads, table[RECORD].to_pylist()))
        case "pandas":
            from resilient_tasks.storage.arrow_pandas import from_arrow as restored_pandas

            return restored_pandas(table, shape, rows)
        case "pyarrow":
            return _restored_arrow(table, shape)
    import polars as pl

    empty = pl.read_ipc(io.BytesIO(base64.b64decode(shape["schema"])))
    columns = {}
    for part in shape["parts"]:
        label, dtype = decode(part["label"]), empty.schema.get(decode(part["label"]), pl.Object)
        column = table[part["name"]]
        if part["json"]:
            kind = None if "written" in part else dtype  # into a column that had no type
            columns[label] = pl.Series(label, list(map(loads_or_none, column.to_pylist())), dtype=kind)
        else:
            series = pl.Series(label, pl.from_arrow(column))
            columns[label] = series if series.dtype == dtype else series.cast(dtype)
    return pl.DataFrame(columns)


def _restored_arrow(table: Any, shape: Shape) -> Any:
    import pyarrow as pa

    schema = pa.ipc.read_schema(pa.py_buffer(base64.b64decode(shape["schema"])))
    fields = [schema.field(part["at"]) for part in shape["parts"]]
    columns = []
    for part, field in zip(shape["parts"], fields, strict=True):
        column = table[part["name"]]
        if part["json"]:
            kind = None if "written" in part else field.type  # into a column that had no type
            columns.append(pa.array(list(map(loads_or_none, pylist(column))), kind))
        else:
            columns.append(from_parquet_type(column, field.type))
    fields = [field.with_type(column.type) for field, column in zip(fields, columns, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, schema.metadata))


def _polars(series: Any) -> Any:
    """Return a polars column as Arrow, or as a list of values if Arrow has no type for it."""
    import pyarrow as pa

    if "Object" in str(series.dtype):  # Arrow would receive the addresses
        return series.to_list()
    try:
        return series.to_arrow()
    except pa.ArrowException:
        return series.to_list()


def take_rows(frame: Any, positions: Sequence[int]) -> Any:
    """Take the rows of a frame at these positions, from 0."""
    if isinstance(frame, list):
        return [frame[position] for position in positions]
    if library_of(frame) == ARROW:
        return take(frame, positions)
    return frame.iloc[list(positions)] if hasattr(frame, "iloc") else frame[list(positions)]


def concat(frames: Sequence[Any]) -> Any:
    """Concatenate frames; a column that one of them lacks is null there.

    Pandas rows keep their index, unless several frames have an unnamed index of numbers: these are renumbered.

    Raises:
        TypeError: If they are of different libraries.
    """
    if len(frames) == 1:
        return frames[0]
    if len({library_of(frame) for frame in frames}) > 1:
        raise TypeError("Rows of different libraries do not fit into one frame: release them batch by batch.")
    match library_of(frames[0]):
        case "records":
            return [record for frame in frames for record in frame]
        case "pandas":
            import pandas as pd

            numbers = all(frame.index.names == [None] and frame.index.dtype.kind in "iu" for frame in frames)
            return pd.concat(list(frames), ignore_index=numbers)
        case "pyarrow":
            import pyarrow as pa

            return pa.concat_tables(frames, promote_options="permissive")
    import polars as pl

    return pl.concat(frames, how="diagonal_relaxed")


def unique_names(labels: Iterable[Any]) -> list[str]:
    """Return each label as text; `y.1` for the second `y`."""
    names: dict[str, None] = {}
    for label in labels:
        text, number = str(label), 1
        while text in names:
            text, number = f"{label}.{number}", number + 1
        names[text] = None
    return list(names)


def escaped(label: Any) -> Any:
    """Return a label under another name if it has the prefix of the library's own columns."""
    return f"{PREFIX}_{label}" if isinstance(label, str) and label.startswith(PREFIX) else label


def unescaped(label: Any) -> Any:
    """Return the label that `escaped` was given; the same object if it was unchanged."""
    return label[len(PREFIX) + 1 :] if isinstance(label, str) and label.startswith(f"{PREFIX}_") else label


def column_names(labels: Iterable[Any]) -> list[str]:
    """Return names for these columns in a file: unique, not empty, and different from the library's own columns."""
    names = []
    for position, label in enumerate(labels):
        text = str(escaped(label))
        try:
            text.encode()
        except UnicodeEncodeError:
            text = ""
        names.append(f"{PREFIX}_{position}" if text == "" or label is None else text)
    return unique_names(names)


def column_values(table: Any, shape: Shape, rows: Sequence[int]) -> list[list[Any]]:
    """Return the values as read, one list for each part of the shape."""
    frame = from_arrow(table, shape, rows)
    match shape["library"]:
        case "records":
            return [frame]
        case "pandas":
            levels = sum(part["level"] for part in shape["parts"])
            columns = [frame.index.get_level_values(at) for at in range(levels)]
            columns += [frame.iloc[:, at] for at in range(frame.shape[1])]
            return [
                _python_values(values.tolist, table[part["name"]])
                for values, part in zip(columns, shape["parts"], strict=True)
            ]
        case "pyarrow":
            return [_python_values(column.to_pylist, column) for column in frame.columns]
    return [
        _python_values(series.to_list, table[part["name"]]) for series, part in zip(frame, shape["parts"], strict=True)
    ]


def _python_values(values: Callable[[], list[Any]], column: Any) -> list[Any]:
    """Return a column's values as Python objects; as text if Python's dates do not reach so far."""
    import pyarrow as pa

    try:
        if pa.types.is_timestamp(column.type):
            _within_years(column)  # polars aborts on such a moment in a time zone
        return values()
    except (ValueError, OverflowError):
        if not pa.types.is_temporal(column.type):
            raise
        texts: list[Any] = column.cast(pa.string()).to_pylist()
        return texts


def _within_years(column: Any) -> None:
    """Check that Python has a date for each moment.

    Raises:
        OverflowError: If it has none.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    bounds = pc.min_max(column.cast(pa.int64())).as_py().values()
    for moment in bounds:
        _EPOCH + dt.timedelta(seconds=(moment or 0) // _PER_SECOND[column.type.unit])


def part_labels(shape: Shape) -> list[str]:
    """Return a readable, unique name for each part of the shape: that of its column if it is text."""
    labels = [decode(part["label"]) for part in shape["parts"]]
    levels = [part.get("level", False) for part in shape["parts"]]
    shown = ["index" if level and label is None else label for level, label in zip(levels, labels, strict=True)]
    in_order = sorted(range(len(shown)), key=levels.__getitem__)  # a column precedes an index level of the same name
    named = dict(zip(in_order, unique_names(shown[at] for at in in_order), strict=True))
    return [named[at] for at in range(len(shown))]


def to_polars(table: Any) -> Any:
    """Convert an Arrow table to a polars frame.

    Raises:
        ValueError: If polars lacks a type.
    """
    import polars as pl

    try:
        frame: Any = pl.from_arrow(table)
    except pl.exceptions.PanicException as error:  # a BaseException
        raise ValueError(str(error)) from error
    frame.columns = table.column_names  # polars 2.1 renames a column without a name
    return frame


def take(table: Any, positions: Sequence[int] | NDArray[np.intp]) -> Any:
    """Take the rows of an Arrow table at these positions, from 0, for any types."""
    import pyarrow as pa

    places = np.asarray(positions, np.int64)
    try:
        return table.take(pa.array(places))
    except pa.ArrowNotImplementedError:  # pyarrow 25: views of text, types that hold them, and run-end encoding
        runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
        return pa.concat_tables([table.slice(run[0], len(run)) for run in runs if len(run)] or [table.slice(0, 0)])


def comparable_values(column: Any, *, json: bool = False) -> list[Any]:
    """Return a stored column's values for comparison: whole numbers if the type has them, None for NaN.

    Args:
        column: The column as stored.
        json: Whether the values are JSON text to decode.
    """
    import pyarrow as pa

    kind = column.type
    if pa.types.is_temporal(kind):
        column = column.cast(pa.int64() if kind.bit_width == _WIDE else pa.int32())
    values = pylist(column)
    if pa.types.is_floating(kind):
        return [_whole(value) for value in values]
    return list(map(loads_or_none, values)) if json else values


def _whole(value: float | None) -> float | None:
    if value is None or math.isnan(value):
        return None
    return int(value) if value.is_integer() else value


def to_parquet_type(array: Any, *, back: Any = None) -> tuple[Any, bool]:
    """Return a column in a type that Parquet supports, and whether it is JSON text now.

    Args:
        array: The column, of any Arrow type; a list of values if Arrow has no type for it.
        back: The type to which it must be possible to cast it back; default: its own.
    """
    import pyarrow as pa

    if isinstance(array, list):
        return pa.array(_texts(array), pa.string()), True
    back = array.type if back is None else back
    if isinstance(array.type, pa.BaseExtensionType):
        return to_parquet_type(_storage(array), back=back)
    kind = _parquet_type(array.type)
    if kind is not None:
        try:
            of_values = pa.types.is_dictionary(array.type) and not is_text(array.type.value_type)
            made = array.cast(array.type.value_type) if of_values else array
            made = made if made.type == kind else made.cast(kind)
            if pa.types.is_fixed_size_list(array.type) and array.null_count:
                made = made.take(pa.array(np.arange(len(made))))  # pyarrow below 25 writes no null with a length
            from_parquet_type(pa.nulls(1, kind), back)
        except (pa.ArrowException, NotImplementedError):
            kind = None
    return (pa.array(_texts(pylist(array)), pa.string()), True) if kind is None else (made, False)


def from_parquet_type(array: Any, kind: Any) -> Any:
    """Return a column in the type that it had before `to_parquet_type`."""
    import pyarrow as pa

    if array.type == kind:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        return pa.ExtensionArray.from_storage(kind, from_parquet_type(array, kind.storage_type))
    if str(kind) in _VIEWS:  # before pyarrow 25, a cast of short texts gives an array that makes polars crash
        chunks = array.chunks if isinstance(array, pa.ChunkedArray) else [array]
        made = [pa.array(pylist(chunk), kind) for chunk in chunks]
        return pa.chunked_array(made, kind) if isinstance(array, pa.ChunkedArray) else made[0]
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    return array.cast(kind)


def loads_or_none(text: str | None) -> Any:
    """Decode JSON text; return None for None."""
    return None if text is None else loads(text)


def pylist(array: Any) -> list[Any]:
    """Return the values as Python objects."""
    values: list[Any] = array.to_pylist()
    return values


def _texts(values: list[Any]) -> list[str | None]:
    return [None if value is None else text for value, text in zip(values, texts(values), strict=True)]


def _storage(array: Any) -> Any:
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        return pa.chunked_array([chunk.storage for chunk in array.chunks], array.type.storage_type)
    return array.storage


def is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _parquet_type(kind: Any) -> Any:  # noqa: PLR0911 - one return for each kind
    """Return the type with which a column survives Parquet; None if there is none."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return kind if is_text(kind.value_type) else _parquet_type(kind.value_type)
    if types.is_fixed_size_list(kind):
        inside = _parquet_type(kind.value_type)
        return pa.list_(kind.value_type) if inside == kind.value_type and kind.list_size else None
    if types.is_list(kind) or types.is_large_list(kind):
        return kind if _parquet_type(kind.value_type) == kind.value_type else None
    if types.is_struct(kind):
        inside = [kind.field(at).type for at in range(kind.num_fields)]
        return kind if inside and all(_parquet_type(each) == each for each in inside) else None
    if types.is_map(kind):
        inside = [kind.key_type, kind.item_type]
        return kind if all(_parquet_type(each) == each for each in inside) else None
    if types.is_nested(kind) or types.is_interval(kind) or isinstance(kind, pa.BaseExtensionType):
        return None
    plain = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}
    return plain.get(str(kind), kind)
