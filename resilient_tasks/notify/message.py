"""What a channel is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable


@dataclass(frozen=True, slots=True)
class Message:
    """One thing that happened, for a person. Arguments and data never stand in it.

    Attributes:
        operation: the function's name.
        status: `"failed"`, or `"degraded"` where a fallback stood in.
        kind: the failure kind, such as `"transient"`.
        error_type: the error's class.
        error: the error's text.
        notes: what was tried, one sentence each.
        consequence: what it means for everything downstream.
        run: ids of the run, and `url` where the run can be looked at.
        time: when it happened, in unix seconds.
    """

    operation: str
    status: Literal["failed", "degraded"]
    kind: str
    error_type: str
    error: str
    notes: tuple[str, ...] = ()
    consequence: str = ""
    run: Mapping[str, str] = field(default_factory=dict)
    time: float = 0.0

    def headline(self) -> str:
        """Say in one line what happened."""
        return f"{self.operation} {self.status}: {self.error_type}"

    def text(self) -> str:
        """Say it in plain text, a line each."""
        lines = [self.headline(), self.error[:500], *self.notes, self.consequence, self.run.get("url", "")]
        return "\n".join(line for line in lines if line)


@runtime_checkable
class Channel(Protocol):
    """Where messages go. A frozen value, picklable: it connects when it sends."""

    @property
    def name(self) -> str:
        """Name the channel, for logs."""

    def send(self, message: Message, *, within: float) -> None:
        """Deliver `message`, or raise.

        Args:
            message: what to say.
            within: seconds that delivery may take, all retries included.
        """
