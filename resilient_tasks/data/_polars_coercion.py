# ruff: noqa: PLC0415 - polars and pandera load on first use
"""Coercion of polars columns: pandera's own cast, and which values stand in its way."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._backend import refusal, refused

if TYPE_CHECKING:
    import polars as pl

    from resilient_tasks.data._backend import Mask, Positions


class NeverCastsError(TypeError):
    """No value of the one type ever becomes the other."""


def coerce(dtype: Any, series: pl.Series) -> tuple[pl.Series, Mask | None] | None:
    """Coerce what can be coerced.

    Returns:
        The coerced values of the rows that coerce, and a mask of those that do not, None where all do; None alone
        where only pandera can tell.

    Raises:
        NeverCastsError: If polars has no cast between the types.
    """
    whole = _attempt(dtype, series)
    if whole is not None:
        return whole, None
    guess = _suspects(series, dtype)

    def accepts(positions: Positions) -> bool:
        return _attempt(dtype, series[positions]) is not None

    bad = refused(guess, lambda at: _codes(series[at]), accepts)
    good = None if bad is None else _attempt(dtype, series.filter(~bad))
    return None if good is None else (good, bad)


def is_plain_cast(dtype: Any, source: pl.DataType) -> bool:
    """Whether pandera's coercion of a value is sure to depend on that value alone."""
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
    """Nulls replaced by the column's default, after coercion, as pandera does it in polars; None where it cannot."""
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
    """Whether pandera takes NaN for null in this column."""
    import polars as pl

    return series.dtype in {pl.Float32, pl.Float64}


def word(dtype: Any) -> str:
    """The reason for a value that does not coerce."""
    kind: Any = getattr(dtype, "type", None)
    if not hasattr(kind, "is_numeric"):
        return refusal(dtype, numeric=False, temporal=False)
    return refusal(dtype, numeric=kind.is_numeric(), temporal=kind.is_temporal())


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
    """Values that a lenient cast turns into null."""
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
    """A number for each distinct value."""
    import polars as pl

    try:
        return series.rank("dense").fill_null(0).to_numpy().astype(np.intp)
    except (Exception, pl.exceptions.PanicException):
        return np.arange(len(series))
