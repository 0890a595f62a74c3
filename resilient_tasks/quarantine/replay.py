# ruff: noqa: PLC0415 - pandas loads on first use
"""The way back: quarantined rows, corrected or not, against today's schema."""

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

from resilient_tasks.quarantine.batch_file import Part, part_names, reason_texts, rules_of, told, told_texts
from resilient_tasks.quarantine.ledger import Judged, Key, Ledger
from resilient_tasks.quarantine.row_numbers import numbered, without_numbers
from resilient_tasks.storage.arrow import Shape, cells, columns_of, restored, stored, take_rows
from resilient_tasks.storage.values import AsText
from resilient_tasks.validation.schemas import fingerprint
from resilient_tasks.validation.split import Reason, Report, Split, split

_DUPLICATED = "is duplicated"
_YEAR_FIRST = re.compile(r"\s*\d{4}")
_AS_TEXT = "is kept as its text only: write the value"
_AMBIGUOUS = "can be read as two dates: write it as YYYY-MM-DD"

Reasons = Mapping[int, Sequence[Reason]]


class Given:
    """Rows as they were given to a replay, beside the same rows as they were read.

    Args:
        part: The batch's rows that wait.
        frame: The rows given.
        numbers: Their numbers.
    """

    def __init__(self, part: Part, frame: Any, numbers: Sequence[int]) -> None:
        self._part, self._frame, self._numbers = part, frame, numbers
        place = {row: at for at, row in enumerate(part.rows)}
        self._read = part.take([place[number] for number in numbers])

    def unchanged(self) -> Reasons:
        """The rows without a correction, and why they wait."""
        same = self._same_rows()
        part = self._read.take(np.flatnonzero(same).tolist())
        reasons = told(part.table, part.shape, columns_of(part.table, part.shape, part.rows))
        return {row: [Reason(**reason) for reason in of_row] for row, of_row in zip(part.rows, reasons, strict=True)}

    def doubts(self, good: Sequence[int], frame: Any, schema: Any, *, as_read: bool) -> Reasons:
        """The rows that a split accepts and that may not be released, with the reasons.

        Args:
            good: The numbers of the rows that it accepts.
            frame: These rows as the schema returns them.
            schema: The schema.
            as_read: Whether it is the one that refused them.
        """
        found: dict[int, list[Reason]] = {}
        place = {number: at for at, number in enumerate(self._numbers)}
        rows = [place[number] for number in good]
        if as_read:
            for at in rows:
                for column, check in self._standing(at):
                    said = f"{check} when it was read, and is not corrected"
                    found.setdefault(self._numbers[at], []).append(Reason(column, said, self._value(column, at)))
        for column, values in self._texts_kept():
            for at in rows:
                if _holds_text(values[at]):
                    found.setdefault(self._numbers[at], []).append(Reason(column, _AS_TEXT, values[at]))
        for column, values, doubtful in _dates(self._frame, rows, frame, schema):
            for at in doubtful:
                found.setdefault(self._numbers[at], []).append(Reason(column, _AMBIGUOUS, values[at]))
        return found

    def _standing(self, at: int) -> list[tuple[str, str]]:
        """The rules that a row failed when it was read, and whose cells are as they were read."""
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
        """Which of the rows are as they were read, in every cell and in the index."""
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

    def _value(self, column: str, at: int) -> Any:
        return self._columns[self._names.index(column)][at]

    def _texts_kept(self) -> list[tuple[str, list[Any]]]:
        """Columns whose values may be the texts of what they were."""
        table, shape = self._given
        kept = [at for at, part in enumerate(shape["parts"]) if part["json"]]
        if not kept:
            return []
        columns, names = columns_of(table, shape, self._numbers), part_names(shape)
        return [(names[at], columns[at]) for at in kept]

    @cached_property
    def _given(self) -> tuple[Any, Shape]:
        return stored(self._frame, self._numbers)

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
        return columns_of(self._read.table, self._read.shape, self._read.rows)


def same_value(one: Any, other: Any) -> bool:
    """Whether two cells hold one value; of floats, whole numbers count as such."""
    return one is other or (type(one) is type(other) and repr(one) == repr(other))


def _column(table: Any, shape: Shape, at: int) -> list[Any]:
    part = shape["parts"][at]
    return cells(table[part["name"]], json=part["json"])


def _addresses(shape: Shape) -> dict[Any, int]:
    """Where each part of a row lies. An index of unnamed numbers says nothing of a row."""
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
    """Columns of text that the schema reads as dates: the rows whose text is one date or another, by its neighbours."""
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
    """Where each column is, by its label and how many columns before it have that label."""
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
    """Whether the schema says how its dates are written."""
    column = getattr(schema.to_schema() if hasattr(schema, "to_schema") else schema, "columns", {}).get(label)
    return (getattr(getattr(column, "dtype", None), "to_datetime_kwargs", None) or {}).get("format") not in {
        None,
        "mixed",
    }


@dataclass(frozen=True, eq=False)
class Replay:
    """The result of a replay.

    Attributes:
        released: The rows that this replay released, as the schema returns them; no other replay gives them again.
        rows: How many those are.
        waiting: How many rows of the batch still wait in the quarantine.
        failing: Why the other given rows still wait: (row number, reasons).
        report: The split's report on the rows that were judged. With frame errors, nothing was released.
    """

    released: Any
    rows: int
    waiting: int
    failing: tuple[tuple[int, Sequence[Any]], ...]
    report: Report


@dataclass(frozen=True)
class Corrected:
    """A table that a person corrected in a file.

    Attributes:
        table: The rows, with their numbers.
        wrong: Row number and reasons, for each row with a cell that could not be read.
        gone: Numbers in the file that are of no row that waits.
    """

    table: Any
    wrong: Mapping[int, Sequence[Reason]] = field(default_factory=dict)
    gone: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Batch:
    """The rows of one batch that wait, and what is needed to make a frame of them.

    Attributes:
        part: The rows as stored, and what holds for the file as a whole.
        keys: Their keys.
        settled: Numbers of the rows that are released.
        ledger: Where replays are written down.
    """

    part: Part
    keys: Sequence[Key]
    settled: frozenset[int]
    ledger: Ledger

    @property
    def batch(self) -> str:
        """Its id."""
        return str(self.part.facts["batch"])

    def table(self) -> Any:
        """The rows that wait as read, of the types as read, with their numbers."""
        return numbered(restored(self.part.table, self.part.shape, self.part.rows), self.part.rows)

    def replay(self, schema: Any, rows: Any, fix: Callable[[Any], Any] | None, *, unchanged: bool) -> Replay:
        """Judge the rows, release those that pass, and record why the others do not."""
        given = rows if isinstance(rows, Corrected) else Corrected(self.table() if rows is None else rows)
        table = given.table if fix is None else fix(given.table)
        if table is None:
            raise TypeError("fix= returns the table to judge; this one returned None.")
        if not (isinstance(table, dict) or hasattr(type(table), "columns")):
            raise TypeError(
                f"rows= and fix= give the corrected table of `Quarantine.table`, not {table!r:.80}. To read a file:"
                " resilient-tasks quarantine replay BATCH --schema MODULE:NAME --rows FILE"
            )
        numbers, frame = self._open(table, given.gone)
        why: dict[int, Sequence[Reason]] = {number: given.wrong[number] for number in numbers if number in given.wrong}
        rows_given = Given(self.part, frame, numbers)
        as_read = not unchanged and self.part.facts["schema"] in {"", fingerprint(schema)}
        told_before = rows_given.unchanged() if as_read else {}
        why = {**told_before, **why}
        judged = [position for position, number in enumerate(numbers) if number not in why]
        frame, numbers = take_rows(frame, judged), [numbers[position] for position in judged]
        parts = split(frame, schema) if numbers else Split(frame, frame, Report(0))
        if parts.report.frame_errors:
            return Replay(take_rows(frame, []), 0, len(self.keys), tuple(sorted(why.items())), parts.report)
        rows_given = Given(self.part, frame, numbers)
        texts = {numbers[position]: text for position, text in reason_texts(parts.report).items()}
        why |= {numbers[position]: reasons for position, reasons in parts.report.rows_failed}
        good = [number for number in numbers if number not in why]
        doubts = rows_given.doubts(good, parts.good, schema, as_read=as_read)
        why |= doubts
        texts |= {number: told_texts(why[number]) for number in why.keys() - texts.keys() - told_before.keys()}
        return self._written(parts, good, texts, why, schema)

    def _written(self, parts: Any, good: list[int], texts: Mapping[int, str], why: Any, schema: Any) -> Replay:
        kept = [position for position, number in enumerate(good) if number not in texts]
        passed, numbers = take_rows(parts.good, kept), [good[position] for position in kept]
        keys = {key.row: key for key in self.keys}
        table, shape = stored(passed, numbers)
        facts = self.part.facts
        about = {name: facts[name] for name in ("operation", "batch")} | {"schema": fingerprint(schema), "shape": shape}
        judged = [Judged(keys[number], texts.get(number, "")) for number in [*numbers, *texts]]
        released = self.ledger.commit(judged, table, about) if judged else set()
        verdicts = self.ledger.verdicts()
        ours = [position for position, number in enumerate(numbers) if keys[number] in released]
        return Replay(
            released=take_rows(passed, ours),
            rows=len(ours),
            waiting=sum(verdicts.get(key) != "" for key in self.keys),
            failing=tuple(sorted(why.items())),
            report=parts.report,
        )

    def _open(self, table: Any, gone: frozenset[int]) -> tuple[list[int], Any]:
        """The numbers of the rows given, and these rows; those that are released already are left out.

        Raises:
            ValueError: If a number is missing, twice there, or of no row of this batch.
        """
        numbers, frame = without_numbers(table, self.part.shape)
        if twice := [number for number, times in Counter(numbers).items() if times > 1]:
            raise ValueError(f"Row {twice[0]} of batch {self.batch} is there more than once.")
        waiting = {key.row for key in self.keys}
        if unknown := sorted({*numbers, *gone} - waiting - self.settled):
            raise ValueError(f"Batch {self.batch} has no row {unknown[0]} in the quarantine.")
        positions = [position for position, number in enumerate(numbers) if number in waiting]
        return [numbers[position] for position in positions], take_rows(frame, positions)


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
