# ruff: noqa: PLC0415 - pandas loads on first use
"""Ask pandera about pandas data: coerce a column, validate a frame, find the rows of an error, check the types."""

from __future__ import annotations

import copy
import operator
import warnings
import weakref
from functools import lru_cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from resilient_tasks.core.wording import number_of
from resilient_tasks.validation import backend
from resilient_tasks.validation.backend import (
    WHOLE_FRAME,
    code_of,
    coercion_reason,
    failed_text,
    label,
    raised_text,
    uncoercible_rows,
)

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    import pandas as pd

    from resilient_tasks.validation.backend import Finding, Mask, Positions

_FORMAT_SAMPLE = 200

_REMEMBERED = 16  # layouts of frames, for each schema


@lru_cache(maxsize=256)
def engine_dtype(dtype: Any) -> Any:
    """Return pandera's type for a pandas type. Cached: pandera looks for an optional library at each call."""
    from pandera.engines.pandas_engine import Engine

    return Engine.dtype(dtype)


def try_coerce(dtype: Any, series: pd.Series) -> pd.Series | None:
    """Return the coerced values, or None if the type refuses them. A user's own type is coerced as pandera does it."""
    coerce = dtype.coerce if type(dtype).__module__.startswith("pandera.engines.") else dtype.try_coerce
    try:
        coerced: pd.Series = coerce(series)
    except Exception:
        return None
    return coerced


def needs_neighbours(dtype: Any, given: pd.Series, coerced: pd.Series) -> Positions | None:
    """Return the values that others may depend on when they coerce.

    Args:
        dtype: Pandera's type.
        given: Values that coerce together.
        coerced: The coerced values.

    Returns:
        Their positions, empty if every value coerces independently; None if any value may be needed.
    """
    if not type(dtype).__module__.startswith("pandera.engines."):
        return None
    if _one_by_one(dtype, given):
        return np.arange(0)
    if is_date(dtype) and getattr(dtype, "tz", None) is None and not getattr(dtype, "time_zone_agnostic", False):
        return _with_the_format(given, coerced)
    return None


def _one_by_one(dtype: Any, given: pd.Series) -> bool:
    import pandas as pd

    kind: Any = getattr(dtype, "type", None)
    if isinstance(kind, np.dtype):
        return kind.kind in "biufcO" and not hasattr(dtype, "to_datetime_kwargs")
    if isinstance(kind, pd.CategoricalDtype):
        return kind.categories is not None
    if isinstance(kind, pd.StringDtype):
        return True
    # From objects, pandas infers one type for all of them.
    return (is_number(dtype) or isinstance(kind, pd.BooleanDtype)) and given.dtype != object


def _with_the_format(given: pd.Series, coerced: pd.Series) -> Positions | None:
    """Return the position of the first date: pandas guesses the format of the others from it."""
    if given.dtype.kind in "iufM":
        return np.arange(0)
    first = np.flatnonzero(coerced.notna().to_numpy())[:1]
    # pandas skips words like "today" in its guess.
    return first if any(letter.isdigit() for value in given.iloc[first] for letter in str(value)) else None


def find_uncoercible(series: pd.Series, dtype: Any) -> Mask | None:
    """Return the rows to leave out so that the rest coerces; None when out of probes.

    A value that does not coerce alone is left out. If the remaining values coerce alone but not together, the less
    frequent kind of value is left out altogether, as are dates in another format than the first.
    """

    def accepts(rows: Positions) -> bool:
        return try_coerce(dtype, series.iloc[rows]) is not None

    def among(rows: Positions) -> Mask | None:
        values = series.iloc[rows]
        return uncoercible_rows(
            suspects(values, dtype), lambda at: value_codes(values.iloc[at]), lambda at: accepts(rows[at])
        )

    good = np.arange(0)
    for rows in _kinds(series, dtype):
        bad = among(rows)
        if bad is None:
            return None
        together = np.union1d(good, rows[~bad])
        if not len(good) or accepts(together):
            good = together
    left_out = np.ones(len(series), dtype=bool)
    left_out[good] = False
    return left_out


def _kinds(series: pd.Series, dtype: Any) -> list[Positions]:
    """Group the rows by kind of value (text, numbers, nulls and so on), the most frequent first.

    Nullable and Arrow types coerce text or numbers from an object column, but not both together. All other types
    coerce value by value or guess a format: their rows form one group.
    """
    if series.dtype != object or is_date(dtype) or isinstance(getattr(dtype, "type", None), np.dtype):
        return [np.arange(len(series))]
    names = series.map(lambda value: type(value).__name__)
    names = names.where(series.notna(), "null " + names)
    return [np.flatnonzero(names == name) for name in names.value_counts().sort_index().sort_values().index[::-1]]


def suspects(series: pd.Series, dtype: Any) -> Mask:
    """Return a cheap guess at the values that will not coerce."""
    try:
        if is_number(dtype):
            return _no_numbers(series, whole=str(dtype).startswith(("Int", "UInt")))
        if is_date(dtype):
            return (_dates(series, dtype).isna() & series.notna()).to_numpy(dtype=bool)
    except Exception:  # lists, or a mixture of naive and aware: no guess
        return np.zeros(len(series), dtype=bool)
    return np.zeros(len(series), dtype=bool)


def _no_numbers(series: pd.Series, *, whole: bool) -> Mask:
    import pandas as pd

    numbers = pd.to_numeric(series, errors="coerce")
    guess: Mask = numbers.isna().to_numpy(dtype=bool)
    if whole:  # pandas' nullable integers refuse fractions; numpy's truncate them
        guess = guess | (numbers % 1 != 0).to_numpy(dtype=bool, na_value=False)
    return guess


def _dates(series: pd.Series, dtype: Any) -> pd.Series:
    """Parse with one format, as pandas does, but ignore a first value that is garbage."""
    import pandas as pd
    from pandas.tseries.api import guess_datetime_format

    options = {"dayfirst": False, **getattr(dtype, "to_datetime_kwargs", {})}
    if "format" not in options and not pd.api.types.is_numeric_dtype(series.dtype):
        texts = (value for value in series.head(_FORMAT_SAMPLE).dropna() if isinstance(value, str))
        formats = (guess_datetime_format(text, dayfirst=options["dayfirst"]) for text in texts)
        options["format"] = next((each for each in formats if each), "mixed")
    if series.dtype == object:  # with a format, pandas reads numbers as text and warns
        numbers = (float, int, np.number)
        series = series.map(lambda value: str(value) if isinstance(value, numbers) else value, na_action="ignore")
    with np.errstate(all="ignore"):
        return pd.to_datetime(series, **{**options, "errors": "coerce", "utc": True})


def value_codes(series: pd.Series) -> Positions:
    """Number the distinct values. True, 1 and 1.0 are three, and so are None and NaT: they coerce differently."""
    import pandas as pd

    try:
        numbers: Positions = pd.factorize(series, use_na_sentinel=False)[0]
    except TypeError:  # lists and dicts are unhashable: each is distinct
        return np.arange(len(series))
    if series.dtype != object:
        return numbers
    kinds: Positions = pd.factorize(np.fromiter(map(id, map(type, series)), np.int64, len(series)))[0]
    together: Positions = numbers * (len(kinds) + 1) + kinds
    return together


def is_number(dtype: Any) -> bool:
    import pandas as pd

    kind: Any = getattr(dtype, "type", None)
    try:
        return pd.api.types.is_numeric_dtype(kind) and not pd.api.types.is_bool_dtype(kind)
    except TypeError:
        return False


def is_date(dtype: Any) -> bool:
    return hasattr(dtype, "to_datetime_kwargs") or str(dtype).startswith("datetime64")


def validate(schema: Any, part: pd.DataFrame) -> tuple[pd.DataFrame | None, list[Any] | str]:
    """Return the frame as pandera returns it; or None and its errors, or a text if pandera itself failed."""
    good, errors, crash = backend.validate(schema, part)
    if crash is not None:
        return None, raised_text(WHOLE_FRAME, "the schema", crash)
    if errors:
        return None, errors
    if len(good) != len(part):
        return None, (
            f"the schema returned {len(good):,} of {number_of(len(part), 'row')}; a parser or an overridden method "
            f"that drops rows hides them: use a check instead"
        )
    return good, []


def repeat_warnings(findings: list[Finding]) -> None:
    """Emit the warnings that pandera would, for checks evaluated without it."""
    from pandera.errors import SchemaWarning

    for finding in findings:
        rows = f": {number_of(len(finding.positions), 'row')}" if len(finding.positions) else ""
        warnings.warn(f"{failed_text(finding.column, finding.check)}{rows}", SchemaWarning, stacklevel=2)


def with_warnings_as_errors(schema: Any, evaluated: AbstractSet[tuple[int, int]]) -> Any:
    """Return a copy of the schema whose warn-only checks raise errors.

    Args:
        schema: A schema.
        evaluated: The ids of the checks that are evaluated already, each with the id of its component.

    Returns:
        A copy; None if no warn-only check is left.
    """
    given = components(schema)
    quiet = [
        (at, number)
        for at, part in enumerate(given)
        for number, check in enumerate(part.checks or ())
        if check.raise_warning and (id(part), id(check)) not in evaluated
    ]
    if not quiet:
        return None
    schema = copy.deepcopy(schema)
    copied = components(schema)
    for at, number in quiet:
        copied[at].checks[number].raise_warning = False
    return schema


def components(schema: Any) -> list[Any]:
    """Return a schema and its components: columns, index, index levels."""
    index = schema.index
    return [schema, *schema.columns.values(), *([] if index is None else [index, *getattr(index, "indexes", ())])]


def located_rows(error: Any, part: pd.DataFrame) -> Positions | None:
    """Return the rows of `part` that a schema error is about; None if it is about the frame."""
    output, cases = error.check_output, error.failure_cases
    if code_of(error) in {"WRONG_DATATYPE", "CHECK_ERROR"} or not hasattr(cases, "columns"):
        return None
    if hasattr(output, "index") and len(output) == len(part):
        return np.flatnonzero(refused_rows(output.all(axis=1) if hasattr(output, "columns") else output))
    labels = output.index[refused_rows(output)] if hasattr(output, "dtype") else cases.get("index")
    if labels is None or not part.index.is_unique or part.index.nlevels > 1:
        return None
    at = part.index.get_indexer(labels.unique())
    return np.sort(at) if len(at) and (at >= 0).all() else None


def refused_rows(output: pd.Series) -> Mask:
    """Return the rows that a check's output refuses; a null passes, as in pandera's own `all()`."""
    return ~np.asarray(output.astype(object).where(output.notna(), True), dtype=bool)


def column_of(error: Any) -> Any:
    """Return the column that a schema error is about, or `WHOLE_FRAME`."""
    name = error.column_name if error.column_name is not None else error.schema.name
    return WHOLE_FRAME if name is None else name


def title_of(error: Any) -> str:
    """Return the name of the rule in a schema error."""
    if code_of(error) == "DATATYPE_COERCION":
        dtype = error.schema.dtype
        return coercion_reason(dtype, numeric=is_number(dtype), temporal=is_date(dtype))
    return label(error.check, error.check_index)


class _Answers(NamedTuple):
    """Pandera's answers for a schema, valid as long as it exists unchanged."""

    schema: weakref.ref[Any]
    rules: list[Any]
    by_frame: dict[tuple[Any, ...], bool]


_answers: dict[int, _Answers] = {}
"""Keyed by id: schemas are unhashable, and equal ones may diverge."""


def fits(schema: Any, frame: pd.DataFrame, sample: slice) -> bool:
    """Return whether names, order and types of a frame satisfy a schema.

    The answer is cached for this schema until it changes, and for frames with the same names, types and kind of index.
    It holds for all of these, because only the nulls of the sample are checked as values.

    Args:
        schema: A schema without parsers or overridden methods.
        frame: A frame.
        sample: The slice of one row that breaks no rule; empty if there is none.
    """
    rules, key = _rules(schema), _kind(frame, sample)
    known = _answers.get(id(schema))
    if known is None or known.schema() is not schema or not _same(known.rules, rules):
        at = id(schema)
        known = _Answers(weakref.ref(schema, lambda _: _answers.pop(at, None)), rules, {})
        if not _warns_of_missing(schema):
            _answers[at] = known
    answer = known.by_frame.get(key)
    if answer is None:
        answer = _ask(schema, frame.iloc[sample])
        if len(known.by_frame) < _REMEMBERED:
            known.by_frame[key] = answer
    return answer


def _ask(schema: Any, part: pd.DataFrame) -> bool:
    from pandera.config import ValidationDepth, config_context

    with config_context(validation_depth=ValidationDepth.SCHEMA_ONLY):
        return validate(schema, part)[0] is not None


def _rules(schema: Any) -> list[Any]:
    """Return everything that a schema and its components hold, to be compared by identity."""
    held: list[Any] = [*schema.columns, *vars(schema).values()]
    for part in components(schema)[1:]:
        held += [part, *vars(part).values()]
    return held


def _same(rules: list[Any], others: list[Any]) -> bool:
    return len(rules) == len(others) and all(map(operator.is_, rules, others))


def _kind(frame: pd.DataFrame, sample: slice) -> tuple[Any, ...]:
    names, index = tuple(frame.columns), frame.index
    types = (type(frame), type(frame.columns), type(index), *map(type, names))  # a column may be named 1 or True
    return names, types, tuple(frame.dtypes), tuple(index.names), index.dtype, sample.start == sample.stop


def _warns_of_missing(schema: Any) -> bool:
    """Return whether pandera warns of missing columns, which it does each time."""
    parts = (schema, *schema.columns.values())
    return any(getattr(part, name, None) for part in parts for name in ("on_missing", "on_missing_columns"))
