# ruff: noqa: PLC0415 - pandas and pandera load on first use
"""The pandas side of a split. Rows are told apart by position, never by label: an index may repeat itself."""

from __future__ import annotations

from dataclasses import dataclass
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
from resilient_tasks.data._pandas_coercion import attempt, codes, is_date, is_number, suspects
from resilient_tasks.data.schemas import has_parsers

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterator

    import pandas as pd

    from resilient_tasks.data._backend import Mask, Positions

_KEEP = {"exclude_first": "first", "exclude_last": "last", "all": False}


@dataclass(frozen=True, slots=True)
class _Part:
    """A column or an index level, and the part of the schema that speaks of it."""

    key: Hashable
    series: pd.Series
    schema: Any
    coerce: bool
    level: int | None = None


class PandasBackend:
    """A pandas frame and a pandas schema."""

    def __init__(self, frame: pd.DataFrame, schema: Any) -> None:
        self._frame = frame
        self._schema = schema
        self._found = Findings()

    @property
    def size(self) -> int:
        return len(self._frame)

    def take(self, keep: Mask) -> pd.DataFrame:
        return self._frame.copy() if keep.all() else self._frame[keep]

    def inspect(self) -> Findings:
        self._found = Findings()
        if not self._maskable():
            return self._found
        everyone = np.arange(self.size)
        coerced: dict[tuple[int | None, Hashable], tuple[pd.Series, Positions]] = {}
        for part in self._parts():
            where = (part.level, part.key)
            series, rows = coerced.get(where, (part.series, everyone))
            result = self._coerce(part, series, rows)
            if result is None:
                continue
            coerced[where] = result
            if len(result[1]) or not self.size:
                self._component(part, *result)
        self._whole(coerced)
        return self._found

    def _maskable(self) -> bool:
        """Whether the parts of the schema can be read one by one; else pandera judges the rows alone."""
        schema, columns = self._schema, self._frame.columns
        adds = schema.add_missing_columns and not set(schema.columns) <= set(columns)
        filled = any(column.regex and column.default is not None for column in schema.columns.values())
        return not (has_parsers(schema) or schema.dtype is not None or adds or filled) and columns.is_unique

    def _parts(self) -> Iterator[_Part]:
        frame, schema = self._frame, self._schema
        for key, column in schema.columns.items():
            for name in self._names(key, column):
                series = frame[name]
                if column.default is not None:
                    series = series.fillna(column.default)
                yield _Part(name, series, column, column.coerce or schema.coerce)
        yield from self._levels()

    def _names(self, key: Hashable, column: Any) -> list[Hashable]:
        if not column.regex:
            return [key] if key in self._frame.columns else []
        from pandera.errors import SchemaError

        try:
            return list(column.get_regex_columns(self._frame))
        except SchemaError:  # no column matches: a failure of the frame, which pandera will word
            return []

    def _levels(self) -> Iterator[_Part]:
        index, wanted = self._frame.index, self._schema.index
        if wanted is None:
            return
        if not hasattr(wanted, "indexes"):
            if index.nlevels == 1:
                yield _Part(index.name, index.to_series(), wanted, wanted.coerce or self._schema.coerce, 0)
            return
        unnamed = all(level.name is None for level in wanted.indexes)
        for number, level in enumerate(wanted.indexes):
            at = number if unnamed else list(index.names).index(level.name) if level.name in index.names else None
            if at is not None and at < index.nlevels:
                series = index.get_level_values(at).to_series()
                yield _Part(level.name, series, level, level.coerce or wanted.coerce or self._schema.coerce, at)

    def _coerce(self, part: _Part, series: pd.Series, rows: Positions) -> tuple[pd.Series, Positions] | None:
        """The values that coerce, coerced, and their rows; None where only pandera can tell."""
        dtype = part.schema.dtype
        if not part.coerce or dtype is None:
            return series, rows
        whole = attempt(dtype, series)
        if whole is not None:
            return whole, rows

        def accepts(positions: Positions) -> bool:
            return attempt(dtype, series.iloc[positions]) is not None

        bad = refused(suspects(series, dtype), lambda at: codes(series.iloc[at]), accepts)
        if bad is None:
            return None
        word = refusal(dtype, numeric=is_number(dtype), temporal=is_date(dtype))
        self._note(part, word, rows[bad])
        good = attempt(dtype, series[~bad])
        return None if good is None else (good, rows[np.flatnonzero(~bad)])

    def _component(self, part: _Part, series: pd.Series, rows: Positions) -> None:
        schema = part.schema
        if not schema.nullable and series.hasnans:
            self._note(part, label("not_nullable"), rows[series.isna().to_numpy()])
        if schema.unique and not series.is_unique:
            duplicated = series.duplicated(keep=_KEEP[schema.report_duplicates])  # type: ignore[arg-type]  # pandera's names
            self._note(part, label("field_uniqueness"), rows[duplicated.to_numpy()])
        self._dtype_by_value(part, series, rows)
        for number, check in enumerate(schema.checks):
            if _is_mask(check):
                self._check(part, series, rows, check, number)

    def _dtype_by_value(self, part: _Part, series: pd.Series, rows: Positions) -> None:
        """Some types (a date, a decimal, a list of text) live in object columns and are checked value by value."""
        dtype = part.schema.dtype
        if dtype is None or series.dtype != object:
            return
        from pandera.engines.pandas_engine import Engine

        passed = dtype.check(Engine.dtype(series.dtype), series)
        if not isinstance(passed, bool) and hasattr(passed, "__len__"):
            self._note(part, f"not of type {dtype}", rows[~_as_mask(passed)])

    def _check(self, part: _Part, series: pd.Series, rows: Positions, check: Any, number: int) -> None:
        name, column = label(check, number), _text(part.key)
        if check.ignore_na and series.hasnans:
            present = series.notna().to_numpy()
            series, rows = series[present], rows[present]
        try:
            result = check(series)
            output = result.check_output
            passed = bool(result.check_passed)
        except Exception as error:
            self._found.frame.append(raised(column, name, error))
            return
        if passed:
            return
        if hasattr(output, "index") and output.index.equals(series.index):
            self._note(part, name, rows[~_as_mask(output)])
        else:
            self._found.frame.append(failed(column, name))

    def _whole(self, coerced: dict[tuple[int | None, Hashable], tuple[pd.Series, Positions]]) -> None:
        """The rules over several columns: on the rows in which every column coerced."""
        schema = self._schema
        checks = [(n, check) for n, check in enumerate(schema.checks) if _is_mask(check)]
        if not (checks or schema.unique):
            return
        table, rows = self._table(coerced)
        if self.size and not len(rows):
            return
        for names in _groups(schema.unique):
            subset = [name for name in names if name in table]
            keep = _KEEP[schema.report_duplicates]
            if subset:
                mask = table.duplicated(subset=subset, keep=keep).to_numpy()  # type: ignore[arg-type]  # as above
                self._note_rows(", ".join(map(str, subset)), label("multiple_fields_uniqueness"), rows[mask])
        for number, check in checks:
            self._frame_check(table, rows, check, number)

    def _table(
        self, coerced: dict[tuple[int | None, Hashable], tuple[pd.Series, Positions]]
    ) -> tuple[pd.DataFrame, Positions]:
        everyone = np.arange(self.size)
        rows = everyone
        for _, present in coerced.values():
            rows = rows if len(present) == self.size else np.intersect1d(rows, present, assume_unique=True)
        table = self._frame.take(rows) if len(rows) < self.size else self._frame.copy(deep=False)
        for (level, key), (series, present) in coerced.items():
            values = series if len(present) == len(rows) else series.iloc[np.searchsorted(present, rows)]
            if level is None:
                table[key] = values.array
            elif self._frame.index.nlevels == 1:
                table.index = values.array
                table.index.name = self._frame.index.name
        if self._schema.strict == "filter":
            table = table[[key for key in table.columns if (None, key) in coerced]]
        return table, rows

    def _frame_check(self, table: pd.DataFrame, rows: Positions, check: Any, number: int) -> None:
        name = label(check, number)
        try:
            result = check(table)
            output = result.check_output
            passed = bool(result.check_passed)
        except Exception as error:
            self._found.frame.append(raised(WHOLE_FRAME, name, error))
            return
        if passed:
            return
        if not hasattr(output, "index") or not output.index.equals(table.index):
            self._found.frame.append(failed(WHOLE_FRAME, name))
        elif hasattr(output, "columns"):
            for at, key in enumerate(output.columns):
                self._note_rows(key, name, rows[~_as_mask(output.iloc[:, at])])
        else:
            self._note_rows(WHOLE_FRAME, name, rows[~_as_mask(output)])

    def _note(self, part: _Part, check: str, rows: Positions) -> None:
        if len(rows):
            series = part.series if part.level is not None else self._frame[part.key]
            self._found.rows.append(Finding(_text(part.key), check, rows, series.iloc[rows].tolist()))

    def _note_rows(self, key: Hashable, check: str, rows: Positions, into: Findings | None = None) -> None:
        if len(rows) == 0:
            return
        values: list[Any] = [None] * len(rows)
        if key in self._frame.columns and self._frame.columns.is_unique:
            values = self._frame[key].iloc[rows].tolist()
        (into or self._found).rows.append(Finding(_text(key), check, rows, values))

    def judge(self, keep: Mask) -> tuple[pd.DataFrame | None, Findings]:
        rows = np.flatnonzero(keep)
        part = self.take(keep)
        good, errors = self._validate(part)
        if good is not None:
            return good, Findings()
        if self._schema.index is None and not isinstance(errors, str):
            # Row numbers for labels, so that pandera's failure cases say which rows it means.
            numbered = part.set_axis(np.arange(len(part)), axis=0)
            again, by_row = self._validate(numbered)
            if again is None and not isinstance(by_row, str):
                part, errors = numbered, by_row
        found = self._read(errors, part, rows)
        # With every row bad already, what checks say of zero rows is no verdict: an empty frame it is.
        return (None, found) if len(part) or found.frame else (self.take(keep), found)

    def _validate(self, part: pd.DataFrame) -> tuple[pd.DataFrame | None, Any]:
        from pandera.errors import SchemaDefinitionError, SchemaErrors, SchemaInitError

        try:
            return self._schema.validate(part, lazy=True), None
        except SchemaErrors as errors:
            return None, errors.schema_errors
        except (SchemaDefinitionError, SchemaInitError):
            raise  # the schema is at fault, not the data
        except Exception as error:
            return None, raised(WHOLE_FRAME, "the schema", error)

    def _read(self, errors: Any, part: pd.DataFrame, rows: Positions) -> Findings:
        found = Findings()
        if isinstance(errors, str):
            found.frame.append(errors)
            return found
        located = [(error, _located(error, part)) for error in errors]
        # A column that did not coerce fails further checks for that reason alone: first without those rows.
        coercion = [pair for pair in located if pair[1] is not None and _code(pair[0]) == "DATATYPE_COERCION"]
        for error, at in coercion or located:
            column = error.column_name if error.column_name is not None else error.schema.name
            column = WHOLE_FRAME if column is None else column
            if at is not None:
                self._note_rows(column, _judged_label(error), rows[at], found)
            elif text := sentence(error, _text(column), any_rows=len(rows) > 0 or not self.size):
                found.frame.append(text)
        return found


def _located(error: Any, part: pd.DataFrame) -> Positions | None:
    """Which rows of `part` a schema error is about; None where it is about the frame."""
    output, cases = error.check_output, error.failure_cases
    if _code(error) in {"WRONG_DATATYPE", "CHECK_ERROR"} or not hasattr(cases, "columns"):
        return None
    if hasattr(output, "index") and len(output) == len(part):
        mask = _as_mask(output.all(axis=1) if hasattr(output, "columns") else output)
        return np.flatnonzero(~mask)
    labels = output.index[~_as_mask(output)] if hasattr(output, "dtype") else cases.get("index")
    if labels is None or not part.index.is_unique or part.index.nlevels > 1:
        return None
    at = part.index.get_indexer(labels.unique())
    return np.sort(at) if len(at) and (at >= 0).all() else None


def _code(error: Any) -> str:
    return getattr(error.reason_code, "name", "")


def _judged_label(error: Any) -> str:
    if _code(error) == "DATATYPE_COERCION":
        dtype = error.schema.dtype
        return refusal(dtype, numeric=is_number(dtype), temporal=is_date(dtype))
    return label(error.check, error.check_index)


def _is_mask(check: Any) -> bool:
    """Not a warning, and not one verdict over groups or samples, which is pandera's to give."""
    return not check.raise_warning and check.groupby is None and not hasattr(check, "relationship")


def _as_mask(output: pd.Series) -> Mask:
    """A check's output as booleans; a null passes, as it does in pandera's own `all()`."""
    if output.dtype == bool:
        return output.to_numpy()
    return np.asarray(output.astype(object).where(output.notna(), True), dtype=bool)


def _groups(unique: Any) -> list[list[Any]]:
    if not unique:
        return []
    return [unique] if all(isinstance(name, str) for name in unique) else list(unique)


def _text(key: Hashable) -> str:
    return str(key)
