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
from resilient_tasks.validation.backend import WHOLE_FRAME, code_of, failed, label, raised, refusal, uncoercible_rows

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    import pandas as pd

    from resilient_tasks.validation.backend import Finding, Mask, Positions


_FORMAT_SAMPLE = 200


@lru_cache(maxsize=256)
def engine_dtype(dtype: Any) -> Any:
    """Pandera's type for one of pandas: it looks for an optional library each time it is asked."""
    from pandera.engines.pandas_engine import Engine

    return Engine.dtype(dtype)


def attempt(dtype: Any, series: pd.Series) -> pd.Series | None:
    """The values as a type coerces them; None where it refuses. A user's own type is asked as pandera asks it."""
    coerce = dtype.coerce if type(dtype).__module__.startswith("pandera.engines.") else dtype.try_coerce
    try:
        coerced: pd.Series = coerce(series)
    except Exception:
        return None
    return coerced


def needs_neighbours(dtype: Any, given: pd.Series, coerced: pd.Series) -> Positions | None:
    """The values without which the others might coerce differently.

    Args:
        dtype: Pandera's type.
        given: Values that coerce together.
        coerced: What they become.

    Returns:
        Their positions, none of them where every value coerces by itself; None where any value may be needed.
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
    # From objects, pandas looks at what they are together.
    return (is_number(dtype) or isinstance(kind, pd.BooleanDtype)) and given.dtype != object


def _with_the_format(given: pd.Series, coerced: pd.Series) -> Positions | None:
    """The date that the format of all others is guessed from: the first."""
    if given.dtype.kind in "iufM":
        return np.arange(0)
    first = np.flatnonzero(coerced.notna().to_numpy())[:1]
    # pandas passes over words like "today" in its search.
    return first if any(letter.isdigit() for value in given.iloc[first] for letter in str(value)) else None


def uncoercible(series: pd.Series, dtype: Any) -> Mask | None:
    """The rows to leave out, so that the rest coerces; None where that takes too many questions.

    A value that does not coerce by itself is left out. Where all that is left do, and not together, the kind of value
    that fewer rows hold is left out as a whole; so is a date that is not in the format of the first.
    """

    def accepts(rows: Positions) -> bool:
        return attempt(dtype, series.iloc[rows]) is not None

    def among(rows: Positions) -> Mask | None:
        values = series.iloc[rows]
        return uncoercible_rows(
            suspects(values, dtype), lambda at: codes(values.iloc[at]), lambda at: accepts(rows[at])
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
    """The rows by what they hold: text, numbers, nulls and so on, the most frequent first.

    Nullable and Arrow types take either text or numbers from a column of objects, and not the two together, whatever
    they coerce to alone. All others take each value by itself, or look for a format: those are of one kind.
    """
    if series.dtype != object or is_date(dtype) or isinstance(getattr(dtype, "type", None), np.dtype):
        return [np.arange(len(series))]
    names = series.map(lambda value: type(value).__name__)
    names = names.where(series.notna(), "null " + names)
    return [np.flatnonzero(names == name) for name in names.value_counts().sort_index().sort_values().index[::-1]]


def suspects(series: pd.Series, dtype: Any) -> Mask:
    """A cheap guess at what will not coerce."""
    try:
        if is_number(dtype):
            return _no_numbers(series, whole=str(dtype).startswith(("Int", "UInt")))
        if is_date(dtype):
            return (_dates(series, dtype).isna() & series.notna()).to_numpy(dtype=bool)
    except Exception:  # lists, mixtures of naive and aware: then without a guess
        return np.zeros(len(series), dtype=bool)
    return np.zeros(len(series), dtype=bool)


def _no_numbers(series: pd.Series, *, whole: bool) -> Mask:
    import pandas as pd

    numbers = pd.to_numeric(series, errors="coerce")
    guess: Mask = numbers.isna().to_numpy(dtype=bool)
    if whole:  # pandas' nullable integers take no fraction; numpy's cut it off
        guess = guess | (numbers % 1 != 0).to_numpy(dtype=bool, na_value=False)
    return guess


def _dates(series: pd.Series, dtype: Any) -> pd.Series:
    """Parse with one format, as pandas does, but not with the one of a first value that is garbage."""
    import pandas as pd
    from pandas.tseries.api import guess_datetime_format

    options = {"dayfirst": False, **getattr(dtype, "to_datetime_kwargs", {})}
    if "format" not in options and not pd.api.types.is_numeric_dtype(series.dtype):
        texts = (value for value in series.head(_FORMAT_SAMPLE).dropna() if isinstance(value, str))
        formats = (guess_datetime_format(text, dayfirst=options["dayfirst"]) for text in texts)
        options["format"] = next((each for each in formats if each), "mixed")
    if series.dtype == object:  # with a format, pandas reads numbers as text, and warns
        numbers = (float, int, np.number)
        series = series.map(lambda value: str(value) if isinstance(value, numbers) else value, na_action="ignore")
    with np.errstate(all="ignore"):
        return pd.to_datetime(series, **{**options, "errors": "coerce", "utc": True})


def codes(series: pd.Series) -> Positions:
    """A number for each distinct value. True, 1 and 1.0 are three, and so are None and NaT: they coerce differently."""
    import pandas as pd

    try:
        numbers: Positions = pd.factorize(series, use_na_sentinel=False)[0]
    except TypeError:  # lists and dicts have no hash: each is its own
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
    """What pandera returns for a frame; or None and its errors, or a sentence where it broke down."""
    from pandera.errors import SchemaDefinitionError, SchemaError, SchemaErrors, SchemaInitError

    try:
        good = schema.validate(part, lazy=True)
    except SchemaErrors as errors:
        return None, errors.schema_errors
    except SchemaError as error:  # of a schema with a method of its own
        return None, [error]
    except (SchemaDefinitionError, SchemaInitError):
        raise  # the schema is at fault, not the data
    except Exception as error:
        return None, raised(WHOLE_FRAME, "the schema", error)
    if len(good) != len(part):
        return None, (
            f"the schema returned {len(good):,} of {number_of(len(part), 'row')}; a parser or a method of its own that "
            f"drops rows hides them: make a check of it"
        )
    return good, []


def warn(findings: list[Finding]) -> None:
    """Warn as pandera does, of what it was not asked about."""
    from pandera.errors import SchemaWarning

    for finding in findings:
        rows = f": {number_of(len(finding.positions), 'row')}" if len(finding.positions) else ""
        warnings.warn(f"{failed(finding.column, finding.check)}{rows}", SchemaWarning, stacklevel=2)


def loud(schema: Any, heard: AbstractSet[tuple[int, int]]) -> Any:
    """A schema whose rules that only warn raise errors.

    Args:
        schema: A schema.
        heard: The ids of the checks that need not, each behind the id of what it belongs to.

    Returns:
        A copy; None where no rule is left that only warns.
    """
    given = components(schema)
    quiet = [
        (at, number)
        for at, part in enumerate(given)
        for number, check in enumerate(part.checks or ())
        if check.raise_warning and (id(part), id(check)) not in heard
    ]
    if not quiet:
        return None
    schema = copy.deepcopy(schema)
    copied = components(schema)
    for at, number in quiet:
        copied[at].checks[number].raise_warning = False
    return schema


def components(schema: Any) -> list[Any]:
    """A schema and its parts: columns, index, levels of the index."""
    index = schema.index
    return [schema, *schema.columns.values(), *([] if index is None else [index, *getattr(index, "indexes", ())])]


def located_rows(error: Any, part: pd.DataFrame) -> Positions | None:
    """Which rows of `part` a schema error is about; None where it is about the frame."""
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
    """The rows that a check's output refuses; a null passes, as it does in pandera's own `all()`."""
    return ~np.asarray(output.astype(object).where(output.notna(), True), dtype=bool)


def column_of(error: Any) -> Any:
    """The column_of a schema error is about, or `WHOLE_FRAME`."""
    name = error.column_name if error.column_name is not None else error.schema.name
    return WHOLE_FRAME if name is None else name


def title_of(error: Any) -> str:
    """The rule a schema error says was broken."""
    if code_of(error) == "DATATYPE_COERCION":
        dtype = error.schema.dtype
        return refusal(dtype, numeric=is_number(dtype), temporal=is_date(dtype))
    return label(error.check, error.check_index)


_REMEMBERED = 16  # kinds of frames, for each schema


class _Answers(NamedTuple):
    """What pandera said of frames, for as long as the schema is there and as it was."""

    schema: weakref.ref[Any]
    rules: list[Any]
    by_frame: dict[tuple[Any, ...], bool]


_answers: dict[int, _Answers] = {}
"""By the schema's id: a schema has no hash, and two that are equal may become different."""


def fits(schema: Any, frame: pd.DataFrame, sample: slice) -> bool:
    """Whether pandera finds nothing wrong with names, order and types.

    The answer is remembered for this schema, unless it is altered, and for frames with the same names, types and kind
    of index. It holds for all of them, because no value is checked but the nulls of the sample.

    Args:
        schema: A schema that is pandera's own in all its parts, without parsers.
        frame: A frame.
        sample: The place of a row that breaks no rule; an empty one where there is no such row.
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
    """All that a schema and its parts hold, to be compared by identity: what is replaced is another object."""
    held: list[Any] = [*schema.columns, *vars(schema).values()]
    for part in components(schema)[1:]:
        held += [part, *vars(part).values()]
    return held


def _same(rules: list[Any], others: list[Any]) -> bool:
    return len(rules) == len(others) and all(map(operator.is_, rules, others))


def _kind(frame: pd.DataFrame, sample: slice) -> tuple[Any, ...]:
    names, index = tuple(frame.columns), frame.index
    types = (type(frame), type(frame.columns), type(index), *map(type, names))  # a column may be called 1 or True
    return names, types, tuple(frame.dtypes), tuple(index.names), index.dtype, sample.start == sample.stop


def _warns_of_missing(schema: Any) -> bool:
    """Whether pandera warns of columns that are missing: then it does so each time."""
    parts = (schema, *schema.columns.values())
    return any(getattr(part, name, None) for part in parts for name in ("on_missing", "on_missing_columns"))
