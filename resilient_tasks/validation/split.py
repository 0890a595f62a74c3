# ruff: noqa: PLC0415 - pandas, polars and pandera load on first use
"""Split a frame by its schema into good and bad rows, with the reason for each bad row.

Every rule that can be a mask is evaluated once, vectorised, by pandera's own functions. Where the result for a row
could depend on other rows, pandera validates the remaining rows and has the last word.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar, overload

import numpy as np

from resilient_tasks.core.wording import named_few, number_of
from resilient_tasks.redaction.redact import redact
from resilient_tasks.storage.arrow import take, to_polars
from resilient_tasks.validation.backend import WHOLE_FRAME, Finding, Findings, bad_positions, combinations
from resilient_tasks.validation.schemas import as_schema, check_schema, library

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

    import polars as pl
    import pyarrow as pa

    from resilient_tasks.validation.backend import Backend, Mask

Frame = TypeVar("Frame")

_ROUNDS = 50
_NAMED = 5


class Reason(NamedTuple):
    """Why a row is bad.

    Attributes:
        column: The column's name as text; `*` for the whole row.
        check: The rule it failed.
        value: The value as read, before coercion; None where no single column is meant.
    """

    column: str
    check: str
    value: Any


@dataclass(frozen=True, eq=False)
class Report:
    """The result of checking a frame.

    Attributes:
        rows: Rows in the frame as read.
        invalid: Rows that are bad.
        frame_errors: What is wrong with the frame as a whole. Frame errors drop no rows.
        findings: Each rule that some row fails, with the positions of those rows.
        warnings: Each warn-only rule that some row breaks, with the positions of those rows, which stay good. A rule
            with one result for all rows has no positions.
    """

    rows: int
    invalid: int = 0
    frame_errors: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = field(default=(), repr=False)
    warnings: tuple[Finding, ...] = field(default=(), repr=False)

    @classmethod
    def __get_pydantic_core_schema__(cls, *_: Any) -> Any:
        from pydantic_core import core_schema

        return core_schema.is_instance_schema(cls)

    def __redacted__(self) -> Report:
        """Return this report without secrets, for errors that are stored; itself if it holds none."""
        errors = tuple(map(redact, self.frame_errors))
        found = (*self.findings, *self.warnings)
        clean = tuple(finding.__redacted__() for finding in found)
        if errors == self.frame_errors and all(map(operator.is_, clean, found)):
            return self
        failed = len(self.findings)
        return Report(self.rows, self.invalid, errors, clean[:failed], clean[failed:])

    def __getstate__(self) -> dict[str, Any]:
        names = ("rows", "invalid", "frame_errors", "findings", "warnings")  # cached properties are computed again
        return {name: getattr(self, name) for name in names}

    @cached_property
    def reasons(self) -> Mapping[tuple[str, str], int]:
        """Rows for each (column, check), most frequent first."""
        return _counted(self.findings)

    @cached_property
    def warned(self) -> Mapping[tuple[str, str], int]:
        """Rows for each (column, check) that only warns, most frequent first; 0 if one result stands for all rows."""
        return _counted(self.warnings)

    @cached_property
    def rows_failed(self) -> tuple[tuple[int, tuple[Reason, ...]], ...]:
        """Each bad row's position in the frame as read, from 0, with its reasons; built on first use."""
        reasons: dict[int, dict[tuple[str, str], Reason]] = {}
        for finding in self.findings:
            rule = (finding.column, finding.check)
            for position, value in zip(finding.positions.tolist(), finding.values, strict=True):
                reasons.setdefault(position, {}).setdefault(rule, Reason(*rule, value))
        return tuple((position, tuple(reasons[position].values())) for position in sorted(reasons))

    @cached_property
    def texts(self) -> list[str]:
        """The reasons of each bad row, in order, as text: `distance gt(0); tail is null`.

        Each set of rules is written once, however many rows share it.
        """
        rules = list(self.reasons)
        numbers, broken = combinations(
            self.findings, bad_positions(self.findings), rules, lambda one: (one.column, one.check)
        )
        texts = [
            "; ".join(check if column == WHOLE_FRAME else f"{column} {check}" for column, check in some)
            for some in broken
        ]
        written: list[str] = np.array(texts, dtype=object)[numbers].tolist()
        return written

    def summary(self) -> str:
        """Return one line for logs: how many rows are invalid, and the most frequent reasons."""
        if self.frame_errors:
            return f"{number_of(self.rows, 'row')} not accepted: {'; '.join(self.frame_errors)}"
        text = f"{self.invalid:,} of {number_of(self.rows, 'row')} invalid"
        if self.invalid:
            text = f"{text}: {_named(self.reasons)}"
        return f"{text}; warned: {_named(self.warned)}" if self.warned else text


def _counted(findings: Iterable[Finding]) -> dict[tuple[str, str], int]:
    rows: dict[tuple[str, str], Any] = {}
    for finding in findings:
        rule = (finding.column, finding.check)
        rows[rule] = np.union1d(rows[rule], finding.positions) if rule in rows else finding.positions
    counted = {rule: len(positions) for rule, positions in rows.items()}
    return dict(sorted(counted.items(), key=lambda item: -item[1]))


def _named(rows: Mapping[tuple[str, str], int]) -> str:
    texts = [f"{_short(*rule)} ×{count:,}" if count else _short(*rule) for rule, count in rows.items()]
    return named_few(texts, _NAMED)


def _short(column: str, check: str, limit: int = 40) -> str:
    name, bracket, _ = check.partition("(")
    text = check if len(check) <= limit else f"{name[:limit]}(…)" if bracket else f"{check[: limit - 1]}…"
    return text if column == WHOLE_FRAME else f"{column} {text}"


@dataclass(frozen=True, eq=False)
class Split(Generic[Frame]):
    """A frame in two parts.

    Attributes:
        good: The rows that the schema accepts, coerced. With frame errors, the frame as read.
        bad: The other rows, with their values as read. Empty with frame errors.
        report: The reasons and their positions.
        collected: Why a polars LazyFrame had to be collected; None if it was not, and for other frames.
    """

    good: Frame
    bad: Frame
    report: Report
    collected: str | None = None

    # For pydantic, with which Prefect checks parameters annotated `Split[pd.DataFrame]`.
    __pydantic_config__: ClassVar[Mapping[str, Any]] = {"arbitrary_types_allowed": True}

    def sink_good(self, path: str | os.PathLike[str]) -> None:
        """Write the good rows to a file atomically; a polars query is streamed into it.

        Args:
            path: A file that ends in `.parquet`, `.csv`, `.ndjson` or `.arrow`; replaced if it exists.

        Raises:
            ValueError: If the file ends in something else.
            TypeError: If the good rows are not a polars frame.
            RuntimeError: If the query returns another number of rows than before. The file stays as it was.
        """
        from resilient_tasks.validation.polars_query import sink

        left = self.report.rows - self.report.invalid
        sink(self.good, Path(path), left)


@overload
def split(frame: pl.LazyFrame, schema: Any) -> Split[pl.LazyFrame] | Split[pl.DataFrame]: ...
@overload
def split(frame: Frame, schema: Any) -> Split[Frame]: ...
def split(frame: Any, schema: Any) -> Split[Any]:
    """Split a frame into the rows that a schema accepts and the others.

    Both parts keep the order and, for pandas, the index. A failure of the frame as a whole (a missing column, a wrong
    type that is not coerced, a failed check with one result for all rows, a check that raises) never drops a row: it is
    in `report.frame_errors`, and the caller decides.

    Args:
        frame: A pandas DataFrame, a polars DataFrame or LazyFrame, an Arrow table, or a list of records.
        schema: A pandera schema or model for the same library, for either with an Arrow table; for records, a pydantic
            model of one record.

    Returns:
        The two parts and a report. The parts of a LazyFrame are lazy if every rule is row-wise: its rows are counted
        in one streaming pass. Otherwise it is collected, and `collected` says why.

    Raises:
        TypeError: If `schema` is not a schema, or is for another library than the frame.
    """
    if library(schema) == "pydantic":
        from resilient_tasks.validation.records import split_records

        return split_records(frame, schema)
    given = _library(frame, schema)
    if given == "pyarrow":
        return split_table(frame, schema)
    with _validating():
        collected = None
        if hasattr(frame, "sink_parquet"):
            from resilient_tasks.validation.polars_query import split_lazily

            parts = split_lazily(frame, schema)
            if not isinstance(parts, str):
                return parts
            collected = parts
        backend = _backend(frame, schema)
        found = backend.inspect()
        good = _good_rows(backend, found)
    size = backend.size
    if found.frame:
        everything = ~Findings().bad(size)
        errors = tuple(dict.fromkeys(found.frame))
        report = Report(size, frame_errors=errors)
        return Split(backend.take(everything), backend.take(~everything), report, collected)
    bad = found.bad(size)
    report = Report(size, int(bad.sum()), (), tuple(found.rows), tuple(found.warnings))
    return Split(good, backend.reject(bad), report, collected)


def _good_rows(backend: Backend[Any], found: Findings) -> Any:
    """Return the good rows as pandera does, assembled if the findings are certain.

    Otherwise pandera validates the remaining rows until it accepts them; its errors are added to `found`.
    """
    if found.certain and not found.frame:
        good = backend.assemble(~found.bad(backend.size))
        if good is not None:
            return good
    for _ in range(_ROUNDS):
        bad = found.bad(backend.size)
        good, rejected = backend.validate(~bad)
        if good is not None:
            return good
        found.extend(rejected)
        if found.frame:
            return None
        if (found.bad(backend.size) == bad).all():
            found.frame.append("pandera rejects the frame but names no row")
            return None
    found.frame.append(f"pandera still finds new invalid rows after {_ROUNDS} rounds without those it named before")
    return None


def _validating() -> Any:
    """Validate schema and data regardless of pandera's settings: otherwise every row would count as good."""
    from pandera.config import ValidationDepth, config_context

    return config_context(validation_enabled=True, validation_depth=ValidationDepth.SCHEMA_AND_DATA)


def _library(frame: Any, schema: Any) -> str:
    """Return the schema's library, or Arrow, if the frame is of one of them."""
    check_schema(schema)
    wanted = library(schema)
    given = {
        ancestor.__module__.partition(".")[0]
        for ancestor in type(frame).__mro__
        if ancestor.__name__ in {"DataFrame", "LazyFrame", "Table"}
    }
    for fits in (wanted, "pyarrow"):
        if fits in given:
            return fits
    raise TypeError(
        f"The schema is for {wanted} data frames and the data is a {type(frame).__module__}."
        f"{type(frame).__qualname__}; write the schema for that library, or convert the data."
    )


def _backend(frame: Any, schema: Any) -> Backend[Any]:
    if library(schema) == "pandas":
        from resilient_tasks.validation.pandas_split import PandasBackend

        return PandasBackend(frame, as_schema(schema))
    from resilient_tasks.validation.polars_split import PolarsBackend

    return PolarsBackend(frame, as_schema(schema))


def split_table(table: pa.Table, schema: Any) -> Split[pa.Table]:
    """Split a table. Bad rows and unchanged columns keep the table's own types and metadata.

    Raises:
        ValueError: If two columns have the same name, or the table cannot be converted to the schema's library.
    """
    frame = _frame(table, library(schema))
    parts = split(frame, schema)
    report = parts.report
    keep = np.ones(table.num_rows, dtype=bool)
    if report.frame_errors:
        return Split(table, table.slice(0, 0), report)
    for finding in report.findings:
        keep[finding.positions] = False
    return replace(parts, good=_good(table, frame, parts.good, keep), bad=take(table, np.flatnonzero(~keep)))


def _frame(table: pa.Table, kind: str | None) -> Any:
    names = table.column_names
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ValueError(f"two columns of the table are named {twice[0]!r}: rename one")
    try:
        return table.to_pandas() if kind == "pandas" else to_polars(table)
    except Exception as error:  # Arrow's, numpy's or polars' own
        raise ValueError(f"the table does not become a frame of {kind}: {error}") from error


def _good(table: pa.Table, frame: Any, good: Any, keep: Mask) -> pa.Table:
    """Return the good rows; columns that the schema left unchanged are taken from the table."""
    import pyarrow as pa

    own = table if keep.all() else take(table, np.flatnonzero(keep))
    before = frame[keep] if hasattr(frame, "iloc") else frame.filter(keep)
    pandas = hasattr(good, "iloc")
    changed = [name for name in good.columns if not _is_same(before, good, name)]
    made = pa.Table.from_pandas(good[changed], preserve_index=False) if pandas else good.select(changed).to_arrow()
    levels = [name for name in own.column_names if name not in set(map(str, frame.columns))]
    if levels and not before.index.identical(good.index):
        index = pa.Table.from_pandas(good[[]], preserve_index=True)
        made = pa.Table.from_arrays([*made.columns, *index.columns], names=[*made.column_names, *index.column_names])
    names = [*map(str, good.columns), *levels]
    sources = [made if name in made.column_names else own for name in names]
    fields = [source.schema.field(name) for source, name in zip(sources, names, strict=True)]
    columns = [source.column(name) for source, name in zip(sources, names, strict=True)]
    return pa.Table.from_arrays(columns, schema=pa.schema(fields, table.schema.metadata))


def _is_same(before: Any, good: Any, name: Any) -> bool:
    """Return whether a column has kept its values and type."""
    if name not in before.columns or before[name].dtype != good[name].dtype:
        return False
    return bool(before[name].equals(good[name]))
