"""Metrics of OpenTelemetry: their values, their bounds, and that the documentation lists them."""

import re
import threading
from pathlib import Path

import pytest

pytest.importorskip("opentelemetry.sdk")

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from resilient_tasks import Bulkhead, CircuitBreaker, Hedge, RateLimit, Retry, resilient
from resilient_tasks.core.events import NotifySent, NotifySuppressed, RowsInvalid, RowsQuarantined, bus
from resilient_tasks.observe.otel.metrics import Metrics

PAGE = Path(__file__).parents[2] / "docs" / "opentelemetry.md"


def down():
    raise ConnectionError("refused")


def test_calls_and_attempts_are_counted_by_operation_and_outcome(drive, traced, resilient_clock):
    answers = [ConnectionError("1"), 7, 7]

    def fetch():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    call = drive(fetch, retry=Retry(attempts=2, wait=1))
    call(), call()
    drive(down, fallback=lambda: 1)()
    drive(down, retry=Retry(attempts=2, wait=1)).outcome()
    assert traced.counted("resilient_tasks.calls") == {
        ("fetch", "recovered"): 1,
        ("fetch", "ok"): 1,
        ("down", "degraded"): 1,
        ("down", "failed", "ConnectionError"): 1,
    }
    assert traced.counted("resilient_tasks.attempts") == {
        ("fetch", "failed", "ConnectionError"): 1,
        ("fetch", "ok"): 2,
        ("down", "failed", "ConnectionError"): 3,
    }
    assert traced.counted("resilient_tasks.attempt.duration") == traced.counted("resilient_tasks.attempts")
    assert traced.counted("resilient_tasks.call.duration") == traced.counted("resilient_tasks.calls")


def test_waits_are_a_histogram_in_seconds(drive, traced, resilient_clock):
    drive(down, retry=Retry(attempts=3, wait=5)).outcome()
    limited = drive(lambda: 1, rate_limit=RateLimit("api", calls=1, per=60))
    limited(), limited()
    retry, limit = traced.metrics()["resilient_tasks.wait.duration"]
    assert (retry["attributes"], retry["count"], retry["sum"]) == ({"operation": "down", "policy": "retry"}, 2, 10)
    assert limit["attributes"]["policy"] == "rate limit"
    assert limit["sum"] == pytest.approx(60, abs=1)
    assert max(retry["explicit_bounds"]) == 3600


def test_timeouts_are_counted_by_what_came_of_the_work(drive, traced):
    drive(drive.sleeper(30), timeout=0.05).outcome()
    assert traced.counted("resilient_tasks.timeouts") == {("slow", "timeout", "stopped"): 1}


def test_a_circuit_shows_its_state_and_each_change(drive, traced, resilient_clock):
    answers = [ConnectionError("1"), 7]

    def fetch():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    none = {("api", state): 0 for state in ("open", "half_open", "closed")}
    call = drive(fetch, breaker=CircuitBreaker("api", failures=1, open_for=30))
    call.outcome()
    assert traced.counted("resilient_tasks.breaker.state") == {**none, ("api", "open"): 1}
    resilient_clock.advance(31)
    call()
    assert traced.counted("resilient_tasks.breaker.state") == {**none, ("api", "closed"): 1}
    assert traced.counted("resilient_tasks.breaker.transitions") == {
        ("api", "open"): 1,
        ("api", "half_open"): 1,
        ("api", "closed"): 1,
    }


def test_what_a_limit_rejects_is_counted(traced, resilient_clock):
    inner = resilient(bulkhead=Bulkhead("api", 1))(lambda: 1)
    resilient(bulkhead=Bulkhead("api", 1))(inner.outcome)()
    assert {key[1] for key in traced.counted("resilient_tasks.rejections")} == {"bulkhead"}


def test_hedged_attempts_are_counted(traced):
    began, over = threading.Event(), threading.Event()

    @resilient(hedge=Hedge(0.3), idempotent=True)
    def fetch():
        if not began.is_set():
            began.set()
            over.wait(60)

    fetch()
    over.set()
    assert list(traced.counted("resilient_tasks.hedges").values()) == [1]


def test_rows_and_alerts_are_counted(traced):
    rows = {"operation": "load", "call": "1", "attempt": 1, "rows": 10, "reasons": {"n": 2}}
    bus.emit(RowsInvalid(**rows, action="raised", invalid=2))
    bus.emit(RowsQuarantined(**rows, action="quarantined", invalid=3, path="a/b", batch="b", schema=""))
    alert = {"operation": "load", "call": "1", "attempt": 1, "channel": "Slack"}
    bus.emit(NotifySent(**alert))
    bus.emit(NotifySuppressed(**alert, suppressed=40))
    assert traced.counted("resilient_tasks.rows.invalid") == {("load", "raised"): 2, ("load", "quarantined"): 3}
    assert traced.counted("resilient_tasks.alerts") == {("Slack", "sent"): 1, ("Slack", "suppressed"): 1}


def test_names_and_errors_are_bounded_and_ids_are_never_attributes(traced):
    reader = InMemoryMetricReader()
    metrics = Metrics(MeterProvider([reader]))
    for number in range(3000):
        metrics.call(f"operation {number}", "failed", f"Error{number}", 1.0)
    [data] = reader.get_metrics_data().resource_metrics[0].scope_metrics
    points = next(metric for metric in data.metrics if metric.name == "resilient_tasks.calls").data.data_points
    operations = {point.attributes["operation"] for point in points}
    errors = {point.attributes["error.type"] for point in points}
    assert (len(operations), len(errors)) == (1001, 101)
    assert "_OTHER" in operations & errors
    assert sum(point.value for point in points) == 3000


def test_the_page_lists_every_instrument_with_its_unit():
    made = []

    class Meter:
        def __getattr__(self, name):
            return lambda name, unit, *_, **__: made.append((name, unit))

    class Provider:
        def get_meter(self, *_, **__):
            return Meter()

    Metrics(Provider())
    section = PAGE.read_text(encoding="utf-8").partition("## Metrics")[2]
    listed = re.findall(r"^\| `(resilient_tasks\.[\w.]+)` \| [\w-]+ \| `?([^`|]+?)`? \|", section, re.MULTILINE)
    assert sorted(listed) == sorted(made)
