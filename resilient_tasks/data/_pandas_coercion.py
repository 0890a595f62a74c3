# ruff: noqa: PLC0415 - pandas loads on first use
"""Coercion in pandas: by pandera's own types, and a vectorised guess at the values they will refuse."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._backend import refused

if TYPE_CHECKING:
    import pandas as pd

    from resilient_tasks.data._backend import Mask, Positions

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
        return refused(suspects(values, dtype), lambda at: codes(values.iloc[at]), lambda at: accepts(rows[at]))

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
