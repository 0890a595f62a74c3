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
from resilient_tasks.validation.schemas import foreign_backend, has_parsers, overrides

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Mapping

    import pandas as pd

    from resilient_tasks.validation.backend import Mask, Positions


@dataclass(frozen=True, slots=True)
class Part:
    """A column or an index level, and the part of the schema that speaks of it."""

    key: Hashable
    schema: Any = None
    coerce: bool = False
    level: int | None = None

    @property
    def where(self) -> tuple[int | None, Hashable]:
        """Tells a column from a level of the same name."""
        return self.level, self.key


@dataclass(frozen=True, slots=True)
class Values:
    """The values of a part that coerce, coerced.

    Attributes:
        series: The values.
        rows: Their row numbers; None stands for every row.
        needs: Rows without which the others might have coerced differently; None where that may be any row.
    """

    series: pd.Series
    rows: Positions | None = None
    needs: Positions | None = None

    def kept(self, keep: Mask) -> pd.Series:
        """Those of the values whose rows are in `keep`."""
        return self.series[keep if self.rows is None else keep[self.rows]]


class Notes:
    """What is found of a frame's rows, with the values as read.

    Reasons take the values of rejected rows from those rows, once they are asked for; those of rows that are kept are
    put aside, a column at a time.
    """

    def __init__(self, frame: pd.DataFrame) -> None:
        self._frame = frame
        self._rejected = _Rows()

    def reject(self, frame: pd.DataFrame, rows: Positions) -> None:
        """Keep the rejected rows, and their numbers."""
        # Not the same object: who mends the bad rows in place does not rewrite the reasons.
        self._rejected.frame, self._rejected.numbers = frame.copy(deep=False), rows

    def add(self, findings: list[Finding], part: Part, check: str, rows: Positions) -> None:
        """Note which rows break a rule: rows to reject, unless these are the findings of rules that only warn."""
        if len(rows):
            findings.append(Finding(str(part.key), check, rows, self._read(part, rows, self._rejected)))

    def warn(self, findings: list[Finding], part: Part, check: str, rows: Positions) -> None:
        """Note which rows break a rule that only warns."""
        if len(rows):
            column = (
                self._frame.iloc[:, :0] if part.level is not None or not self._named(part) else self._frame[[part.key]]
            )
            aside = _Rows(column.take(rows), rows)
            findings.append(Finding(str(part.key), check, rows, self._read(part, rows, aside)))

    def _named(self, part: Part) -> bool:
        return part.key in self._frame.columns and self._frame.columns.is_unique

    def _read(self, part: Part, rows: Positions, source: _Rows) -> Callable[[], list[Any]] | None:
        told = part.level is not None or self._named(part)
        return partial(source.read, part.key, part.level, rows) if told else None


@dataclass(slots=True)
class _Rows:
    """Some rows as they were read."""

    frame: pd.DataFrame | None = None
    numbers: Positions | None = None

    def read(self, key: Hashable, level: int | None, rows: Positions) -> list[Any]:
        """The values in a column, or a level of the index, of the rows with these numbers."""
        if self.frame is None or self.numbers is None:
            raise RuntimeError("The values of bad rows are there once the split is done.")
        at = np.searchsorted(self.numbers, rows)
        if level is None:
            return self.frame[key].iloc[at].tolist()
        return self.frame.index.take(at).get_level_values(level).tolist()


def is_panderas(frame: pd.DataFrame, schema: Any) -> bool:
    """Whether a schema and its parts are judged by pandera's own methods: then its rules can be read from it."""
    found = components(schema)
    if any(map(overrides, found)):
        return False
    return not any(foreign_backend(part, frame) for part in {type(part): part for part in found}.values())


def readable(frame: pd.DataFrame, schema: Any) -> bool:
    """Whether the parts of a schema can be read one by one; else pandera judges the rows alone."""
    columns = frame.columns
    adds = schema.add_missing_columns and not set(schema.columns) <= set(columns)
    filled = any(column.regex and column.default is not None for column in schema.columns.values())
    one_each = columns.is_unique and (columns.nlevels == 1 or _in_full(columns.nlevels, schema))
    return one_each and not (has_parsers(schema) or schema.dtype is not None or adds or filled)


def _in_full(levels: int, schema: Any) -> bool:
    """Whether each name in a schema stands for one column of as many levels, and not for a group of them."""
    full = all(isinstance(key, tuple) and len(key) == levels for key in schema.columns)
    return full and not schema.unique and schema.strict != "filter"


def columns(frame: pd.DataFrame, schema: Any) -> Iterator[tuple[Part, pd.Series]]:
    """Each column that the schema speaks of, with nulls replaced by its default."""
    for key, column in schema.columns.items():
        for name in _names(frame, key, column):
            series = frame[name]
            filled = series if column.default is None else series.fillna(column.default)
            yield Part(name, column, column.coerce or schema.coerce), filled


def _names(frame: pd.DataFrame, key: Hashable, column: Any) -> list[Hashable]:
    if not column.regex:
        return [key] if key in frame.columns else []
    from pandera.errors import SchemaError

    try:
        return list(column.get_regex_columns(frame))
    except SchemaError:  # no column matches: a failure of the frame, which pandera will word
        return []


def levels(index: pd.Index[Any], schema: Any) -> Iterator[tuple[Part, pd.Series]]:
    """Each level of the index that the schema speaks of; none where it expects another number of them."""
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
            yield Part(key, part, coerce, at), index.get_level_values(at).to_series()


def plain_index(index: pd.Index[Any], schema: Any) -> bool:
    """Whether an index is checked like a column; what others become, and how levels are found, is pandera's to say."""
    wanted = schema.index
    if wanted is None:
        return True
    single = not hasattr(wanted, "indexes") and index.nlevels == 1
    return single and wanted.default is None and not (wanted.coerce or schema.coerce)


def missing(series: pd.Series) -> Mask | None:
    """Which values are null; None where none is."""
    if isinstance(series.dtype, np.dtype) and series.dtype.kind in "iub":
        return None
    isna = series.isna().to_numpy()
    return isna if isna.any() else None


def duplicated(part: Part, series: pd.Series, schema: Any) -> Mask | None:
    """Which values repeat others, where the schema forbids it; None where none does."""
    if not part.schema.unique or series.is_unique:
        return None
    if part.level is not None and hasattr(schema.index, "indexes"):
        # In an index of levels pandera looks at the distinct values where each check allows it: they are unique.
        distinct = [getattr(check, "determined_by_unique", False) for check in part.schema.checks]
        if all(distinct):
            return None
    return series.duplicated(keep=_keep(part.schema)).to_numpy()


def jointly_duplicated(table: pd.DataFrame, schema: Any) -> Iterator[tuple[Part, Mask]]:
    """For each set of columns that is to be unique: its name, and the rows that repeat others."""
    unique = schema.unique or []
    for names in [unique] if all(isinstance(name, str) for name in unique) else unique:
        subset = [name for name in names if name in table]
        if subset:
            key = subset[0] if len(subset) == 1 else ", ".join(map(str, subset))
            yield Part(key), table.duplicated(subset=subset, keep=_keep(schema)).to_numpy()


def _keep(schema: Any) -> Any:
    return {"exclude_first": "first", "exclude_last": "last", "all": False}[schema.report_duplicates]


def rows_where(rows: Positions | None, mask: Mask) -> Positions:
    """Those of the row numbers where a mask over them is true; None stands for every row."""
    found = np.flatnonzero(mask)
    return found if rows is None else rows[found]


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says of a column or a frame.

    Attributes:
        failing: The rows that fail, by column, None standing for no column in particular; None where the check gave
            one answer for all rows, and it was no.
        settled: Whether the verdict on a row holds whatever other rows there are.
    """

    failing: Mapping[Hashable | None, Mask] | None
    settled: bool


def is_mask(check: Any) -> bool:
    """Whether a check can be one; not verdicts over groups or samples, which are pandera's to give."""
    from pandera.pandas import Check

    return type(check) is Check and check.groupby is None and not overrides(check)


def evaluate(check: Any, data: Any, missing: Mask | None = None) -> Verdict:
    """Ask a check as `Check.__call__` does, short of collecting the failing values, which costs more than asking.

    Args:
        check: A check that `is_mask`.
        data: A series or a frame, as pandera would check it.
        missing: For a series, which values are null; None where there are none.

    Raises:
        Exception: Whatever the check raises.
    """
    if missing is None or not check.ignore_na:
        return _evaluate(check, data)
    if _is_rowwise(check, data) and not check.element_wise and not _of_objects(data):
        # The same verdict without a copy of the column: a comparison with null raises nothing here.
        output = _backend(check, data).apply(data)
        if output.dtype.kind == "b":
            return Verdict({None: ~(output.to_numpy(dtype=bool, na_value=False) | missing)}, settled=True)
    verdict = _evaluate(check, data[~missing])
    return verdict if verdict.failing is None else Verdict(_spread(verdict.failing, ~missing), verdict.settled)


def _spread(failing: Mapping[Hashable | None, Mask], present: Mask) -> dict[Hashable | None, Mask]:
    spread = {}
    for key, mask in failing.items():
        spread[key] = np.zeros(len(present), dtype=bool)
        spread[key][present] = mask
    return spread


def _backend(check: Any, data: Any) -> Any:
    """The check's own backend.

    A built-in function is looked up anew, as `Check.__call__` does: a pickled check's copy may not know every type.
    """
    name = getattr(check._check_fn, "__name__", None)  # noqa: SLF001
    if name is not None and check.is_builtin_check(name):
        check._check_fn = check.get_builtin_check_fn(name)  # noqa: SLF001
    return check.get_backend(data)(check)


def _evaluate(check: Any, data: Any) -> Verdict:
    backend = _backend(check, data)
    said = backend.apply(data)
    output = _nulls_pass(check, data, said)
    plain = _plain(output, data)
    if plain is not None:
        # Of nulls alone the output may be of a type with which pandera breaks down.
        settled = _is_rowwise(check, data) and (output is said or not check.element_wise)
        return Verdict(_failing(check, data, output, plain), settled)
    result = backend.postprocess(data, output)
    output = result.check_output
    if bool(result.check_passed):
        return Verdict({}, settled=False)
    if not hasattr(output, "index") or not output.index.equals(data.index):
        return Verdict(None, settled=False)
    if hasattr(output, "columns"):
        by_column = {key: refused_rows(output.iloc[:, at]) for at, key in enumerate(output.columns)}
        return Verdict(by_column, settled=False)
    return Verdict({None: refused_rows(output)}, settled=False)


def _nulls_pass(check: Any, data: Any, output: Any) -> Any:
    """An output whose nulls are True: pandera lets them pass where all else does, and breaks down where it does not."""
    import pandas as pd

    if not isinstance(output, pd.Series) or output.dtype == bool:
        return output
    truths = output.dtype.kind == "b"
    if not (truths or output.dtype == object) or not output.hasnans:
        return output
    if truths:
        return output.fillna(value=True)
    cell_by_cell = hasattr(data, "columns") and check.ignore_na  # where pandera takes None for False
    return output if cell_by_cell else output.where(output.notna(), other=True)


def _plain(output: Any, data: Any) -> Mask | None:
    """An output of nothing but True and False for just these rows, as an array; None for any other."""
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
    """In a frame a null cell passes, or a row of nothing but nulls, unless the check says otherwise."""
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
    """Whether pandera's own functions, or the user's on single values, decide each row by itself."""
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
        return False  # text methods look at an object column's other values to decide whether it is text
    return all(np.ndim(argument) == 0 or isinstance(argument, re.Pattern) for argument in arguments)


def _of_objects(data: Any) -> bool:
    return hasattr(data, "columns") or (data.dtype.kind == "O" and isinstance(data.dtype, np.dtype))
