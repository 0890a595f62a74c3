# ruff: noqa: PLC0415 - polars and pandera load on first use
"""The rules of a polars schema: what can be read from its components, and which checks are row-wise."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Collection, Iterator, Sequence, Sized
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_tasks.validation.backend import COMPARISONS, MEMBERSHIP, TEXT_CHECKS, WHOLE_FRAME
from resilient_tasks.validation.schemas import has_foreign_backend, has_parsers, overrides_pandera

if TYPE_CHECKING:
    import polars as pl

    from resilient_tasks.validation.backend import Positions

_LOGIC = frozenset({"Not", "IsNull", "IsNotNull", "IsNan", "IsNotNan", "IsBetween", "AllHorizontal", "AnyHorizontal"})


def is_readable(schema: Any, names: Sequence[str]) -> bool:
    """Return whether the components can be evaluated one by one; otherwise pandera validates the frame.

    Args:
        schema: A `DataFrameSchema`.
        names: The frame's columns.
    """
    columns = schema.columns.values()
    adds = schema.add_missing_columns and not set(schema.columns) <= set(names)
    defaults = [column for column in columns if column.default is not None]
    computed = any(hasattr(column.default, "meta") for column in defaults)  # an expression
    unclear = any(column.regex or column.dtype is None for column in defaults)
    unknown = has_own_methods(schema) or has_parsers(schema)
    return not (unknown or adds or computed or unclear or any(map(is_pattern, names))) and (
        schema.dtype is None or hasattr(schema.dtype.type, "is_numeric")
    )


def is_plain(schema: Any) -> bool:
    """Return whether the schema checks no values beyond the rules that are masks here."""
    from pandera.engines import polars_engine
    from pandera.polars import Column, DataFrameSchema

    columns = schema.columns.values()
    kinds = [column.dtype for column in columns if column.dtype is not None]
    checks = [*schema.checks, *(check for column in columns for check in column.checks)]
    return (
        type(schema) is DataFrameSchema
        and schema.dtype is None
        and all(type(column) is Column and not column.regex for column in columns)
        and all(type(kind).__module__ == polars_engine.__name__ and not kind.auto_coerce for kind in kinds)
        and not any(check.raise_warning for check in checks)  # pandera emits the warnings
    )


def has_own_methods(schema: Any) -> bool:
    """Return whether the schema or a column overrides pandera's methods or backend, and so must be called."""
    import polars as pl

    parts, frame = [schema, *schema.columns.values()], pl.LazyFrame()
    by_class = {type(part): part for part in parts}  # backends are registered for classes
    return any(map(overrides_pandera, parts)) or any(has_foreign_backend(part, frame) for part in by_class.values())


def is_pattern(name: str) -> bool:
    """Return whether polars takes a column name for a pattern."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule with a result for each row.

    Attributes:
        column: The column's name, or `WHOLE_FRAME`.
        title: The rule's name.
        table: The rows to evaluate it on.
        rows: The row numbers of the table; None for the whole frame.
        condition: A row-wise check of pandera's, or an expression that is true where a row passes.
    """

    column: str
    title: str
    table: pl.LazyFrame
    rows: Positions | None
    condition: Any

    @property
    def is_check(self) -> bool:
        """Whether the rule is a check, which may raise; otherwise it is a flag of the column."""
        return hasattr(self.condition, "element_wise")

    @property
    def warns(self) -> bool:
        """Whether a failing row is only warned of."""
        return self.is_check and bool(self.condition.raise_warning)

    def query(self) -> pl.LazyFrame:
        """Return a query for the positions, within the table, of the rows that fail."""
        import polars as pl
        from pandera.api.polars.types import PolarsData

        if not self.is_check:
            return self.table.select(self.condition.not_().arg_true())
        check = self.condition
        if hasattr(check._check_fn, "_function_registry"):  # noqa: SLF001 - as Check.__call__ does: a pickled copy of a function may not know polars
            check._check_fn = check.get_builtin_check_fn(check._check_fn.__name__)  # noqa: SLF001
        data = PolarsData(self.table, "*" if self.column == WHOLE_FRAME else self.column)
        answer: pl.LazyFrame = check.get_backend(self.table)(check).apply(data)
        return answer.select(pl.all().fill_null(value=check.ignore_na).not_().arg_true())


def is_rowwise(check: Any) -> bool:
    """Return whether a check's result for a row depends on that row alone.

    That holds for pandera's own functions with plain arguments, for functions of single values, and for expressions
    of comparisons, arithmetic and logic alone. Other checks cannot be analysed.
    """
    return Rowwise().is_rowwise(check)


class Rowwise:
    """Decides which checks are row-wise, and builds their expressions."""

    def __init__(self) -> None:
        import polars as pl
        from pandera.backends.polars.checks import PolarsCheckBackend
        from pandera.polars import Check

        self._kind = Check
        self._is_polars = Check.get_backend(pl.LazyFrame()) is PolarsCheckBackend

    def is_rowwise(self, check: Any) -> bool:
        """Return whether a check is row-wise."""
        if type(check) is not self._kind or not self._is_polars:
            return False
        if check.element_wise:
            return True
        return _is_comparison(check) if _is_builtin(check) else _selected(check, "key") is not None

    def expression(self, check: Any, key: str) -> pl.Expr | None:
        """Return a check of the column `key` as an expression; None if it may see other rows or many columns."""
        import polars as pl

        if type(check) is not self._kind or not self._is_polars:
            return None
        if not (check.element_wise or _is_builtin(check)):
            return _selected(check, key)
        if key == "*":
            return None
        if check.element_wise:
            function = functools.partial(check._check_fn, **check._check_kwargs)  # noqa: SLF001
            return pl.col(key).map_elements(function, return_dtype=pl.Boolean)
        return _selected_expression(check, key) if _is_comparison(check) else None


def _is_builtin(check: Any) -> bool:
    return hasattr(check._check_fn, "_function_registry")  # noqa: SLF001


def _is_comparison(check: Any) -> bool:
    """Return whether a check is one of pandera's comparisons of a value with plain arguments."""
    from pandera.api.polars.types import PolarsData
    from pandera.backends.polars import builtin_checks

    name = check._check_fn.__name__  # noqa: SLF001
    several = name in MEMBERSHIP
    if not several and name not in COMPARISONS | TEXT_CHECKS:
        return False
    current = check.get_builtin_check_fn(name)._function_registry.get(PolarsData)  # noqa: SLF001
    arguments = check._check_kwargs.values()  # noqa: SLF001
    return current is getattr(builtin_checks, name) and all(_is_plain(each, several=several) for each in arguments)


def sees_one_column(check: Any) -> bool:
    """Return whether a column's check sees that column alone; a user's function is given the whole frame."""
    return check.element_wise or hasattr(check._check_fn, "_function_registry")  # noqa: SLF001


def _is_plain(argument: Any, *, several: bool) -> bool:
    """Return whether an argument is no expression over the column, and no iterator."""
    import polars as pl

    if isinstance(argument, (pl.Expr, Iterator)):
        return False
    if several:
        return isinstance(argument, Collection)
    return isinstance(argument, (str, bytes, re.Pattern)) or not isinstance(argument, Sized)


class _Selection:
    """Stands in for a frame, and records what a check selects from it."""

    def __init__(self) -> None:
        self.expressions: list[Any] = []

    def select(self, expression: Any) -> _Selection:
        self.expressions.append(expression)
        return self


def _selected_expression(check: Any, key: str) -> pl.Expr | None:
    """Return the one expression that a check selects from the frame; None if it does anything else."""
    import polars as pl
    from pandera.api.polars.types import PolarsData

    # A copy of a function, pickled or in a schema, supports only the libraries loaded when it was made.
    function = check.get_builtin_check_fn(check._check_fn.__name__) if _is_builtin(check) else check._check_fn  # noqa: SLF001
    selection: Any = _Selection()
    try:
        answer = function(PolarsData(selection, key), **check._check_kwargs)  # noqa: SLF001
        (expression,) = selection.expressions
    except (Exception, pl.exceptions.PanicException):
        return None
    return expression if answer is selection and isinstance(expression, pl.Expr) else None


def _selected(check: Any, key: str) -> pl.Expr | None:
    """Return the expression that a user's function selects, if every part of it is row-wise."""
    import polars as pl

    expression = _selected_expression(check, key)
    if expression is None:
        return None
    try:
        tree = json.loads(expression.meta.serialize(format="json"))
        rowwise = _is_rowwise(tree) and bool(expression.meta.root_names())
    except (Exception, pl.exceptions.PanicException):
        return None
    return expression if rowwise else None


def _is_rowwise(tree: Any) -> bool:
    """Return whether every node of an expression is row-wise; polars' `is_row_separable` checks a single node."""
    match tree:
        case {"Column": str(name)}:
            return not name.startswith("^")  # a pattern: many columns
        case {"Literal": {"Dyn": _} | {"Scalar": _}}:
            return True
        case {"Alias": [inner, _]}:
            parts = [inner]
        case {"BinaryExpr": {"left": left, "right": right}}:
            parts = [left, right]
        case {"Ternary": {"predicate": predicate, "truthy": truthy, "falsy": falsy}}:
            parts = [predicate, truthy, falsy]
        case {"Function": {"input": inputs, "function": {"Boolean": kind}}} if (
            kind if isinstance(kind, str) else next(iter(kind))
        ) in _LOGIC:
            parts = inputs
        case _:
            return False
    return all(map(_is_rowwise, parts))


def collect(rules: list[Rule]) -> list[pl.Series | BaseException]:
    """Evaluate all rules together, in parallel; if one raises, evaluate each alone to find out which."""
    import polars as pl

    try:
        return [answer.to_series(0) for answer in pl.collect_all([rule.query() for rule in rules])]
    except (Exception, pl.exceptions.PanicException):
        return [_collect_one(rule) for rule in rules]


def _collect_one(rule: Rule) -> pl.Series | BaseException:
    import polars as pl

    try:
        return rule.query().collect().to_series(0)
    except (Exception, pl.exceptions.PanicException) as error:
        return error
