# ruff: noqa: PLC0415 - pandas, polars and pandera load on first use
"""Split a frame by its schema into good and bad rows, with the reason for each bad row.

Every rule that can be a mask is evaluated once, vectorised, by pandera's own functions. Where the result for a row
could depend on other rows, pandera validates the remaining rows and has the last word.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar, overload

import numpy as np

from resilient_tasks.storage.arrow import take, to_polars
from resilient_tasks.validation.backend import Findings
from resilient_tasks.validation.report import Report, Split
from resilient_tasks.validation.schemas import as_schema, check_schema, library

if TYPE_CHECKING:
    import polars as pl
    import pyarrow as pa

    from resilient_tasks.validation.backend import Backend, Mask

Frame = TypeVar("Frame")

_ROUNDS = 50


@overload
def split(frame: pl.LazyFrame, schema: Any) -> Split[pl.LazyFrame] | Split[pl.DataFrame]: ...
@overload
def split(frame: Frame, schema: Any) -> Split[Frame]: ...
def split(frame: Any, schema: Any) -> Split[Any]:
    """Split a frame into the rows that a schema accepts and the others.

    Both parts keep the order and, for pandas, the index. A failure of the frame as a whole (a missing column, a wrong
    type that is not coerced, a failed check with one result for all rows, a check that raises) never drops a row: it is
    in `report.frame_errors`, and the caller decides.

    Args:
        frame: A pandas DataFrame, a polars DataFrame or LazyFrame, an Arrow table, or a list of records.
        schema: A pandera schema or model for the same library, for either with an Arrow table; for records, a pydantic
            model of one record.

    Returns:
        The two parts and a report. The parts of a LazyFrame are lazy if every rule is row-wise: its rows are counted
        in one streaming pass. Otherwise it is collected, and `collected` says why.

    Raises:
        TypeError: If `schema` is not a schema, or is for another library than the frame.
    """
    if library(schema) == "pydantic":
        from resilient_tasks.validation.records import split_records

        return split_records(frame, schema)
    given = _library(frame, schema)
    if given == "pyarrow":
        return split_table(frame, schema)
    with _validating():
        collected = None
        if hasattr(frame, "sink_parquet"):
            from resilient_tasks.validation.polars_query import split_lazily

            parts = split_lazily(frame, schema)
            if not isinstance(parts, str):
                return parts
            collected = parts
        backend = _backend(frame, schema)
        found = backend.inspect()
        good = _good_rows(backend, found)
    size = backend.size
    if found.frame:
        everything = ~Findings().bad(size)
        errors = tuple(dict.fromkeys(found.frame))
        report = Report(size, frame_errors=errors)
        return Split(backend.take(everything), backend.take(~everything), report, collected)
    bad = found.bad(size)
    report = Report(size, int(bad.sum()), (), tuple(found.rows), tuple(found.warnings))
    return Split(good, backend.reject(bad), report, collected)


def _good_rows(backend: Backend[Any], found: Findings) -> Any:
    """Return the good rows as pandera does, assembled if the findings are certain.

    Otherwise pandera validates the remaining rows until it accepts them; its errors are added to `found`.
    """
    if found.certain and not found.frame:
        good = backend.assemble(~found.bad(backend.size))
        if good is not None:
            return good
    for _ in range(_ROUNDS):
        bad = found.bad(backend.size)
        good, rejected = backend.validate(~bad)
        if good is not None:
            return good
        found.extend(rejected)
        if found.frame:
            return None
        if (found.bad(backend.size) == bad).all():
            found.frame.append("pandera rejects the frame but names no row")
            return None
    found.frame.append(f"pandera still finds new invalid rows after {_ROUNDS} rounds without those it named before")
    return None


def _validating() -> Any:
    """Validate schema and data regardless of pandera's settings: otherwise every row would count as good."""
    from pandera.config import ValidationDepth, config_context

    return config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA)


def _library(frame: Any, schema: Any) -> str:
    """Return the schema's library, or Arrow, if the frame is of one of them."""
    check_schema(schema)
    wanted = library(schema)
    given = {
        ancestor.__module__.partition(".")[0]
        for ancestor in type(frame).__mro__
        if ancestor.__name__ in {"DataFrame", "LazyFrame", "Table"}
    }
    for fits in (wanted, "pyarrow"):
        if fits in given:
            return fits
    raise TypeError(
        f"The schema is for {wanted} data frames and the data is a {type(frame).__module__}."
        f"{type(frame).__qualname__}; write the schema for that library, or convert the data."
    )


def _backend(frame: Any, schema: Any) -> Backend[Any]:
    if library(schema) == "pandas":
        from resilient_tasks.validation.pandas_split import PandasBackend

        return PandasBackend(frame, as_schema(schema))
    from resilient_tasks.validation.polars_split import PolarsBackend

    return PolarsBackend(frame, as_schema(schema))


def split_table(table: pa.Table, schema: Any) -> Split[pa.Table]:
    """Split a table. Bad rows and unchanged columns keep the table's own types and metadata.

    Raises:
        ValueError: If two columns have the same name, or the table cannot be converted to the schema's library.
    """
    frame = _frame(table, library(schema))
    parts = split(frame, schema)
    report = parts.report
    keep = np.ones(table.num_rows, dtype=bool)
    if report.frame_errors:
        return Split(table, table.slice(0, 0), report)
    for finding in report.findings:
        keep[finding.positions] = False
    return replace(parts, good=_good(table, frame, parts.good, keep), bad=take(table, np.flatnonzero(~keep)))


def _frame(table: pa.Table, kind: str | None) -> Any:
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns of the table are named {twice[0]!r}: rename one")
    try:
        return table.to_pandas() if kind == "pandas" else to_polars(table)
    except Exception as error:  # Arrow's, numpy's or polars' own
        raise ValueError(f"the table does not become a frame of {kind}: {error}") from error


def _good(table: pa.Table, frame: Any, good: Any, keep: Mask) -> pa.Table:
    """Return the good rows; columns that the schema left unchanged are taken from the table."""
    import pyarrow as pa

    own = table if keep.all() else take(table, np.flatnonzero(keep))
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
    """Return whether a column has kept its values and type."""
    if name not in before.columns or before[name].dtype != good[name].dtype:
        return False
    return bool(before[name].equals(good[name]))
