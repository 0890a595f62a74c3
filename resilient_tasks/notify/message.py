"""What a channel is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, runtime_checkable

from resilient_tasks.core.wording import number_of, worded

#: Why a message is sent: an incident began, more of the same has happened since, or it is over.
Occasion = Literal["first", "digest", "recovered"]

#: How bad it is: a stand-in's data, a failed call, and what the user says is worse than that.
Severity = Literal["warning", "error", "critical"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """What a person is told of one incident: failures of one operation that are alike.

    Secrets are blotted out already. Arguments and data of the call never stand in it.

    Attributes:
        key: the same whenever this message is delivered again, and in no other message.
        incident: the same in all messages of one incident.
        occasion: `"first"`, `"digest"` or `"recovered"`.
        operation: the function's name.
        status: `"failed"`, or `"degraded"` where a fallback stood in.
        severity: `"warning"`, `"error"` or `"critical"`.
        kind: the failure kind, such as `"transient"`.
        error_type: the error's class.
        http_status: the HTTP status by which the incident's first request failed; None where no request did.
        error: the error's text.
        where: the deepest frame of the user's own code, as `"flights.py:12 in fetch_month"`.
        notes: what was done about it, one sentence each.
        consequence: what it means for everything downstream.
        run: ids and names of the run, and `url` where it can be looked at.
        time: when it happened, in unix seconds.
        count: the failures that this message tells of: 1 in a first message, in a digest those since the last message,
            in the last one all of the incident.
        total: all failures of the incident so far.
        relapse: people had been told that it was over.
        flows: names of the flows in which they happened; of many, the first ones.
        seconds: how long the incident had lasted when the message was made.
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
        return worded(self.error_type, self.http_status)

    def headline(self) -> str:
        """Say in one line what happened."""
        if self.occasion == "recovered":
            return f"{self.operation} works again"
        if self.occasion == "digest":
            again = "again, " if self.relapse else ""
            return f"{self.operation} {self.status} {again}{number_of(self.count, 'more time')}: {self.failure}"
        often = "" if self.count == 1 else f" {number_of(self.count, 'time')}"
        return f"{self.operation} {self.status}{often}: {self.failure}"

    def summary(self) -> str:
        """Say in one line how often it has failed, where, and for how long; empty in a first message."""
        if self.occasion == "first":
            return ""
        more = "" if self.occasion == "recovered" or self.count == self.total else f"{self.count:,} more, "
        flows = f" in {len(self.flows)} flows ({', '.join(self.flows)})" if len(self.flows) > 1 else ""
        return f"{more}{number_of(self.total, 'time')} in {lasted(self.seconds)}{flows}"

    def text(self) -> str:
        """Say it in plain text, a line each, the headline first."""
        return "\n".join(filter(None, (self.headline(), self.body())))

    def body(self) -> str:
        """Say in plain text what comes after the headline, a line each."""
        if self.occasion == "first":
            lines = [self.error[:500], self.where, *self.notes, self.consequence]
        elif self.occasion == "digest":
            lines = [self.summary(), f"last: {self.error[:500]}" if self.error else ""]
        else:
            lines = [f"failed {self.summary()}: {self.failure}"]
        return "\n".join(line for line in [*lines, self.run.get("url", "")] if line)


def lasted(seconds: float) -> str:
    """Say how long something lasted, as a person would."""
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 1.95 * size:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds:.0f} s"


@runtime_checkable
class Channel(Protocol):
    """Where messages go. A frozen value, picklable: it connects when it sends."""

    @property
    def name(self) -> str:
        """Name the place that messages go to, without any secret: two that send to one place bear one name.

        Messages that wait are kept under this name, for any process that has a channel so called to send them.
        """

    def send(self, message: Message, *, within: float) -> Mapping[str, str] | None:
        """Deliver `message` once, or raise. Who calls this tries again; it heeds a `Retry-After` that the error bears.

        Args:
            message: what to say.
            within: seconds that delivery may take.

        Returns:
            What is needed to find this message again, for `thread` of those that follow: text by name, and no secret.
        """
