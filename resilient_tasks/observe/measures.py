"""What each event measures: names, labels and values of metrics, with no metrics library.

Labels are bounded: an operation, a policy's name, an error's type or kind, a class of HTTP statuses. No label holds an
id, a message, a path, an address or an argument. A label has a limited number of values; further ones become `other`.
"""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from resilient_tasks.core import events as e
from resilient_tasks.core.events import Event, FailureEvent, bus
from resilient_tasks.core.events.sinks import SinkEvent, SinkResumed, SinkSuspended
from resilient_tasks.observe.metrics import METRICS, STATES

#: The most values of a label in one process; further ones become `OTHER`.
MOST_VALUES = 200
OTHER = "other"
#: The greatest length of a label's value, in characters.
LONGEST = 100


class Measurement(NamedTuple):
    """A value of a metric: to add to a counter, to set a gauge to, or to count in a histogram."""

    name: str
    value: float
    labels: tuple[str, ...]


class Bounded:
    """The values of one label: those seen first, up to `most`."""

    def __init__(self, most: int = MOST_VALUES) -> None:
        self._most = most
        self._known: dict[str, str] = {}
        self._lock = threading.RLock()

    def __call__(self, value: object) -> str:
        """Return the label's value for `value`."""
        text = str(value)
        if (found := self._known.get(text)) is not None:
            return found
        with self._lock:
            if len(self._known) >= self._most:
                return OTHER
            return self._known.setdefault(text, text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…")


Measure = Callable[["Measures", Any], Iterable[Measurement]]


class Measures:
    """Turns events into measurements. Thread-safe only if its caller is.

    Args:
        counts_circuits: measure the states of circuits by events; otherwise they are read from the store.
    """

    def __init__(self, *, counts_circuits: bool = True) -> None:
        self.bounded: dict[str, Bounded] = {}
        self._counts_circuits = counts_circuits
        self._circuits: OrderedDict[str, str] = OrderedDict()
        self._files: OrderedDict[str, int] = OrderedDict()
        self._lost = bus.lost  # before that, nothing is counted

    def of(self, event: Event) -> Iterator[Measurement]:
        """Yield what an event measures."""
        yield self.at("events_total", 1, event=event.name)
        measure = MEASURED.get(type(event))
        if measure is not None:
            yield from measure(self, event)
        yield from self.losses()

    def at(self, name: str, value: float, **labels: object) -> Measurement:
        """Return a measurement with bounded labels."""
        return Measurement(name, value, tuple([self.label(each, labels[each]) for each in METRICS[name].labels]))

    def label(self, name: str, value: object) -> str:
        """Return the value of a label, bounded."""
        bounded = self.bounded.get(name)
        if bounded is None:
            bounded = self.bounded.setdefault(name, Bounded())
        return bounded(value)

    def losses(self) -> Iterator[Measurement]:
        """Yield the events that sinks have lost since this was last asked."""
        before, self._lost = self._lost, bus.lost
        for name, lost in self._lost.items():
            if lost > (known := before.get(name, 0)):
                yield self.at("sink_events_lost_total", lost - known, sink=name)

    def circuits(self, changed: str, state: str) -> Iterator[Measurement]:
        """Yield how many circuits are in each state, by label, now that one has changed."""
        if not self._counts_circuits:
            return
        _keep(self._circuits, changed, state)
        label = self.label("breaker", changed)
        states = [there for name, there in self._circuits.items() if self.label("breaker", name) == label]
        for each in STATES:
            yield Measurement("breaker_circuits", states.count(each), (label, each))

    def added_rows(self, path: str, rows: int) -> int:
        """Return how many rows are new in a file of the quarantine, which each attempt of a call replaces."""
        before = self._files.get(path, 0)
        _keep(self._files, path, max(rows, before))
        return max(0, rows - before)


#: The most circuits and files to remember.
_ROOM = 2000


def _keep(kept: OrderedDict[str, Any], name: str, value: Any) -> None:
    kept[name] = value
    kept.move_to_end(name)
    if len(kept) > _ROOM:
        kept.popitem(last=False)


def status_class(status: int | None) -> str:
    """Return `5xx` for 503; `none` without a status."""
    return "none" if status is None else f"{status // 100}xx"


def _error(event: FailureEvent, **more: object) -> dict[str, object]:
    return {
        "operation": event.operation,
        "error_type": event.error_type,
        "kind": getattr(event, "kind", ""),
        "status": status_class(event.http_status),
        **more,
    }


def channels_of(names: str) -> list[str]:
    """Return the kinds of channels: a channel's name may hold an address."""
    return [name.partition(":")[0] for name in names.split(", ")]


def _store(name: str) -> str:
    """Return the kind of a store: its name may hold a path or an address."""
    kind = name.partition(":")[0]
    return kind if kind.isidentifier() else OTHER


def _flag(value: bool | None) -> str:  # noqa: FBT001  # the one thing it is given
    return {True: "true", False: "false", None: "unknown"}[value]


def _scheduled(to: Measures, event: e.RetryScheduled) -> Iterator[Measurement]:
    yield to.at("retries_total", 1, **_error(event, by="policy"))
    yield to.at("retry_wait_seconds", event.delay, operation=event.operation)


def _recovered(to: Measures, event: e.RetryRecovered) -> Iterator[Measurement]:
    yield to.at("calls_recovered_total", 1, operation=event.operation)


def _exhausted(to: Measures, event: e.RetryExhausted) -> Iterator[Measurement]:
    yield to.at("retries_exhausted_total", 1, **_error(event))


def _multiplied(to: Measures, event: e.RetryMultiplied) -> Iterator[Measurement]:
    yield to.at("retry_multiplied_attempts", event.attempts or math.inf, operation=event.operation)


def _timeout(to: Measures, event: e.TimeoutExceeded) -> Iterator[Measurement]:
    how = {"stopped": _flag(event.stopped), "abandoned": _flag(event.abandoned)}
    yield to.at("timeouts_total", 1, operation=event.operation, policy=event.policy, **how)


def _opened(to: Measures, event: e.BreakerOpened) -> Iterator[Measurement]:
    state = "isolated" if event.open_for is None else "open"
    yield to.at("breaker_transitions_total", 1, breaker=event.breaker, state=state)
    yield from to.circuits(event.breaker, state)


def _half_opened(to: Measures, event: e.BreakerHalfOpened) -> Iterator[Measurement]:
    yield to.at("breaker_transitions_total", 1, breaker=event.breaker, state="half_open")
    yield from to.circuits(event.breaker, "half_open")


def _closed(to: Measures, event: e.BreakerClosed) -> Iterator[Measurement]:
    yield to.at("breaker_transitions_total", 1, breaker=event.breaker, state="closed")
    yield to.at("breaker_open_seconds", event.seconds, breaker=event.breaker)
    yield from to.circuits(event.breaker, "closed")


def _shadow(to: Measures, event: Event, policy: str, name: str) -> Measurement:
    return to.at("shadow_refusals_total", 1, operation=event.operation, policy=policy, limit=name)


def _would_refuse(to: Measures, event: e.BreakerWouldRefuse) -> Iterator[Measurement]:
    yield _shadow(to, event, "breaker", event.breaker)


def _limited(to: Measures, event: e.RateLimitReached) -> Iterator[Measurement]:
    if event.shadow:
        yield _shadow(to, event, "rate limit", event.limit)
        return
    refused = _flag(event.refused)
    yield to.at("rate_limited_total", 1, operation=event.operation, limit=event.limit, refused=refused)
    if not event.refused:
        yield to.at("rate_limit_wait_seconds", event.delay, limit=event.limit)


def _adapted(to: Measures, event: e.RateAdapted) -> Iterator[Measurement]:
    yield to.at("rate_adapted_total", 1, limit=event.limit)
    yield to.at("rate_limit_calls_per_second", event.rate / event.per, limit=event.limit)


def _rejected(to: Measures, event: e.BulkheadRejected) -> Iterator[Measurement]:
    if event.shadow:
        yield _shadow(to, event, "bulkhead", event.bulkhead)
        return
    yield to.at("bulkhead_rejected_total", 1, operation=event.operation, bulkhead=event.bulkhead)


def _joined(to: Measures, event: e.FlightJoined) -> Iterator[Measurement]:
    yield to.at("flights_joined_total", 1, operation=event.operation, outcome=event.outcome)
    yield to.at("flight_wait_seconds", event.waited, operation=event.operation)


def _alone(to: Measures, event: e.FlightAlone) -> Iterator[Measurement]:
    yield to.at("flights_alone_total", 1, operation=event.operation)


def _hedged(to: Measures, event: e.HedgeStarted) -> Iterator[Measurement]:
    yield to.at("hedges_total", 1, operation=event.operation)


def _hedge_won(to: Measures, event: e.HedgeWon) -> Iterator[Measurement]:
    winner = "first" if event.number == 1 else "hedge"
    yield to.at("hedges_won_total", 1, operation=event.operation, winner=winner)
    yield to.at("hedge_answer_seconds", event.seconds, operation=event.operation)


def _store_lost(to: Measures, event: e.StoreLost) -> Iterator[Measurement]:
    which = {"store": _store(event.store), "holds": "incidents" if event.waits else "states"}
    yield to.at("store_lost_total", 1, **which)
    yield to.at("store_up", 0, **which)


def _store_regained(to: Measures, event: e.StoreRegained) -> Iterator[Measurement]:
    store = _store(event.store)
    for holds in ("states", "incidents"):
        yield to.at("store_up", 1, store=store, holds=holds)
    yield to.at("store_gone_seconds", event.seconds, store=store)


def _api_away(to: Measures, event: e.ApiAway) -> Iterator[Measurement]:
    yield to.at("api_away_total", 1, back=_flag(event.back))
    yield to.at("api_away_seconds", event.seconds)
    yield to.at("api_states_total", event.late, fate="late")
    yield to.at("api_states_total", event.lost, fate="lost")


def _degraded(to: Measures, event: e.FallbackUsed) -> Iterator[Measurement]:
    yield to.at("calls_degraded_total", 1, **_error(event, fallback=event.fallback))
    if event.age is not None:
        yield to.at("fallback_age_seconds", event.age, operation=event.operation)


def _input_degraded(to: Measures, event: e.InputDegraded) -> Iterator[Measurement]:
    yield to.at("inputs_degraded_total", 1, operation=event.operation)


def _no_last_good(to: Measures, event: e.LastGoodUnavailable) -> Iterator[Measurement]:
    yield to.at("last_good_unavailable_total", 1, operation=event.operation, action=event.action)


def _invalid(to: Measures, event: e.RowsInvalid) -> Iterator[Measurement]:
    yield to.at("rows_invalid_total", event.invalid, operation=event.operation, action=event.action)


def _quarantined(to: Measures, event: e.RowsQuarantined) -> Iterator[Measurement]:
    rows = to.added_rows(event.path, event.invalid)
    yield to.at("rows_quarantined_total", rows, operation=event.operation)
    yield to.at("rows_invalid_total", rows, operation=event.operation, action=event.action)


def _warned(to: Measures, event: e.RowsWarned) -> Iterator[Measurement]:
    yield to.at("rows_warned_total", sum(event.reasons.values()), operation=event.operation)


def _drifted(to: Measures, event: e.DataDrifted) -> Iterator[Measurement]:
    yield to.at("data_drifted_total", 1, operation=event.operation, action=event.action)


def _injected(to: Measures, event: e.ChaosInjected) -> Iterator[Measurement]:
    yield to.at("faults_injected_total", 1, operation=event.operation)


def _failed(to: Measures, event: e.CallFailed) -> Iterator[Measurement]:
    if event.again:  # the orchestrator makes another attempt
        yield to.at("retries_total", 1, **_error(event, by="orchestrator"))
    else:
        yield to.at("calls_failed_total", 1, **_error(event, own=_flag(event.of is None)))


def _sent(to: Measures, event: e.NotifySent) -> Iterator[Measurement]:
    for channel in channels_of(event.channel):
        yield to.at("alerts_sent_total", 1, channel=channel, occasion=event.occasion)


def _known(to: Measures, event: e.NotifyKnown) -> Iterator[Measurement]:
    for channel in channels_of(event.channel):
        yield to.at("alerts_known_total", 1, channel=channel)


def _suppressed(to: Measures, event: e.NotifySuppressed) -> Iterator[Measurement]:
    for channel in channels_of(event.channel):
        yield to.at("alerts_suppressed_total", 1, channel=channel)


def _undelivered(to: Measures, event: e.NotifyFailed) -> Iterator[Measurement]:
    error = {"error_type": event.error_type, "status": status_class(event.http_status)}
    for channel in channels_of(event.channel):
        yield to.at("alerts_failed_total", 1, channel=channel, given_up=_flag(not event.retry_in), **error)


def _sink_suspended(to: Measures, event: SinkEvent) -> Iterator[Measurement]:
    yield to.at("sink_suspended", 1, sink=event.sink)
    yield to.at("sink_suspensions_total", 1, sink=event.sink)


def _sink_resumed(to: Measures, event: SinkEvent) -> Iterator[Measurement]:
    yield to.at("sink_suspended", 0, sink=event.sink)


#: What each class of events measures, besides `events_total`.
MEASURED: Mapping[type[Event], Measure] = {
    e.RetryScheduled: _scheduled,
    e.RetryRecovered: _recovered,
    e.RetryExhausted: _exhausted,
    e.RetryMultiplied: _multiplied,
    e.TimeoutExceeded: _timeout,
    e.BreakerOpened: _opened,
    e.BreakerHalfOpened: _half_opened,
    e.BreakerClosed: _closed,
    e.BreakerWouldRefuse: _would_refuse,
    e.RateLimitReached: _limited,
    e.RateAdapted: _adapted,
    e.BulkheadRejected: _rejected,
    e.FlightJoined: _joined,
    e.FlightAlone: _alone,
    e.HedgeStarted: _hedged,
    e.HedgeWon: _hedge_won,
    e.StoreLost: _store_lost,
    e.StoreRegained: _store_regained,
    e.ApiAway: _api_away,
    e.FallbackUsed: _degraded,
    e.InputDegraded: _input_degraded,
    e.LastGoodUnavailable: _no_last_good,
    e.RowsInvalid: _invalid,
    e.RowsQuarantined: _quarantined,
    e.RowsWarned: _warned,
    e.DataDrifted: _drifted,
    e.ChaosInjected: _injected,
    e.CallFailed: _failed,
    e.NotifySent: _sent,
    e.NotifyKnown: _known,
    e.NotifySuppressed: _suppressed,
    e.NotifyFailed: _undelivered,
    SinkSuspended: _sink_suspended,
    SinkResumed: _sink_resumed,
}

#: Events that no metric counts, with the reason. They are not even created for metrics.
NOT_MEASURED: Mapping[type[Event], str] = {
    e.RetryStarted: "each follows a `retry.scheduled`, which is counted in `retries_total`",
}


def wants(event: type[Event]) -> bool:
    """Return whether events of this class are measured. A custom event is counted by its name."""
    return event not in NOT_MEASURED
