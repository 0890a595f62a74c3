# ruff: noqa: PLC0415 - polars and pandera load on first use
"""Ask pandera about polars data: coerce a column, validate a frame, find the rows of an error."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.core.wording import number_of
from resilient_tasks.validation import backend
from resilient_tasks.validation.backend import (
    WHOLE_FRAME,
    code_of,
    coercion_first,
    coercion_reason,
    frame_error,
    label,
    raised_text,
    uncoercible_rows,
)

if TYPE_CHECKING:
    import polars as pl

    from resilient_tasks.validation.backend import Mask, Positions


class NeverCastsError(TypeError):
    """Polars has no cast between the two types."""


def coerce(dtype: Any, series: pl.Series) -> tuple[pl.Series, Mask | None] | None:
    """Coerce the values that can be coerced.

    Returns:
        The coerced values and a mask of the rows that do not coerce (None if all do); None alone where only pandera
        knows.

    Raises:
        NeverCastsError: If polars has no cast between the types.
    """
    whole = _attempt(dtype, series)
    if whole is not None:
        return whole, None
    guess = _suspects(series, dtype)

    def accepts(positions: Positions) -> bool:
        return _attempt(dtype, series[positions]) is not None

    bad = uncoercible_rows(guess, lambda at: _codes(series[at]), accepts)
    good = None if bad is None else _attempt(dtype, series.filter(~bad))
    return None if good is None else (good, bad)


def is_plain_cast(dtype: Any, source: pl.DataType) -> bool:
    """Return whether the coercion of a value is certain to depend on that value alone."""
    import polars as pl
    from pandera.engines.polars_engine import DataType, Decimal

    if type(dtype) is Decimal and bool(source == dtype.type):
        return True
    if type(dtype).coerce is not DataType.coerce or type(dtype).try_coerce is not DataType.try_coerce:
        return False
    target = dtype.type
    return bool(source == target) or all(
        kind.is_numeric() or kind in {pl.Boolean, pl.String} for kind in (source, target)
    )


def filled(series: pl.Series, column: Any) -> pl.Series | None:
    """Replace nulls by the column's default after coercion, as pandera does; return None where that fails."""
    import polars as pl

    if column.default is None:
        return series
    default = pl.lit(column.default, dtype=column.dtype.type)
    value = pl.col(series.name)
    value = value.fill_nan(default) if is_float(series) else value
    try:
        return series.to_frame().select(value.fill_null(default)).to_series(0)
    except (Exception, pl.exceptions.PanicException):
        return None


def is_float(series: pl.Series) -> bool:
    """Return whether pandera treats NaN as null in this column."""
    import polars as pl

    return series.dtype in {pl.Float32, pl.Float64}


def coercion_text(dtype: Any) -> str:
    """Return the reason for values that do not coerce to a type."""
    kind: Any = getattr(dtype, "type", None)
    if not hasattr(kind, "is_numeric"):
        return coercion_reason(dtype, numeric=False, temporal=False)
    return coercion_reason(dtype, numeric=kind.is_numeric(), temporal=kind.is_temporal())


def _attempt(dtype: Any, series: pl.Series) -> pl.Series | None:
    import polars as pl
    from pandera.api.polars.types import PolarsData

    frame = series.to_frame()
    try:
        coerced: pl.Series = dtype.coerce(PolarsData(frame.lazy(), series.name)).collect().to_series(0)
    except (Exception, pl.exceptions.PanicException):
        return None
    return coerced


def _suspects(series: pl.Series, dtype: Any) -> Mask:
    """Return which values a lenient cast turns into null."""
    import polars as pl

    try:
        lost = series.cast(dtype.type, strict=False).is_null() & series.is_not_null()
    except pl.exceptions.InvalidOperationError:
        text = f"column '{series.name}' has type {series.dtype}, which polars does not cast to {dtype}; parse it first"
        raise NeverCastsError(text) from None
    except (Exception, pl.exceptions.PanicException):
        return np.zeros(len(series), dtype=bool)
    return lost.to_numpy()


def _codes(series: pl.Series) -> Positions:
    """Number the distinct values."""
    import polars as pl

    try:
        return series.rank("dense").fill_null(0).to_numpy().astype(np.intp)
    except (Exception, pl.exceptions.PanicException):
        return np.arange(len(series))


def validate(
    schema: Any, part: pl.DataFrame, *, any_rows: bool
) -> tuple[pl.DataFrame | None, list[tuple[str, str, Positions]], list[str]]:
    """Validate a frame with pandera.

    Args:
        schema: A schema, or a model that overrides `validate`.
        part: The frame.
        any_rows: Whether any row was left to validate.

    Returns:
        The frame as pandera returns it, or None; each broken rule with the positions of its rows in `part`; the frame
        errors.
    """
    import polars as pl

    good, errors, crash = backend.validate(schema, part, (Exception, pl.exceptions.PanicException))
    if crash is not None:
        return None, [], _missing(schema, part) or [raised_text(WHOLE_FRAME, "the schema", crash)]
    if errors:
        return None, *_read(errors, part, any_rows=any_rows)
    if good.height != part.height:
        return None, [], [f"validate returned {good.height:,} of {number_of(part.height, 'row')}"]
    return good, [], []


def _missing(schema: Any, part: pl.DataFrame) -> list[str]:
    """Return the missing columns: coercing one makes polars raise before pandera looks."""
    absent = [
        name
        for name, column in getattr(schema, "columns", {}).items()
        if column.required and not column.regex and name not in part.columns
    ]
    return [f"column '{name}' is missing" for name in absent if not schema.add_missing_columns]


def _read(
    errors: list[Any], part: pl.DataFrame, *, any_rows: bool
) -> tuple[list[tuple[str, str, Positions]], list[str]]:
    located = [(error, located_rows(error, part)) for error in errors]
    rows, frame = [], []
    for error, at in coercion_first(located):
        if at is not None:
            rows.append((column_of(error), title_of(error), at))
        elif text := frame_error(error, column_of(error), any_rows=any_rows):
            frame.append(text)
    return rows, frame


def located_rows(error: Any, part: pl.DataFrame) -> Positions | None:
    """Return the rows of `part` that a schema error is about; None if it is about the frame."""
    from pandera.constants import CHECK_OUTPUT_KEY

    output = error.check_output
    if code_of(error) == "CHECK_ERROR" or not hasattr(error.failure_cases, "columns") or output is None:
        return None
    output = output.lazy().collect()[CHECK_OUTPUT_KEY]
    if len(output) != part.height:
        return None
    mask = refused_rows(output)
    if code_of(error) == "DATATYPE_COERCION" and column_of(error) in part.columns:
        mask &= part[column_of(error)].is_not_null().to_numpy()  # pandera also counts values that were null before
    return np.flatnonzero(mask) if mask.any() else None


def column_of(error: Any) -> str:
    """Return the column that a schema error is about. Pandera reports coercion errors on the whole schema."""
    cases = error.failure_cases
    if code_of(error) == "DATATYPE_COERCION" and hasattr(cases, "columns") and len(cases.columns) == 1:
        return str(cases.columns[0])
    name = None if hasattr(error.schema, "columns") else error.schema.name
    return WHOLE_FRAME if name is None else str(name)


def title_of(error: Any) -> str:
    """Return the name of the rule in a schema error."""
    if code_of(error) == "DATATYPE_COERCION":
        return coercion_text(getattr(error.schema, "columns", {}).get(column_of(error), error.schema).dtype)
    return label(error.check, error.check_index)


def refused_rows(output: pl.Series) -> Mask:
    """Return the rows that a check's output refuses. Pandera has filled in its nulls."""
    mask: Mask = (~output.fill_null(value=True)).to_numpy().copy()
    return mask
