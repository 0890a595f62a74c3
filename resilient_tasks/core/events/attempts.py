"""Events about calls and their attempts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from resilient_tasks.core import wording
from resilient_tasks.core.events.event import Event, FailureEvent, duration, named
from resilient_tasks.core.wording import counted, label, number_of


def place(name: str) -> str:
    """Describe where an abandoned attempt runs: in a thread, or a task or process if the name begins with that word."""
    return f"the {name}" if name.startswith(("task ", "process ")) else f"the thread {name}"


class RetryScheduled(FailureEvent):
    """Attempt number `attempt` failed; the next one starts after `delay` seconds."""

    name: ClassVar[str] = "retry.scheduled"
    attempts: int | None
    kind: str
    delay: float = named("retry.delay_s")

    def sentence(self) -> str:
        of = f" of {self.attempts}" if self.attempts else ""
        return f"attempt {self.attempt}{of}: {self.error}; waits {self.delay:.1f} s"


class RetryStarted(Event):
    """After a wait, attempt number `attempt` starts."""

    name: ClassVar[str] = "retry.started"
    level: ClassVar[int] = logging.DEBUG
    attempts: int | None

    def sentence(self) -> str:
        return f"attempt {self.attempt}{f' of {self.attempts}' if self.attempts else ''}"


class RetryRecovered(Event):
    """Attempt number `attempt` succeeded after earlier failures; `errors` counts them by type.

    `failures` counts them for messages: by HTTP status, or by type without one. `seconds` is the duration of this
    attempt.
    """

    name: ClassVar[str] = "retry.recovered"
    level: ClassVar[int] = logging.INFO
    attempts: int | None
    errors: Mapping[str, int]
    failures: Mapping[str, int] = field(default_factory=dict)
    seconds: float | None = duration()

    def sentence(self) -> str:
        of = f" of {self.attempts}" if self.attempts else ""
        return f"recovered on attempt {self.attempt}{of} ({counted(self.failures or self.errors)})"


class RetryExhausted(FailureEvent):
    """No further attempt follows, for `reason`; `errors` and `failures` as in `RetryRecovered`."""

    name: ClassVar[str] = "retry.exhausted"
    level: ClassVar[int] = logging.INFO  # the error or its stand-in is reported next
    reason: str
    kind: str
    errors: Mapping[str, int]
    failures: Mapping[str, int] = field(default_factory=dict)

    def sentence(self) -> str:
        return f"gave up after attempt {self.attempt}: {self.reason} ({counted(self.failures or self.errors)})"


class RetryMultiplied(Event):
    """Retry loops are nested: `loops` names them, outermost first.

    `attempts` is their product, 0 if one of them is unlimited.
    """

    name: ClassVar[str] = "retry.multiplied"
    attempts: int
    loops: tuple[str, ...]

    def sentence(self) -> str:
        product = f"up to {number_of(self.attempts, 'attempt')}" if self.attempts else "any number of attempts"
        return f"retries multiply: {' × '.join(self.loops)} = {product}; keep one of these loops"


class TimeoutExceeded(Event):
    """An attempt exceeded `limit` seconds. `stopped`: whether the work was interrupted; None if unknown.

    If not, `reason` is the cause, if known. An abandoned attempt still runs in `thread`, which may also name a task or
    a process.
    """

    name: ClassVar[str] = "timeout.exceeded"
    policy: str
    limit: float = named("timeout.limit_s")
    stopped: bool | None
    abandoned: bool
    thread: str = field(default="", metadata={"name": "thread.name"})
    reason: str = field(default="", metadata={"name": "timeout.reason"})

    def sentence(self) -> str:
        fate = {True: "stopped", False: "not stopped", None: "unknown whether stopped"}[self.stopped]
        why = f" ({self.reason})" if self.reason else ""
        where = f" in {place(self.thread)}" if self.thread else ""
        running = f", {'still' if self.stopped is False else 'perhaps still'} running{where}" if self.abandoned else ""
        return f"{self.policy} of {self.limit:g} s exceeded; {fate}{why}{running}"


class HedgeStarted(Event):
    """No result within `after` seconds: the same call was started once more, concurrently, as number `number`."""

    name: ClassVar[str] = "hedge.started"
    level: ClassVar[int] = logging.DEBUG
    number: int
    after: float = named("hedge.after_s")

    def sentence(self) -> str:
        return f"no answer for {self.after:g} s: called once more, as number {self.number}"


class HedgeWon(Event):
    """Call number `number` of the concurrent ones finished first, `seconds` after the start of the first."""

    name: ClassVar[str] = "hedge.won"
    level: ClassVar[int] = logging.INFO
    number: int
    seconds: float = named("hedge.answered_after_s")

    def sentence(self) -> str:
        return f"call number {self.number} answered first, after {self.seconds:.3f} s"


class FallbackUsed(FailureEvent):
    """The call failed, and `fallback` replaced its result.

    For an earlier result, `since` is its time in unix seconds and `age` its age in seconds.
    """

    name: ClassVar[str] = "fallback.used"
    fallback: str
    kind: str
    age: float | None = field(default=None, metadata={"name": "fallback.age_s", "if_known": True})
    since: float | None = field(default=None, metadata={"name": "fallback.since", "if_known": True})

    def sentence(self) -> str:
        return f"degraded: {self.fallback}{self.how_old} stands in after {self.error}"

    @property
    def how_old(self) -> str:
        """The stand-in's age in words: ` of 2026-11-26 14:03 UTC, 23 h old,`; empty if it has none."""
        if self.age is None or self.since is None:
            return ""
        return f" of {wording.moment(self.since)}, {wording.age(self.age)} old,"


class LastGoodUnavailable(Event):
    """A last good result was not `kept`, or could not be `read` (the `action`), for `reason`.

    The call goes on as if there were no such result. Emitted once an hour for each operation and kind of reason.
    """

    name: ClassVar[str] = "fallback.unavailable"
    action: str
    reason: str

    def sentence(self) -> str:
        was = {"kept": "was not kept", "read": "cannot be read"}.get(self.action, self.action)
        return f"the last good result {was}: {self.reason}"


class ChaosInjected(Event):
    """Fault injection made this call fail, wait or return another result."""

    name: ClassVar[str] = "chaos.injected"
    level: ClassVar[int] = logging.INFO
    fault: str

    def sentence(self) -> str:
        return f"injected {self.fault}"


class CallFailed(FailureEvent):
    """The call failed finally: the caller gets the error. `inside`: the call was made within another decorated call.

    With `again`, an orchestrator repeats the call; None: it may. So that one failure is one record at ERROR, the level
    is WARNING if another record follows: of the outer call, the orchestrator or the next attempt.
    """

    name: ClassVar[str] = "call.failed"
    level: ClassVar[int] = logging.ERROR
    loudest: ClassVar[int] = logging.ERROR
    kind: str
    inside: bool = False
    again: bool | None = False

    @property
    def severity(self) -> int:
        return logging.WARNING if self.inside or self.run or self.again is not False else self.level

    def sentence(self) -> str:
        follows = {True: "; another attempt follows", None: "; another attempt may follow"}.get(self.again, "")
        # The kind explains why the call was, or was not, retried.
        return f"failed with {label(self.error_type, self.http_status, self.kind)}: {self.message}{follows}"
