# ruff: noqa: PLC0415 - polars and pyarrow load on first use
"""A column of any Arrow type as Parquet holds it, and back."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._values import loads, texts

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

_WIDE = 64  # bits


def cells(column: Any, *, json: bool = False) -> list[Any]:
    """A stored column's values as Python's, for a comparison: whole numbers where a type has them, None for NaN.

    Args:
        column: The column as stored.
        json: Whether to decode what is JSON text.
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


def held(array: Any, *, back: Any = None) -> tuple[Any, bool]:
    """A column as Parquet holds it, and whether it is JSON text now.

    Args:
        array: The column, of whatever type Arrow has; a list of values stands for one of no such type.
        back: The type to which it must be possible to cast it again; default: its own.
    """
    import pyarrow as pa

    if isinstance(array, list):
        return pa.array(_texts(array), pa.string()), True
    back = array.type if back is None else back
    if isinstance(array.type, pa.BaseExtensionType):
        return held(_storage(array), back=back)
    kind = _parquet_type(array.type)
    if kind is not None:
        try:
            made = array.cast(array.type.value_type) if _is_odd_dictionary(array.type) else array
            made = made if made.type == kind else made.cast(kind)
            retyped(pa.nulls(1, kind), back)
        except (pa.ArrowException, NotImplementedError):
            kind = None
    return (pa.array(_texts(pylist(array)), pa.string()), True) if kind is None else (made, False)


def retyped(array: Any, kind: Any) -> Any:
    """A column of the type that it had before `held`."""
    import pyarrow as pa

    if array.type == kind:
        return array
    if isinstance(kind, pa.BaseExtensionType):
        array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
        return pa.ExtensionArray.from_storage(kind, retyped(array, kind.storage_type))
    if pa.types.is_dictionary(kind) and not pa.types.is_dictionary(array.type):
        array = array.dictionary_encode()
    return array.cast(kind)


def loads_or_none(text: str | None) -> Any:
    """Decode JSON text; None where there is none."""
    return None if text is None else loads(text)


def pylist(array: Any) -> list[Any]:
    """The values as Python's."""
    values: list[Any] = array.to_pylist()
    return values


def _texts(values: list[Any]) -> list[str | None]:
    return [None if value is None else text for value, text in zip(values, texts(values), strict=True)]


def _storage(array: Any) -> Any:
    import pyarrow as pa

    if isinstance(array, pa.ChunkedArray):
        return pa.chunked_array([chunk.storage for chunk in array.chunks], array.type.storage_type)
    return array.storage


def _is_odd_dictionary(kind: Any) -> bool:
    import pyarrow as pa

    return pa.types.is_dictionary(kind) and not _is_text(kind.value_type)


def _is_text(kind: Any) -> bool:
    import pyarrow as pa

    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _parquet_type(kind: Any) -> Any:  # noqa: PLR0911 - one answer a kind of type
    """The type in which Parquet holds a column and gives it back; None where it has none."""
    import pyarrow as pa

    types = pa.types
    if types.is_dictionary(kind):
        return kind if _is_text(kind.value_type) else _parquet_type(kind.value_type)
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


def rows_at(table: Any, positions: Sequence[int] | NDArray[np.intp]) -> Any:
    """Take the rows of an Arrow table at these positions, from 0, whatever its types are."""
    import pyarrow as pa

    places = np.asarray(positions, np.int64)
    try:
        return table.take(pa.array(places))
    except pa.ArrowNotImplementedError:  # pyarrow 25: views of text, and what holds them; run-end encoding
        runs = np.split(places, np.flatnonzero(np.diff(places) != 1) + 1)
        return pa.concat_tables([table.slice(run[0], len(run)) for run in runs if len(run)] or [table.slice(0, 0)])


def polars_of(table: Any) -> Any:
    """Return an Arrow table as a frame of polars.

    Raises:
        ValueError: If polars has no word for a type.
    """
    import polars as pl

    try:
        frame: Any = pl.from_arrow(table)
    except pl.exceptions.PanicException as error:  # which is no Exception
        raise ValueError(str(error)) from error
    frame.columns = table.column_names  # polars 2.1 gives a column without a name another one
    return frame
