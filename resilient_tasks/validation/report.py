# ruff: noqa: PLC0415 - polars loads on first use
"""The two parts of a frame that was split, and the report of what is wrong with its bad rows."""

from __future__ import annotations

import operator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np

from resilient_tasks.core.wording import named_few, number_of
from resilient_tasks.redaction.text import redact
from resilient_tasks.validation.backend import WHOLE_FRAME, Finding, bad_positions, combinations

if TYPE_CHECKING:
    import os
    from collections.abc import Iterable, Mapping

Frame = TypeVar("Frame")

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
        from resilient_tasks.storage.sink import sink

        left = self.report.rows - self.report.invalid
        sink(self.good, Path(path), left)
