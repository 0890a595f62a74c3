"""Spans of calls and attempts, and span events.

A call has a span: the run's own, if the call is the function of a Prefect run that has a recording span; otherwise one
made here. Below it, each attempt has a span, which is current while the function runs. An event of a policy is a span
event on the span of its call.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from types import CoroutineType
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context, attach, create_key, get_current, get_value, set_value
from opentelemetry.trace import Span, Status, StatusCode, TracerProvider

from resilient_tasks.core import host
from resilient_tasks.core.call import Call, Later, Proceed, Work
from resilient_tasks.core.events import (
    CallFailed,
    Event,
    FailureEvent,
    FallbackUsed,
    RetryExhausted,
    RetryRecovered,
    RetryScheduled,
    TimeoutExceeded,
    run_ids,
)
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.observe.otel.attempts import Attempt
from resilient_tasks.observe.otel.attributes import ERROR_TYPE, PREFIX, VERSION, of_event, status_text
from resilient_tasks.observe.otel.crossing import Carrier
from resilient_tasks.observe.otel.harmless import harmless
from resilient_tasks.observe.otel.metrics import Metrics

#: In OpenTelemetry's context: the innermost call whose own span is current.
_CALL = create_key("resilient_tasks.call")
#: Events after which an attempt that has ended gets no other outcome. Some say that its result was rejected.
_SETTLES = (CallFailed, FallbackUsed, RetryExhausted, RetryRecovered, RetryScheduled)


class _CallSpan:
    """A call that is under way.

    Attributes:
        span: the call's.
        is_own: whether it was made here, and not by Prefect.
        context: the context of the attempts.
        outside: the context around the call, as long as its own is current.
        attempts: those that have no final outcome yet. Removing one from the list is what claims it: several threads
            may want to end it.
        made: the number of attempts that began.
        in_steps: the one attempt of a generator.
    """

    __slots__ = ("attempts", "began", "context", "in_steps", "is_own", "made", "operation", "outside", "span")

    def __init__(self, operation: str, span: Span, context: Context, *, is_own: bool) -> None:
        self.operation, self.span, self.context, self.is_own = operation, span, context, is_own
        self.outside: Context = context
        self.attempts: list[Attempt] = []
        self.made = 0
        self.in_steps: Attempt | None = None
        self.began = time.perf_counter()


class Spans:
    """Records spans, and counts them. An `Observer` of calls, and with `on_event` a sink."""

    carrier_class = Carrier

    def __init__(self, provider: TracerProvider | None, metrics: Metrics) -> None:
        self._tracer = trace.get_tracer("resilient_tasks", VERSION, provider)
        self._metrics = metrics
        self._calls: dict[str, _CallSpan] = {}

    def close(self) -> None:
        """End the spans of calls that are under way, of which nothing more will be seen."""
        for call_id in list(self._calls):
            self._end(call_id, "unobserved", None)

    def begin(self, call: Call, *, in_steps: bool = False) -> None:
        """See `Observer`."""
        begun = self._begin(call)
        if in_steps and begun is not None:
            begun.in_steps = self._begin_attempt(begun, call)

    @harmless
    def _begin(self, call: Call) -> _CallSpan:
        work, around, span = call.work, get_current(), trace.get_current_span()
        about = {f"{PREFIX}operation": work.operation, f"{PREFIX}call": work.id}
        if _is_of_run(span, work):
            span.set_attributes(about)
            begun = _CallSpan(work.operation, span, around, is_own=False)
        else:
            span = self._tracer.start_span(work.operation, around, attributes=about)
            context = trace.set_span_in_context(span, around)
            begun = _CallSpan(work.operation, span, context, is_own=True)
            begun.context = set_value(_CALL, begun, context)
        self._calls[work.id] = begun
        return begun

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        """See `Observer`."""
        begun = self._begin(call)
        if begun is None or not begun.is_own:
            try:
                return await proceed(call)
            except BaseException as error:
                if not isinstance(error, Exception):
                    self.ended(call, error)
                raise
        begun.outside = get_current()
        attach(begun.context)
        try:
            return await proceed(call)
        except BaseException as error:
            if not isinstance(error, Exception):
                self.ended(call, error)
            if isinstance(error, GeneratorExit) and get_current() is not begun.context:
                begun.outside = get_current()  # it is closed in another context
            raise
        finally:
            attach(begun.outside)

    def leave_context(self) -> Callable[[], None]:
        """See `Observer`."""
        inside = get_current()
        begun = get_value(_CALL, inside)
        if not isinstance(begun, _CallSpan):
            return _nothing
        attach(begun.outside)

        def go_on() -> None:
            here = get_current()
            if get_value(_CALL, here) is not begun:
                begun.outside = here
            attach(inside)

        return go_on

    async def attempt(self, call: Call) -> Outcome[Any] | Later:
        """See `Observer`."""
        work = call.work
        begun = self._calls.get(work.id)
        attempt = None if begun is None else begun.in_steps or self._begin_attempt(begun, call)
        around = get_current()
        if attempt is not None:
            attach(attempt.context)
        try:
            started = work.runtime.begin(work.fn, work.args, work.kwargs)
            outcome: Any = await started if type(started) is CoroutineType else started
        except BaseException as error:
            if attempt is not None:
                attempt.interrupted()
                if isinstance(error, GeneratorExit) and get_current() is not attempt.context:
                    around = get_current()  # as above
            raise
        finally:
            attach(around)
        if attempt is None:
            return outcome  # type: ignore[no-any-return]  # of the two above
        if isinstance(outcome, Later):
            return Later(_Awaited(outcome.awaitable, attempt), outcome.runtime)
        if begun is None or begun.in_steps is None or isinstance(outcome, Failed):  # else more steps may follow
            attempt.done(outcome)
        return outcome  # type: ignore[no-any-return]  # as above

    @harmless
    def _begin_attempt(self, begun: _CallSpan, call: Call) -> Attempt:
        self._settle(begun)
        begun.made += 1
        attempt = Attempt(self._tracer, begun.context, call)
        begun.attempts.append(attempt)
        return attempt

    @harmless
    def fenced(self, call: Call) -> None:
        """See `Observer`."""
        begun = self._calls.get(call.work.id)
        for attempt in () if begun is None else tuple(begun.attempts):
            if attempt.is_inside(call):
                attempt.given_up()

    @harmless
    def ended(self, call: Call, outcome: Outcome[Any] | BaseException | None) -> None:
        """See `Observer`."""
        if isinstance(outcome, Failed):
            self._end(call.work.id, "failed", outcome.error)
        elif isinstance(outcome, Degraded):
            self._end(call.work.id, "degraded", None)
        elif isinstance(outcome, Exception):  # raised to the consumer of a generator
            self._end(call.work.id, "failed", outcome)
        elif isinstance(outcome, GeneratorExit) and self._is_in_steps(call):  # its consumer has closed it
            self._end(call.work.id, "ok", None)
        elif isinstance(outcome, BaseException):
            self._end(call.work.id, "cancelled", None)
        else:
            self._end(call.work.id, "recovered" if isinstance(outcome, Ok) and outcome.attempts > 1 else "ok", None)

    def _is_in_steps(self, call: Call) -> bool:
        begun = self._calls.get(call.work.id)
        return begun is not None and begun.in_steps is not None

    def _end(self, call_id: str, outcome: str, error: Exception | None) -> None:
        begun = self._calls.pop(call_id, None)
        if begun is None:
            return
        if begun.in_steps is not None and outcome == "ok":
            begun.in_steps.done(None)
        for attempt in tuple(begun.attempts):
            attempt.given_up()
        self._settle(begun)
        begun.context, begun.in_steps = begun.outside, None  # the call's own contexts refer to this object
        error_type = "" if error is None else type(error).__name__
        span = begun.span
        span.set_attributes({f"{PREFIX}outcome": outcome, f"{PREFIX}attempts": begun.made})
        if begun.is_own:
            if error is not None:
                span.set_attribute(ERROR_TYPE, error_type)
                span.set_status(Status(StatusCode.ERROR, status_text(error)))
            span.end()
        self._metrics.call(begun.operation, outcome, error_type, time.perf_counter() - begun.began)

    def _settle(self, begun: _CallSpan) -> None:
        """End the spans of all attempts that have ended."""
        for attempt in tuple(begun.attempts):
            if attempt.ended_at:
                self._finish(begun, attempt)

    def _finish(self, begun: _CallSpan, attempt: Attempt) -> None:
        try:
            begun.attempts.remove(attempt)
        except ValueError:  # another thread does it
            return
        attempt.end()
        self._metrics.attempt(begun.operation, attempt.outcome, attempt.error_type, attempt.seconds)

    def on_event(self, event: Event) -> None:
        """Add an event to the span of its call, or else to the current span, and to the metrics."""
        self._metrics.event(event)
        begun = self._calls.get(event.call)
        span = trace.get_current_span() if begun is None else begun.span
        if span.is_recording():
            span.add_event(event.name, of_event(event), int(event.time * 1e9))
        self.heard(event)

    def heard(self, event: Event) -> None:
        """See `Observer`."""
        begun = self._calls.get(event.call)
        if begun is None:
            return
        if isinstance(event, TimeoutExceeded):
            attempt = _that_was_cut(begun)
            if attempt is not None:
                attempt.exceeded(event)
                self._finish(begun, attempt)
        elif isinstance(event, _SETTLES):
            for attempt in begun.attempts[-1:]:
                if isinstance(event, FailureEvent):
                    attempt.rejected(event)
            self._settle(begun)

    @harmless
    def carrier(self) -> Carrier:
        """See `Observer`."""
        return Carrier.of_this_context()


class _Awaited:
    """An awaitable that a plain function has returned: its attempt lasts until it was awaited."""

    def __init__(self, awaitable: Any, attempt: Attempt) -> None:
        self._awaitable, self._attempt = awaitable, attempt

    def __await__(self) -> Any:
        return self._await().__await__()

    async def _await(self) -> Any:
        around = get_current()
        attach(self._attempt.context)
        try:
            value = await self._awaitable
        except Exception as error:
            self._attempt.done(Failed(error))
            raise
        except BaseException:
            self._attempt.interrupted()
            raise
        finally:
            attach(around)
        self._attempt.done(None)
        return value


def _nothing() -> None:
    pass


def _is_of_run(span: Span, work: Work) -> bool:
    """Return whether `span` is that of the run whose function this work is."""
    if host.current is host.NONE or not span.is_recording():
        return False
    run = (getattr(span, "attributes", None) or {}).get("prefect.run.id")
    return bool(run) and run in run_ids().values() and host.current.is_of_run(work)


def _that_was_cut(begun: _CallSpan) -> Attempt | None:
    """Return the attempt that was cut; None if it ended late by itself, which its own error or result says."""
    cut = [attempt for attempt in begun.attempts if attempt.outcome in {"cancelled", "abandoned"}]
    running = [attempt for attempt in begun.attempts if not attempt.ended_at]
    return next((found[-1] for found in (cut, running) if found), None)
