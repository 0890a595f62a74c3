# ruff: noqa: PLC0415 - polars and pandera load on first use
"""The polars backend."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.validation.backend import WHOLE_FRAME, Finding, Findings, failed_text, label, raised_text
from resilient_tasks.validation.polars_engine import (
    NeverCastsError,
    coerce,
    coercion_text,
    filled,
    is_float,
    is_plain_cast,
    refused_rows,
    validate,
)
from resilient_tasks.validation.polars_query import Plan, make_plan
from resilient_tasks.validation.polars_rules import Rule, collect, is_plain, is_readable, is_rowwise, sees_one_column

if TYPE_CHECKING:
    from collections.abc import Iterator

    import polars as pl

    from resilient_tasks.validation.backend import Mask, Positions

_ROUNDS = 50


class PolarsBackend:
    """A polars frame and a polars schema. A lazy frame is collected: pandera checks no data in a lazy frame."""

    def __init__(self, frame: pl.DataFrame | pl.LazyFrame, schema: Any) -> None:
        self._frame: pl.DataFrame = frame.collect() if hasattr(frame, "collect") else frame
        self._schema = schema
        self._found = Findings()
        # The frame as pandera's checks see it, without the rows in which a value does not coerce.
        self._table = self._frame
        self._rows: Positions | None = None  # the table's row numbers; None for all
        self._known: dict[int, bool] = {}
        self._rejected: list[Any] = []
        self._evaluated: tuple[Plan, pl.DataFrame] | None = None

    @property
    def size(self) -> int:
        return self._frame.height

    def take(self, keep: Mask) -> pl.DataFrame:
        return _filtered(self._frame, keep)

    def reject(self, bad: Mask) -> pl.DataFrame:
        frame = self.take(bad)
        self._rejected[:] = frame.clone(), np.flatnonzero(bad)  # a copy: columns added in place stay out
        return frame

    def inspect(self) -> Findings:
        if self._evaluate_query():
            return self._found
        self._found = Findings(certain=False)
        if not is_readable(self._schema, self._frame.columns):
            return self._found
        self._found.certain = is_plain(self._schema)
        columns = self._columns()
        coerced = self._coerce_all(columns)
        columns = [(name, column) for name, column in columns if name in coerced]
        for name, column in columns:
            series = filled(coerced[name][0], column)
            if series is None:
                self._found.certain = False
                return self._found
            coerced[name] = series, coerced[name][1]
        self._assemble(columns, coerced)
        rules = [rule for name, column in columns for rule in self._rules(name, column, *coerced[name])]
        self._evaluate_rules(rules + list(self._frame_rules(columns)))
        self._recheck([custom for custom in self._frame_checks(columns) if not self._is_rowwise(custom[1])])
        return self._found

    def _evaluate_query(self) -> bool:
        """Evaluate all rules in one query; return whether that worked. If it raises, each rule is evaluated alone."""
        import polars as pl

        plan = make_plan(self._schema, self._frame.schema)
        if isinstance(plan, str) or any(rule.warns for rule in plan.rules):  # pandera emits the warnings
            return False
        masks = [plan.mask(number) for number in range(len(plan.rules))]
        try:
            evaluated = plan.evaluated(self._frame.lazy()).select(*masks, *plan.values).collect()
        except (Exception, pl.exceptions.PanicException):
            return False
        if any(evaluated[mask].dtype != pl.Boolean for mask in masks):
            return False
        self._found, self._evaluated = Findings(), (plan, evaluated)
        for rule, mask in zip(plan.rules, masks, strict=True):
            if not evaluated[mask].all():
                self._add(rule.column, rule.title, (~evaluated[mask]).arg_true().to_numpy().astype(np.intp))
        return True

    def assemble(self, keep: Mask) -> pl.DataFrame | None:
        if self._evaluated is not None:
            plan, evaluated = self._evaluated
            good = self._frame.with_columns(evaluated.select(list(plan.values))) if plan.values else self._frame
            good = good if plan.good == plan.read else good.select(plan.good)
            return _filtered(good, keep)
        here = keep if self._rows is None else keep[self._rows]
        good = _filtered(self._table, here)
        return good if good.schema == self._shape() else None

    def _shape(self) -> pl.Schema | None:
        """Return the columns and types that pandera returns; None if it refuses the frame whatever its rows are."""
        import polars as pl
        from pandera.config import ValidationDepth, config_context

        with config_context(validation_depth=ValidationDepth.SCHEMA_ONLY):
            try:
                shape: pl.Schema = self._schema.validate(self._frame.clear(), lazy=True).schema
            except (Exception, pl.exceptions.PanicException):
                return None
        return shape

    def _is_rowwise(self, check: Any) -> bool:
        """Analyse each check once. Keyed by id: checks compare by arguments, and expressions cannot be compared."""
        if id(check) not in self._known:
            self._known[id(check)] = is_rowwise(check)
        return self._known[id(check)]

    def _columns(self) -> list[tuple[str, Any]]:
        """Return the columns in the schema; a pattern leaves out those that are named in full."""
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

    def _coerce_all(self, columns: list[tuple[str, Any]]) -> dict[str, tuple[pl.Series, Positions | None]]:
        """Return each column's coerced values and their rows, without the columns that only pandera can coerce."""
        schema = self._schema
        coerced: dict[str, tuple[pl.Series, Positions | None]] = {
            name: (self._frame[name], None) for name in self._frame.columns
        }
        if schema.dtype is not None and (schema.coerce or any(column.coerce for _, column in columns)):
            wanted = [(name, schema.dtype) for name in self._frame.columns]
        else:
            wanted = [(name, column.dtype) for name, column in columns if schema.coerce or column.coerce]
        for name, dtype in wanted:
            if dtype is not None and name in coerced:
                result = self._coerce(dtype, *coerced.pop(name))
                if result is not None:
                    coerced[name] = result
        return {name: coerced[name] for name in self._frame.columns if name in coerced}

    def _coerce(
        self, dtype: Any, series: pl.Series, rows: Positions | None
    ) -> tuple[pl.Series, Positions | None] | None:
        self._found.certain &= is_plain_cast(dtype, series.dtype)
        try:
            result = coerce(dtype, series)
        except NeverCastsError as error:
            self._found.frame.append(str(error))
            return None
        if result is None:
            self._found.certain = False
            return None
        good, bad = result
        if bad is None:
            return good, rows
        self._add(series.name, coercion_text(dtype), _at(rows, bad))
        return good, _at(rows, ~bad)

    def _assemble(self, columns: list[tuple[str, Any]], coerced: dict[str, tuple[pl.Series, Positions | None]]) -> None:
        import polars as pl

        for _, present in coerced.values():
            if present is not None:
                common = present if self._rows is None else np.intersect1d(self._rows, present, assume_unique=True)
                self._rows = common
        named = {name for name, _ in columns}
        kept = [name for name in coerced if self._schema.strict != "filter" or name in named]
        self._table = pl.DataFrame([self._among(*coerced[name]) for name in kept])

    def _among(self, series: pl.Series, present: Positions | None) -> pl.Series:
        """Return a column's values in the rows of the table."""
        if self._rows is None or len(series) == len(self._rows):
            return series
        return series[self._rows if present is None else np.searchsorted(present, self._rows)]

    def _rules(self, name: str, column: Any, series: pl.Series, rows: Positions | None) -> Iterator[Rule]:
        """Yield the row-wise rules of a column, and its uniqueness."""
        import polars as pl

        if self.size and not len(series):
            return
        table, value = series.to_frame().lazy(), pl.col(name)
        if not column.nullable and (series.has_nulls() or is_float(series)):
            present = value.is_not_null() & (value.is_not_nan() if is_float(series) else True)
            yield Rule(name, label("not_nullable"), table, rows, present.fill_null(value=False))
        if column.unique:
            yield Rule(name, label("field_uniqueness"), table, rows, ~value.is_duplicated())
        for number, check in enumerate(column.checks):
            if self._is_rowwise(check) and sees_one_column(check):
                yield Rule(name, label(check, number), table, rows, check)

    def _frame_rules(self, columns: list[tuple[str, Any]]) -> Iterator[Rule]:
        """Yield the rules over several columns, on the rows in which every column coerced."""
        schema, table = self._schema, self._table.lazy()
        if self.size and not self._table.height:
            return
        groups = schema.unique or []
        for names in [groups] if groups and all(isinstance(name, str) for name in groups) else groups:
            subset = [name for name in names if name in self._table.columns]
            if subset:
                duplicated = self._table.select(subset).is_duplicated()
                self._add(
                    ", ".join(subset), label("multiple_fields_uniqueness"), _at(self._rows, duplicated.to_numpy())
                )
            else:
                self._found.certain = False
        for name, check, number in self._frame_checks(columns):
            if self._is_rowwise(check):
                yield Rule(name, label(check, number), table, self._rows, check)

    def _evaluate_rules(self, rules: list[Rule]) -> None:
        for rule, answer in zip(rules, collect(rules), strict=True):
            if not isinstance(answer, BaseException):
                failing = answer.to_numpy().astype(np.intp)
                failing = failing if rule.rows is None else rule.rows[failing]
                self._add_warning(rule.column, rule.title, failing) if rule.warns else self._add(
                    rule.column, rule.title, failing
                )
            elif rule.is_check:
                self._found.frame.append(raised_text(rule.column, rule.title, answer))
            else:
                self._found.certain = False

    def _frame_checks(self, columns: list[tuple[str, Any]]) -> Iterator[tuple[str, Any, int]]:
        """Yield the checks that see the whole frame. Those of patterns are left to pandera: they may see one column."""
        for name, column in columns:
            if not column.regex:
                numbered = enumerate(column.checks)
                yield from (
                    (name, check, at)
                    for at, check in numbered
                    if not (self._is_rowwise(check) and sees_one_column(check))
                )
        yield from ((WHOLE_FRAME, check, at) for at, check in enumerate(self._schema.checks))

    def _recheck(self, customs: list[tuple[str, Any, int]]) -> None:
        """Evaluate checks on all rows, then on the remaining rows, until no more rows fail."""
        if not customs or (self.size and not self._table.height):
            return
        table, rows = self._table, _at(self._rows, np.ones(self._table.height, dtype=bool))
        drop = [custom for custom in customs if not custom[1].raise_warning]
        for name, check, number in customs:
            if check.raise_warning:
                self._check(name, table, rows, check, number)
        for _ in range(_ROUNDS):
            for name, check, number in drop:
                self._check(name, table, rows, check, number)
            left = ~self._found.bad(self.size)[rows]
            if self._found.frame or left.all() or not left.any():
                return
            self._table, self._rows = table, rows = table.filter(left), rows[left]
        self._found.certain = False

    def _check(self, name: str, table: pl.DataFrame, rows: Positions, check: Any, number: int) -> None:
        import polars as pl

        title = label(check, number)
        try:
            result = _call(check, table, name)
            output = result.check_output.collect().to_series(0)
            # A single boolean, or an aggregation, is a result for the frame: it exists over zero rows, too.
            whole = result.failure_cases is None or len(output) != len(rows)
            if not whole and len(rows) == 1 and not output.all():
                whole = _call(check, table.clear(), name).check_output.collect().height == 1
        except (Exception, pl.exceptions.PanicException) as error:
            self._found.frame.append(raised_text(name, title, error))
            return
        if output.all():
            return
        failing = rows[:0] if whole else rows[refused_rows(output)]
        if check.raise_warning:
            self._add_warning(name, title, failing, whole=whole)
        elif whole:
            self._found.frame.append(failed_text(name, title))
        else:
            self._add(name, title, failing)

    def _add(self, name: str, check: str, rows: Positions, into: Findings | None = None) -> None:
        if len(rows):
            read = functools.partial(_values, self._rejected, name, rows) if name in self._frame.columns else None
            (into or self._found).rows.append(Finding(name, check, rows, read))

    def _add_warning(self, name: str, check: str, rows: Positions, *, whole: bool = False) -> None:
        """Add a warning. Most of its rows are good, so their values are taken from the frame at once."""
        if whole or len(rows):
            read = self._frame[name][rows].to_list if name in self._frame.columns and not whole else None
            self._found.warnings.append(Finding(name, check, rows, read))

    def validate(self, keep: Mask) -> tuple[pl.DataFrame | None, Findings]:
        part, rows, found = self.take(keep), np.flatnonzero(keep), Findings()
        good, located, found.frame = validate(self._schema, part, any_rows=part.height > 0 or not self.size)
        for column, check, at in located:
            self._add(column, check, rows[at], found)
        # If every row was bad already, check results on zero rows mean nothing: the good part is empty.
        return (part if good is None and not (part.height or found.frame) else good), found


def _filtered(frame: pl.DataFrame, keep: Mask) -> pl.DataFrame:
    import polars as pl

    if keep.all():
        return frame
    return frame.filter(pl.Series(keep)) if keep.any() else frame.clear()


def _call(check: Any, table: pl.DataFrame, name: str) -> Any:
    return check(table.lazy()) if name == WHOLE_FRAME else check(table.lazy(), name)


def _values(rejected: list[Any], name: str, rows: Positions) -> list[Any]:
    """Return the values read in these rows of a column, from the bad rows: a reason must not hold the whole frame."""
    frame, numbers = rejected
    values: list[Any] = frame[name][np.searchsorted(numbers, rows)].to_list()
    return values


def _at(rows: Positions | None, mask: Mask) -> Positions:
    """Return the row numbers where the mask over `rows` is set."""
    return np.flatnonzero(mask) if rows is None else rows[mask]
