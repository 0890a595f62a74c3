# ruff: noqa: PLC0415 - pandas and polars load on first use
"""Profiles of frames: types, counts and distributions, small enough to store beside the schema."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

import numpy as np

from resilient_tasks.storage.values import dumps, loads
from resilient_tasks.validation.schemas import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[Any]  # float64; int64 or uint64 if a float cannot hold every integer

Kind = Literal["number", "time", "boolean", "category", "other"]

_QUANTILES = np.linspace(0, 1, 11)
_POINTS = 1_000
# The noise of the PSI grows with the bins: twenty and one for the rest stay below 0.05 at a thousand rows.
_CATEGORIES = 20
_EXACT = 2**53

__all__ = ["ColumnProfile", "Profile", "profile"]


@dataclass(frozen=True)
class ColumnProfile:
    """The type and the distribution of a column.

    Attributes:
        kind: The kind of its values, however they are stored: `"number"`, `"time"` (in seconds; dates and times since
            1970, UTC, times of day since midnight), `"boolean"`, `"category"` (text) or `"other"`, profiled for nulls
            alone.
        dtype: its type, as named by its library.
        rows: rows, nulls included.
        nulls: rows without a value; NaN counts as null.
        edges: for numbers and times, the distinct deciles, ascending.
        sample: for numbers and times, up to 1,000 values at evenly spaced ranks, ascending.
        categories: for categories, the names of the 20 most frequent.
        counts: rows in each bin: below the first edge, at it, up to each further edge, and above the last; or in each
            category, and in all others together.
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
    """A baseline: the profile of a trusted frame.

    Attributes:
        library: `"pandas"`, `"polars"` or `"pyarrow"`.
        schema: the fingerprint of the schema that the frame satisfied.
        columns: its columns by name.
    """

    library: str
    schema: str
    columns: Mapping[str, ColumnProfile]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the profile to a JSON file. A concurrent reader sees the old file or the new one.

        It holds up to 1,000 values of each numeric column, and the names of its categories.
        """
        fresh = Path(f"{os.fspath(path)}.{os.getpid()}.new")
        try:
            fresh.write_text(dumps(asdict(self)), encoding="utf-8")
            fresh.replace(path)
        finally:
            fresh.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Profile:
        """Read a profile.

        Raises:
            OSError: the file does not exist, or cannot be read.
            ValueError: the file holds no profile.
        """
        try:
            stored = loads(Path(path).read_text(encoding="utf-8"))
            columns = {name: _column(facts) for name, facts in stored["columns"].items()}
            return cls(stored["library"], stored["schema"], columns)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{os.fspath(path)} holds no profile: {error}") from None


def profile(frame: Any, schema: Any) -> Profile:
    """Profile a frame that satisfies its schema, as the baseline for a `Drift` gate.

    Args:
        frame: a pandas or polars DataFrame, a polars LazyFrame, which is collected, or an Arrow table.
        schema: its schema or model, for the fingerprint.

    Raises:
        TypeError: `frame` is not a data frame, or `schema` not a schema.
        ValueError: two columns have the same name as text.
    """
    used, columns = describe(frame)
    return Profile(used, fingerprint(schema), {name: column.profile() for name, column in columns.items()})


def _column(facts: Mapping[str, Any]) -> ColumnProfile:
    values: dict[str, Any] = {name: tuple(fact) if isinstance(fact, list) else fact for name, fact in facts.items()}
    return ColumnProfile(**values)


@dataclass(frozen=True)
class ColumnValues:
    """The values of a column: its numbers in order, or the count of each category.

    Attributes:
        kind: see `ColumnProfile`.
        dtype: its type, as named by its library.
        rows: rows, nulls included.
        values: numbers, ascending, without nulls; empty for other kinds.
        categories: rows by category, the most frequent first; for `"other"`, a single category.
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
        """Return the profile of this column."""
        edges = tuple(np.unique(np.quantile(self.values, _QUANTILES, method="nearest")).tolist()) if self.size else ()
        names = tuple(self.categories)[:_CATEGORIES]
        counts = self.histogram(edges, names)
        return ColumnProfile(self.kind, self.dtype, self.rows, self.nulls, edges, self.sample(), names, counts)

    @property
    def size(self) -> int:
        """The number of values."""
        return len(self.values)

    def sample(self) -> tuple[float, ...]:
        """Return up to 1,000 values at evenly spaced ranks; they give the distribution to a thousandth."""
        if self.size <= _POINTS:
            return tuple(self.values.tolist())
        ranks = (np.arange(_POINTS) + 0.5) * self.size / _POINTS
        return tuple(self.values[ranks.astype(np.intp)].tolist())

    def histogram(self, edges: tuple[float, ...], names: tuple[str, ...]) -> tuple[int, ...]:
        """Count the rows in the bins of another profile, by its edges or its categories."""
        if self.kind in {"boolean", "category", "other"}:
            known = [self.categories.get(name, 0) for name in names]
            return (*known, sum(self.categories.values()) - sum(known))
        if not edges:
            return (self.size,)
        up_to = np.searchsorted(self.values, edges, side="right")
        below = np.searchsorted(self.values, edges[0], side="left")
        return tuple(np.diff([0, below, *up_to, self.size]).tolist())


def describe(frame: Any) -> tuple[str, dict[str, ColumnValues]]:
    """Describe each column of a frame by its name as text; also return the frame's library.

    Raises:
        TypeError: it is not a data frame.
        ValueError: two columns have the same name as text.
    """
    library = _library(frame)
    columns: dict[str, ColumnValues] = {}
    for name, column in _READERS[library](frame):
        if name in columns:
            raise ValueError(f"two columns are named {name!r}: rename one")
        columns[name] = column
    return library, columns


def _library(frame: Any) -> str:
    for ancestor in type(frame).__mro__:
        library = ancestor.__module__.partition(".")[0]
        if (library, ancestor.__name__) in _FRAMES:
            return library
    given = type(frame).__qualname__
    raise TypeError(f"drift is for data frames of pandas or polars and for Arrow tables, not for a {given}")


def _of_pandas(frame: Any) -> Iterator[tuple[str, ColumnValues]]:
    for name, series in frame.items():
        yield str(name), _of_series(series, series.dtype)


def _of_arrow(table: Any) -> Iterator[tuple[str, ColumnValues]]:
    import pandas as pd
    import pyarrow as pa

    for name, kind, column in zip(table.column_names, table.schema.types, table.columns, strict=True):
        flat = {"string_view": pa.large_string(), "binary_view": pa.large_binary()}.get(str(kind), kind)
        series = pd.Series(pd.arrays.ArrowExtensionArray(column.cast(flat)))
        try:
            yield name, _of_series(series, kind)
        except NotImplementedError:  # pandas 3.1 does not support views of lists, for example
            yield name, _categories(kind, len(column), len(column) - column.null_count)


def _of_series(series: Any, dtype: Any) -> ColumnValues:
    """Describe a pandas column by its values, however they are stored."""
    import pandas as pd
    from pandas.api import types

    rows, present = len(series), series.dropna()
    if isinstance(present.dtype, pd.CategoricalDtype):
        present = present.astype(present.cat.categories.dtype)
    elif isinstance(present.dtype, pd.PeriodDtype):
        present = present.dt.to_timestamp()
    if present.dtype == object or (
        isinstance(present.dtype, pd.ArrowDtype) and not (types.is_numeric_dtype(present) or _is_moment(present))
    ):
        present = _inferred(present)
    if types.is_bool_dtype(present):
        return _booleans(dtype, rows, int(present.sum()), len(present))
    if _is_moment(present):
        unit = "timedelta64[us]" if types.is_timedelta64_dtype(present) else "datetime64[us]"
        return _numbers("time", dtype, rows, present.to_numpy(unit).astype(np.int64) / 1e6)
    if types.is_numeric_dtype(present) and not types.is_complex_dtype(present):
        exact = types.is_integer_dtype(present) and present.dtype != object
        integer = np.uint64 if types.is_unsigned_integer_dtype(present) else np.int64
        numbers = present.to_numpy(integer if exact else np.float64)
        return _numbers("number", dtype, rows, numbers)
    return _categories(dtype, rows, _counted(present))


def _is_moment(series: Any) -> bool:
    from pandas.api import types

    return bool(types.is_datetime64_any_dtype(series) or types.is_timedelta64_dtype(series))


def _inferred(present: Any) -> Any:
    """Convert objects, none of them null, to their common type, if there is one."""
    import pandas as pd

    objects = present.astype(object)
    kind = pd.api.types.infer_dtype(objects)
    if kind == "boolean":
        return objects.astype(bool)
    if kind == "integer" and objects.min() >= -(2**63) and objects.max() < 2**63:
        return objects.astype(np.int64)
    if kind in {"integer", "floating", "mixed-integer-float", "decimal"}:
        return objects.astype(np.float64)
    if kind in {"date", "datetime", "datetime64"}:
        return _moments(objects)
    if kind == "time":
        return pd.to_timedelta(objects.astype(str))
    return pd.to_timedelta(objects) if kind in {"timedelta", "timedelta64"} else present


def _moments(objects: Any) -> Any:
    import pandas as pd

    try:
        return pd.Series(objects.to_numpy(), dtype="object").map(pd.Timestamp).pipe(pd.to_datetime, utc=True)
    except (ValueError, OverflowError):  # out of the range of timestamps
        return objects


def _counted(series: Any) -> Mapping[Any, int] | int:
    """Count the rows by value; return only the total if values are unhashable."""
    try:
        return dict(series.value_counts().items())
    except (TypeError, NotImplementedError):
        return len(series)


def _of_polars(frame: Any) -> Iterator[tuple[str, ColumnValues]]:
    import pandas as pd
    import polars as pl

    frame = frame.collect() if isinstance(frame, pl.LazyFrame) else frame
    texts = (pl.String, pl.Categorical, pl.Enum, pl.Binary)
    for series in frame.iter_columns():
        dtype, present, rows = series.dtype, series.drop_nulls(), len(series)
        if dtype == pl.Boolean:
            yield series.name, _booleans(dtype, rows, int(present.sum()), len(present))
        elif dtype.is_numeric():
            exact = dtype.is_integer() and str(dtype) not in {"Int128", "UInt128"}  # polars has had UInt128 since 1.34
            yield (
                series.name,
                _numbers("number", dtype, rows, (present if exact else present.cast(pl.Float64)).to_numpy()),
            )
        elif dtype == pl.Time:
            yield series.name, _numbers("time", dtype, rows, present.cast(pl.Int64).to_numpy() // 1_000 / 1e6)
        elif dtype.is_temporal():
            since = present.dt.total_microseconds() if dtype == pl.Duration else present.dt.epoch("us")
            yield series.name, _numbers("time", dtype, rows, since.to_numpy() / 1e6)
        elif dtype == pl.Object:
            yield series.name, _of_series(pd.Series(series.to_list(), dtype=object), dtype)
        elif any(dtype == known for known in texts):
            values, counts = present.value_counts().get_columns()
            yield series.name, _categories(dtype, rows, dict(zip(values, counts, strict=True)))
        else:
            yield series.name, _categories(dtype, rows, len(present))


_FRAMES = {("pandas", "DataFrame"), ("polars", "DataFrame"), ("polars", "LazyFrame"), ("pyarrow", "Table")}


_READERS: Mapping[str, Callable[[Any], Iterator[tuple[str, ColumnValues]]]] = {
    "pandas": _of_pandas, "polars": _of_polars, "pyarrow": _of_arrow,
}  # fmt: skip


def _numbers(kind: Kind, dtype: Any, rows: int, values: Numbers) -> ColumnValues:
    found = np.sort(values[~np.isnan(values)])
    if found.dtype.kind in "iu":
        most = max(abs(int(value)) for value in found[[0, -1]]) if len(found) else 0
        found = found.astype(np.float64 if most < _EXACT else np.int64 if most < 2**63 else found.dtype)
    return ColumnValues(kind, str(dtype), rows, found, {})


def _booleans(dtype: Any, rows: int, true: int, known: int) -> ColumnValues:
    by_name = {"False": known - true, "True": true}
    ordered = dict(sorted(((name, n) for name, n in by_name.items() if n), key=lambda item: (-item[1], item[0])))
    return ColumnValues("boolean", str(dtype), rows, np.empty(0), ordered)


def _categories(dtype: Any, rows: int, counts: Mapping[Any, int] | int) -> ColumnValues:
    nothing = np.empty(0)
    if isinstance(counts, int):
        return ColumnValues("other", str(dtype), rows, nothing, {"": counts} if counts else {})
    by_text: Counter[str] = Counter()
    for value, count in counts.items():
        by_text[str(value)] += int(count)
    # Ties are ordered by name, so that equal data has equal profiles.
    ordered = sorted(((name, n) for name, n in by_text.items() if n), key=lambda item: (-item[1], item[0]))
    return ColumnValues("category", str(dtype), rows, nothing, dict(ordered))
