# ruff: noqa: PLC0415 - polars and pandera load on first use
"""The polars side of a split."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._backend import (
    WHOLE_FRAME,
    Finding,
    Findings,
    failed,
    label,
    raised,
    refusal,
    refused,
    sentence,
)
from resilient_tasks.data.schemas import has_parsers

if TYPE_CHECKING:
    import polars as pl

    from resilient_tasks.data._backend import Mask, Positions


class PolarsBackend:
    """A polars frame and a polars schema. A lazy frame is collected: pandera checks no data in a lazy one."""

    def __init__(self, frame: pl.DataFrame | pl.LazyFrame, schema: Any) -> None:
        self._frame: pl.DataFrame = frame.collect() if hasattr(frame, "collect") else frame
        self._schema = schema
        self._found = Findings()

    @property
    def size(self) -> int:
        return self._frame.height

    def take(self, keep: Mask) -> pl.DataFrame:
        return self._frame if keep.all() else self._frame.filter(keep)

    def inspect(self) -> Findings:
        self._found = Findings()
        if not self._maskable():
            return self._found
        everyone = np.arange(self.size)
        coerced: dict[str, tuple[pl.Series, Positions]] = {}
        self._coerce_all(coerced, everyone)
        for name, column in self._columns():
            if name not in coerced:
                continue
            series, rows = _filled(coerced[name][0], column), coerced[name][1]
            coerced[name] = series, rows
            if len(rows) or not self.size:
                self._component(name, column, series, rows)
        self._whole(coerced)
        return self._found

    def _maskable(self) -> bool:
        """Whether the parts of the schema can be read one by one; else pandera judges the rows alone."""
        schema = self._schema
        adds = schema.add_missing_columns and not set(schema.columns) <= set(self._frame.columns)
        computed = any(hasattr(column.default, "meta") for column in schema.columns.values())  # an expression
        return not (has_parsers(schema) or adds or computed) and (
            schema.dtype is None or hasattr(schema.dtype.type, "is_numeric")
        )

    def _columns(self) -> list[tuple[str, Any]]:
        """The columns that the schema speaks of; a pattern leaves out those that it names in full."""
        frame, parts = self._frame, self._schema.columns
        explicit = {name for name, column in parts.items() if not column.regex}
        found = []
        for name, column in parts.items():
            if not column.regex:
                found += [(name, column)] if name in frame.columns else []
            else:
                matching = frame.lazy().select(column.selector).collect_schema().names()
                found += [(match, column) for match in matching if match not in explicit]
        return found

    def _coerce_all(self, coerced: dict[str, tuple[pl.Series, Positions]], everyone: Positions) -> None:
        schema, columns = self._schema, self._columns()
        any_coerce = schema.coerce or any(column.coerce for _, column in columns)
        for name in self._frame.columns:
            coerced[name] = self._frame[name], everyone
        if schema.dtype is not None and any_coerce:
            wanted = [(name, schema.dtype) for name in self._frame.columns]
        else:
            wanted = [(name, column.dtype) for name, column in columns if schema.coerce or column.coerce]
        for name, dtype in wanted:
            if dtype is None:
                continue
            result = self._coerce(name, dtype, *coerced[name])
            if result is None:
                del coerced[name]
            else:
                coerced[name] = result

    def _coerce(self, name: str, dtype: Any, series: pl.Series, rows: Positions) -> tuple[pl.Series, Positions] | None:
        """The values that coerce, coerced, and their rows; None where only pandera can tell."""
        whole = _attempt(dtype, series)
        if whole is not None:
            return whole, rows
        guess = _suspects(series, dtype)
        if guess is None:
            text = f"column '{name}' has type {series.dtype}, which polars does not cast to {dtype}; parse it first"
            self._found.frame.append(text)
            return None

        def accepts(positions: Positions) -> bool:
            return _attempt(dtype, series[positions]) is not None

        bad = refused(guess, lambda at: _codes(series[at]), accepts)
        if bad is None:
            return None
        self._note(name, _refusal(dtype), rows[bad])
        good = _attempt(dtype, series.filter(~bad))
        return None if good is None else (good, rows[np.flatnonzero(~bad)])

    def _component(self, name: str, column: Any, series: pl.Series, rows: Positions) -> None:
        if not column.nullable:
            missing = series.is_null()
            if series.dtype.is_float():
                missing |= series.is_nan().fill_null(value=False)
            self._note(name, label("not_nullable"), rows[missing.to_numpy()])
        if column.unique:
            self._note(name, label("field_uniqueness"), rows[series.is_duplicated().to_numpy()])
        table = series.to_frame().lazy()
        for number, check in enumerate(column.checks):
            if not check.raise_warning:
                self._check(name, table, rows, check, number)

    def _check(self, name: str, table: pl.LazyFrame, rows: Positions, check: Any, number: int) -> None:
        import polars as pl

        title = label(check, number)
        try:
            result = check(table) if name == WHOLE_FRAME else check(table, name)
            output = result.check_output.collect().to_series(0)
            passed = bool(output.all())
        except (Exception, pl.exceptions.PanicException) as error:
            self._found.frame.append(raised(name, title, error))
            return
        if passed:
            return
        # One plain boolean, or an aggregation over many rows, speaks of the frame.
        if result.failure_cases is None or len(output) != len(rows):
            self._found.frame.append(failed(name, title))
        else:
            self._note(name, title, rows[_refused_rows(output)])

    def _whole(self, coerced: dict[str, tuple[pl.Series, Positions]]) -> None:
        """The rules over several columns: on the rows in which every column coerced."""
        schema = self._schema
        checks = [(number, check) for number, check in enumerate(schema.checks) if not check.raise_warning]
        if not (checks or schema.unique):
            return
        table, rows = self._table(coerced)
        if self.size and not len(rows):
            return
        groups = schema.unique or []
        for names in [groups] if all(isinstance(name, str) for name in groups) else groups:
            subset = [name for name in names if name in table.columns]
            if subset:
                mask = table.select(subset).is_duplicated().to_numpy()
                self._note(", ".join(subset), label("multiple_fields_uniqueness"), rows[mask])
        lazy = table.lazy()
        for number, check in checks:
            self._check(WHOLE_FRAME, lazy, rows, check, number)

    def _table(self, coerced: dict[str, tuple[pl.Series, Positions]]) -> tuple[pl.DataFrame, Positions]:
        import polars as pl

        rows = np.arange(self.size)
        for _, present in coerced.values():
            rows = rows if len(present) == self.size else np.intersect1d(rows, present, assume_unique=True)
        named = {name for name, _ in self._columns()}
        keep = [name for name in coerced if self._schema.strict != "filter" or name in named]
        columns = []
        for name in keep:
            series, present = coerced[name]
            columns.append(series if len(present) == len(rows) else series[np.searchsorted(present, rows)])
        return pl.DataFrame(columns), rows

    def _note(self, name: str, check: str, rows: Positions, into: Findings | None = None) -> None:
        if len(rows):
            known = name in self._frame.columns
            values: list[Any] = self._frame[name][rows].to_list() if known else [None] * len(rows)
            (into or self._found).rows.append(Finding(name, check, rows, values))

    def judge(self, keep: Mask) -> tuple[pl.DataFrame | None, Findings]:
        import polars as pl
        from pandera.errors import SchemaDefinitionError, SchemaErrors, SchemaInitError

        part = self.take(keep)
        try:
            return self._schema.validate(part, lazy=True), Findings()
        except SchemaErrors as errors:
            found = self._read(errors.schema_errors, part, np.flatnonzero(keep))
        except (SchemaDefinitionError, SchemaInitError):
            raise  # the schema is at fault, not the data
        except (Exception, pl.exceptions.PanicException) as error:
            found = Findings(frame=self._missing() or [raised(WHOLE_FRAME, "the schema", error)])
        # With every row bad already, what checks say of zero rows is no verdict: an empty frame it is.
        return (None, found) if part.height or found.frame else (part, found)

    def _missing(self) -> list[str]:
        """Columns that are not there: coercing one makes polars raise before pandera looks."""
        absent = [
            name
            for name, column in self._schema.columns.items()
            if column.required and not column.regex and name not in self._frame.columns
        ]
        return [f"column '{name}' is missing" for name in absent if not self._schema.add_missing_columns]

    def _read(self, errors: list[Any], part: pl.DataFrame, rows: Positions) -> Findings:
        found = Findings()
        located = [(error, _located(error, part)) for error in errors]
        # A column that did not coerce fails further checks for that reason alone: first without those rows.
        coercion = [pair for pair in located if pair[1] is not None and _code(pair[0]) == "DATATYPE_COERCION"]
        for error, at in coercion or located:
            column = _column(error)
            if at is not None:
                self._note(column, _judged_label(error), rows[at], found)
            elif text := sentence(error, column, any_rows=len(rows) > 0 or not self.size):
                found.frame.append(text)
        return found


def _located(error: Any, part: pl.DataFrame) -> Positions | None:
    """Which rows of `part` a schema error is about; None where it is about the frame."""
    from pandera.constants import CHECK_OUTPUT_KEY

    output = error.check_output
    if _code(error) == "CHECK_ERROR" or not hasattr(error.failure_cases, "columns") or output is None:
        return None
    output = output.lazy().collect()[CHECK_OUTPUT_KEY]
    if len(output) != part.height:
        return None
    mask = _refused_rows(output)
    if _code(error) == "DATATYPE_COERCION" and _column(error) in part.columns:
        mask &= part[_column(error)].is_not_null().to_numpy()  # pandera counts nulls that were nulls before
    return np.flatnonzero(mask) if mask.any() else None


def _column(error: Any) -> str:
    """The name of the column an error is about. Pandera puts a coercion's error on the whole schema."""
    cases = error.failure_cases
    if _code(error) == "DATATYPE_COERCION" and hasattr(cases, "columns") and len(cases.columns) == 1:
        return str(cases.columns[0])
    name = None if hasattr(error.schema, "columns") else error.schema.name
    return WHOLE_FRAME if name is None else str(name)


def _code(error: Any) -> str:
    return getattr(error.reason_code, "name", "")


def _judged_label(error: Any) -> str:
    if _code(error) == "DATATYPE_COERCION":
        dtype = getattr(error.schema, "columns", {}).get(_column(error), error.schema).dtype
        return _refusal(dtype)
    return label(error.check, error.check_index)


def _refusal(dtype: Any) -> str:
    kind: Any = getattr(dtype, "type", None)
    if not hasattr(kind, "is_numeric"):
        return refusal(dtype, numeric=False, temporal=False)
    return refusal(dtype, numeric=kind.is_numeric(), temporal=kind.is_temporal())


def _refused_rows(output: pl.Series) -> Mask:
    mask: Mask = (~output.fill_null(value=True)).to_numpy().copy()
    return mask


def _filled(series: pl.Series, column: Any) -> pl.Series:
    """Nulls replaced by the column's default: after coercion, as pandera does it in polars."""
    import polars as pl

    if column.default is None:
        return series
    default = pl.lit(column.default, dtype=column.dtype.type)
    value = pl.col(series.name)
    value = value.fill_nan(default) if series.dtype.is_float() else value
    return series.to_frame().select(value.fill_null(default)).to_series(0)


def _attempt(dtype: Any, series: pl.Series) -> pl.Series | None:
    import polars as pl
    from pandera.api.polars.types import PolarsData

    frame = series.to_frame()
    try:
        coerced: pl.Series = dtype.coerce(PolarsData(frame.lazy(), series.name)).collect().to_series(0)
    except (Exception, pl.exceptions.PanicException):
        return None
    return coerced


def _suspects(series: pl.Series, dtype: Any) -> Mask | None:
    """Values that a lenient cast turns into null; None where no value of the one type ever becomes the other."""
    import polars as pl

    try:
        lost = series.cast(dtype.type, strict=False).is_null() & series.is_not_null()
    except pl.exceptions.InvalidOperationError:
        return None
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
