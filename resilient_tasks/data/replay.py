"""The way back: quarantined rows, corrected or not, against today's schema."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resilient_tasks.data import _doubts
from resilient_tasks.data._arrow import at, restored, stored
from resilient_tasks.data._numbered import numbered, without_numbers
from resilient_tasks.data._parts import Part
from resilient_tasks.data._reasons import reason_texts, told_texts
from resilient_tasks.data.ledger import Judged, Key, Ledger
from resilient_tasks.data.schemas import fingerprint
from resilient_tasks.data.split import Reason, Report, Split, split


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
        rows_given = _doubts.Given(self.part, frame, numbers)
        as_read = not unchanged and self.part.facts["schema"] in {"", fingerprint(schema)}
        told_before = rows_given.unchanged() if as_read else {}
        why = {**told_before, **why}
        judged = [position for position, number in enumerate(numbers) if number not in why]
        frame, numbers = at(frame, judged), [numbers[position] for position in judged]
        parts = split(frame, schema) if numbers else Split(frame, frame, Report(0))
        if parts.report.frame_errors:
            return Replay(at(frame, []), 0, len(self.keys), tuple(sorted(why.items())), parts.report)
        rows_given = _doubts.Given(self.part, frame, numbers)
        texts = {numbers[position]: text for position, text in reason_texts(parts.report).items()}
        why |= {numbers[position]: reasons for position, reasons in parts.report.rows_failed}
        good = [number for number in numbers if number not in why]
        doubts = rows_given.doubts(good, parts.good, schema, as_read=as_read)
        why |= doubts
        texts |= {number: told_texts(why[number]) for number in why.keys() - texts.keys() - told_before.keys()}
        return self._written(parts, good, texts, why, schema)

    def _written(self, parts: Any, good: list[int], texts: Mapping[int, str], why: Any, schema: Any) -> Replay:
        kept = [position for position, number in enumerate(good) if number not in texts]
        passed, numbers = at(parts.good, kept), [good[position] for position in kept]
        keys = {key.row: key for key in self.keys}
        table, shape = stored(passed, numbers)
        facts = self.part.facts
        about = {name: facts[name] for name in ("operation", "batch")} | {"schema": fingerprint(schema), "shape": shape}
        judged = [Judged(keys[number], texts.get(number, "")) for number in [*numbers, *texts]]
        released = self.ledger.commit(judged, table, about) if judged else set()
        verdicts = self.ledger.verdicts()
        ours = [position for position, number in enumerate(numbers) if keys[number] in released]
        return Replay(
            released=at(passed, ours),
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
