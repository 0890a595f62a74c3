# ruff: noqa: PLC0415 - polars and pandera load on first use
"""A schema as one query over polars data, and the split of a lazy frame into two queries."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from resilient_tasks.validation.backend import WHOLE_FRAME, Finding, label
from resilient_tasks.validation.polars_engine import coercion_text, is_plain_cast, validate
from resilient_tasks.validation.polars_rules import Rowwise, has_own_methods, is_pattern, sees_one_column
from resilient_tasks.validation.report import Report, Split
from resilient_tasks.validation.schemas import as_schema, has_parsers

if TYPE_CHECKING:
    from collections.abc import Mapping

    import polars as pl

_FLOATS = frozenset({"Float32", "Float64"})  # the types in which pandera treats NaN as null

OTHER_COLUMNS = "the columns or types are not those of the schema"
"""There is no plan for a frame that pandera may refuse whatever its rows are."""


class Mask(NamedTuple):
    """A rule as an expression.

    Attributes:
        column: The column's name, or `WHOLE_FRAME`.
        title: The rule's name.
        passes: True where a row passes, over the coerced rows.
        warns: Whether it only warns.
    """

    column: str
    title: str
    passes: pl.Expr
    warns: bool = False


@dataclass(frozen=True)
class Plan:
    """A schema as expressions over a frame.

    Attributes:
        read: The frame's columns.
        values: The new expression of each column that is coerced or filled.
        coerces: For each column in which values may not coerce: whether a value does.
        rules: The rules, in the order of the schema.
        good: The columns of good rows.
        prefix: A prefix that no column's name has.
    """

    read: tuple[str, ...]
    values: dict[str, pl.Expr]
    coerces: dict[str, pl.Expr]
    rules: tuple[Mask, ...]
    good: tuple[str, ...]
    prefix: str

    @property
    def row(self) -> str:
        """A name for row numbers."""
        return f"{self.prefix}row"

    def mask(self, number: int) -> str:
        """Return the name of a rule's column in `evaluated`."""
        return f"{self.prefix}rule_{number}"

    def evaluated(self, frame: pl.LazyFrame) -> pl.LazyFrame:
        """Return the coerced rows, with their values as read and a boolean column for each rule."""
        import polars as pl

        if self.values:
            copies = [pl.col(name).alias(f"{self.prefix}read_{name}") for name in self.values]
            coerce = [mask.alias(_coerces(self.prefix, name)) for name, mask in self.coerces.items()]
            frame = frame.with_columns(*copies, *coerce, **self.values)
        return frame.with_columns(rule.passes.alias(self.mask(number)) for number, rule in enumerate(self.rules))

    def as_read(self, name: str) -> pl.Expr:
        """Return a column of `evaluated` as it was read."""
        import polars as pl

        return pl.col(f"{self.prefix}read_{name}").alias(name) if name in self.values else pl.col(name)

    @property
    def passes(self) -> pl.Expr:
        """Whether a row of `evaluated` passes all rules except the warn-only ones."""
        import polars as pl

        masks = [pl.col(self.mask(number)) for number, rule in enumerate(self.rules) if not rule.warns]
        return pl.all_horizontal(masks) if masks else pl.lit(value=True)


def make_plan(schema: Any, frame: pl.Schema) -> Plan | str:
    """Return a plan for frames with these columns and types, or why there is none."""
    reason = _obstacle(schema, frame)
    return reason or _Planner(schema, frame).plan()


def _obstacle(schema: Any, frame: pl.Schema) -> str:
    from pandera.engines import polars_engine
    from pandera.polars import Column, DataFrameSchema

    columns = schema.columns.values()
    kinds = [column.dtype for column in columns if column.dtype is not None]
    obstacles = {
        "the schema is of a user-defined class": type(schema) is not DataFrameSchema or has_own_methods(schema),
        "a column is of a user-defined class": any(type(column) is not Column for column in columns),
        "the schema has parsers": has_parsers(schema),
        "the schema has one type for all columns": schema.dtype is not None,
        "a column is named by a pattern": any(column.regex for column in columns)
        or any(map(is_pattern, frame.names())),
        "rows are unique": schema.unique or any(column.unique for column in columns),
        "a default is computed": any(hasattr(column.default, "meta") for column in columns),
        "a column that is coerced or filled has no type": any(
            column.dtype is None and (column.default is not None or column.coerce or schema.coerce)
            for column in columns
        ),
        "a type is pandera's own": any(
            type(kind).__module__ != polars_engine.__name__ or kind.auto_coerce for kind in kinds
        ),
    }
    return next((reason for reason, holds in obstacles.items() if holds), "")


class _Planner:
    def __init__(self, schema: Any, frame: pl.Schema) -> None:
        self._schema, self._frame = schema, dict(frame)
        self._columns = [(name, column) for name, column in schema.columns.items() if name in self._frame]
        self._values: dict[str, pl.Expr] = {}
        self._coerces: dict[str, pl.Expr] = {}
        self._rowwise = Rowwise()
        self._prefix = "_split_"
        while any(name.startswith(self._prefix) for name in self._frame):
            self._prefix = f"_{self._prefix}"

    def plan(self) -> Plan | str:
        types = dict(self._frame)
        try:
            for name, column in self._columns:
                types[name] = self._coerced(name, column)
            named = {name for name, _ in self._columns}
            good = {name: kind for name, kind in types.items() if self._schema.strict != "filter" or name in named}
            if not self._is_as_declared(good):
                return OTHER_COLUMNS
            rules = tuple(self._rules(types))
        except _NoPlanError as obstacle:
            return str(obstacle)
        return Plan(tuple(self._frame), self._values, self._coerces, rules, tuple(good), self._prefix)

    def _coerced(self, name: str, column: Any) -> Any:
        """Return a column's type after coercion."""
        import polars as pl

        source, value = self._frame[name], pl.col(name)
        kind = source
        if column.dtype is not None and (column.coerce or self._schema.coerce):
            if not is_plain_cast(column.dtype, source):
                raise _NoPlanError(f"column '{name}': only pandera knows how {source} becomes {column.dtype}")
            kind = column.dtype.type
            if source != kind:
                value = value.cast(kind, strict=False)
                self._coerces[name] = value.is_not_null() | pl.col(name).is_null()
        if column.default is not None:
            default = pl.lit(column.default, dtype=column.dtype.type)
            value = (value.fill_nan(default) if str(kind) in _FLOATS else value).fill_null(default)
        if name in self._coerces or column.default is not None:
            self._values[name] = value
        return kind

    def _is_as_declared(self, good: dict[str, Any]) -> bool:
        """Return whether pandera accepts the columns and types of the good rows, in this order."""
        from pandera.engines.polars_engine import Engine

        schema, names = self._schema, list(self._schema.columns)
        for name, column in schema.columns.items():
            if name not in good:
                if column.required or schema.add_missing_columns:
                    return False
            elif column.dtype is not None and not column.dtype.check(Engine.dtype(good[name])):
                return False
        if schema.ordered and list(good) != names:
            return False
        return not (schema.strict is True and set(good) - set(names))

    def _rules(self, types: dict[str, Any]) -> Iterator[Mask]:
        import polars as pl

        for name in self._coerces:
            yield Mask(name, coercion_text(self._schema.columns[name].dtype), pl.col(_coerces(self._prefix, name)))
        later = []
        for name, column in self._columns:
            own = [name] if name in self._coerces else []
            if not column.nullable:
                present = pl.col(name).is_not_null()
                present = present & pl.col(name).is_not_nan() if str(types[name]) in _FLOATS else present
                yield Mask(name, label("not_nullable"), self._where(own, present.fill_null(value=False)))
            for number, check in enumerate(column.checks):
                if sees_one_column(check):
                    yield self._check(name, check, number, own)
                else:  # it may see any column, so all of them must be coerced
                    later.append((name, check, number))
        later += [(WHOLE_FRAME, check, number) for number, check in enumerate(self._schema.checks)]
        for name, check, number in later:
            yield self._check(name, check, number, list(self._coerces))

    def _check(self, name: str, check: Any, number: int, needs: list[str]) -> Mask:
        title = label(check, number)
        passes = self._rowwise.expression(check, "*" if name == WHOLE_FRAME else name)
        if passes is None:
            where = title if name == WHOLE_FRAME else f"column '{name}': {title}"
            raise _NoPlanError(f"{where} may look at other rows")
        return Mask(name, title, self._where(needs, passes.fill_null(value=check.ignore_na)), check.raise_warning)

    def _where(self, needs: list[str], passes: pl.Expr) -> pl.Expr:
        """Apply a condition only where these columns coerced; the other rows are known to be bad."""
        import polars as pl

        if not needs:
            return passes
        return passes | ~pl.all_horizontal(_coerces(self._prefix, name) for name in needs)


class _NoPlanError(Exception):
    """A rule cannot be part of one query."""


def _coerces(prefix: str, name: str) -> str:
    return f"{prefix}coerces_{name}"


def split_lazily(frame: pl.LazyFrame, schema: Any) -> Split[Any] | str:
    """Return the two parts as queries, with rows counted in one streaming pass; or why the rows must be collected.

    Args:
        frame: The query.
        schema: A schema or model for polars.
    """
    import polars as pl

    plan = make_plan(as_schema(schema), frame.collect_schema())
    if isinstance(plan, str):
        return (_refused(frame, schema) if plan is OTHER_COLUMNS else None) or plan
    evaluated, masks = plan.evaluated(frame), [plan.mask(number) for number in range(len(plan.rules))]
    failing = [(~pl.col(mask)).sum() for mask in masks]
    try:
        types = evaluated.collect_schema()
        if any(types[mask] != pl.Boolean for mask in masks):
            return "a rule does not return booleans"
        counted = evaluated.select(pl.len().alias(plan.row), (~plan.passes).sum().alias(plan.prefix), *failing)
        rows, invalid, *counts = counted.collect(engine="streaming").row(0)
    except (Exception, pl.exceptions.PanicException) as error:
        return f"a rule, or the query itself, raised {type(error).__name__}"
    report = LazyReport(plan, frame, rows, invalid, counts)
    good = evaluated.filter(plan.passes).select(plan.good)
    bad = evaluated.filter(~plan.passes).select(map(plan.as_read, plan.read))
    return Split(good, bad, report)


def _refused(frame: pl.LazyFrame, schema: Any) -> Split[Any] | None:
    """Return an unchanged query with its frame errors; None if pandera accepts its columns and types."""
    import polars as pl
    from pandera.config import ValidationDepth, config_context

    with config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_ONLY):
        _, _, errors = validate(as_schema(schema), frame.collect_schema().to_frame(), any_rows=True)
    if not errors:
        return None
    rows = frame.select(pl.len()).collect(engine="streaming").item()
    return Split(frame, frame.clear(), Report(rows, frame_errors=tuple(dict.fromkeys(errors))))


class LazyReport(Report):
    """Counts, and row positions on first use: then only the rows that break a rule are collected."""

    def __init__(self, plan: Plan, frame: pl.LazyFrame, rows: int, invalid: int, counts: list[int]) -> None:
        super().__init__(rows, invalid)
        for computed in ("findings", "warnings"):
            del self.__dict__[computed]  # set by the dataclass to its defaults
        self.__dict__["_query"] = plan, frame, counts  # a report is frozen

    _query: tuple[Plan, pl.LazyFrame, list[int]]

    def __reduce__(self) -> tuple[Any, ...]:
        return Report, (self.rows, self.invalid, (), self.findings, self.warnings)

    @cached_property
    def findings(self) -> tuple[Finding, ...]:
        """Each rule that some row fails, with the positions of those rows."""
        return tuple(self._found(warns=False))

    @cached_property
    def warnings(self) -> tuple[Finding, ...]:
        """Each warn-only rule that some row breaks, with the positions of those rows."""
        return tuple(self._found(warns=True))

    @cached_property
    def reasons(self) -> Mapping[tuple[str, str], int]:
        """Rows for each (column, check), most frequent first."""
        return self._counted(warns=False)

    @cached_property
    def warned(self) -> Mapping[tuple[str, str], int]:
        """Rows for each (column, check) that only warns, most frequent first."""
        return self._counted(warns=True)

    def _counted(self, *, warns: bool) -> dict[tuple[str, str], int]:
        plan, _, found = self._query
        rules = [(rule.column, rule.title) for rule in plan.rules if rule.warns == warns]
        if len(set(rules)) < len(rules):  # two rules with one name: a row counts once
            full = Report(self.rows, self.invalid, (), self.findings, self.warnings)
            return dict(full.warned if warns else full.reasons)
        counted = zip(plan.rules, found, strict=True)
        counts = {(rule.column, rule.title): count for rule, count in counted if count and rule.warns == warns}
        return dict(sorted(counts.items(), key=lambda item: -item[1]))

    def _found(self, *, warns: bool) -> list[Finding]:
        (plan, _, counts), found = self._query, []
        for number, rule in enumerate(plan.rules):
            if rule.warns == warns and counts[number]:
                rows = self._evidence.filter(~self._evidence[plan.mask(number)])
                positions = rows[plan.row].to_numpy().astype(np.intp)
                read = rows[rule.column].to_list if rule.column in plan.read else None
                found.append(Finding(rule.column, rule.title, positions, read))
        return found

    @cached_property
    def _evidence(self) -> pl.DataFrame:
        """The rows that break a rule: their numbers, the values read in the rules' columns, and each rule's result."""
        import polars as pl

        plan, frame, _ = self._query
        masks = [plan.mask(number) for number in range(len(plan.rules))]
        names = {rule.column for rule in plan.rules} & set(plan.read)
        evaluated = plan.evaluated(frame.with_row_index(plan.row)).filter(~pl.all_horizontal(masks))
        rows = evaluated.select(plan.row, *masks, *map(plan.as_read, names)).collect(engine="streaming")
        return rows.sort(plan.row)
