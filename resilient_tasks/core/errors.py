"""The library's own errors.

    ResilienceError
    ├── TimedOut            an attempt took longer than its timeout (also a TimeoutError)
    │   └── DeadlineExceeded  ... than what was left of the call's deadline
    ├── CircuitOpen         the circuit breaker let no call through
    ├── BulkheadFull        too many calls at once, and the queue is full
    ├── RateLimited         the rate limit has no token for this call
    ├── InvalidData         data did not satisfy its schema (also a ValueError)
    ├── DriftDetected       data satisfied its schema, and does not look like its baseline (also a ValueError)
    ├── ProcessDied         the process that the function ran in ended by itself
    ├── ResultRejected      `Retry(on_result=...)` was satisfied by no attempt's result
    ├── UnobservedFailure   a flow's submitted task failed, and nobody looked at its future
    └── DegradedRun         a call of the flow was degraded, and the flow is not to accept that

`PolicyError`, of a decorator's arguments, is none of these. `PredicateError` is one that shows only once something has
failed: it is raised from the error of the function.

A function's own error is never replaced by one of these: it reaches the caller with its own type and traceback, and a
note that tells of the attempts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

#: The attribute of an error with the slot of the policy that ended its call, where the error's type does not tell.
ENDED_BY = "__resilient_ended_by__"


class ResilienceError(Exception):
    """Base of every error that this library raises at run time."""


class TimedOut(ResilienceError, TimeoutError):
    """An attempt took longer than its timeout.

    Attributes:
        seconds: the limit that was exceeded.
        stopped: whether the work was interrupted at the limit. False says that Python could not, or that something
            which the work had begun runs on; None that this cannot be known.
        abandoned: whether the work, or something that it had begun, may still be running.
        thread: the name of the thread in which it is, or "task" or "process" and a name; several with commas.
    """

    def __init__(
        self,
        message: str,
        *,
        seconds: float = 0.0,
        stopped: bool | None = True,
        abandoned: bool = False,
        thread: str = "",
    ) -> None:
        super().__init__(message)
        self.seconds = seconds
        self.stopped = stopped
        self.abandoned = abandoned
        self.thread = thread


class DeadlineExceeded(TimedOut):
    """An attempt was cut because the call's total deadline had come."""


class CircuitOpen(ResilienceError):
    """The circuit breaker is open: the service was not called.

    Attributes:
        name: the breaker's.
        retry_in: seconds until a call may be let through; None if unknown.
    """

    def __init__(self, message: str, *, name: str = "", retry_in: float | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.retry_in = retry_in


class BulkheadFull(ResilienceError):
    """Too many calls are under way, and the queue has no room."""


class RateLimited(ResilienceError):
    """The rate limit has no token for this call.

    Attributes:
        retry_in: seconds until it has one.
    """

    def __init__(self, message: str, *, retry_in: float | None = None) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class InvalidData(ResilienceError, ValueError):
    """Data did not satisfy its schema.

    Attributes:
        report: what the check found (a `resilient_tasks.validation.report.Report`), or None where nothing could be
            checked; of several frames, that of the first that was refused.
        reports: what was found in each frame that was refused, by its name, where the value holds several.
    """

    def __init__(self, message: str, *, report: object = None, reports: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = report
        self.reports: dict[str, Any] = dict(reports or {})


class DriftDetected(ResilienceError, ValueError):
    """Data no longer looks like its baseline, although it satisfies its schema.

    Attributes:
        report: what the gate found (`resilient_tasks.validation.drift.DriftReport`).
    """

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class ProcessDied(ResilienceError):
    """The process that a function ran in ended by itself, before the function did.

    Attributes:
        exitcode: its exit code; None if a signal ended it or the code is unknown.
        signal: the number of the signal that killed it, or None. `SIGKILL` is often the kernel's, for want of memory.
    """

    def __init__(self, message: str, *, exitcode: int | None = None, signal: int | None = None) -> None:
        super().__init__(message)
        self.exitcode = exitcode
        self.signal = signal


class ResultRejected(ResilienceError):
    """No attempt returned a result that `Retry(on_result=...)` would accept.

    Attributes:
        result: what the last attempt returned.
    """

    def __init__(self, message: str, *, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class UnobservedFailure(ResilienceError):
    """Submitted tasks of a flow failed, and no code looked at their results."""


class DegradedRun(ResilienceError):
    """Calls of a flow were degraded, and the flow was decorated with `fail_on_degraded=True`."""


class CrashedRun(ResilienceError):
    """What stands in a message for what ended a flow run and is no `Exception`. It is never raised."""


class PolicyError(TypeError, ValueError):
    """A decorator was given arguments that are contradictory or impossible; the message says what to do.

    Raised at decoration, where that is possible. It is both a `TypeError` and a `ValueError`, so that either `except`
    finds it.
    """


class PredicateError(PolicyError):
    """A predicate or a key function that a policy was given failed, or did not answer.

    Its cause is the error that the predicate was asked about: that of the call. Every other policy goes by that one,
    so that a fallback stands in as it would have. A predicate of a result, and a key function, was asked about no
    error: its own is the cause.
    """

    @property
    def judged(self) -> BaseException | None:
        """The error that the predicate was asked about; None where it was asked about something else."""
        return self.__cause__ if self.about_error else None

    def __init__(self, message: str, *, about_error: bool = True) -> None:
        super().__init__(message)
        self.about_error = about_error


def judged_in(error: BaseException) -> BaseException:
    """Return the error to go by: what a broken predicate was asked about, and else `error` itself."""
    while issubclass(type(error), PredicateError):  # not `isinstance`: an error's `__class__` may raise
        judged = cast("PredicateError", error).judged
        if judged is None:
            break
        error = judged
    return error
