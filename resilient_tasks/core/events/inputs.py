"""The event about work that was done on degraded data."""

from __future__ import annotations

import logging
from dataclasses import field
from typing import ClassVar

from resilient_tasks.core.events.event import Event, named


class InputDegraded(Event):
    """The data that this call works on came from a fallback, or from a batch of which rows were quarantined.

    `source` names the operations where it was degraded, and `reason` says how. `age` is that of the oldest last good
    result among them, in seconds. Emitted once for each run of a task or flow.
    """

    name: ClassVar[str] = "input.degraded"
    level: ClassVar[int] = logging.INFO
    source: str = named("input.source")
    reason: str = named("input.reason")
    age: float | None = field(default=None, metadata={"name": "fallback.age_s", "if_known": True})

    def sentence(self) -> str:
        return f"computed from degraded input: {self.reason}"
