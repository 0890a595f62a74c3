# ruff: noqa: PLC0415 - pandas and polars load on first use
"""What a frame looked like once: types, counts and distributions, small enough to be kept beside its schema."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from resilient_tasks.data._values import dumps, loads
from resilient_tasks.data.schemas import fingerprint

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.float64]

Kind = Literal["number", "time", "category", "other"]

_QUANTILES = np.linspace(0, 1, 11)
_POINTS = 1_000
# The index's own noise grows with its bins: twenty and one of the rest stay below 0.05 at a thousand rows.
_CATEGORIES = 20


@dataclass(frozen=True)
class ColumnProfile:
    """One column's type, and how its values were distributed.

    Attributes:
        kind: `"number"`, `"time"` (in seconds; dates and times since 1970, UTC), `"category"` (text, categories and
            booleans) or `"other"`, of which only the missing values are known.
        dtype: its type, as its library calls it.
        rows: rows, missing ones included.
        nulls: rows without a value; NaN is none.
        edges: for numbers and times, the deciles without repetitions, from the smallest value to the largest.
        sample: for those, up to 1,000 values at even distances of rank, ascending.
        categories: for categories, the 20 most frequent by name.
        counts: rows in each bin: below the first edge, at it, up to each further edge, and above the last; or in each
            of `categories`, and in all others together.
    """

    kind: Kind
    dtype: str
    rows: int
    nulls: int
    edges: tuple[float, ...]
    sample: tuple[float, ...]
    categories: tuple[str, ...]
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Profile:
    """A baseline: what a frame looked like that was as it should be.

    Attributes:
        library: `"pandas"` or `"polars"`.
        schema: the fingerprint of the schema that the frame satisfied.
        columns: its columns by name.
    """

    library: str
    schema: str
    columns: Mapping[str, ColumnProfile]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile to a JSON file. Whoever reads meanwhile sees the old file or the new one.

        It holds up to 1,000 values of each column of numbers, and the names of its categories.
        """
        fresh = Path(f"{os.fspath(path)}.{os.getpid()}.new")
        try:
            fresh.write_text(dumps(asdict(self)), encoding="utf-8")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile back.

        Raises:
            OSError: there is no such file, or it cannot be read.
            ValueError: it holds no profile.
        """
        try:
            stored = loads(Path(path).read_text(encoding="utf-8"))
            columns = {name: _column(facts) for name, facts in stored["columns"].items()}
            return cls(stored["library"], stored["schema"], columns)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} holds no profile: {error}") from None


def _column(facts: Mapping[str, Any]) -> ColumnProfile:
    values: dict[str, Any] = {name: tuple(fact) if isinstance(fact, list) else fact for name, fact in facts.items()}
    return ColumnProfile(**values)


def profile(frame: Any, schema: Any) -> Profile:
    """Describe a frame that satisfies its schema, as the baseline for a `Drift` gate.

    Args:
        frame: a pandas DataFrame, a polars DataFrame, or a polars LazyFrame, which is collected.
        schema: the schema or model that it satisfies; its fingerprint is kept.

    Raises:
        TypeError: the frame is none, or the schema is none.
        ValueError: two columns have the same name as text.
    """
    used, columns = described(frame)
    return Profile(used, fingerprint(schema), {name: column.profile() for name, column in columns.items()})


@dataclass(frozen=True)
class Described:
    """A column as it is now: its numbers in order, or how often each of its categories occurs.

    Attributes:
        kind: see `ColumnProfile`.
        dtype: its type, as its library calls it.
        rows: rows, missing ones included.
        values: numbers, ascending, without missing ones; empty for other kinds.
        categories: rows by category, the most frequent first; for `"other"`, all values are one.
    """

    kind: Kind
    dtype: str
    rows: int
    values: Numbers
    categories: Mapping[str, int]

    @property
    def nulls(self) -> int:
        """Rows without a value."""
        return self.rows - len(self.values) - sum(self.categories.values())

    def profile(self) -> ColumnProfile:
        """What to keep of this column."""
        edges = tuple(np.unique(np.quantile(self.values, _QUANTILES, method="nearest")).tolist()) if self.size else ()
        names = tuple(self.categories)[:_CATEGORIES]
        counts = self.histogram(edges, names)
        return ColumnProfile(self.kind, self.dtype, self.rows, self.nulls, edges, self.sample(), names, counts)

    @property
    def size(self) -> int:
        """How many numbers there are."""
        return len(self.values)

    def sample(self) -> tuple[float, ...]:
        """Up to 1,000 of the numbers, at even distances of rank: they tell the distribution to a thousandth."""
        if self.size <= _POINTS:
            return tuple(self.values.tolist())
        ranks = (np.arange(_POINTS) + 0.5) * self.size / _POINTS
        return tuple(self.values[ranks.astype(np.intp)].tolist())

    def histogram(self, edges: tuple[float, ...], names: tuple[str, ...]) -> tuple[int, ...]:
        """Count the rows in the bins of another profile's edges, or of its categories' names and the rest."""
        if self.kind in {"category", "other"}:
            known = [self.categories.get(name, 0) for name in names]
            return (*known, sum(self.categories.values()) - sum(known))
        if not edges:
            return (self.size,)
        up_to = np.searchsorted(self.values, edges, side="right")
        below = np.searchsorted(self.values, edges[0], side="left")
        return tuple(np.diff([0, below, *up_to, self.size]).tolist())


def described(frame: Any) -> tuple[str, dict[str, Described]]:
    """Describe every column of a frame by its name as text, and name the frame's library.

    Raises:
        TypeError: the frame is no data frame.
        ValueError: two columns have the same name as text.
    """
    library = type(frame).__module__.partition(".")[0]
    kind = type(frame).__name__
    for ancestor in type(frame).__mro__:
        if ancestor.__name__ in {"DataFrame", "LazyFrame"}:
            library, kind = ancestor.__module__.partition(".")[0], ancestor.__name__
    if (library, kind) not in {("pandas", "DataFrame"), ("polars", "DataFrame"), ("polars", "LazyFrame")}:
        raise TypeError(f"drift is judged on data frames of pandas or polars, not on a {type(frame).__qualname__}")
    read = _of_pandas(frame) if library == "pandas" else _of_polars(frame)
    columns: dict[str, Described] = {}
    for name, column in read:
        if name in columns:
            raise ValueError(f"two columns are named {name!r}: rename one, so that each can be told from the other")
        columns[name] = column
    return library, columns


def _of_pandas(frame: Any) -> Iterator[tuple[str, Described]]:
    from pandas.api import types

    for name, series in frame.items():
        dtype, present = series.dtype, series.dropna()
        if types.is_bool_dtype(dtype) or isinstance(dtype, _categorical()):
            yield str(name), _categories(dtype, len(series), _counted(present))
        elif types.is_datetime64_any_dtype(dtype) or types.is_timedelta64_dtype(dtype):
            unit = "timedelta64[us]" if types.is_timedelta64_dtype(dtype) else "datetime64[us]"
            yield str(name), _numbers("time", dtype, len(series), present.to_numpy(unit).astype(np.int64) / 1e6)
        elif types.is_numeric_dtype(dtype) and not types.is_complex_dtype(dtype):
            yield str(name), _numbers("number", dtype, len(series), present.to_numpy(np.float64))
        else:
            yield str(name), _categories(dtype, len(series), _counted(present))


def _categorical() -> type:
    from pandas import CategoricalDtype

    return CategoricalDtype


def _counted(series: Any) -> Mapping[Any, int] | int:
    """Rows by value; only how many there are, where values cannot be told apart by hash."""
    try:
        return dict(series.value_counts().items())
    except TypeError:
        return len(series)


def _of_polars(frame: Any) -> Iterator[tuple[str, Described]]:
    import polars as pl

    frame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    for series in frame.iter_columns():
        dtype, present = series.dtype, series.drop_nulls()
        if dtype.is_numeric():
            yield series.name, _numbers("number", dtype, len(series), present.cast(pl.Float64).to_numpy())
        elif dtype.is_temporal() and dtype != pl.Time:
            since = present.dt.total_microseconds() if dtype == pl.Duration else present.dt.epoch("us")
            yield series.name, _numbers("time", dtype, len(series), since.to_numpy() / 1e6)
        elif any(dtype == known for known in (pl.Boolean, pl.String, pl.Categorical, pl.Enum)):
            values, counts = present.value_counts().get_columns()
            yield series.name, _categories(dtype, len(series), dict(zip(values, counts, strict=True)))
        else:
            yield series.name, _categories(dtype, len(series), len(present))


def _numbers(kind: Kind, dtype: Any, rows: int, values: Numbers) -> Described:
    return Described(kind, str(dtype), rows, np.sort(values[~np.isnan(values)]), {})


def _categories(dtype: Any, rows: int, counts: Mapping[Any, int] | int) -> Described:
    nothing = np.empty(0)
    if isinstance(counts, int):
        return Described("other", str(dtype), rows, nothing, {"": counts} if counts else {})
    by_text: Counter[str] = Counter()
    for value, count in counts.items():
        by_text[str(value)] += int(count)
    # By name where two are as frequent: the same data has the same profile.
    ordered = sorted(((name, n) for name, n in by_text.items() if n), key=lambda item: (-item[1], item[0]))
    return Described("category", str(dtype), rows, nothing, dict(ordered))
