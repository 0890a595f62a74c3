"""What happens to a call and its attempts."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import field
from typing import ClassVar

from resilient_tasks.core import wording
from resilient_tasks.core.events.event import Event, FailureEvent, named
from resilient_tasks.core.wording import counted, number_of, worded


def place(name: str) -> str:
    """Say in words what an abandoned attempt runs in: a thread, or a task or process by whose kind its name begins."""
    return f"the {name}" if name.startswith(("task ", "process ")) else f"the thread {name}"


class RetryScheduled(FailureEvent):
    """Attempt number `attempt` failed, and another one follows after `delay` seconds."""

    name: ClassVar[str] = "retry.scheduled"
    attempts: int | None
    kind: str
    delay: float = named("retry.delay_s")

    def sentence(self) -> str:
        of = f" of {self.attempts}" if self.attempts else ""
        return f"attempt {self.attempt}{of}: {self.error}; waits {self.delay:.1f} s"


class RetryStarted(Event):
    """The wait is over: attempt number `attempt` begins."""

    name: ClassVar[str] = "retry.started"
    level: ClassVar[int] = logging.DEBUG
    attempts: int | None

    def sentence(self) -> str:
        return f"attempt {self.attempt}{f' of {self.attempts}' if self.attempts else ''}"


class RetryRecovered(Event):
    """Attempt number `attempt` succeeded after others had failed; `errors` counts those by type.

    `failures` counts them for messages: by HTTP status if there is one.
    """

    name: ClassVar[str] = "retry.recovered"
    level: ClassVar[int] = logging.INFO
    attempts: int | None
    errors: Mapping[str, int]
    failures: Mapping[str, int] = field(default_factory=dict)

    def sentence(self) -> str:
        of = f" of {self.attempts}" if self.attempts else ""
        return f"recovered on attempt {self.attempt}{of} ({counted(self.failures or self.errors)})"


class RetryExhausted(FailureEvent):
    """No further attempt follows, and `reason` says why; `errors` and `failures` as in `RetryRecovered`."""

    name: ClassVar[str] = "retry.exhausted"
    level: ClassVar[int] = logging.INFO  # the error comes next, or what stands in for it
    reason: str
    kind: str
    errors: Mapping[str, int]
    failures: Mapping[str, int] = field(default_factory=dict)

    def sentence(self) -> str:
        return f"gave up after attempt {self.attempt}: {self.reason} ({counted(self.failures or self.errors)})"


class RetryMultiplied(Event):
    """Loops of attempts surround each other: `loops` names them, outermost first.

    `attempts` is their product, 0 where one of them is limited by no number.
    """

    name: ClassVar[str] = "retry.multiplied"
    attempts: int
    loops: tuple[str, ...]

    def sentence(self) -> str:
        product = f"up to {number_of(self.attempts, 'attempt')}" if self.attempts else "any number of attempts"
        return f"retries multiply: {' × '.join(self.loops)} = {product}; keep one of these loops"


class TimeoutExceeded(Event):
    """An attempt exceeded `limit` seconds. `stopped` tells whether the work was really interrupted; None is unknown.

    Where it was not, `reason` says why, if that is known; an attempt that was abandoned runs on in `thread`, which may
    be the name of a task or of a process.
    """

    name: ClassVar[str] = "timeout.exceeded"
    policy: str
    limit: float = named("timeout.limit_s")
    stopped: bool | None
    abandoned: bool
    thread: str = field(default="", metadata={"name": "thread.name"})
    reason: str = field(default="", metadata={"name": "timeout.reason"})

    def sentence(self) -> str:
        fate = {True: "stopped", False: "not stopped", None: "stopped or not, that is unknown"}[self.stopped]
        why = f" ({self.reason})" if self.reason else ""
        where = f" in {place(self.thread)}" if self.thread else ""
        running = f", {'still' if self.stopped is False else 'perhaps still'} running{where}" if self.abandoned else ""
        return f"{self.policy} of {self.limit:g} s exceeded; {fate}{why}{running}"


class HedgeStarted(Event):
    """No answer within `after` seconds: the same call was made once more, beside the first, as number `number`."""

    name: ClassVar[str] = "hedge.started"
    level: ClassVar[int] = logging.DEBUG
    number: int
    after: float = named("hedge.after_s")

    def sentence(self) -> str:
        return f"no answer for {self.after:g} s: called once more, as number {self.number}"


class HedgeWon(Event):
    """Call number `number` of those made side by side answered first, `seconds` after the first was made."""

    name: ClassVar[str] = "hedge.won"
    level: ClassVar[int] = logging.INFO
    number: int
    seconds: float = named("hedge.answered_after_s")

    def sentence(self) -> str:
        return f"call number {self.number} answered first, after {self.seconds:.3f} s"


class FallbackUsed(FailureEvent):
    """The call failed, and `fallback` gave the result in its place.

    Of an earlier result, `since` is its time in unix seconds, and `age` how old it is.
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
        """How old the stand-in is, in words: ` of 2026-11-26 14:03 UTC, 23 h old,`; empty where it has no age."""
        if self.age is None or self.since is None:
            return ""
        return f" of {wording.moment(self.since)}, {wording.age(self.age)} old,"


class LastGoodUnavailable(Event):
    """A last good result was not `kept`, or could not be `read`; `action` says which, and `reason` says why.

    The call goes on as if there were no such result. It is told once an hour for each operation and kind of reason.
    """

    name: ClassVar[str] = "fallback.unavailable"
    action: str
    reason: str

    def sentence(self) -> str:
        was = {"kept": "was not kept", "read": "cannot be read"}.get(self.action, self.action)
        return f"the last good result {was}: {self.reason}"


class ChaosInjected(Event):
    """A rehearsal made this call fail, wait or return something else on purpose."""

    name: ClassVar[str] = "chaos.injected"
    level: ClassVar[int] = logging.INFO
    fault: str

    def sentence(self) -> str:
        return f"injected {self.fault}"


class CallFailed(FailureEvent):
    """Nothing helped: the caller gets the error. It may be another call's function, which this one was made `inside`.

    With `again`, an orchestrator repeats the call; None: it may. One failure is one record at ERROR: the outer call,
    the orchestrator, which logs the error with its traceback, or the next attempt reports it again.
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
        # The kind is the reason why the call was retried, or was not.
        return f"failed with {worded(self.error_type, self.http_status, self.kind)}: {self.message}{follows}"
