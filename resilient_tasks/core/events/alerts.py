"""What becomes of messages to people."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import ClassVar

from resilient_tasks.core.events.event import Event, named


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifySent(Event):
    """A channel accepted a message."""

    name: ClassVar[str] = "notify.sent"
    level: ClassVar[int] = logging.INFO
    channel: str

    def sentence(self) -> str:
        return f"told {self.channel}"


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifySuppressed(Event):
    """A message like this one went out within the cool-down: this one was counted, not sent."""

    name: ClassVar[str] = "notify.suppressed"
    level: ClassVar[int] = logging.DEBUG
    channel: str
    suppressed: int

    def sentence(self) -> str:
        return f"did not tell {self.channel} again: {self.suppressed} since it was told"


@dataclass(frozen=True, kw_only=True, slots=True)
class NotifyFailed(Event):
    """A channel did not accept a message within its deadline: nobody was told."""

    name: ClassVar[str] = "notify.failed"
    level: ClassVar[int] = logging.ERROR
    channel: str
    error_type: str = named("error.type")
    message: str = named("exception.message")

    def sentence(self) -> str:
        return f"could not notify {self.channel}: {self.error_type}: {self.message}"
