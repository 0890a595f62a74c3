"""Messages, and the protocol of the channels that send them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from resilient_tasks.core.wording import label, number_of

#: Why a message is sent: an incident began, further failures were counted, or it ended.
Occasion = Literal["first", "digest", "recovered"]

#: `"warning"`: a fallback stood in; `"error"`: a call failed; `"critical"`: only by `Notify(severity=...)`.
Severity = Literal["warning", "error", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message about one incident: similar failures of one operation.

    Secrets are redacted. It contains no arguments and no data of the call.

    Attributes:
        key: identifies the message; the same on every attempt to deliver it.
        incident: identifies the incident.
        occasion: `"first"`, `"digest"` or `"recovered"`.
        operation: the function's name.
        status: `"failed"`, or `"degraded"` if a fallback stood in.
        severity: `"warning"`, `"error"` or `"critical"`.
        kind: the failure kind, such as `"transient"`.
        error_type: the error's class.
        http_status: the HTTP status with which the incident's first request failed; None if no request did.
        error: the error's text.
        where: the deepest frame of the user's own code, as `"flights.py:12 in fetch_month"`.
        notes: what was done about it, one sentence each.
        consequence: what it means for everything downstream.
        run: ids and names of the run, and its `url`.
        time: when it happened, in unix seconds.
        count: the failures that this message reports: 1 in a first message, in a digest those since the last message,
            in a recovery all of the incident.
        total: all failures of the incident so far.
        relapse: the incident had been reported as over before.
        flows: names of the flows in which the failures happened, ten at most.
        seconds: how long the incident had lasted when the message was written.
        thread: what `send` returned last for a message of this incident; empty in the first one.
    """

    key: str
    incident: str
    occasion: Occasion = "first"
    operation: str
    status: Literal["failed", "degraded"] = "failed"
    severity: Severity = "error"
    kind: str = ""
    error_type: str = ""
    http_status: int | None = None
    error: str = ""
    where: str = ""
    notes: tuple[str, ...] = ()
    consequence: str = ""
    run: Mapping[str, str] = field(default_factory=dict)
    time: float = 0.0
    count: int = 1
    total: int = 1
    relapse: bool = False
    flows: tuple[str, ...] = ()
    seconds: float = 0.0
    thread: Mapping[str, str] = field(default_factory=dict)

    @property
    def failure(self) -> str:
        """The error in a few words: `HTTPStatusError (HTTP 503)`."""
        return label(self.error_type, self.http_status)

    def headline(self) -> str:
        """Return in one line what happened."""
        if self.occasion == "recovered":
            return f"{self.operation} works again"
        if self.occasion == "digest":
            again = "again, " if self.relapse else ""
            return f"{self.operation} {self.status} {again}{number_of(self.count, 'more time')}: {self.failure}"
        often = "" if self.count == 1 else f" {number_of(self.count, 'time')}"
        return f"{self.operation} {self.status}{often}: {self.failure}"

    def summary(self) -> str:
        """Return in one line how often it has failed, where, and for how long; empty in a first message."""
        if self.occasion == "first":
            return ""
        more = "" if self.occasion == "recovered" or self.count == self.total else f"{self.count:,} more, "
        flows = f" in {len(self.flows)} flows ({', '.join(self.flows)})" if len(self.flows) > 1 else ""
        return f"{more}{number_of(self.total, 'time')} in {lasted(self.seconds)}{flows}"

    def text(self) -> str:
        """Return the message as plain text, the headline first."""
        return "\n".join(filter(None, (self.headline(), self.body())))

    def body(self) -> str:
        """Return the plain text after the headline."""
        if self.occasion == "first":
            lines = [self.error[:500], self.where, *self.notes, self.consequence]
        elif self.occasion == "digest":
            lines = [self.summary(), f"last: {self.error[:500]}" if self.error else ""]
        else:
            lines = [f"failed {self.summary()}: {self.failure}"]
        return "\n".join(line for line in [*lines, self.run.get("url", "")] if line)


def lasted(seconds: float) -> str:
    """Return a duration for people: `"6 min"`."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.95 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


@runtime_checkable
class Channel(Protocol):
    """A place that messages are sent to. A frozen, picklable value: it connects when it sends."""

    @property
    def name(self) -> str:
        """The name of the place that messages are sent to, without any secret: the same for the same place.

        Unsent messages are kept under this name: any process with a channel of this name can send them.
        """

    def send(self, message: Message, *, within: float) -> Mapping[str, str] | None:
        """Deliver `message` once, or raise. The caller retries, and heeds the `Retry-After` of the error.

        Args:
            message: the message.
            within: seconds that delivery may take.

        Returns:
            How to find this message again, for `thread` of later ones: text by name, without any secret.
        """
