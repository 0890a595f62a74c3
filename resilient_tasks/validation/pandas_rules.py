# ruff: noqa: PLC0415 - pandera loads on first use
"""The rules of a pandas schema: the columns and index levels that they concern, and each check as a mask."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.validation.backend import COMPARISONS, MEMBERSHIP, TEXT_CHECKS, Finding
from resilient_tasks.validation.pandas_engine import components, refused_rows
from resilient_tasks.validation.schemas import has_foreign_backend, has_parsers, overrides_pandera

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    import pandas as pd

    from resilient_tasks.validation.backend import Mask, Positions

_COPIES_ON_WRITE = 3  # major version of pandas


@dataclass(frozen=True, slots=True)
class Component:
    """A column or an index level, with the schema component that describes it."""

    key: Hashable
    schema: Any = None
    coerce: bool = False
    level: int | None = None

    @property
    def where(self) -> tuple[int | None, Hashable]:
        """Distinguishes a column from an index level of the same name."""
        return self.level, self.key


@dataclass(frozen=True, slots=True)
class Values:
    """The coerced values of a component.

    Attributes:
        series: The values.
        rows: Their row numbers; None for every row.
        needs: Rows on which the coercion of others may depend; None if that may be any row.
    """

    series: pd.Series
    rows: Positions | None = None
    needs: Positions | None = None

    def kept(self, keep: Mask) -> pd.Series:
        """Return the values of the rows in `keep`."""
        return self.series[keep if self.rows is None else keep[self.rows]]


class FindingLog:
    """Collects findings, with the values as read.

    Values of bad rows are read from these rows on first use; values of good rows that only warn are copied, one column
    at a time.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self._rejected = _Rows()

    def reject(self, frame: pd.DataFrame, rows: Positions) -> None:
        """Remember the bad rows and their numbers."""
        # A copy: editing the bad rows in place must not change the reasons.
        self._rejected.frame, self._rejected.numbers = own(frame), rows

    def add(self, findings: list[Finding], part: Component, check: str, rows: Positions) -> None:
        """Add the rows that break a rule."""
        if len(rows):
            findings.append(Finding(str(part.key), check, rows, self._read(part, rows, self._rejected)))

    def warn(self, findings: list[Finding], part: Component, check: str, rows: Positions) -> None:
        """Add the rows that break a warn-only rule."""
        if len(rows):
            column = (
                self._frame.iloc[:, :0] if part.level is not None or not self._named(part) else self._frame[[part.key]]
            )
            aside = _Rows(column.take(rows), rows)
            findings.append(Finding(str(part.key), check, rows, self._read(part, rows, aside)))

    def _named(self, part: Component) -> bool:
        return part.key in self._frame.columns and self._frame.columns.is_unique

    def _read(self, part: Component, rows: Positions, source: _Rows) -> Callable[[], list[Any]] | None:
        has_values = part.level is not None or self._named(part)
        return partial(source.read, part.key, part.level, rows) if has_values else None


@dataclass(slots=True)
class _Rows:
    """Some rows as read."""

    frame: pd.DataFrame | None = None
    numbers: Positions | None = None

    def read(self, key: Hashable, level: int | None, rows: Positions) -> list[Any]:
        """Return the values of a column or index level in the rows with these numbers."""
        if self.frame is None or self.numbers is None:
            raise RuntimeError("The values of bad rows are there once the split is done.")
        at = np.searchsorted(self.numbers, rows)
        if level is None:
            return self.frame[key].iloc[at].tolist()
        return self.frame.index.take(at).get_level_values(level).tolist()


def own(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a frame that callers may modify: a copy, unless pandas copies on write (from version 3 on)."""
    import pandas as pd

    return frame.copy(deep=int(pd.__version__.partition(".")[0]) < _COPIES_ON_WRITE)


def uses_pandera_methods(frame: pd.DataFrame, schema: Any) -> bool:
    """Return whether pandera's own methods validate the schema and its components, so that its rules can be read."""
    found = components(schema)
    if any(map(overrides_pandera, found)):
        return False
    return not any(has_foreign_backend(part, frame) for part in {type(part): part for part in found}.values())


def is_readable(frame: pd.DataFrame, schema: Any) -> bool:
    """Return whether the components can be evaluated one by one; otherwise pandera validates the frame."""
    columns = frame.columns
    adds = schema.add_missing_columns and not set(schema.columns) <= set(columns)
    filled = any(column.regex and column.default is not None for column in schema.columns.values())
    one_each = columns.is_unique and (columns.nlevels == 1 or _in_full(columns.nlevels, schema))
    return one_each and not (has_parsers(schema) or schema.dtype is not None or adds or filled)


def _in_full(levels: int, schema: Any) -> bool:
    """Return whether each name in the schema is one column of a multi-level frame, not a group of columns."""
    full = all(isinstance(key, tuple) and len(key) == levels for key in schema.columns)
    return full and not schema.unique and schema.strict != "filter"


def columns(frame: pd.DataFrame, schema: Any) -> Iterator[tuple[Component, pd.Series]]:
    """Yield each column in the schema, with nulls replaced by its default."""
    for key, column in schema.columns.items():
        for name in _names(frame, key, column):
            series = frame[name]
            filled = series if column.default is None else series.fillna(column.default)
            yield Component(name, column, column.coerce or schema.coerce), filled


def _names(frame: pd.DataFrame, key: Hashable, column: Any) -> list[Hashable]:
    if not column.regex:
        return [key] if key in frame.columns else []
    from pandera.errors import SchemaError

    try:
        return list(column.get_regex_columns(frame))
    except SchemaError:  # no column matches: pandera reports it as a frame error
        return []


def levels(index: pd.Index[Any], schema: Any) -> Iterator[tuple[Component, pd.Series]]:
    """Yield each index level in the schema; none if the numbers of levels differ."""
    wanted = schema.index
    if wanted is None:
        return
    several = hasattr(wanted, "indexes")
    parts = wanted.indexes if several else [wanted]
    found = [list(index.names).count(part.name) for part in parts]
    if len(parts) != index.nlevels and not (several and index.nlevels > 1 and set(found) == {1}):
        return
    by_position = not several or all(part.name is None for part in parts)
    for number, part in enumerate(parts):
        if by_position or part.name in index.names:
            at = number if by_position else list(index.names).index(part.name)
            key, coerce = part.name if several else index.name, part.coerce or wanted.coerce or schema.coerce
            yield Component(key, part, coerce, at), index.get_level_values(at).to_series()


def is_plain_index(index: pd.Index[Any], schema: Any) -> bool:
    """Return whether the index is checked like a column; pandera handles all others."""
    wanted = schema.index
    if wanted is None:
        return True
    single = not hasattr(wanted, "indexes") and index.nlevels == 1
    return single and wanted.default is None and not (wanted.coerce or schema.coerce)


def null_mask(series: pd.Series) -> Mask | None:
    """Return which values are null; None if none is."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iub":
        return None
    isna = series.isna().to_numpy()
    return isna if isna.any() else None


def duplicate_mask(part: Component, series: pd.Series, schema: Any) -> Mask | None:
    """Return which values repeat others although they must be unique; None if none does."""
    if not part.schema.unique or series.is_unique:
        return None
    if part.level is not None and hasattr(schema.index, "indexes"):
        # In an index with levels pandera checks the distinct values only, where each check allows it: they are unique.
        distinct = [getattr(check, "determined_by_unique", False) for check in part.schema.checks]
        if all(distinct):
            return None
    return series.duplicated(keep=_keep(part.schema)).to_numpy()


def joint_duplicates(table: pd.DataFrame, schema: Any) -> Iterator[tuple[Component, Mask]]:
    """Yield each set of columns that must be unique together: its name, and the rows that repeat others."""
    unique = schema.unique or []
    for names in [unique] if all(isinstance(name, str) for name in unique) else unique:
        subset = [name for name in names if name in table]
        if subset:
            key = subset[0] if len(subset) == 1 else ", ".join(map(str, subset))
            yield Component(key), table.duplicated(subset=subset, keep=_keep(schema)).to_numpy()


def _keep(schema: Any) -> Any:
    return {"exclude_first": "first", "exclude_last": "last", "all": False}[schema.report_duplicates]


def rows_where(rows: Positions | None, mask: Mask) -> Positions:
    """Return the row numbers where a mask over them is true; `rows` is None for every row."""
    found = np.flatnonzero(mask)
    return found if rows is None else rows[found]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of a check on a column or a frame.

    Attributes:
        failing: The failing rows by column (None for no particular column); None if the check failed with one result
            for all rows.
        settled: Whether the result for a row is independent of other rows.
    """

    failing: Mapping[Hashable | None, Mask] | None
    settled: bool


def is_mask(check: Any) -> bool:
    """Return whether a check can be evaluated as a mask. Checks of groups or samples cannot."""
    from pandera.pandas import Check

    return type(check) is Check and check.groupby is None and not overrides_pandera(check)


def evaluate(check: Any, data: Any, missing: Mask | None = None) -> CheckResult:
    """Evaluate a check as `Check.__call__` does, but without collecting the failing values, which costs more.

    Args:
        check: A check that `is_mask`.
        data: A series or a frame, as pandera would check it.
        missing: For a series, which values are null; None if none is.

    Raises:
        Exception: Whatever the check raises.
    """
    if missing is None or not check.ignore_na:
        return _evaluate(check, data)
    if _is_rowwise(check, data) and not check.element_wise and not _of_objects(data):
        # The same result without a copy of the column: comparisons with null raise nothing here.
        output = _backend(check, data).apply(data)
        if output.dtype.kind == "b":
            return CheckResult({None: ~(output.to_numpy(dtype=bool, na_value=False) | missing)}, settled=True)
    result = _evaluate(check, data[~missing])
    return result if result.failing is None else CheckResult(_spread(result.failing, ~missing), result.settled)


def _spread(failing: Mapping[Hashable | None, Mask], present: Mask) -> dict[Hashable | None, Mask]:
    spread = {}
    for key, mask in failing.items():
        spread[key] = np.zeros(len(present), dtype=bool)
        spread[key][present] = mask
    return spread


def _backend(check: Any, data: Any) -> Any:
    """Return the check's own backend.

    A built-in function is looked up again, as `Check.__call__` does: a pickled check may hold an incomplete copy.
    """
    name = getattr(check._check_fn, "__name__", None)  # noqa: SLF001
    if name is not None and check.is_builtin_check(name):
        check._check_fn = check.get_builtin_check_fn(name)  # noqa: SLF001
    return check.get_backend(data)(check)


def _evaluate(check: Any, data: Any) -> CheckResult:
    backend = _backend(check, data)
    raw = backend.apply(data)
    output = _nulls_pass(check, data, raw)
    plain = _plain(output, data)
    if plain is not None:
        # For nulls alone the output may have a type on which pandera fails.
        settled = _is_rowwise(check, data) and (output is raw or not check.element_wise)
        return CheckResult(_failing(check, data, output, plain), settled)
    result = backend.postprocess(data, output)
    output = result.check_output
    if bool(result.check_passed):
        return CheckResult({}, settled=False)
    if not hasattr(output, "index") or not output.index.equals(data.index):
        return CheckResult(None, settled=False)
    if hasattr(output, "columns"):
        by_column = {key: refused_rows(output.iloc[:, at]) for at, key in enumerate(output.columns)}
        return CheckResult(by_column, settled=False)
    return CheckResult({None: refused_rows(output)}, settled=False)


def _nulls_pass(check: Any, data: Any, output: Any) -> Any:
    """Return an output with nulls as True. Pandera lets nulls pass unless another row fails; then it raises."""
    import pandas as pd

    if not isinstance(output, pd.Series) or output.dtype == bool:
        return output
    truths = output.dtype.kind == "b"
    if not (truths or output.dtype == object) or not output.hasnans:
        return output
    if truths:
        return output.fillna(value=True)
    cell_by_cell = hasattr(data, "columns") and check.ignore_na  # pandera takes None for False here
    return output if cell_by_cell else output.where(output.notna(), other=True)


def _plain(output: Any, data: Any) -> Mask | None:
    """Return an output that is purely boolean, with the same index, as an array; None for any other."""
    import pandas as pd

    if not len(data) or not isinstance(output, (pd.Series, pd.DataFrame)) or not output.index.equals(data.index):
        return None
    if isinstance(output, pd.DataFrame):
        same = isinstance(data, pd.DataFrame) and output.columns.equals(data.columns) and data.columns.is_unique
        return output.to_numpy() if same and set(output.dtypes) <= {np.dtype(bool)} else None
    if output.dtype == bool:
        return output.to_numpy()
    return None if output.dtype.kind != "b" or output.hasnans else output.to_numpy(dtype=bool)


def _failing(check: Any, data: Any, output: Any, passing: Mask) -> dict[Hashable | None, Mask]:
    """Return the failing rows. In a frame, null cells and all-null rows pass, unless the check says otherwise."""
    failing = ~passing
    if passing.ndim == 1:
        if hasattr(data, "columns") and check.ignore_na and failing.any():
            some = np.flatnonzero(failing)
            failing[some] = ~data.take(some).isna().all(axis=1).to_numpy()
        return {None: failing}
    by_column: dict[Hashable | None, Mask] = {}
    for at, key in enumerate(output.columns):
        mask = failing[:, at]
        if mask.any():
            by_column[key] = mask & data.iloc[:, at].notna().to_numpy() if check.ignore_na else mask
    return by_column


def _is_rowwise(check: Any, data: Any) -> bool:
    """Return whether a check is row-wise: pandera's own, or a user's function of single values."""
    if check.element_wise:
        return True
    from pandera.backends.pandas import builtin_checks

    function = getattr(check._check_fn, "_function_registry", {}).get(type(data))  # noqa: SLF001
    name = getattr(function, "__name__", "")
    if function is None or function is not getattr(builtin_checks, name, None):
        return False
    arguments = check._check_kwargs.values()  # noqa: SLF001
    if name in MEMBERSHIP:
        return not any(hasattr(argument, "__next__") for argument in arguments)  # an iterator is empty the next time
    if name not in COMPARISONS and not (name in TEXT_CHECKS and not _of_objects(data)):
        return False  # text methods look at an object column's other values to find out whether it is text
    return all(np.ndim(argument) == 0 or isinstance(argument, re.Pattern) for argument in arguments)


def _of_objects(data: Any) -> bool:
    return hasattr(data, "columns") or (data.dtype.kind == "O" and isinstance(data.dtype, np.dtype))
