# ruff: noqa: PLC0415 - polars loads on first use
"""The way back: quarantined rows, corrected or not, against today's schema."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from resilient_tasks.data._parts import reason_texts
from resilient_tasks.data._rows import RECORDS, at, from_texts, library_of, shape_of, to_texts
from resilient_tasks.data.ledger import Judged, Key, Ledger
from resilient_tasks.data.schemas import fingerprint
from resilient_tasks.data.split import Report, split

ROW = "quarantine_row"
"""The column of a table to correct that says which row of its batch each one is."""


@dataclass(frozen=True, eq=False)
class Replay:
    """What came of a replay.

    Attributes:
        released: The rows that this replay released, as the schema returns them; no other replay gives them again.
        rows: How many those are.
        waiting: How many rows of the batch still wait in the quarantine.
        failing: Why those that were judged still fail: (row number, reasons).
        report: The split's report on the rows that were judged. With frame errors, nothing was released.
    """

    released: Any
    rows: int
    waiting: int
    failing: tuple[tuple[int, Sequence[Any]], ...]
    report: Report


@dataclass(frozen=True)
class Batch:
    """The rows of one batch that wait, and what is needed to make a frame of them.

    Attributes:
        operation: Whose data it is.
        batch: Its id.
        waiting: Row numbers and values as read, as JSON text, of what is not released.
        settled: Row numbers that are released.
        facts: What holds for the file as a whole.
        ledger: Where replays are written down.
    """

    operation: str
    batch: str
    waiting: Mapping[Key, str]
    settled: frozenset[int]
    facts: Mapping[str, str]
    ledger: Ledger

    def table(self) -> Any:
        """The rows that wait, as read and of the types as read, each with its number in the column `quarantine_row`.

        Records of JSON are a dict of number and record.
        """
        frame = from_texts(self.waiting.values(), self.facts.get("library", "pandas"), self.facts.get("shape", ""))
        numbers = [key.row for key in self.waiting]
        match library_of(frame):
            case "records":
                return dict(zip(numbers, frame, strict=True))
            case "pandas":
                frame.insert(0, ROW, numbers)
                return frame
        import polars as pl

        return frame.insert_column(0, pl.Series(ROW, numbers, dtype=pl.Int64))

    def replay(self, schema: Any, rows: Any, fix: Callable[[Any], Any] | None) -> Replay:
        """Judge the rows, release what passes, and write down why the rest does not."""
        table = self.table() if rows is None else rows
        numbers, frame = self._judged(table if fix is None else fix(table))
        parts = split(frame, schema)
        if parts.report.frame_errors:
            return Replay(at(frame, []), 0, len(self.waiting), (), parts.report)
        reasons = {numbers[position]: text for position, text in reason_texts(parts.report).items()}
        good = [number for number in numbers if number not in reasons]
        values = dict(zip([*good, *reasons], [*to_texts(parts.good), *to_texts(parts.bad)], strict=True))
        keys = {key.row: key for key in self.waiting}
        about = {
            "operation": self.operation,
            "batch": self.batch,
            "schema": fingerprint(schema),
            "library": library_of(parts.good),
            "shape": shape_of(parts.good),
        }
        released = self.ledger.commit(
            [Judged(keys[number], values[number], reasons.get(number, "")) for number in numbers], about
        )
        verdicts = self.ledger.verdicts()
        ours = [position for position, number in enumerate(good) if keys[number] in released]
        return Replay(
            released=at(parts.good, ours),
            rows=len(ours),
            waiting=sum(verdicts.get(key) != "" for key in self.waiting),
            failing=tuple((numbers[position], why) for position, why in parts.report.rows_failed),
            report=parts.report,
        )

    def _judged(self, table: Any) -> tuple[list[int], Any]:
        """The numbers of the rows to judge, and these rows; those that are released already are left out.

        Raises:
            ValueError: If a number is missing, twice there, or of no row of this batch.
        """
        numbers, frame = _numbered(table)
        if twice := [number for number, times in Counter(numbers).items() if times > 1]:
            raise ValueError(f"Row {twice[0]} of batch {self.batch} is there more than once.")
        known = {key.row for key in self.waiting} | self.settled
        if unknown := sorted(set(numbers) - known):
            raise ValueError(f"Batch {self.batch} has no row {unknown[0]} in the quarantine.")
        open_rows = {key.row for key in self.waiting}
        positions = [position for position, number in enumerate(numbers) if number in open_rows]
        return [numbers[position] for position in positions], at(frame, positions)


def commands(path: str, batch: str, schema: str = "") -> tuple[str, str]:
    """Give the commands that show a batch and put it back.

    Args:
        path: The batch's file, or its URL.
        batch: Its id.
        schema: Its schema as `module:name`, where that is known.
    """
    folder = path.rsplit("/", 3)[0]  # above operation and day
    words = f"{shlex.quote(batch)} --at {shlex.quote(folder)}"
    return (
        f"resilient-tasks quarantine show {words}",
        f"resilient-tasks quarantine replay {words} --schema {schema or 'MODULE:NAME'}",
    )


def _numbered(table: Any) -> tuple[list[int], Any]:
    if isinstance(table, Mapping):
        return list(table), list(table.values())
    if library_of(table) == RECORDS or ROW not in table.columns:
        raise ValueError(f"Rows to replay have their numbers in a column {ROW!r}, as table() gives it.")
    numbers = [int(number) for number in table[ROW].to_list()]
    return numbers, table.drop(columns=ROW) if hasattr(table, "iloc") else table.drop(ROW)
