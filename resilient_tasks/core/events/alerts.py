"""Events about alerts."""

from __future__ import annotations

import logging
from typing import ClassVar

from resilient_tasks.core.events.event import ErrorEvent, Event
from resilient_tasks.core.wording import number_of


class NotifySent(Event):
    """A channel accepted a message: an incident's `"first"`, a `"digest"`, or `"recovered"`."""

    name: ClassVar[str] = "notify.sent"
    level: ClassVar[int] = logging.INFO
    channel: str
    occasion: str = "first"
    key: str = ""

    def sentence(self) -> str:
        return f"alert sent to {self.channel}" + ("" if self.occasion == "first" else f" ({self.occasion})")


class NotifySuppressed(Event):
    """A failure was counted, not sent, for `reason`. `suppressed` failures of its incident are unsent."""

    name: ClassVar[str] = "notify.suppressed"
    level: ClassVar[int] = logging.DEBUG
    channel: str
    suppressed: int
    reason: str = "cool-down"

    def sentence(self) -> str:
        return f"counted for the next alert to {self.channel}: {number_of(self.suppressed, 'failure')} ({self.reason})"


class NotifyKnown(Event):
    """A failure is part of an incident that began before this run: emitted once for each run and incident.

    The next message is due in `next_in` seconds; if the incident is silenced, no message is due, for `reason`.
    """

    name: ClassVar[str] = "notify.known"
    channel: str
    suppressed: int
    next_in: float = 0.0
    reason: str = ""

    def sentence(self) -> str:
        count = f"{number_of(self.suppressed, 'failure')} counted so far"
        if self.reason:
            return f"this incident is silenced ({self.reason}): no alert to {self.channel} until that ends, {count}"
        due = f"in {self.next_in:.0f} s" if self.next_in < 100 else f"in {self.next_in / 60:.0f} min"
        return f"this incident is known: the next message to {self.channel} is due {due}, {count}"


class NotifyFailed(ErrorEvent):
    """A channel did not accept a message at attempt `attempt`. It is kept; with `retry_in` 0, it is undeliverable."""

    name: ClassVar[str] = "notify.failed"
    level: ClassVar[int] = logging.ERROR
    channel: str
    retry_in: float = 0.0
    key: str = ""

    def sentence(self) -> str:
        after = (
            f"kept, tried again in {self.retry_in:.0f} s" if self.retry_in else "given up: see resilient-tasks outbox"
        )
        return f"could not notify {self.channel}: {self.message} ({after})"
