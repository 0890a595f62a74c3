"""Events about validated data and drift."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import ClassVar

from resilient_tasks.core.events.event import Event, named
from resilient_tasks.core.wording import named_few, number_of


class RowsInvalid(Event):
    """Of `rows` rows, `invalid` did not satisfy the schema; `action` is what was done with them.

    `part` names an argument, or one of several frames in a result.
    """

    name: ClassVar[str] = "rows.invalid"
    action: str
    rows: int
    invalid: int
    reasons: Mapping[str, int]
    part: str | None = field(default=None, metadata={"if_known": True})

    def sentence(self) -> str:
        counts = f"{self.invalid:,} of {number_of(self.rows, 'row')} invalid"
        return f"{_of(self)}{counts}: {self.action}{_checks((self,))}"


class RowsWarned(Event):
    """Of `rows` rows, some break a rule with `raise_warning=True`, and are kept.

    `reasons` counts the rows by rule; 0 for a rule about the whole frame. `part` is as in `RowsInvalid`.
    """

    name: ClassVar[str] = "rows.warned"
    rows: int
    reasons: Mapping[str, int]
    part: str | None = field(default=None, metadata={"if_known": True})

    def sentence(self) -> str:
        return f"{_of(self)}rules that warn, {number_of(self.rows, 'row')} checked: {rules_by_rows(self.reasons)}"


class RowsQuarantined(RowsInvalid):
    """As `RowsInvalid`; the bad rows and their reasons are in the file `path`, the quarantine's batch `batch`.

    Each attempt of a call replaces that file; with 0 invalid rows it is removed. `schema` is the schema's
    `module:name`, if that is known.
    """

    name: ClassVar[str] = "rows.quarantined"
    path: str
    batch: str
    schema: str

    def sentence(self) -> str:
        words = "" if self.action == "quarantined" else f"invalid: {self.action}"
        counts = f"{self.invalid:,} of {number_of(self.rows, 'row')}"
        return f"{_of(self)}{counts} {words or 'quarantined'}{why_and_where((self,))}"


def in_the_quarantine(events: Iterable[Event]) -> list[RowsQuarantined]:
    """Return the last event of each file in the quarantine after `events`, in their order."""
    last = {event.path: event for event in events if isinstance(event, RowsQuarantined)}
    return [event for event in last.values() if event.invalid]


def rows_quarantined(batches: Sequence[RowsQuarantined]) -> str:
    """Return `12 of 336 rows quarantined`, for the events from `in_the_quarantine`."""
    invalid, rows = sum(batch.invalid for batch in batches), sum(batch.rows for batch in batches)
    return f"{invalid:,} of {number_of(rows, 'row')} quarantined"


def why_and_where(batches: Sequence[RowsQuarantined]) -> str:
    """Return ` (n: greater_than(0) ×2) in quarantine/fetch/part.parquet`; empty if no rows are quarantined."""
    paths = [batch.path for batch in batches if batch.invalid]
    return f"{_checks(batches)} in {named_few(paths, 1)}" if paths else ""


def frames_warned_of(events: Iterable[Event]) -> list[RowsWarned]:
    """Return the last `RowsWarned` of each frame, in their order."""
    last = {(event.call, event.operation, event.part): event for event in events if isinstance(event, RowsWarned)}
    return list(last.values())


def what_rules_warn_of(events: Iterable[Event]) -> str:
    """Return `rules that warn: fetch delay: le(60) ×3`; empty if no rule warned."""
    rows: Counter[str] = Counter()
    for event in frames_warned_of(events):
        for rule, count in event.reasons.items():
            rows[f"{event.operation} {_of(event)}{rule}"] += count
    return f"rules that warn: {rules_by_rows(rows)}" if rows else ""


def _checks(batches: Sequence[RowsInvalid]) -> str:
    """Return the checks that failed most often, with the number of rows that failed them."""
    rows: Counter[str] = Counter()
    for batch in batches:
        of = _of(batch) if len(batches) > 1 else ""
        rows.update({f"{of}{check}": count for check, count in batch.reasons.items() if count})
    return f" ({rules_by_rows(rows)})" if rows else ""


def rules_by_rows(rows: Mapping[str, int]) -> str:
    """Return the rules that most rows broke, with their numbers of rows."""
    most = sorted(rows.items(), key=lambda item: -item[1])
    return named_few([f"{rule} ×{count:,}" if count > 1 else rule for rule, count in most], _CHECKS)


def _of(event: RowsInvalid | RowsWarned | DataDrifted) -> str:
    return f"{event.part}: " if event.part else ""


_CHECKS = 3


class DataDrifted(Event):
    """Of a frame of `rows` rows, `columns` differ from the baseline or could not be judged: a sentence for each.

    `action` is the gate's: `"warn"`, `"branch"` or `"stop"`; `"pass"` if there were only too few rows to judge.
    """

    name: ClassVar[str] = "data.drifted"
    action: str
    rows: int
    columns: Mapping[str, str]
    message: str = named("drift.message")
    part: str | None = field(default=None, metadata={"if_known": True})

    def sentence(self) -> str:
        return f"{_of(self)}drift ({self.action}): {self.message}"
