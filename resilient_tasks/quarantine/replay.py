# ruff: noqa: PLC0415 - pandas loads on first use
"""Replay: validate quarantined rows, corrected or not, by today's schema, and release those that pass."""

from __future__ import annotations

import json
import re
import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from resilient_tasks.quarantine.batch_file import (
    Part,
    decode_reasons,
    part_names,
    reasons_json,
    reasons_json_by_row,
    rules_of,
)
from resilient_tasks.quarantine.ledger import Ledger, ReplayedRow, RowKey
from resilient_tasks.quarantine.row_numbers import with_numbers, without_numbers
from resilient_tasks.storage.arrow import Shape, column_values, comparable_values, from_arrow, take_rows, to_arrow
from resilient_tasks.storage.values import AsText
from resilient_tasks.validation.report import Reason, Report, Split
from resilient_tasks.validation.schemas import fingerprint
from resilient_tasks.validation.split import split

_DUPLICATED = "is duplicated"
_YEAR_FIRST = re.compile(r"\s*\d{4}")
_AS_TEXT = "is stored only as text: write the value"
_AMBIGUOUS = "can be read as two dates: write it as YYYY-MM-DD"

Reasons = Mapping[int, Sequence[Reason]]


@dataclass(frozen=True, eq=False)
class Replay:
    """The result of a replay.

    Attributes:
        released: The rows released by this replay, as the schema returns them; no other replay returns them again.
        rows: The number of released rows.
        waiting: The number of rows of the batch that still wait in the quarantine.
        failing: The other given rows: (row number, reasons).
        report: The report on the validated rows. With frame errors, nothing was released.
    """

    released: Any
    rows: int
    waiting: int
    failing: tuple[tuple[int, Sequence[Any]], ...]
    report: Report


@dataclass(frozen=True)
class Corrected:
    """A table corrected in a file.

    Attributes:
        table: The rows with their numbers.
        wrong: The reasons of each row with an unreadable cell, by row number.
        unknown: Row numbers in the file that are not waiting.
    """

    table: Any
    wrong: Mapping[int, Sequence[Reason]] = field(default_factory=dict)
    unknown: frozenset[int] = frozenset()


@dataclass(frozen=True)
class WaitingRows:
    """The waiting rows of one batch.

    Attributes:
        part: The stored rows, and facts about the whole file.
        keys: Their keys.
        settled: The numbers of released rows.
        ledger: The ledger of the batch.
    """

    part: Part
    keys: Sequence[RowKey]
    settled: frozenset[int]
    ledger: Ledger

    @property
    def batch(self) -> str:
        """Its id."""
        return str(self.part.facts["batch"])

    def table(self) -> Any:
        """Return the waiting rows with their numbers, in the types as read."""
        return with_numbers(from_arrow(self.part.table, self.part.shape, self.part.rows), self.part.rows)

    def replay(self, schema: Any, rows: Any, fix: Callable[[Any], Any] | None, *, unchanged: bool) -> Replay:
        """Validate the rows, release those that pass, and record why the others do not."""
        given = rows if isinstance(rows, Corrected) else Corrected(self.table() if rows is None else rows)
        table = given.table if fix is None else fix(given.table)
        if table is None:
            raise TypeError("fix= must return the table to validate; this one returned None.")
        if not (isinstance(table, dict) or hasattr(type(table), "columns")):
            raise TypeError(
                f"rows= and fix= give the corrected table of `Quarantine.table`, not {table!r:.80}. To read a file:"
                " resilient-tasks quarantine replay BATCH --schema MODULE:NAME --rows FILE"
            )
        numbers, frame = self._open(table, given.unknown)
        why: dict[int, Sequence[Reason]] = {number: given.wrong[number] for number in numbers if number in given.wrong}
        rows_given = GivenRows(self.part, frame, numbers)
        as_read = not unchanged and self.part.facts["schema"] in {"", fingerprint(schema)}
        unchanged_reasons = rows_given.unchanged() if as_read else {}
        why = {**unchanged_reasons, **why}
        to_validate = [position for position, number in enumerate(numbers) if number not in why]
        frame, numbers = take_rows(frame, to_validate), [numbers[position] for position in to_validate]
        parts = split(frame, schema) if numbers else Split(frame, frame, Report(0))
        if parts.report.frame_errors:
            return Replay(take_rows(frame, []), 0, len(self.keys), tuple(sorted(why.items())), parts.report)
        rows_given = GivenRows(self.part, frame, numbers)
        texts = {numbers[position]: text for position, text in reasons_json_by_row(parts.report).items()}
        why |= {numbers[position]: reasons for position, reasons in parts.report.rows_failed}
        good = [number for number in numbers if number not in why]
        doubts = rows_given.withheld(good, parts.good, schema, as_read=as_read)
        why |= doubts
        texts |= {number: reasons_json(why[number]) for number in why.keys() - texts.keys() - unchanged_reasons.keys()}
        return self._commit(parts, good, texts, why, schema)

    def _commit(self, parts: Any, good: list[int], texts: Mapping[int, str], why: Any, schema: Any) -> Replay:
        kept = [position for position, number in enumerate(good) if number not in texts]
        passed, numbers = take_rows(parts.good, kept), [good[position] for position in kept]
        keys = {key.row: key for key in self.keys}
        table, shape = to_arrow(passed, numbers)
        facts = self.part.facts
        about = {name: facts[name] for name in ("operation", "batch")} | {"schema": fingerprint(schema), "shape": shape}
        replayed = [ReplayedRow(keys[number], texts.get(number, "")) for number in [*numbers, *texts]]
        released = self.ledger.commit(replayed, table, about) if replayed else set()
        reasons = self.ledger.latest_reasons()
        ours = [position for position, number in enumerate(numbers) if keys[number] in released]
        return Replay(
            released=take_rows(passed, ours),
            rows=len(ours),
            waiting=sum(reasons.get(key) != "" for key in self.keys),
            failing=tuple(sorted(why.items())),
            report=parts.report,
        )

    def _open(self, table: Any, unknown: frozenset[int]) -> tuple[list[int], Any]:
        """Return the given rows and their numbers, without those that are released already.

        Raises:
            ValueError: If a number is missing, duplicated, or unknown in this batch.
        """
        numbers, frame = without_numbers(table, self.part.shape)
        if twice := [number for number, times in Counter(numbers).items() if times > 1]:
            raise ValueError(f"Row {twice[0]} of batch {self.batch} occurs more than once.")
        waiting = {key.row for key in self.keys}
        if strangers := sorted({*numbers, *unknown} - waiting - self.settled):
            raise ValueError(f"Batch {self.batch} has no row {strangers[0]} in the quarantine.")
        positions = [position for position, number in enumerate(numbers) if number in waiting]
        return [numbers[position] for position in positions], take_rows(frame, positions)


def commands(path: str, batch: str, schema: str = "") -> tuple[str, str]:
    """Return the commands that show a batch and replay it.

    Args:
        path: The batch's file, or its URL.
        batch: Its id.
        schema: Its schema as `module:name`, if known.
    """
    folder = path.rsplit("/", 3)[0]  # above operation and day
    words = f"{shlex.quote(batch)} --at {shlex.quote(folder)}"
    return (
        f"resilient-tasks quarantine show {words}",
        f"resilient-tasks quarantine replay {words} --schema {schema or 'MODULE:NAME'}",
    )


class GivenRows:
    """The rows given to a replay, compared with the same rows as read.

    Args:
        part: The waiting rows of the batch.
        frame: The given rows.
        numbers: Their numbers.
    """

    def __init__(self, part: Part, frame: Any, numbers: Sequence[int]) -> None:
        self._part, self._frame, self._numbers = part, frame, numbers
        place = {row: at for at, row in enumerate(part.rows)}
        self._read = part.take([place[number] for number in numbers])

    def unchanged(self) -> Reasons:
        """Return the uncorrected rows and their reasons."""
        same = self._same_rows()
        part = self._read.take(np.flatnonzero(same).tolist())
        reasons = decode_reasons(part.table, part.shape, column_values(part.table, part.shape, part.rows))
        return {row: [Reason(**reason) for reason in of_row] for row, of_row in zip(part.rows, reasons, strict=True)}

    def withheld(self, good: Sequence[int], frame: Any, schema: Any, *, as_read: bool) -> Reasons:
        """Return the accepted rows that must not be released, with reasons: they depend on other rows.

        Args:
            good: The numbers of the accepted rows.
            frame: These rows as the schema returns them.
            schema: The schema of the replay.
            as_read: Whether that schema refused them before.
        """
        found: dict[int, list[Reason]] = {}
        place = {number: at for at, number in enumerate(self._numbers)}
        rows = [place[number] for number in good]
        if as_read:
            for at in rows:
                for column, check in self._standing(at):
                    check_then = f"{check} when it was read, and is not corrected"
                    found.setdefault(self._numbers[at], []).append(
                        Reason(column, check_then, self._columns[self._names.index(column)][at])
                    )
        for column, values in self._texts_kept():
            for at in rows:
                if _holds_text(values[at]):
                    found.setdefault(self._numbers[at], []).append(Reason(column, _AS_TEXT, values[at]))
        for column, values, doubtful in _dates(self._frame, rows, frame, schema):
            for at in doubtful:
                found.setdefault(self._numbers[at], []).append(Reason(column, _AMBIGUOUS, values[at]))
        return found

    def _standing(self, at: int) -> list[tuple[str, str]]:
        """Return the rules that a row broke when read, for cells that are unchanged."""
        names, rules = self._names, self._rules[at]
        edited = {
            name for name in dict(rules) if name in names and not all(same[at] for same in self._same_cells(name))
        }
        again = any(column in edited and check == _DUPLICATED for column, check in rules)
        return [
            (column, check)
            for column, check in rules
            if column in names and column not in edited and not (again and check == _DUPLICATED)
        ]

    def _same_rows(self) -> Any:
        """Return which rows are unchanged in every cell and in the index."""
        read, given = _addresses(self._read.shape), _addresses(self._given[1])
        same = np.full(len(self._numbers), {*read} == {*given})
        for address in read.keys() & given.keys():
            same &= self._same(address)
        return same

    def _same_cells(self, name: str) -> list[Any]:
        return [self._same(address) for address, at in _addresses(self._read.shape).items() if self._names[at] == name]

    def _same(self, address: Any) -> Any:
        if address not in self._compared:
            read, given = _addresses(self._read.shape), _addresses(self._given[1])
            if address in given:
                part = _column(self._read.table, self._read.shape, read[address])
                other = _column(*self._given, given[address])
                self._compared[address] = np.array(list(map(same_value, part, other)), dtype=bool)
            else:
                self._compared[address] = np.zeros(len(self._numbers), dtype=bool)
        return self._compared[address]

    def _texts_kept(self) -> list[tuple[str, list[Any]]]:
        """Return the columns whose values may be mere texts of the original values."""
        table, shape = self._given
        kept = [at for at, part in enumerate(shape["parts"]) if part["json"]]
        if not kept:
            return []
        columns, names = column_values(table, shape, self._numbers), part_names(shape)
        return [(names[at], columns[at]) for at in kept]

    @cached_property
    def _given(self) -> tuple[Any, Shape]:
        return to_arrow(self._frame, self._numbers)

    @cached_property
    def _compared(self) -> dict[Any, Any]:
        return {}

    @cached_property
    def _names(self) -> list[str]:
        return part_names(self._read.shape)

    @cached_property
    def _rules(self) -> list[list[tuple[str, str]]]:
        return rules_of(self._read.table)

    @cached_property
    def _columns(self) -> list[list[Any]]:
        return column_values(self._read.table, self._read.shape, self._read.rows)


def same_value(one: Any, other: Any) -> bool:
    """Return whether two cells hold the same value."""
    return one is other or (type(one) is type(other) and repr(one) == repr(other))


def _column(table: Any, shape: Shape, at: int) -> list[Any]:
    part = shape["parts"][at]
    return comparable_values(table[part["name"]], json=part["json"])


def _addresses(shape: Shape) -> dict[Any, int]:
    """Return the address of each part of a row. An unnamed index of numbers does not identify a row."""
    found: dict[Any, int] = {}
    for at, part in enumerate(shape["parts"]):
        level = part.get("level", False)
        if level and part["label"] is None and str(part["dtype"]).startswith(("int", "uint")):
            continue
        address = (level, json.dumps(part["label"]))
        found[(*address, sum(other[:2] == address for other in found))] = at
    return found


def _holds_text(value: Any) -> bool:
    if isinstance(value, Mapping):
        return any(map(_holds_text, value.values()))
    return isinstance(value, AsText) or (isinstance(value, list | tuple) and any(map(_holds_text, value)))


def _dates(given: Any, rows: Sequence[int], good: Any, schema: Any) -> list[tuple[str, Any, list[int]]]:
    """Return text columns that become dates, with the rows whose date depends on other rows."""
    if not hasattr(given, "iloc") or not rows:
        return []
    found = []
    there = _places(good.columns)
    for (label, number), at in _places(given.columns).items():
        if (label, number) not in there:
            continue
        values, made = given.iloc[:, at], good.iloc[:, there[label, number]]
        if made.dtype.kind == "M" and values.dtype.kind not in "mMiuf" and not _has_format(schema, label):
            texts = [str(values.iloc[at]) if isinstance(values.iloc[at], str) else "" for at in rows]
            doubtful = [at for at, text in zip(rows, texts, strict=True) if text and not _YEAR_FIRST.match(text)]
            found.append((str(label), values.tolist(), [at for at in doubtful if _is_two_dates(values.iloc[at])]))
    return found


def _places(labels: Any) -> dict[tuple[Any, int], int]:
    """Return each column's position, by its label and its occurrence among columns of that label."""
    seen: Counter[Any] = Counter()
    places = {}
    for at, label in enumerate(labels):
        places[label, seen[label]] = at
        seen[label] += 1
    return places


def _is_two_dates(text: str) -> bool:
    import pandas as pd

    ways = [(False, False), (False, True), (True, False), (True, True)]
    read = {pd.to_datetime(text, dayfirst=day, yearfirst=year, errors="coerce", utc=True) for day, year in ways}
    return len(read) > 1


def _has_format(schema: Any, label: Any) -> bool:
    """Return whether the schema gives the format of its dates."""
    column = getattr(schema.to_schema() if hasattr(schema, "to_schema") else schema, "columns", {}).get(label)
    return (getattr(getattr(column, "dtype", None), "to_datetime_kwargs", None) or {}).get("format") not in {
        None,
        "mixed",
    }
