# ruff: noqa: PLC0415 - pandas and pyarrow load on first use
"""Convert pandas frames to Arrow tables, and back: extension types, object columns, index levels and any labels."""

from __future__ import annotations

import base64
import datetime as dt
import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.storage.arrow import (
    PANDAS,
    PREFIX,
    Shape,
    column_names,
    from_parquet_type,
    loads_or_none,
    to_parquet_type,
    unique_names,
)
from resilient_tasks.storage.values import decode, encode

if TYPE_CHECKING:
    from numpy.typing import NDArray


def to_arrow(frame: Any, rows: Sequence[int] | NDArray[np.intp]) -> tuple[Any, Shape]:
    """See `arrow.to_arrow`."""
    import pyarrow as pa

    index = frame.index
    levels = [] if _is_counted(index, rows) else [index.get_level_values(at) for at in range(index.nlevels)]
    labels = [*(level.name for level in levels), *frame.columns]
    names = column_names(frame.columns)
    of_levels = [
        f"{PREFIX}index_{at}" if level.name is None else column_names([level.name])[0]
        for at, level in enumerate(levels)
    ]
    names = [*unique_names([*names, *of_levels])[len(names) :], *names]
    parts, arrays = [], []
    for position, (name, label) in enumerate(zip(names, labels, strict=True)):
        level = position < len(levels)
        array, dtype = _column(levels[position] if level else frame.iloc[:, position - len(levels)])
        array, json = to_parquet_type(array)
        arrays.append(array)
        parts.append({"name": name, "label": encode(label), "json": json, "dtype": dtype, "level": level})
    shape = {"library": PANDAS, "parts": parts, "columns": _labels(frame.columns)}
    return pa.Table.from_arrays(arrays, names=names), shape


def from_arrow(table: Any, shape: Shape, rows: Sequence[int]) -> Any:
    """See `arrow.from_arrow`."""
    import pandas as pd

    parts = shape["parts"]
    levels = [part for part in parts if part["level"]]
    made = {part["name"]: _values(table[part["name"]], part) for part in parts}
    columns = [pd.Series(made[part["name"]], copy=False) for part in parts if not part["level"]]
    frame = pd.concat(columns, axis=1) if columns else pd.DataFrame(index=range(len(rows)))
    frame.columns = _from_labels(shape)
    arrays = [pd.Index(made[part["name"]], tupleize_cols=False) for part in levels]
    names = [decode(part["label"]) for part in levels]
    match len(levels):
        case 0:
            frame.index = pd.Index(np.asarray(rows, dtype="int64"))
        case 1:
            frame.index = arrays[0].rename(names[0])
        case _:
            frame.index = pd.MultiIndex.from_arrays(arrays, names=names)
    return frame


def relabelled(frame: Any, shape: Shape) -> Any:
    """Return a frame with the labels and label types as read, if it still has those labels."""
    columns = _from_labels(shape)
    if frame.columns.nlevels == columns.nlevels and list(map(repr, frame.columns)) == list(map(repr, columns)):
        frame = frame.set_axis(columns, axis=1)
    return frame


def _is_counted(index: Any, rows: Sequence[int] | NDArray[np.intp]) -> bool:
    """Return whether an index repeats the row numbers."""
    plain = index.nlevels == 1 and index.names == [None] and index.dtype == np.dtype("int64")
    return bool(plain and np.array_equal(index.to_numpy(), rows))


def _labels(columns: Any) -> dict[str, Any]:
    import pandas as pd

    levels = [columns.get_level_values(at) for at in range(columns.nlevels)]
    dtypes = [_described(level.dtype) for level in levels]
    return {"names": encode(list(columns.names)), "dtypes": dtypes, "tuples": isinstance(columns, pd.MultiIndex)}


def _from_labels(shape: Shape) -> Any:
    import pandas as pd

    labels = [decode(part["label"]) for part in shape["parts"] if not part["level"]]
    names, dtypes = decode(shape["columns"]["names"]), list(map(_dtype, shape["columns"]["dtypes"]))
    if not shape["columns"]["tuples"]:
        return pd.Index(labels, dtype=dtypes[0], name=names[0], tupleize_cols=False)
    levels = [pd.Index([label[at] for label in labels], dtype=dtype) for at, dtype in enumerate(dtypes)]
    return pd.MultiIndex.from_arrays(levels, names=names)


def _column(values: Any) -> tuple[Any, Any]:
    """Return a series or index as an Arrow array, or as a list if Arrow has no type for it, and its dtype as JSON."""
    import pandas as pd
    import pyarrow as pa

    dtype = values.dtype
    if dtype == np.dtype(object):
        return _of_objects(values.to_numpy())
    described = _described(dtype)
    if isinstance(dtype, pd.CategoricalDtype):
        return _of_codes(values.array.codes, dtype.categories), described
    if isinstance(dtype, pd.SparseDtype):
        return _column(pd.Series(np.asarray(values)))[0], described
    try:
        if isinstance(dtype, pd.DatetimeTZDtype):  # pyarrow's own conversion warns under pandas 3.1
            kind = pa.timestamp(dtype.unit, pa.lib.tzinfo_to_string(dtype.tz))
            return pa.array(values.array.tz_convert(None).to_numpy(), kind, from_pandas=True), described
        array = pa.array(values if isinstance(dtype, np.dtype) else values.array, from_pandas=True)
    except (pa.ArrowException, NotImplementedError, TypeError, ValueError):
        return values.tolist(), described
    if isinstance(array.type, pa.BaseExtensionType) and not isinstance(dtype, pd.ArrowDtype):
        array = array.storage  # Period and Interval: pandas rebuilds them from their storage
    return array, described


def _values(column: Any, part: Mapping[str, Any]) -> Any:
    """Return the values that were given to `_column`, in their dtype."""
    import pandas as pd
    import pyarrow as pa

    described = part["dtype"]
    if "object" in described and described != "object":
        return _objects(column, part)
    dtype = _dtype(described)
    if isinstance(dtype, pd.CategoricalDtype):
        return _categorical(column, dtype)
    items = list(map(loads_or_none, column.to_pylist())) if part["json"] else None
    if isinstance(dtype, pd.ArrowDtype):
        kind = dtype.pyarrow_dtype
        chunks = from_parquet_type(column, kind) if items is None else pa.chunked_array([pa.array(items, kind)])
        return pd.arrays.ArrowExtensionArray(chunks)
    if items is not None:
        return pd.Series(items, dtype=dtype).array
    made = dtype.__from_arrow__(column) if hasattr(dtype, "__from_arrow__") else column.to_pandas()
    series = pd.Series(made, copy=True)  # memory of Arrow's is read-only
    return series if dtype is None or series.dtype == dtype else series.astype(dtype)


def _of_codes(codes: Any, categories: Any) -> Any:
    import pyarrow as pa

    taken, values = pa.array(codes, mask=codes < 0), _of_categories(categories)
    return (
        pa.DictionaryArray.from_arrays(taken, values) if pa.types.is_large_string(values.type) else values.take(taken)
    )


def _of_categories(categories: Any) -> Any:
    """Return categories as Arrow values that can be looked up."""
    import pyarrow as pa

    array = to_parquet_type(_column(categories)[0])[0]
    array = array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array
    array = to_parquet_type(array.to_pylist())[0] if pa.types.is_nested(array.type) else array
    return array.cast(pa.large_string()) if pa.types.is_string(array.type) else array


def _categorical(column: Any, dtype: Any) -> Any:
    import pandas as pd
    import pyarrow as pa
    import pyarrow.compute as pc

    known = _of_categories(dtype.categories)
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    column = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    column = column if column.type == known.type else column.cast(known.type)
    codes = pc.index_in(column, known)
    new = pc.unique(column.filter(pc.and_(column.is_valid(), codes.is_null()))).to_pylist()
    if new:  # a correction added a category
        return _categorical(column, pd.CategoricalDtype([*dtype.categories, *new], dtype.ordered))
    return pd.Categorical.from_codes(codes.fill_null(-1).to_numpy(zero_copy_only=False), dtype=dtype)


def _described(dtype: Any) -> Any:
    """Return a dtype as JSON."""
    import pandas as pd
    import pyarrow as pa

    if isinstance(dtype, pd.ArrowDtype):
        schema = pa.schema([("", dtype.pyarrow_dtype)]).serialize()
        return {"arrow": base64.b64encode(schema.to_pybytes()).decode()}
    if isinstance(dtype, pd.CategoricalDtype):
        values = dtype.categories
        return {"categories": encode(list(values)), "of": _described(values.dtype), "ordered": dtype.ordered}
    if isinstance(dtype, pd.StringDtype):
        return {"string": dtype.storage, "na": encode(dtype.na_value)}
    if isinstance(dtype, pd.SparseDtype):
        return {"sparse": _described(dtype.subtype), "fill": encode(dtype.fill_value)}
    return str(dtype)


def _dtype(described: Any) -> Any:  # noqa: PLR0911 - one return for each kind
    """Return the dtype; None if pandas does not know its name."""
    import pandas as pd
    import pyarrow as pa

    match described:
        case {"arrow": schema}:
            return pd.ArrowDtype(pa.ipc.read_schema(pa.py_buffer(base64.b64decode(schema))).field(0).type)
        case {"categories": values, "of": dtype, "ordered": ordered}:
            index = pd.Index(decode(values), dtype=_dtype(dtype), tupleize_cols=False)
            return pd.CategoricalDtype(index, ordered)
        case {"string": storage, "na": missing}:
            null = decode(missing)
            try:
                return pd.StringDtype(storage, na_value=null)
            except TypeError:  # pandas 2.2
                return pd.StringDtype(storage if null is pd.NA else "pyarrow_numpy")
        case {"sparse": dtype, "fill": fill}:
            return pd.SparseDtype(_dtype(dtype), decode(fill))
    try:
        return pd.api.types.pandas_dtype(described)
    except (TypeError, ValueError):
        return None


def _of_objects(values: Any) -> tuple[Any, Any]:
    """Return objects as an Arrow array if it preserves them; otherwise as a list, to be written as JSON."""
    kinds = set(map(type, values)) - {NoneType}
    missing = next((kind for kind in kinds if kind.__name__ in _MISSING and kinds != {float}), None)
    described = {"object": "values", "missing": None}
    if missing is not None:
        absent = np.fromiter((type(value) is missing for value in values), bool, len(values))
        number = missing is float and not all(map(math.isnan, values[absent]))
        if number or any(value is None for value in values):
            return list(values), described
        kinds.discard(missing)
        described["missing"] = missing.__name__
        values = values.copy()
        values[absent] = None
    array = _of_one_kind(kinds, values)
    if array is None:
        return list(values), {"object": "values", "missing": described["missing"]}
    return array, described | ({"object": "arrays"} if kinds == {np.ndarray} else {})


def _of_one_kind(kinds: set[type], values: Any) -> Any:
    """Return values of one type as an Arrow array; None if it would not preserve them."""
    import pyarrow as pa

    if not kinds:
        return pa.nulls(len(values))
    (kind, *others) = kinds
    if others or kind not in _NATIVE or not _is_plain(kind, values):
        return None
    try:
        array = pa.array(values, pa.type_for_alias(_NATIVE[kind]) if _NATIVE[kind] else None, from_pandas=False)
    except (pa.ArrowException, OverflowError, ValueError, TypeError):
        return None
    if kind is np.ndarray and not all(map(_same_array, values, array.to_pandas())):
        return None
    return array


def _is_plain(kind: type, values: Any) -> bool:
    """Return whether Arrow's type for these values preserves everything."""
    if kind is Decimal:
        shapes = {value.as_tuple().exponent for value in values if value is not None}
        return len(shapes) == 1 and shapes <= set(range(-38, 1))
    if kind in {dt.time, dt.datetime}:
        return not any(value.tzinfo or value.fold for value in values if value is not None)
    return kind is not np.ndarray or all(value is None or value.ndim == 1 for value in values)


def _same_array(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return one is other
    return one.dtype == other.dtype and [repr(item) for item in one.tolist()] == [repr(item) for item in other.tolist()]


def _objects(column: Any, part: Mapping[str, Any]) -> Any:
    import pandas as pd

    described = part["dtype"]
    if part["json"]:
        items = list(map(loads_or_none, column.to_pylist()))
    else:
        items = list(column.to_pandas()) if described["object"] == "arrays" else column.to_pylist()
    missing = decode(_MISSING.get(described["missing"]))
    made = np.empty(len(items), dtype=object)
    for at, item in enumerate(items):  # one by one: an array or a list is a single value
        made[at] = missing if item is None else item
    return pd.Series(made, dtype=object, copy=False)


# The kinds of null other than None, by type name; and Arrow's types for Python's.
_MISSING = {name: encode(value) for name, value in (("float", float("nan")),)} | {
    "NAType": {"$": "NA", "value": ""},
    "NaTType": {"$": "NaT", "value": ""},
}
_NATIVE: dict[type, str] = {
    str: "large_string",
    int: "int64",
    bool: "bool",
    float: "float64",
    bytes: "large_binary",
    dt.date: "date32",
    dt.time: "time64[us]",
    dt.timedelta: "duration[us]",
    dt.datetime: "timestamp[us]",
    Decimal: "",
    np.ndarray: "",
}
