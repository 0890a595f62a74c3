# ruff: noqa: PLC0415 - pandas and pandera load on first use
"""The pandas backend. Rows are identified by position, never by label: an index may have duplicates."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.validation import pandas_engine as engine
from resilient_tasks.validation import pandas_rules as rules
from resilient_tasks.validation.backend import (
    WHOLE_FRAME,
    Finding,
    Findings,
    code_of,
    coercion_first,
    coercion_reason,
    failed_text,
    frame_error,
    label,
    raised_text,
)
from resilient_tasks.validation.pandas_engine import (
    engine_dtype,
    find_uncoercible,
    fits,
    is_date,
    is_number,
    needs_neighbours,
    try_coerce,
)
from resilient_tasks.validation.pandas_rules import Component, Values, evaluate, is_mask

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import pandas as pd

    from resilient_tasks.validation.backend import Mask, Positions

_ROUNDS = 50


@dataclass(frozen=True, slots=True)
class _Rule:
    """A check of a component or of the whole frame."""

    check: Any
    name: str
    part: Component | None = None


class PandasBackend:
    """A pandas frame and a pandas schema."""

    def __init__(self, frame: pd.DataFrame, schema: Any) -> None:
        self._frame = frame
        self._schema = schema
        self._own = False
        self._found = Findings()
        self._log = rules.FindingLog(frame)
        self._values: dict[tuple[int | None, Hashable], Values] = {}
        self._replaced: set[Hashable] = set()
        self._by_value: set[Hashable] = set()
        self._open: list[_Rule] = []
        self._evaluated: set[tuple[int, int]] = set()
        self._left: tuple[Mask, pd.DataFrame] | None = None

    @property
    def size(self) -> int:
        return len(self._frame)

    def take(self, keep: Mask) -> pd.DataFrame:
        if keep.all():
            return rules.own(self._frame)
        return self._frame.take(np.flatnonzero(keep)) if keep.any() else rules.own(self._frame.iloc[:0])

    def reject(self, bad: Mask) -> pd.DataFrame:
        frame = self.take(bad)
        self._log.reject(frame, np.flatnonzero(bad))
        return frame

    def _add(self, part: Component, check: str, rows: Positions) -> None:
        self._log.add(self._found.rows, part, check, rows)

    def inspect(self) -> Findings:
        frame, schema = self._frame, self._schema
        self._own = rules.uses_pandera_methods(frame, schema)
        self._found = Findings(certain=self._own and rules.is_readable(frame, schema))
        if not self._found.certain:
            if self._own:
                self._check_index()
            return self._found
        self._replaced = {name for name, column in schema.columns.items() if column.default is not None}
        self._found.certain = rules.is_plain_index(frame.index, schema) and not self._replaced
        if not self.size and self._replaced:  # pandera gives empty columns other types as it fills in defaults
            return self._found
        try:
            found = [*rules.columns(frame, schema), *rules.levels(frame.index, schema)]
        except (TypeError, ValueError):  # a default that does not fit its column: pandera reports it
            return self._found
        for part, series in found:
            self._values[part.where] = Values(series, needs=np.arange(0))
        for part, _ in found:
            self._coerce(part)
        for part, _ in found:
            if part.where in self._values:
                self._check_component(part, self._values[part.where])
        self._check_frame()
        self._recheck()
        return self._found

    def _check_index(self) -> None:
        """Check the index, whose bad rows pandera cannot name, where pandera has to validate the columns."""
        wanted, schema = self._schema.index, self._schema
        if wanted is None or wanted.coerce or schema.coerce or schema.dtype is not None or schema.parsers:
            return
        if any(part.parsers for part in (wanted, *getattr(wanted, "indexes", ()))):
            return
        for part, series in rules.levels(self._frame.index, self._schema):
            self._check_component(part, Values(series))

    def _coerce(self, part: Component) -> None:
        """Replace a component's values by the coerced ones; drop them where only pandera knows."""
        dtype = part.schema.dtype
        if not part.coerce or dtype is None or part.where not in self._values:
            return
        given = self._values[part.where]
        series, rows = given.series, given.rows
        coerced = try_coerce(dtype, series)
        if coerced is None:
            bad = find_uncoercible(series, dtype)
            coerced = None if bad is None else try_coerce(dtype, series := series[~bad])
            if bad is None or coerced is None:
                del self._values[part.where]
                self._found.certain = False
                return
            self._add(
                part,
                coercion_reason(dtype, numeric=is_number(dtype), temporal=is_date(dtype)),
                rules.rows_where(rows, bad),
            )
            rows = rules.rows_where(rows, ~bad)
        needs = needs_neighbours(dtype, series, coerced)
        if needs is not None and given.needs is not None:
            needs = np.union1d(given.needs, needs if rows is None else rows[needs])
        if part.level is None:
            self._replaced.add(part.key)
        self._values[part.where] = Values(coerced, rows, needs if given.needs is not None else None)

    def _check_component(self, part: Component, values: Values) -> None:
        schema, series, rows = part.schema, values.series, values.rows
        if self.size and not len(series):
            return
        missing = rules.null_mask(series)
        if missing is not None and not schema.nullable:
            self._add(part, label("not_nullable"), rules.rows_where(rows, missing))
        repeated = rules.duplicate_mask(part, series, self._schema)
        if repeated is not None:
            self._add(part, label("field_uniqueness"), rules.rows_where(rows, repeated))
        self._check_dtype(part, values)
        for number, check in enumerate(schema.checks):
            if is_mask(check):
                self._evaluate(_Rule(check, label(check, number), part), series, rows, missing)
            else:
                self._found.certain = False

    def _check_dtype(self, part: Component, values: Values) -> None:
        """Check the type. Some types (dates, decimals, lists of text) are stored as objects and checked per value."""
        dtype, series = part.schema.dtype, values.series
        if dtype is None:
            return
        passed = dtype.check(engine_dtype(series.dtype), series)
        if hasattr(passed, "__len__"):
            self._by_value.add(part.key)
            self._add(
                part,
                f"not of type {dtype}",
                rules.rows_where(values.rows, ~np.asarray(passed, dtype=bool)),
            )
        elif not passed or not type(dtype).__module__.startswith("pandera.engines."):
            self._found.certain = False

    def _evaluate(
        self, rule: _Rule, data: Any, rows: Positions | None, missing: Mask | None = None, *, first: bool = True
    ) -> None:
        """Evaluate a check, and remember it if its result may change without the bad rows."""
        where = WHOLE_FRAME if rule.part is None else str(rule.part.key)
        warns = rule.check.raise_warning
        try:
            result = evaluate(rule.check, data, missing)
        except Exception as error:  # an error, even in a warn-only check
            self._found.frame.append(raised_text(where, rule.name, error))
            return
        if result.failing is None and not warns:
            self._found.frame.append(failed_text(where, rule.name))
            return
        if first and not result.settled:
            self._open.append(rule)
        if warns:
            if first:
                self._evaluated.add((id(self._schema if rule.part is None else rule.part.schema), id(rule.check)))
                self._add_warning(rule, where, result.failing, rows)
            return
        for key, mask in (result.failing or {}).items():
            part = Component(WHOLE_FRAME if key is None else key) if rule.part is None else rule.part
            self._add(part, rule.name, rules.rows_where(rows, mask))

    def _add_warning(
        self, rule: _Rule, where: str, failing: Mapping[Hashable | None, Mask] | None, rows: Positions | None
    ) -> None:
        """Add a warning; one without positions if the check has one result for all rows."""
        if failing is None:
            self._found.warnings.append(Finding(where, rule.name, np.arange(0)))
            return
        for key, mask in failing.items():
            part = Component(WHOLE_FRAME if key is None else key) if rule.part is None else rule.part
            self._log.warn(self._found.warnings, part, rule.name, rules.rows_where(rows, mask))

    def _check_frame(self) -> None:
        """Check the rules over several columns, on the rows in which every column coerced."""
        schema = self._schema
        for check in schema.checks:
            self._found.certain &= is_mask(check)
        checks = [_Rule(check, label(check, n)) for n, check in enumerate(schema.checks) if is_mask(check)]
        if not (checks or schema.unique):
            return
        partial = [values.rows for values in self._values.values() if values.rows is not None]
        keep = np.ones(self.size, dtype=bool)
        for rows in partial:
            keep &= np.bincount(rows, minlength=self.size).astype(bool)
        if self.size and not keep.any():
            return
        table, coerced = self._remaining(keep), np.flatnonzero(keep) if partial else None
        for part, repeated in rules.joint_duplicates(table, schema):
            self._add(part, label("multiple_fields_uniqueness"), rules.rows_where(coerced, repeated))
        for rule in checks:
            self._evaluate(rule, table, coerced)

    def _recheck(self) -> None:
        """Re-evaluate the open checks on the remaining rows until no more rows fail."""
        bad = self._found.bad(self.size)
        for _ in range(_ROUNDS):
            if not self._open or not self._found.certain or self._found.frame or not bad.any() or bad.all():
                return
            if not self._coerces_same_without(bad):
                break
            left, rows = self._remaining(~bad), np.flatnonzero(~bad)
            for rule in self._open:
                if rule.part is None:
                    self._evaluate(rule, left, rows, first=False)
                    continue
                series = left[rule.part.key] if rule.part.level is None else left.index.to_series()
                self._evaluate(rule, series, rows, series.isna().to_numpy() if series.hasnans else None, first=False)
            earlier, bad = bad, self._found.bad(self.size)
            if (earlier == bad).all():
                return
        self._found.certain = False

    def _coerces_same_without(self, bad: Mask) -> bool:
        """Return whether the remaining values would coerce to the same without the bad rows."""
        return not bad.any() or all(
            values.needs is not None and not bad[values.needs].any() for values in self._values.values()
        )

    def _remaining(self, keep: Mask) -> pd.DataFrame:
        """Return the rows in `keep`, coerced and filtered; sharing data with the frame if all are kept."""
        if self._left is not None and (self._left[0] == keep).all():
            return self._left[1]
        import pandas as pd

        self._left = None  # two at once would double peak memory
        whole = self._frame.copy(deep=False)
        columns = {key: values for (level, key), values in self._values.items() if level is None}
        for key in self._replaced & columns.keys():
            if columns[key].rows is None:
                whole[key] = columns[key].series
        if self._schema.strict == "filter":
            whole = whole[[key for key in whole.columns if key in columns]]
        # Not by the mask: pandas 2 warns of each write to such rows, ours here and those of a caller.
        rest = whole if keep.all() else whole.take(np.flatnonzero(keep))
        for key in self._replaced & columns.keys():
            if columns[key].rows is not None:
                rest[key] = columns[key].kept(keep)
        if self._frame.index.nlevels == 1 and not rules.is_plain_index(self._frame.index, self._schema):
            for (level, name), values in self._values.items():
                if level is not None:
                    rest = rest.set_axis(pd.Index(values.kept(keep).array, name=name), axis=0)
        self._left = keep, rest
        return rest

    def assemble(self, keep: Mask) -> pd.DataFrame | None:
        if not self.size or not self._coerces_same_without(~keep):
            return None
        first = int(keep.argmax())
        if not fits(self._schema, self._frame, slice(first, first + int(keep.any()))):
            return None
        rest = self._remaining(keep)
        good: pd.DataFrame = (rules.own(rest) if keep.all() else rest).pandera.add_schema(self._schema)
        engine.repeat_warnings(self._found.warnings)
        return good

    def validate(self, keep: Mask) -> tuple[pd.DataFrame | None, Findings]:
        rows = np.flatnonzero(keep)
        part = self.take(keep)
        good, problems = engine.validate(self._schema, part)
        if good is not None:
            self._collect_warnings(part, rows)
            return good, Findings()
        unnamed = isinstance(problems, list) and any(engine.located_rows(error, part) is None for error in problems)
        by_number = self._without_index() if unnamed else None
        if by_number is not None:
            # With row numbers as labels, pandera's failure cases name the rows.
            numbered = part.set_axis(np.arange(len(part)), axis=0)
            again, by_row = engine.validate(by_number, numbered)
            if again is None and not isinstance(by_row, str):
                part, problems = numbered, by_row
        found = self._findings_of(problems, part, rows)
        # If every row was bad already, check results on zero rows mean nothing: the good part is empty.
        return (None, found) if len(part) or found.frame else (self.take(keep), found)

    def _without_index(self) -> Any:
        """Return the schema of the columns alone; None if they may depend on labels. The index is checked by masks."""
        if self._schema.index is None:
            return self._schema
        if not self._own or self._schema.parsers:
            return None
        columns = copy.copy(self._schema)
        columns.index = None
        return columns

    def _collect_warnings(self, part: pd.DataFrame, rows: Positions) -> None:
        """Let pandera evaluate the warn-only checks of good rows that were not evaluated as masks."""
        strict = engine.with_warnings_as_errors(self._schema, self._evaluated)
        if strict is None:
            return
        _, problems = engine.validate(strict, part)
        for error in problems if isinstance(problems, list) else []:
            at, column = engine.located_rows(error, part), engine.column_of(error)
            if at is None:
                self._found.warnings.append(Finding(str(column), engine.title_of(error), np.arange(0)))
            else:
                self._log.warn(self._found.warnings, Component(column), engine.title_of(error), rows[at])

    def _findings_of(self, problems: list[Any] | str, part: pd.DataFrame, rows: Positions) -> Findings:
        found = Findings()
        if isinstance(problems, str):
            found.frame.append(problems)
            return found
        located = [(error, engine.located_rows(error, part)) for error in problems]
        for error, at in coercion_first(located):
            column = engine.column_of(error)
            if at is not None:
                self._log.add(found.rows, Component(column), engine.title_of(error), rows[at])
            elif len(rows) == 0 and code_of(error) == "WRONG_DATATYPE" and column in self._by_value:
                continue  # pandera does not know the type of an empty object column
            elif text := frame_error(error, str(column), any_rows=len(rows) > 0 or not self.size):
                found.frame.append(text)
        return found
