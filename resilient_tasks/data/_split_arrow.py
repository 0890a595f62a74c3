# ruff: noqa: PLC0415 - pandas, polars and pyarrow load on first use
"""Split an Arrow table by a schema of pandas or polars, and give Arrow tables back."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._arrow_columns import polars_of, rows_at
from resilient_tasks.data.schemas import library
from resilient_tasks.data.split import Split, split

if TYPE_CHECKING:
    import pyarrow as pa

    from resilient_tasks.data._backend import Mask


def split_table(table: pa.Table, schema: Any) -> Split[pa.Table]:
    """Split a table: the bad rows are the table's own, types and metadata too, and so are columns that do not change.

    Raises:
        ValueError: If two columns have the same name, or the table does not become a frame of the schema's library.
    """
    frame = _frame(table, library(schema))
    parts = split(frame, schema)
    report = parts.report
    keep = np.ones(table.num_rows, dtype=bool)
    if report.frame_errors:
        return Split(table, table.slice(0, 0), report)
    for finding in report.findings:
        keep[finding.positions] = False
    return replace(parts, good=_good(table, frame, parts.good, keep), bad=rows_at(table, np.flatnonzero(~keep)))


def _frame(table: pa.Table, kind: str | None) -> Any:
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns of the table are named {twice[0]!r}: rename one")
    try:
        return table.to_pandas() if kind == "pandas" else polars_of(table)
    except Exception as error:  # Arrow's, numpy's or polars' own
        raise ValueError(f"the table does not become a frame of {kind}: {error}") from error


def _good(table: pa.Table, frame: Any, good: Any, keep: Mask) -> pa.Table:
    """The good rows: columns that the schema left as they were are the table's."""
    import pyarrow as pa

    own = table if keep.all() else rows_at(table, np.flatnonzero(keep))
    before = frame[keep] if hasattr(frame, "iloc") else frame.filter(keep)
    pandas = hasattr(good, "iloc")
    changed = [name for name in good.columns if not _is_same(before, good, name)]
    made = pa.Table.from_pandas(good[changed], preserve_index=False) if pandas else good.select(changed).to_arrow()
    levels = [name for name in own.column_names if name not in set(map(str, frame.columns))]
    if levels and not before.index.identical(good.index):
        index = pa.Table.from_pandas(good[[]], preserve_index=True)
        made = pa.Table.from_arrays([*made.columns, *index.columns], names=[*made.column_names, *index.column_names])
    names = [*map(str, good.columns), *levels]
    sources = [made if name in made.column_names else own for name in names]
    fields = [source.schema.field(name) for source, name in zip(sources, names, strict=True)]
    columns = [source.column(name) for source, name in zip(sources, names, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, table.schema.metadata))


def _is_same(before: Any, good: Any, name: Any) -> bool:
    """Whether a column has the values and the type that it had."""
    if name not in before.columns or before[name].dtype != good[name].dtype:
        return False
    return bool(before[name].equals(good[name]))
