"""The library's own errors.

    ResilienceError
    ├── TimedOut            an attempt took longer than its timeout (also a TimeoutError)
    │   └── DeadlineExceeded  ... than the rest of the call's deadline
    ├── CircuitOpen         the circuit breaker is open
    ├── BulkheadFull        too many calls at once, and the queue is full
    ├── RateLimited         the rate limit has no token for this call
    ├── InvalidData         data did not satisfy its schema (also a ValueError)
    ├── DriftDetected       data satisfied its schema but drifted from its baseline (also a ValueError)
    ├── ProcessDied         the function's process ended by itself
    ├── ResultRejected      `Retry(on_result=...)` rejected every attempt's result
    ├── UnobservedFailure   a flow's submitted task failed, and its future was never read
    └── DegradedRun         a call of the flow was degraded, and the flow has `fail_on_degraded=True`

`PolicyError`, for wrong arguments of a decorator, is none of these. `PredicateError` is a `PolicyError` that shows only
at a call: a user's predicate or key function failed.

A function's own error is never replaced by one of these: it reaches the caller with its type and traceback, and a note
about the attempts.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

#: The attribute with the slot of the policy that ended the call, if the error's type does not reveal it.
ENDED_BY = "__resilient_ended_by__"


class ResilienceError(Exception):
    """Base of every error that this library raises at run time."""


class TimedOut(ResilienceError, TimeoutError):
    """An attempt took longer than its timeout.

    Attributes:
        seconds: the limit that was exceeded.
        stopped: whether the work was interrupted at the limit. False if Python could not interrupt it, or if threads or
            tasks that it started still run; None if unknown.
        abandoned: whether the work, or something that it started, may still be running.
        thread: the name of the thread that runs it, or "task" or "process" and a name; several separated by commas.
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
    """An attempt was stopped because the call's total deadline was reached."""


class CircuitOpen(ResilienceError):
    """The circuit breaker is open: the service was not called.

    Attributes:
        name: the breaker's name.
        retry_in: seconds until a call may be let through; None if unknown.
    """

    def __init__(self, message: str, *, name: str = "", retry_in: float | None = None) -> None:
        super().__init__(message)
        self.name = name
        self.retry_in = retry_in


class BulkheadFull(ResilienceError):
    """Too many calls are running, and the queue is full."""


class RateLimited(ResilienceError):
    """The rate limit has no token for this call.

    Attributes:
        retry_in: seconds until a token is available.
    """

    def __init__(self, message: str, *, retry_in: float | None = None) -> None:
        super().__init__(message)
        self.retry_in = retry_in


class InvalidData(ResilienceError, ValueError):
    """Data did not satisfy its schema.

    Attributes:
        report: the findings (a `resilient_tasks.validation.report.Report`), or None if nothing could be checked; of
            several frames, the report on the first that was refused.
        reports: if the value holds several frames, the report on each refused frame by its name.
    """

    def __init__(self, message: str, *, report: object = None, reports: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.report = report
        self.reports: dict[str, Any] = dict(reports or {})


class DriftDetected(ResilienceError, ValueError):
    """Data drifted from its baseline, although it satisfies its schema.

    Attributes:
        report: the gate's report (`resilient_tasks.validation.drift.DriftReport`).
    """

    def __init__(self, message: str, *, report: object = None) -> None:
        super().__init__(message)
        self.report = report


class ProcessDied(ResilienceError):
    """The process that ran a function ended before the function did.

    Attributes:
        exitcode: its exit code; None if a signal ended it or the code is unknown.
        signal: the number of the signal that killed it, or None. The kernel sends `SIGKILL` when memory runs out.
    """

    def __init__(self, message: str, *, exitcode: int | None = None, signal: int | None = None) -> None:
        super().__init__(message)
        self.exitcode = exitcode
        self.signal = signal


class ResultRejected(ResilienceError):
    """`Retry(on_result=...)` rejected the result of every attempt.

    Attributes:
        result: the result of the last attempt.
    """

    def __init__(self, message: str, *, result: object = None) -> None:
        super().__init__(message)
        self.result = result


class UnobservedFailure(ResilienceError):
    """Submitted tasks of a flow failed, and no code read their results."""


class DegradedRun(ResilienceError):
    """Calls of a flow were degraded, and the flow was decorated with `fail_on_degraded=True`."""


class CrashedRun(ResilienceError):
    """Represents in messages a `BaseException` that ended a flow run. It is never raised."""


class PolicyError(TypeError, ValueError):
    """The arguments of a decorator are contradictory or impossible; the message says what to write instead.

    Raised at decoration if possible. It is both a `TypeError` and a `ValueError`, so that either `except` catches it.
    """


class PredicateError(PolicyError):
    """A user's predicate or key function raised, or returned no usable value.

    For a predicate of an error, the cause is the error of the call. All other policies act on that error, so a fallback
    still applies. For a predicate of a result and for a key function, the cause is the error that it raised.
    """

    @property
    def judged(self) -> BaseException | None:
        """The error of the call that the predicate was called with; None if it was called with something else."""
        return self.__cause__ if self.about_error else None

    def __init__(self, message: str, *, about_error: bool = True) -> None:
        super().__init__(message)
        self.about_error = about_error


def error_to_judge(error: BaseException) -> BaseException:
    """Return the error that policies act on: the call's error if its predicate failed, otherwise `error` itself."""
    while issubclass(type(error), PredicateError):  # not `isinstance`: an error's `__class__` may raise
        judged = cast("PredicateError", error).judged
        if judged is None:
            break
        error = judged
    return error
