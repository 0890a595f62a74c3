# ruff: noqa: PLC0415 - pandas, polars and pyarrow load on first use
"""Tables to correct: frames with a column of row numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from resilient_tasks.quarantine.batch_file import ROW
from resilient_tasks.storage.arrow import ARROW, PANDAS, RECORDS, Shape, escaped, library_of, unescaped


def with_numbers(frame: Any, numbers: Sequence[int]) -> Any:
    """Add the row numbers to a frame as its first column; return records as a dict by number."""
    library = library_of(frame)
    if library == RECORDS:
        return dict(zip(numbers, frame, strict=True))
    if library == PANDAS:
        return _numbered_pandas(frame, numbers)
    if library == ARROW:
        import pyarrow as pa

        named = frame.rename_columns(list(map(escaped, frame.column_names)))
        return named.add_column(0, ROW, pa.array(numbers, pa.int64()))
    import polars as pl

    named = frame.rename({name: escaped(name) for name in frame.columns})
    return named.insert_column(0, pl.Series(ROW, numbers, dtype=pl.Int64))


def without_numbers(table: Any, shape: Shape | None = None) -> tuple[list[int], Any]:
    """Return the row numbers and the frame without them, corrections included.

    Raises:
        ValueError: If there are no numbers.
    """
    if isinstance(table, Mapping):
        return list(table), list(table.values())
    library = library_of(table)
    if library == PANDAS:
        return _without_pandas(table, shape)
    names = [] if library == RECORDS else list(table.column_names if library == ARROW else table.columns)
    if ROW not in names:
        raise ValueError(f"Rows to replay have their numbers in a column {ROW!r}, as table() gives it.")
    if library == ARROW:
        place = names.index(ROW)
        rest = table.remove_column(place)
        return _whole(table.column(place).to_pylist()), rest.rename_columns(list(map(unescaped, rest.column_names)))
    frame = table.drop(ROW)
    return _whole(table[ROW].to_list()), frame.rename({name: unescaped(name) for name in frame.columns})


def _numbered_pandas(frame: Any, numbers: Sequence[int]) -> Any:
    import pandas as pd

    columns = frame.columns
    if isinstance(columns, pd.MultiIndex):
        own = (ROW, *[""] * (columns.nlevels - 1))
        labels: Any = pd.MultiIndex.from_tuples([own, *columns], names=columns.names)
    else:
        labels = _labels([ROW, *map(escaped, columns)], columns.name)
    made = frame.set_axis(range(len(columns)), axis=1)
    first = pd.Series(numbers, frame.index, dtype="int64", name=-1)
    return pd.concat([first, made], axis=1).set_axis(labels, axis=1)  # insert() warns of fragmented frames


def _without_pandas(table: Any, shape: Shape | None) -> tuple[list[int], Any]:
    from resilient_tasks.storage.arrow_pandas import relabelled

    labels = list(table.columns)
    places = [
        at for at, label in enumerate(labels) if (label[:1] == (ROW,) if isinstance(label, tuple) else label == ROW)
    ]
    if not places:
        raise ValueError(f"Rows to replay have their numbers in a column {ROW!r}, as table() gives it.")
    frame = table.iloc[:, [at for at in range(len(labels)) if at != places[0]]]
    if table.columns.nlevels == 1 and any(unescaped(label) is not label for label in frame.columns):
        names = [unescaped(label) for label in frame.columns]
        frame = frame.set_axis(_labels(names, frame.columns.name), axis=1)
    return _whole(table.iloc[:, places[0]].tolist()), frame if shape is None else relabelled(frame, shape)


def _labels(names: Sequence[Any], name: Any) -> Any:
    import pandas as pd

    texts = all(isinstance(name, str) for name in names)  # otherwise None would become NaN
    return pd.Index(names, dtype=None if texts else object, name=name, tupleize_cols=False)


def _whole(numbers: Sequence[Any]) -> list[int]:
    try:
        return [int(number) for number in numbers]
    except (TypeError, ValueError):
        raise ValueError(f"Every row to replay has its number in the column {ROW!r}.") from None
