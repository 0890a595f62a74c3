"""Metrics of calls, attempts and policies. `docs/opentelemetry.md` lists their names, units and attributes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.metrics import MeterProvider, get_meter

from resilient_tasks.core.events import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    BulkheadRejected,
    Event,
    FlightJoined,
    HedgeStarted,
    NotifyFailed,
    NotifyKnown,
    NotifySent,
    NotifySuppressed,
    RateLimitReached,
    RetryScheduled,
    RowsInvalid,
    RowsQuarantined,
    TimeoutExceeded,
)
from resilient_tasks.observe.otel.attributes import ERROR_TYPE, VERSION, Bounded

#: Bounds of the histograms, in seconds: from a cached answer to an hour of waiting for a service.
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600, 1800, 3600)
_MOST_NAMES, _MOST_ERRORS = 1_000, 100
_STATES: dict[type[Event], str] = {BreakerOpened: "open", BreakerHalfOpened: "half_open", BreakerClosed: "closed"}


class Metrics:
    """The instruments, and what each event adds to them."""

    def __init__(self, provider: MeterProvider | None = None) -> None:
        meter = get_meter("resilient_tasks", VERSION, provider)

        def counter(name: str, unit: str, description: str) -> Any:
            return meter.create_counter(f"resilient_tasks.{name}", unit, description)

        def histogram(name: str, description: str) -> Any:
            name = f"resilient_tasks.{name}"
            return meter.create_histogram(name, "s", description, explicit_bucket_boundaries_advisory=_SECONDS)

        self._calls = counter("calls", "{call}", "Calls that have ended")
        self._call_duration = histogram("call.duration", "Duration of calls, with all their attempts and waits")
        self._attempts = counter("attempts", "{attempt}", "Attempts that have ended, or were given up")
        self._attempt_duration = histogram("attempt.duration", "Duration of attempts")
        self._waits = histogram("wait.duration", "Waits of calls: between attempts, for a rate limit, or to share one")
        self._timeouts = counter("timeouts", "{timeout}", "Attempts that exceeded a limit")
        self._transitions = counter("breaker.transitions", "{transition}", "Changes of a circuit's state")
        self._state = meter.create_gauge(
            "resilient_tasks.breaker.state", "1", "1 for the state of a circuit, 0 for others"
        )
        self._rejections = counter("rejections", "{call}", "Calls that a limit rejected")
        self._hedges = counter("hedges", "{attempt}", "Attempts that were started beside one that was slow")
        self._rows = counter("rows.invalid", "{row}", "Rows that broke their schema, at each attempt")
        self._alerts = counter("alerts", "{alert}", "Alerts, by what was done with them")
        self._operation, self._name = Bounded(_MOST_NAMES), Bounded(_MOST_NAMES)
        self._error = Bounded(_MOST_ERRORS)

    def call(self, operation: str, outcome: str, error_type: str, seconds: float) -> None:
        """Count a call that has ended."""
        about = self._about(operation, outcome, error_type)
        self._calls.add(1, about)
        self._call_duration.record(seconds, about)

    def attempt(self, operation: str, outcome: str, error_type: str, seconds: float) -> None:
        """Count an attempt that has ended."""
        about = self._about(operation, outcome, error_type)
        self._attempts.add(1, about)
        self._attempt_duration.record(seconds, about)

    def event(self, event: Event) -> None:
        """Add what an event says."""
        for kind in type(event).__mro__:
            count = _COUNTED.get(kind)
            if count is not None:
                count(self, event, {"operation": self._operation(event.operation)})
                return

    def _about(self, operation: str, outcome: str, error_type: str) -> dict[str, str]:
        about = {"operation": self._operation(operation), "outcome": outcome}
        if error_type:
            about[ERROR_TYPE] = self._error(error_type)
        return about

    def _timeout(self, event: TimeoutExceeded, about: dict[str, str]) -> None:
        outcome = "unknown" if event.stopped is None else "stopped" if event.stopped else "not_stopped"
        outcome = "abandoned" if event.abandoned else outcome
        self._timeouts.add(1, {**about, "policy": event.policy, "outcome": outcome})

    def _retry(self, event: RetryScheduled, about: dict[str, str]) -> None:
        self._waits.record(event.delay, {**about, "policy": "retry"})

    def _rate_limit(self, event: RateLimitReached, about: dict[str, str]) -> None:
        if event.refused:
            self._rejections.add(1, {**about, "policy": "rate limit"})
        else:
            self._waits.record(event.delay, {**about, "policy": "rate limit"})

    def _flight(self, event: FlightJoined, about: dict[str, str]) -> None:
        self._waits.record(event.waited, {**about, "policy": "single flight"})

    def _bulkhead(self, _: BulkheadRejected, about: dict[str, str]) -> None:
        self._rejections.add(1, {**about, "policy": "bulkhead"})

    def _hedge(self, _: HedgeStarted, about: dict[str, str]) -> None:
        self._hedges.add(1, about)

    def _breaker(self, event: Any, _: dict[str, str]) -> None:
        name, now = self._name(event.breaker), _STATES[type(event)]
        self._transitions.add(1, {"breaker": name, "state": now})
        for state in _STATES.values():
            self._state.set(int(state == now), {"breaker": name, "state": state})

    def _invalid(self, event: RowsInvalid, about: dict[str, str]) -> None:
        action = "quarantined" if isinstance(event, RowsQuarantined) and event.path else event.action
        self._rows.add(event.invalid, {**about, "action": action})

    def _alert(self, event: Any, _: dict[str, str]) -> None:
        outcome = event.name.partition(".")[2]
        self._alerts.add(1, {"channel": self._name(event.channel), "outcome": outcome})


_COUNTED: dict[type, Callable[[Metrics, Any, dict[str, str]], None]] = {
    TimeoutExceeded: Metrics._timeout,  # noqa: SLF001  # its own methods, also below
    RetryScheduled: Metrics._retry,  # noqa: SLF001
    RateLimitReached: Metrics._rate_limit,  # noqa: SLF001
    FlightJoined: Metrics._flight,  # noqa: SLF001
    BulkheadRejected: Metrics._bulkhead,  # noqa: SLF001
    HedgeStarted: Metrics._hedge,  # noqa: SLF001
    **dict.fromkeys(_STATES, Metrics._breaker),  # noqa: SLF001
    RowsInvalid: Metrics._invalid,  # noqa: SLF001
    **dict.fromkeys((NotifySent, NotifyKnown, NotifySuppressed, NotifyFailed), Metrics._alert),  # noqa: SLF001
}
