"""The metrics that events are counted in, with no metrics library: names, labels, help and buckets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple

#: The prefix of each metric's name.
PREFIX = "resilient_tasks_"

_SHORT = (0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
_WAITS = (0.1, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
_LONG = (1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0, 21_600.0, 86_400.0)
_AGES = (60.0, 600.0, 3600.0, 21_600.0, 86_400.0, 604_800.0)


class Metric(NamedTuple):
    """A metric: a counter's name ends in `_total`, a duration's in `_seconds`.

    Attributes:
        name: without the prefix.
        kind: how values are added up.
        labels: the names of its labels.
        help: one sentence.
        buckets: upper bounds, of a histogram.
        several: how the values of a gauge in several processes are combined.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    help: str
    buckets: tuple[float, ...] = ()
    several: Literal["max", "mostrecent"] = "mostrecent"


_ERROR = ("operation", "error_type", "kind", "status")

METRICS: Mapping[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("events_total", "counter", ("event",), "Events of any kind, by name."),
        Metric(
            "calls_failed_total",
            "counter",
            (*_ERROR, "own"),
            "Calls that failed for good; `own` is false if a call inside reported the same error.",
        ),
        Metric("calls_degraded_total", "counter", (*_ERROR, "fallback"), "Calls whose result a fallback provided."),
        Metric("calls_recovered_total", "counter", ("operation",), "Calls that succeeded after a failed attempt."),
        Metric("retries_total", "counter", (*_ERROR, "by"), "Failed attempts that another attempt followed."),
        Metric("retry_wait_seconds", "histogram", ("operation",), "Waits before a retry.", _WAITS),
        Metric("retries_exhausted_total", "counter", _ERROR, "Failed calls for which no further attempt was allowed."),
        Metric(
            "retry_multiplied_attempts",
            "gauge",
            ("operation",),
            "The most attempts that nested retry loops allow; +Inf if unlimited.",
            several="max",
        ),
        Metric(
            "timeouts_total",
            "counter",
            ("operation", "policy", "stopped", "abandoned"),
            "Attempts that exceeded their limit; `stopped` is true, false or unknown.",
        ),
        Metric("breaker_transitions_total", "counter", ("breaker", "state"), "Changes of circuits into a state."),
        Metric("breaker_circuits", "gauge", ("breaker", "state"), "Circuits in each state: 1 or 0 for one breaker."),
        Metric("breaker_open_seconds", "histogram", ("breaker",), "How long circuits were open.", _LONG),
        Metric("rate_limited_total", "counter", ("operation", "limit", "refused"), "Calls that a rate limit held up."),
        Metric("rate_limit_wait_seconds", "histogram", ("limit",), "Waits for a rate limit.", _WAITS),
        Metric("rate_adapted_total", "counter", ("limit",), "Throttled calls that lowered an adaptive rate limit."),
        Metric("rate_limit_calls_per_second", "gauge", ("limit",), "The rate of an adaptive rate limit."),
        Metric("bulkhead_rejected_total", "counter", ("operation", "bulkhead"), "Calls that a full bulkhead rejected."),
        Metric(
            "shadow_refusals_total",
            "counter",
            ("operation", "policy", "limit"),
            "Calls that a policy with `enforce=False` would have refused or delayed.",
        ),
        Metric(
            "flights_joined_total", "counter", ("operation", "outcome"), "Calls that shared the attempt of another."
        ),
        Metric("flight_wait_seconds", "histogram", ("operation",), "Waits for a shared attempt.", _WAITS),
        Metric("flights_alone_total", "counter", ("operation",), "Functions whose calls could not be shared."),
        Metric("hedges_total", "counter", ("operation",), "Further calls made because the first was slow."),
        Metric("hedges_won_total", "counter", ("operation", "winner"), "Hedged calls, by which one answered first."),
        Metric("hedge_answer_seconds", "histogram", ("operation",), "Time until the first answer.", _SHORT),
        Metric("store_lost_total", "counter", ("store", "holds"), "Losses of a store of states or of incidents."),
        Metric(
            "store_up",
            "gauge",
            ("store", "holds"),
            "0 while a store is lost, 1 once it is available again.",
        ),
        Metric("store_gone_seconds", "histogram", ("store",), "How long a store was lost.", _LONG),
        Metric("api_away_total", "counter", ("back",), "Runs in which the orchestrator's server did not answer."),
        Metric("api_away_seconds", "histogram", (), "How long the orchestrator's server did not answer.", _LONG),
        Metric("api_states_total", "counter", ("fate",), "States of task runs that came late or were lost."),
        Metric("fallback_age_seconds", "histogram", ("operation",), "Ages of last good results that stood in.", _AGES),
        Metric(
            "last_good_unavailable_total",
            "counter",
            ("operation", "action"),
            "Last good results that were not kept, or could not be read; reported once an hour.",
        ),
        Metric("rows_invalid_total", "counter", ("operation", "action"), "Rows that broke their schema."),
        Metric("rows_quarantined_total", "counter", ("operation",), "Rows written to the quarantine."),
        Metric("rows_warned_total", "counter", ("operation",), "Rows that broke a rule that warns."),
        Metric("inputs_degraded_total", "counter", ("operation",), "Runs of tasks and flows on degraded data."),
        Metric("data_drifted_total", "counter", ("operation", "action"), "Frames that differ from their baseline."),
        Metric("faults_injected_total", "counter", ("operation",), "Faults that a rehearsal injected."),
        Metric("alerts_sent_total", "counter", ("channel", "occasion"), "Messages that a channel accepted."),
        Metric(
            "alerts_failed_total",
            "counter",
            ("channel", "error_type", "status", "given_up"),
            "Attempts to deliver a message that a channel did not accept.",
        ),
        Metric("alerts_suppressed_total", "counter", ("channel",), "Failures that were counted and not sent."),
        Metric("alerts_known_total", "counter", ("channel",), "Runs that met an incident that was already alerted."),
        Metric("sink_suspended", "gauge", ("sink",), "1 while a sink is suspended, else 0."),
        Metric("sink_suspensions_total", "counter", ("sink",), "Suspensions of sinks, and trials that failed."),
        Metric("sink_events_lost_total", "counter", ("sink",), "Events that a sink failed to handle, or did not get."),
    )
}

STATES = ("closed", "open", "half_open", "isolated")
