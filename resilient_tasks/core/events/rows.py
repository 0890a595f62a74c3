"""What happens to data that passes a schema or a gate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from resilient_tasks.core.events.event import Event, named


@dataclass(frozen=True, kw_only=True, slots=True)
class RowsInvalid(Event):
    """Of `rows` rows, `invalid` did not satisfy the schema; `action` is what was done with them."""

    name: ClassVar[str] = "rows.invalid"
    action: str
    rows: int
    invalid: int
    reasons: Mapping[str, int]

    def sentence(self) -> str:
        return f"{self.invalid:,} of {self.rows:,} rows invalid: {self.action}"


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
