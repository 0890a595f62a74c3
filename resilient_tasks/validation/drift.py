"""Drift: compare a frame, column by column, with the one that a model was trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

import numpy as np

from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.wording import number_of
from resilient_tasks.validation.profile import ColumnProfile, ColumnValues, Profile, describe
from resilient_tasks.validation.schemas import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from resilient_tasks.validation.profile import Numbers

    Rounding: TypeAlias = Callable[[Numbers], Numbers]

# The types that cannot hold every float64, by their names in pandas, polars and Arrow.
_COARSE: dict[str, Any] = {
    "float16": np.float16, "halffloat": np.float16, "float32": np.float32, "float": np.float32,
}  # fmt: skip
_UNITS = (1_000_000, 1_000)  # microseconds in a second, and in a millisecond

OnDrift = Literal["warn", "branch", "stop"]
Action = Literal["pass", "warn", "branch", "stop"]
Verdict = Literal["stable", "shifted", "drifted", "new", "missing", "retyped", "too few rows"]
_ACT: frozenset[Verdict] = frozenset({"drifted", "missing", "retyped"})
_WARN: frozenset[Verdict] = frozenset({"shifted", "new"})
_LEAST = 1e-4
_NAMED = 3


@answering("Limits(psi=0.3)", "psi", "ks", "warn")
@dataclass(frozen=True)
class Limits:
    """The thresholds for a shift and for drift.

    Attributes:
        psi: the population stability index from which a column has drifted.
        ks: the Kolmogorov–Smirnov statistic from which a column has drifted.
        warn: the value of either from which a column has shifted, which only warns.
    """

    _: KW_ONLY
    psi: float = 0.2
    ks: float = 0.2
    warn: float = 0.1

    def __post_init__(self) -> None:
        for name in ("psi", "ks", "warn"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
                raise ValueError(f"{name} is a number above 0, such as 0.2, not {value!r}")
        if self.ks > 1:
            raise ValueError(f"ks is a distance of two distribution functions, 1 at most, not {self.ks!r}")
        if self.warn > min(self.psi, self.ks):
            raise ValueError(f"warn={self.warn:g} lies above psi={self.psi:g} or ks={self.ks:g}: it would never warn")


@dataclass(frozen=True)
class ColumnDrift:
    """The result for one column.

    Attributes:
        column: its name as text.
        verdict: `"stable"`, `"shifted"` (a warning), `"drifted"`, `"new"`, `"missing"`, `"retyped"` or
            `"too few rows"`, if its values were not compared.
        sentence: the result in words.
        psi: population stability index; None if not computed.
        ks: Kolmogorov–Smirnov statistic; None for categories, and with too few values.
    """

    column: str
    verdict: Verdict
    sentence: str
    psi: float | None = None
    ks: float | None = None


@dataclass(frozen=True)
class DriftReport:
    """The result of a drift gate.

    Attributes:
        columns: every column compared, in the order of the baseline, then the new ones.
        action: `"pass"`; `"warn"` if columns are shifted or new; the gate's `on_drift` if any has drifted, is missing
            or has another type.
        rows: rows in the frame.
        same_rules: whether the baseline was made under the same version of the schema.
    """

    columns: tuple[ColumnDrift, ...]
    action: Action
    rows: int
    same_rules: bool = True

    @property
    def drifted(self) -> tuple[str, ...]:
        """The columns that have drifted, are missing or have another type."""
        return tuple(column.column for column in self.columns if column.verdict in _ACT)

    @property
    def noted(self) -> tuple[ColumnDrift, ...]:
        """The columns to report: all except the stable ones, the drifted ones first."""
        unstable = [column for column in self.columns if column.verdict != "stable"]
        return tuple(sorted(unstable, key=lambda column: (column.verdict not in _ACT, column.verdict not in _WARN)))

    def summary(self) -> str:
        """Return one line for logs: the columns that are not stable, the worst first."""
        judged = len(self.columns)
        if not self.noted:
            text = f"no drift in {number_of(judged, 'column')}"
        else:
            text = "; ".join(column.sentence for column in self.noted[:_NAMED])
            more = len(self.noted) - _NAMED
            text += f"; and {more} more of {judged} columns" if more > 0 else ""
        return text if self.same_rules else f"{text} (the baseline was made under another version of the schema)"


@answering('Drift(Profile.load("flights.json"), psi=0.2)', "psi", "ks", "warn")
@dataclass(frozen=True, eq=False)
class Drift:
    """Compare frames with a baseline, and decide what to do about a difference.

    The gate uses effect sizes, not p-values: with a million rows, a shift of a hundredth of a standard deviation is
    "significant" and means nothing. Needs scipy: `pip install 'resilient-tasks[drift]'`.

    Args:
        baseline: the expected data, from `profile(frame, schema)` or `Profile.load(path)`.
        psi: the population stability index from which a column has drifted.
        ks: the Kolmogorov–Smirnov statistic from which a column has drifted.
        warn: the value of either from which a column has shifted, which only warns.
        columns: the names of the columns to compare. Default: all of the baseline; new ones are reported.
        limits: other thresholds for single columns, by name: `{"air_time": Limits(psi=0.3)}`.
        min_rows: with fewer rows, here or in the baseline, values are not compared.
        on_drift: the report's `action` if a column has drifted: `"warn"`, `"branch"` or `"stop"`.

    Raises:
        TypeError: the baseline is not a profile, or `columns` is a single name.
        ValueError: the arguments are contradictory or impossible.
    """

    baseline: Profile
    _: KW_ONLY
    psi: float = 0.2
    ks: float = 0.2
    warn: float = 0.1
    columns: Sequence[str] | None = None
    limits: Mapping[str, Limits] = field(default_factory=dict)
    min_rows: int = 1_000
    on_drift: OnDrift = "warn"

    def __post_init__(self) -> None:
        if not isinstance(self.baseline, Profile):
            raise TypeError(f"Drift(baseline) is a Profile: profile(frame, schema), not {self.baseline!r}")
        if isinstance(self.columns, str):
            raise TypeError(f"Drift(columns=...) is a list of names: [{self.columns!r}]")
        known = list(self.baseline.columns)
        unknown = [name for name in (*(self.columns or ()), *self.limits) if name not in known]
        if unknown:
            raise ValueError(f"Drift: the baseline has no column {unknown}; it has {known}")
        if self.on_drift not in get_args(OnDrift):
            raise ValueError(f"Drift(on_drift=...) is one of {', '.join(get_args(OnDrift))}, not {self.on_drift!r}")
        if type(self.min_rows) is not int or self.min_rows < 1:
            raise ValueError(f"Drift(min_rows=...) is a number of rows from 1 up, not {self.min_rows!r}")
        Limits(psi=self.psi, ks=self.ks, warn=self.warn)

    def judge(self, frame: Any, schema: Any = None) -> DriftReport:
        """Compare a frame with the baseline.

        Args:
            frame: a pandas or polars DataFrame, a polars LazyFrame, which is collected, or an Arrow table.
            schema: the frame's schema; the report says whether the baseline was made under the same rules.

        Raises:
            TypeError: `frame` is not a data frame.
            ModuleNotFoundError: scipy is not installed.
        """
        library, now = describe(frame)
        columns = tuple(self._columns(now, same_library=library == self.baseline.library))
        verdicts = {column.verdict for column in columns}
        action: Action = self.on_drift if verdicts & _ACT else "warn" if verdicts & _WARN else "pass"
        rows = max((column.rows for column in now.values()), default=0)
        return DriftReport(columns, action, rows, schema is None or fingerprint(schema) == self.baseline.schema)

    def _columns(self, now: Mapping[str, ColumnValues], *, same_library: bool) -> Iterator[ColumnDrift]:
        for name in self.baseline.columns if self.columns is None else self.columns:
            then, column = self.baseline.columns[name], now.get(name)
            if column is None:
                yield ColumnDrift(name, "missing", f"{name} is missing")
            else:
                retyped = same_library and then.dtype != column.dtype
                yield self._column(name, then, column, f", and was {then.dtype}" if retyped else "")
        if self.columns is None:
            for name in (name for name in now if name not in self.baseline.columns):
                yield ColumnDrift(name, "new", f"{name} is new")

    def _column(self, name: str, then: ColumnProfile, now: ColumnValues, retyped: str) -> ColumnDrift:
        fewest = min(then.rows, now.rows)
        if fewest < self.min_rows:
            rows_are = f"{number_of(fewest, 'row')} {'is' if fewest == 1 else 'are'}"
            few = f"{name}: {rows_are} too few to judge; {self.min_rows:,} are needed"
            return ColumnDrift(name, "too few rows", few)
        then, now = in_common_type(then, now)
        if then.kind != now.kind:
            return ColumnDrift(name, "retyped", f"{name} is {now.dtype} and was {then.dtype}")
        limits = self.limits.get(name) or Limits(psi=self.psi, ks=self.ks, warn=self.warn)
        index = psi((*then.counts, then.nulls), (*now.histogram(then.edges, then.categories), now.nulls))
        distance = None
        if min(then.rows - then.nulls, now.size) >= self.min_rows:
            distance = ks(then.sample, now.sample())
        verdict = _verdict(limits, index, distance or 0.0)
        if retyped and verdict == "stable":
            verdict = "shifted"
        figures = f"PSI {index:.3f}" + (f", KS {distance:.3f}" if distance is not None else "")
        text = f"{name} {'is ' + now.dtype if retyped else verdict} ({figures}{_missing(then, now)}){retyped}"
        return ColumnDrift(name, verdict, text, index, distance)


def _verdict(limits: Limits, index: float, distance: float) -> Verdict:
    if index >= limits.psi or distance >= limits.ks:
        return "drifted"
    return "shifted" if max(index, distance) >= limits.warn else "stable"


def _missing(then: ColumnProfile, now: ColumnValues) -> str:
    before, after = then.nulls / then.rows, now.nulls / now.rows
    return f", missing {before:.1%} → {after:.1%}" if f"{before:.1%}" != f"{after:.1%}" else ""


def psi(then: Sequence[int], now: Sequence[int]) -> float:
    """Return the population stability index of two histograms over the same bins: Σ (p − q) · ln(p / q).

    It is the symmetric Kullback–Leibler divergence (Jeffreys, 1946) of the shares p and q of each bin, in natural
    units. The name and the thresholds 0.1 (look) and 0.2 or 0.25 (act) come from credit scoring (Siddiqi, *Credit Risk
    Scorecards*, 2006). An empty bin counts as a share of 0.0001, to keep the logarithm finite.

    Args:
        then: rows in each bin of the baseline, at least one in all.
        now: rows in each bin now, at least one in all.
    """
    p, q = (np.maximum(np.asarray(counts) / np.sum(counts), _LEAST) for counts in (then, now))
    return float(np.sum((p - q) * np.log(p / q)))


def ks(then: Sequence[float], now: Sequence[float]) -> float:
    """Return the Kolmogorov–Smirnov statistic: the largest distance of two empirical distribution functions, 0 to 1.

    It is `scipy.stats.ks_2samp` (Hodges, 1958).

    Raises:
        ModuleNotFoundError: scipy is not installed.
    """
    try:
        from scipy.stats import ks_2samp  # noqa: PLC0415 - loads on first use
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("Drift needs scipy: pip install 'resilient-tasks[drift]'", name="scipy") from error
    with np.errstate(divide="ignore"):  # in the p-value, for a single row
        return float(ks_2samp(then, now, method="asymp").statistic)


def in_common_type(then: ColumnProfile, now: ColumnValues) -> tuple[ColumnProfile, ColumnValues]:
    """Convert a column and its baseline to a common type, if there is one; otherwise their kinds stay different.

    Numbers are rounded to float32 if one side is stored so, and times are cut to seconds or milliseconds likewise. A
    column without values takes the other's type.
    """
    if now.nulls == now.rows:
        now = replace(now, kind=then.kind)
    elif then.nulls == then.rows:
        then = replace(then, kind=now.kind)
    if (then.kind, now.kind) == ("number", "boolean"):
        counts = [now.categories.get(name, 0) for name in ("False", "True")]
        now = replace(now, kind="number", values=np.repeat([0.0, 1.0], counts), categories={})
    elif (then.kind, now.kind) == ("boolean", "number"):
        now = _as_booleans(now)
    rounding = _rounding(then, now)
    return (then, now) if rounding is None else (_rounded(then, rounding), replace(now, values=rounding(now.values)))


def _as_booleans(now: ColumnValues) -> ColumnValues:
    values, counts = np.unique(now.values, return_counts=True)
    names = [{0.0: "False", 1.0: "True"}.get(value, str(value)) for value in values.tolist()]
    by_name = dict(zip(names, counts.tolist(), strict=True))
    return replace(now, kind="boolean", values=np.empty(0), categories=by_name)


def _rounding(then: ColumnProfile, now: ColumnValues) -> Rounding | None:
    """Return the rounding for both sides; None if they can be compared as they are."""
    before = np.array([*then.edges, *then.sample])
    if (then.kind, now.kind) == ("number", "number"):
        coarse = {_coarse(then.dtype, before), _coarse(now.dtype, now.values)}
        if None in coarse and len(coarse) == 1:
            exact = {values.dtype.kind for values in (before, now.values) if len(values)}
            return None if len(exact) < 2 else lambda values: _cast(values, np.float64)
        kind = np.float16 if np.float16 in coarse else np.float32
        return lambda values: _cast(values, kind)
    if (then.kind, now.kind) == ("time", "time"):
        for unit in _UNITS:
            if any(_is_in_units(values, unit) for values in (before, now.values)):
                return lambda values: np.floor_divide(_microseconds(values), unit) * (unit / 1e6)
    return None


def _coarse(dtype: str, values: Numbers) -> Any:
    """Return the less precise type in which a column is or was stored: a file cannot restore lost digits."""
    named = _COARSE.get(dtype.lower().removesuffix("[pyarrow]"))
    if named is None and len(values) and (values != np.floor(values)).any():
        named = np.float32 if np.array_equal(_cast(values, np.float32), values) else None
    return named


def _cast(values: Numbers, kind: Any) -> Numbers:
    with np.errstate(over="ignore"):
        return values.astype(kind).astype(np.float64)


def _microseconds(values: Numbers) -> Numbers:
    return np.round(values * 1e6)


def _is_in_units(values: Numbers, unit: int) -> bool:
    return bool(len(values)) and not np.any(_microseconds(values) % unit)


def _rounded(then: ColumnProfile, rounding: Rounding) -> ColumnProfile:
    """Return a baseline rounded by its sample: values that become equal share a bin."""
    before = np.array([*then.edges, *then.sample])
    if np.array_equal(rounding(before), before) and before.dtype.kind == "f":
        return then
    sample, edges = rounding(np.array(then.sample)), np.unique(rounding(np.array(then.edges)))
    known = then.rows - then.nulls
    counts = ColumnValues(then.kind, then.dtype, len(sample), sample, {}).histogram(tuple(edges.tolist()), ())
    whole = tuple(round(count * known / len(sample)) for count in counts)
    return replace(then, edges=tuple(edges.tolist()), sample=tuple(sample.tolist()), counts=whole)
