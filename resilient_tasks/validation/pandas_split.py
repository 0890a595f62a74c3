# ruff: noqa: PLC0415 - pandas and pandera load on first use
"""The pandas side of a split. Rows are told apart by position, never by label: an index may repeat itself."""

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
    failed,
    label,
    raised,
    refusal,
    sentence,
)
from resilient_tasks.validation.pandas_engine import (
    attempt,
    engine_dtype,
    fits,
    is_date,
    is_number,
    needs_neighbours,
    uncoercible,
)
from resilient_tasks.validation.pandas_rules import Part, Values, evaluate, is_mask

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    import pandas as pd

    from resilient_tasks.validation.backend import Mask, Positions


_ROUNDS = 50
_COPIES_ON_WRITE = 3  # the version of pandas


@dataclass(frozen=True, slots=True)
class _Rule:
    """A check, of a part or of the frame as a whole."""

    check: Any
    name: str
    part: Part | None = None


class PandasBackend:
    """A pandas frame and a pandas schema."""

    def __init__(self, frame: pd.DataFrame, schema: Any) -> None:
        self._frame = frame
        self._schema = schema
        self._own = False
        self._found = Findings()
        self._notes = rules.Notes(frame)
        self._values: dict[tuple[int | None, Hashable], Values] = {}
        self._replaced: set[Hashable] = set()
        self._by_value: set[Hashable] = set()
        self._open: list[_Rule] = []
        self._heard: set[tuple[int, int]] = set()
        self._left: tuple[Mask, pd.DataFrame] | None = None

    @property
    def size(self) -> int:
        return len(self._frame)

    def take(self, keep: Mask) -> pd.DataFrame:
        if keep.all():
            return _own(self._frame)
        return self._frame[keep] if keep.any() else self._frame.iloc[:0]

    def reject(self, bad: Mask) -> pd.DataFrame:
        frame = self.take(bad)
        self._notes.reject(frame, np.flatnonzero(bad))
        return frame

    def _bad(self, part: Part, check: str, rows: Positions) -> None:
        self._notes.add(self._found.rows, part, check, rows)

    def inspect(self) -> Findings:
        frame, schema = self._frame, self._schema
        self._own = rules.is_panderas(frame, schema)
        self._found = Findings(certain=self._own and rules.readable(frame, schema))
        if not self._found.certain:
            if self._own:
                self._by_index()
            return self._found
        self._replaced = {name for name, column in schema.columns.items() if column.default is not None}
        self._found.certain = rules.plain_index(frame.index, schema) and not self._replaced
        if not self.size and self._replaced:  # pandera's way to fill in defaults gives empty columns other types
            return self._found
        try:
            found = [*rules.columns(frame, schema), *rules.levels(frame.index, schema)]
        except (TypeError, ValueError):  # a default that does not go into its column, as pandera will say
            return self._found
        for part, series in found:
            self._values[part.where] = Values(series, needs=np.arange(0))
        for part, _ in found:
            self._coerce(part)
        for part, _ in found:
            if part.where in self._values:
                self._component(part, self._values[part.where])
        self._whole()
        self._settle()
        return self._found

    def _by_index(self) -> None:
        """Where the columns are pandera's to judge: the rows that are bad through the index, which it cannot name."""
        wanted, schema = self._schema.index, self._schema
        if wanted is None or wanted.coerce or schema.coerce or schema.dtype is not None or schema.parsers:
            return
        if any(part.parsers for part in (wanted, *getattr(wanted, "indexes", ()))):
            return
        for part, series in rules.levels(self._frame.index, self._schema):
            self._component(part, Values(series))

    def _coerce(self, part: Part) -> None:
        """Replace a part's values by what they coerce to; forget them where only pandera can tell."""
        dtype = part.schema.dtype
        if not part.coerce or dtype is None or part.where not in self._values:
            return
        given = self._values[part.where]
        series, rows = given.series, given.rows
        coerced = attempt(dtype, series)
        if coerced is None:
            bad = uncoercible(series, dtype)
            coerced = None if bad is None else attempt(dtype, series := series[~bad])
            if bad is None or coerced is None:
                del self._values[part.where]
                self._found.certain = False
                return
            self._bad(
                part,
                refusal(dtype, numeric=is_number(dtype), temporal=is_date(dtype)),
                rules.rows_where(rows, bad),
            )
            rows = rules.rows_where(rows, ~bad)
        needs = needs_neighbours(dtype, series, coerced)
        if needs is not None and given.needs is not None:
            needs = np.union1d(given.needs, needs if rows is None else rows[needs])
        if part.level is None:
            self._replaced.add(part.key)
        self._values[part.where] = Values(coerced, rows, needs if given.needs is not None else None)

    def _component(self, part: Part, values: Values) -> None:
        schema, series, rows = part.schema, values.series, values.rows
        if self.size and not len(series):
            return
        missing = rules.missing(series)
        if missing is not None and not schema.nullable:
            self._bad(part, label("not_nullable"), rules.rows_where(rows, missing))
        repeated = rules.duplicated(part, series, self._schema)
        if repeated is not None:
            self._bad(part, label("field_uniqueness"), rules.rows_where(rows, repeated))
        self._dtype(part, values)
        for number, check in enumerate(schema.checks):
            if is_mask(check):
                self._judge(_Rule(check, label(check, number), part), series, rows, missing)
            else:
                self._found.certain = False

    def _dtype(self, part: Part, values: Values) -> None:
        """Ask for the type. Some (a date, a decimal, a list of text) live in object columns, checked value by value."""
        dtype, series = part.schema.dtype, values.series
        if dtype is None:
            return
        passed = dtype.check(engine_dtype(series.dtype), series)
        if hasattr(passed, "__len__"):
            self._by_value.add(part.key)
            self._bad(
                part,
                f"not of type {dtype}",
                rules.rows_where(values.rows, ~np.asarray(passed, dtype=bool)),
            )
        elif not passed or not type(dtype).__module__.startswith("pandera.engines."):
            self._found.certain = False

    def _judge(
        self, rule: _Rule, data: Any, rows: Positions | None, missing: Mask | None = None, *, first: bool = True
    ) -> None:
        """Note whom a check refuses, and keep it in mind if that may change once other rows are gone."""
        where = WHOLE_FRAME if rule.part is None else str(rule.part.key)
        warns = rule.check.raise_warning
        try:
            verdict = evaluate(rule.check, data, missing)
        except Exception as error:  # that is a failure, of a rule that only warns too
            self._found.frame.append(raised(where, rule.name, error))
            return
        if verdict.failing is None and not warns:
            self._found.frame.append(failed(where, rule.name))
            return
        if first and not verdict.settled:
            self._open.append(rule)
        if warns:
            if first:
                self._heard.add((id(self._schema if rule.part is None else rule.part.schema), id(rule.check)))
                self._warned(rule, where, verdict.failing, rows)
            return
        for key, mask in (verdict.failing or {}).items():
            part = Part(WHOLE_FRAME if key is None else key) if rule.part is None else rule.part
            self._bad(part, rule.name, rules.rows_where(rows, mask))

    def _warned(
        self, rule: _Rule, where: str, failing: Mapping[Hashable | None, Mask] | None, rows: Positions | None
    ) -> None:
        """Note what a rule that only warns has found; where it has one verdict for all rows, that it has."""
        if failing is None:
            self._found.warnings.append(Finding(where, rule.name, np.arange(0)))
            return
        for key, mask in failing.items():
            part = Part(WHOLE_FRAME if key is None else key) if rule.part is None else rule.part
            self._notes.warn(self._found.warnings, part, rule.name, rules.rows_where(rows, mask))

    def _whole(self) -> None:
        """The rules over several columns: on the rows in which every column coerced."""
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
        table, coerced = self._rest(keep), np.flatnonzero(keep) if partial else None
        for part, repeated in rules.jointly_duplicated(table, schema):
            self._bad(part, label("multiple_fields_uniqueness"), rules.rows_where(coerced, repeated))
        for rule in checks:
            self._judge(rule, table, coerced)

    def _settle(self) -> None:
        """Ask again, on the rows that are left, what may depend on rows that are not, until no more are refused."""
        bad = self._found.bad(self.size)
        for _ in range(_ROUNDS):
            if not self._open or not self._found.certain or self._found.frame or not bad.any() or bad.all():
                return
            if not self._same_without(bad):
                break
            left, rows = self._rest(~bad), np.flatnonzero(~bad)
            for rule in self._open:
                if rule.part is None:
                    self._judge(rule, left, rows, first=False)
                    continue
                series = left[rule.part.key] if rule.part.level is None else left.index.to_series()
                self._judge(rule, series, rows, series.isna().to_numpy() if series.hasnans else None, first=False)
            earlier, bad = bad, self._found.bad(self.size)
            if (earlier == bad).all():
                return
        self._found.certain = False

    def _same_without(self, bad: Mask) -> bool:
        """Whether what is left would have coerced to the same values by itself."""
        return not bad.any() or all(
            values.needs is not None and not bad[values.needs].any() for values in self._values.values()
        )

    def _rest(self, keep: Mask) -> pd.DataFrame:
        """The rows in `keep`, coerced and filtered. Shares its data with the frame where it keeps all."""
        if self._left is not None and (self._left[0] == keep).all():
            return self._left[1]
        import pandas as pd

        self._left = None  # two of them at once would double the peak of memory
        whole = self._frame.copy(deep=False)
        columns = {key: values for (level, key), values in self._values.items() if level is None}
        for key in self._replaced & columns.keys():
            if columns[key].rows is None:
                whole[key] = columns[key].series
        if self._schema.strict == "filter":
            whole = whole[[key for key in whole.columns if key in columns]]
        rest = whole if keep.all() else whole[keep]
        for key in self._replaced & columns.keys():
            if columns[key].rows is not None:
                rest[key] = columns[key].kept(keep)
        if self._frame.index.nlevels == 1 and not rules.plain_index(self._frame.index, self._schema):
            for (level, name), values in self._values.items():
                if level is not None:
                    rest = rest.set_axis(pd.Index(values.kept(keep).array, name=name), axis=0)
        self._left = keep, rest
        return rest

    def accepted(self, keep: Mask) -> pd.DataFrame | None:
        if not self.size or not self._same_without(~keep):
            return None
        first = int(keep.argmax())
        if not fits(self._schema, self._frame, slice(first, first + int(keep.any()))):
            return None
        rest = self._rest(keep)
        good: pd.DataFrame = (_own(rest) if keep.all() else rest).pandera.add_schema(self._schema)
        engine.warn(self._found.warnings)
        return good

    def judge(self, keep: Mask) -> tuple[pd.DataFrame | None, Findings]:
        rows = np.flatnonzero(keep)
        part = self.take(keep)
        good, said = engine.validate(self._schema, part)
        if good is not None:
            self._listen(part, rows)
            return good, Findings()
        unnamed = isinstance(said, list) and any(engine.located_rows(error, part) is None for error in said)
        by_number = self._without_index() if unnamed else None
        if by_number is not None:
            # Row numbers for labels, so that pandera's failure cases say which rows it means.
            numbered = part.set_axis(np.arange(len(part)), axis=0)
            again, by_row = engine.validate(by_number, numbered)
            if again is None and not isinstance(by_row, str):
                part, said = numbered, by_row
        found = self._read(said, part, rows)
        # With every row bad already, what checks say of zero rows is no verdict: an empty frame it is.
        return (None, found) if len(part) or found.frame else (self.take(keep), found)

    def _without_index(self) -> Any:
        """Return the schema of the columns alone; None where labels may matter to them. Masks have judged the index."""
        if self._schema.index is None:
            return self._schema
        if not self._own or self._schema.parsers:
            return None
        columns = copy.copy(self._schema)
        columns.index = None
        return columns

    def _listen(self, part: pd.DataFrame, rows: Positions) -> None:
        """Ask pandera for what the rules that only warn say of good rows, where no mask has told."""
        loud = engine.loud(self._schema, self._heard)
        if loud is None:
            return
        _, said = engine.validate(loud, part)
        for error in said if isinstance(said, list) else []:
            at, column = engine.located_rows(error, part), engine.column_of(error)
            if at is None:
                self._found.warnings.append(Finding(str(column), engine.title_of(error), np.arange(0)))
            else:
                self._notes.warn(self._found.warnings, Part(column), engine.title_of(error), rows[at])

    def _read(self, said: list[Any] | str, part: pd.DataFrame, rows: Positions) -> Findings:
        found = Findings()
        if isinstance(said, str):
            found.frame.append(said)
            return found
        located = [(error, engine.located_rows(error, part)) for error in said]
        for error, at in coercion_first(located):
            column = engine.column_of(error)
            if at is not None:
                self._notes.add(found.rows, Part(column), engine.title_of(error), rows[at])
            elif len(rows) == 0 and code_of(error) == "WRONG_DATATYPE" and column in self._by_value:
                continue  # of an empty object column pandera cannot say that it holds the type
            elif text := sentence(error, str(column), any_rows=len(rows) > 0 or not self.size):
                found.frame.append(text)
        return found


def _own(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the frame for other code to change: from pandas 3 on, a column is copied when it is written to."""
    import pandas as pd

    return frame.copy(deep=int(pd.__version__.partition(".")[0]) < _COPIES_ON_WRITE)
