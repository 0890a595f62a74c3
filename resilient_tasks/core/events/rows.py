"""What happens to data that passes a schema or a gate."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from resilient_tasks.core.events.event import Event, named
from resilient_tasks.core.wording import named_few, number_of


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsInvalid(Event):
    """Of `rows` rows, `invalid` did not satisfy the schema; `action` is what was done with them."""

    name: ClassVar[str] = "rows.invalid"
    action: str
    rows: int
    invalid: int
    reasons: Mapping[str, int]

    def sentence(self) -> str:
        return f"{self.invalid:,} of {number_of(self.rows, 'row')} invalid: {self.action}{_checks((self,))}"


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsQuarantined(RowsInvalid):
    """As `RowsInvalid`; the bad rows lie in the file `path` with their reasons, as the quarantine's batch `batch`.

    Each attempt of a call replaces that file: with 0 invalid rows it is gone. `schema` is where the schema can be
    imported from (`module:name`), if that is known.
    """

    name: ClassVar[str] = "rows.quarantined"
    path: str
    batch: str
    schema: str

    def sentence(self) -> str:
        words = "" if self.action == "quarantined" else f"invalid: {self.action}"
        return f"{self.invalid:,} of {number_of(self.rows, 'row')} {words or 'quarantined'}{why_and_where((self,))}"


def in_the_quarantine(events: Iterable[Event]) -> list[RowsQuarantined]:
    """Return the last event of each file that lies in the quarantine after `events`, in their order."""
    last = {event.path: event for event in events if isinstance(event, RowsQuarantined)}
    return [event for event in last.values() if event.invalid]


def why_and_where(batches: Sequence[RowsQuarantined]) -> str:
    """Return ` (n: greater_than(0) ×2) in quarantine/fetch/part.parquet`; empty where nothing lies there."""
    paths = [batch.path for batch in batches if batch.invalid]
    return f"{_checks(batches)} in {named_few(paths, 1)}" if paths else ""


def _checks(batches: Iterable[RowsInvalid]) -> str:
    """Return the checks that failed most often, with the number of rows that failed them."""
    rows: Counter[str] = Counter()
    for batch in batches:
        rows.update(batch.reasons)
    named_ = [f"{check} ×{count:,}" if count > 1 else check for check, count in rows.most_common() if count]
    return f" ({named_few(named_, _CHECKS)})" if named_ else ""


_CHECKS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class DataDrifted(Event):
    """Of a frame of `rows` rows, `columns` do not look like the baseline, or could not be judged: a sentence for each.

    `action` is what the gate asked for: `"warn"`, `"branch"` or `"stop"`; `"pass"` where only too few rows are to tell.
    """

    name: ClassVar[str] = "data.drifted"
    action: str
    rows: int
    columns: Mapping[str, str]
    message: str = named("drift.message")

    def sentence(self) -> str:
        return f"drift ({self.action}): {self.message}"
