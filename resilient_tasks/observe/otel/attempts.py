"""The span of one attempt.

Its outcome may be known only after its function has ended: a limit was exceeded, or the result is rejected.
"""

from __future__ import annotations

import time
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode, Tracer

from resilient_tasks.core.call import Call, ParallelCall
from resilient_tasks.core.events import ErrorEvent, TimeoutExceeded
from resilient_tasks.core.execution import runtime
from resilient_tasks.core.outcome import Failed
from resilient_tasks.observe.otel.attributes import (
    ERROR_TYPE,
    HTTP_STATUS,
    PREFIX,
    THREAD,
    record_exception,
    status_text,
)
from resilient_tasks.observe.otel.harmless import harmless


class Attempt:
    """An attempt, until its span ends.

    Attributes:
        number: of the attempt, from 1.
        span: its span.
        context: is current while the function runs.
        ended_at: when the function ended or was given up, in unix nanoseconds; 0 while it runs.
        outcome: `ok`, `failed`, `timeout`, `abandoned` (it may still run) or `cancelled`.
        error_type: of the failure; empty without one.
    """

    __slots__ = ("_began", "_call", "_description", "context", "ended_at", "error_type", "number", "outcome", "span")

    def __init__(self, tracer: Tracer, around: Context, call: Call) -> None:
        work = call.work
        about: dict[str, Any] = {
            f"{PREFIX}operation": work.operation,
            f"{PREFIX}call": work.id,
            f"{PREFIX}attempt": call.attempt,
        }
        if _is_hedged(call):
            about[f"{PREFIX}hedged"] = True
        self.number: int = call.attempt
        self.span: Span = tracer.start_span(f"{work.operation} attempt", around, attributes=about)
        self.context: Context = trace.set_span_in_context(self.span, around)
        self.ended_at: int = 0
        self.outcome: str = "ok"
        self.error_type: str = ""
        self._description = ""
        self._call: Call | None = call
        self._began = time.time_ns()

    @property
    def seconds(self) -> float:
        """Its duration."""
        return max(0, self.ended_at - self._began) / 1e9

    def is_inside(self, call: Call) -> bool:
        """Return whether this is an attempt of `call`."""
        around = self._call
        while around is not None:
            if around is call:
                return True
            around = around.parent
        return False

    @harmless
    def done(self, outcome: Any) -> None:
        """Note the outcome of the function; nothing if it was given up before."""
        if self.ended_at:
            return
        self.ended_at = time.time_ns()
        if isinstance(outcome, Failed) and not isinstance(outcome.error, StopIteration | StopAsyncIteration):
            self.outcome, self.error_type = "failed", outcome.facts.error_type
            if self.span.is_recording():
                self._describe(outcome)

    def _describe(self, failed: Failed) -> None:
        self._description = status_text(failed.error)
        self.span.set_attribute(f"{PREFIX}kind", failed.facts.kind.value)
        if failed.facts.http_status is not None:
            self.span.set_attribute(HTTP_STATUS, failed.facts.http_status)
        record_exception(self.span, failed.error)

    @harmless
    def interrupted(self) -> None:
        """Note that something other than an error ended the function: a limit, or a cancellation."""
        if not self.ended_at:
            self.ended_at = time.time_ns()
        if self.outcome in {"ok", "abandoned"}:
            self.outcome = "cancelled"

    def given_up(self) -> None:
        """Note that nothing waits for the function any more."""
        if not self.ended_at and self._call is not None:
            self.ended_at = time.time_ns()
            is_async = self._call.work.runtime is runtime.ASYNC  # its task is cancelled
            self.outcome = "cancelled" if is_async else "abandoned"

    def exceeded(self, event: TimeoutExceeded) -> None:
        """Note that it exceeded a limit."""
        self.ended_at = self.ended_at or time.time_ns()
        self.outcome = "abandoned" if event.abandoned else "timeout"
        self.error_type = "DeadlineExceeded" if event.policy == "deadline" else "TimedOut"
        self._description = event.sentence()
        if event.stopped is not None:
            self.span.set_attribute(f"{PREFIX}stopped", event.stopped)
        if event.thread:
            self.span.set_attribute(THREAD, event.thread)

    def rejected(self, event: ErrorEvent) -> None:
        """Note that the function's result was rejected, by a schema, say."""
        if self.ended_at and self.outcome == "ok":
            is_late = event.error_type in {"TimedOut", "DeadlineExceeded"}
            self.outcome, self.error_type = "timeout" if is_late else "failed", event.error_type
            self._description = f"{event.error}: {event.message}"

    def end(self) -> None:
        """End the span, as of the time when the attempt ended."""
        self.span.set_attribute(f"{PREFIX}outcome", self.outcome)
        if self.error_type:  # an attempt that another one overtook has none
            self.span.set_attribute(ERROR_TYPE, self.error_type)
            self.span.set_status(Status(StatusCode.ERROR, self._description or self.outcome))
        self.span.end(self.ended_at)
        self._call = None


def _is_hedged(call: Call) -> bool:
    around: Call | None = call
    while around is not None and around.work.id == call.work.id:
        if isinstance(around, ParallelCall):
            return True
        around = around.parent
    return False
