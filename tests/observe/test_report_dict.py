"""The report for JSON: every key is there, what went wrong comes first, and times are those of the events."""

import gc
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks import Fallback, Retry, RunReport, Timeout, resilient
from resilient_tasks.core.events import (
    BreakerClosed,
    BreakerHalfOpened,
    BreakerOpened,
    CallFailed,
    FallbackUsed,
    NotifyFailed,
    NotifyKnown,
    NotifySent,
    NotifySuppressed,
    RateLimitReached,
    RetryExhausted,
    RetryRecovered,
    RetryScheduled,
    RetryStarted,
    RowsInvalid,
    RowsQuarantined,
    TimeoutExceeded,
)

RUN = {"flow_run_id": "f-1", "flow_run": "daily", "task_run_id": "t-1", "task_run": "fetch-0"}
RUN["url"] = "http://127.0.0.1:9/runs/task-run/t-1"
ERROR = {"error_type": "HTTPStatusError", "message": "Server error", "http_status": 503, "kind": "transient"}
TALLY = {"errors": {"HTTPStatusError": 1}, "failures": {"HTTP 503": 1}}


def scheduled(attempt=1, time=10.0, call="c", delay=2.0, **more):
    more = {"seconds": 0.5, **ERROR, **more}
    return RetryScheduled(
        operation="fetch", call=call, run=RUN, attempt=attempt, time=time, attempts=3, delay=delay, **more
    )


def started(attempt=2, time=12.0, call="c"):
    return RetryStarted(operation="fetch", call=call, run=RUN, attempt=attempt, time=time, attempts=3)


def recovered(attempt=2, time=13.0, call="c"):
    return RetryRecovered(
        operation="fetch", call=call, run=RUN, attempt=attempt, time=time, attempts=3, seconds=1.0, **TALLY
    )


def exhausted(attempt=2, time=13.0, call="c", **more):
    about = {"seconds": 1.0, "reason": "no attempts left", **TALLY, **ERROR, **more}
    return RetryExhausted(operation="fetch", call=call, run=RUN, attempt=attempt, time=time, **about)


def failed(time=13.0, call="c", operation="fetch", **more):
    return CallFailed(operation=operation, call=call, run=RUN, time=time, **{"seconds": 3.5, **ERROR, **more})


def degraded(time=13.0, call="c", **more):
    about = {"fallback": "last good result", "age": 3600.0, "since": 100.0, **ERROR, **more}
    return FallbackUsed(operation="fetch", call=call, run=RUN, time=time, **about)


def calls_of(*events):
    return RunReport(events).as_dict()["timeline"]["calls"]


KEYS = {
    "": "version run partial headline counts not_recovered degraded recovered operations timeline circuits rows alerts"
    " not_stopped remarks",
    "run": "id name url started ended",
    "counts": "failed degraded recovered retries waited_s rows_out quarantined alerts_sent alerts_waiting events",
    "not_recovered": "operation call time attempts error error_type message http_status kind why",
    "degraded": "operation call time fallback error message http_status age_s since",
    "recovered": "operation call time attempts errors waited_s",
    "operations": "name failed degraded recovered retries waited_s rows_out errors",
    "timeline": "left_out calls",
    "circuits": "name spans",
    "rows": "operation part rows invalid action reasons path",
    "alerts": "sent suppressed waiting",
    "not_stopped": "operation time limit_s thread reason",
}


@pytest.fixture
def everything():
    """A report in which no list is empty."""
    rows = {
        "operation": "read",
        "call": "r",
        "action": "quarantined",
        "rows": 10,
        "invalid": 2,
        "reasons": {"le(3)": 2},
    }
    alert = {"operation": "fetch", "channel": "slack", "key": "k"}
    limit = {"policy": "timeout", "limit": 5.0, "stopped": False, "abandoned": True, "thread": "w-1"}
    return RunReport(
        [
            scheduled(),
            started(),
            recovered(),
            exhausted(call="d"),
            degraded(call="d"),
            exhausted(call="e"),
            failed(call="e"),
            RowsQuarantined(**rows, path="q/a.parquet", batch="b", schema=""),
            BreakerOpened(operation="fetch", time=20.0, breaker="api", reason="3 of 3 failed", open_for=5.0),
            NotifyFailed(**alert, error_type="TimeoutError", message="hung", retry_in=3.0),
            TimeoutExceeded(operation="fetch", call="e", time=12.0, **limit),
        ]
    )


def test_every_key_is_there(everything):
    found = everything.as_dict()
    for name, keys in KEYS.items():
        part = found[name] if name else found
        assert set(part[0] if isinstance(part, list) else part) == set(keys.split()), name
    (call, *_) = found["timeline"]["calls"]
    assert set(call) == {"call", "operation", "task_run", "outcome", "attempts", "waits", "marks"}
    assert set(call["attempts"][0]) == {"number", "started", "ended", "outcome", "error"}
    assert set(found["circuits"][0]["spans"][0]) == {"state", "started", "ended", "reason"}
    assert found["alerts"]["waiting"] == [{"channel": "slack", "reason": "hung", "retry_in_s": 3.0}]


def test_without_events_every_key_is_there_too():
    found = RunReport([]).as_dict()
    assert set(found) == set(KEYS[""].split())
    assert found["run"] == {"id": None, "name": None, "url": None, "started": None, "ended": None}


def test_the_json_is_the_same(everything):
    assert json.loads(everything.json()) == json.loads(json.dumps(everything.as_dict()))


def test_the_run_is_the_flow_run_of_the_events():
    assert RunReport([scheduled(), failed(time=20.0)]).as_dict()["run"] == {
        "id": "f-1",
        "name": "daily",
        "url": "http://127.0.0.1:9/runs/flow-run/f-1",
        "started": 10.0,
        "ended": 20.0,
    }


class TestNotRecovered:
    """Worst first, each with its error, its status, and why nothing followed."""

    def only(self, *events):
        (entry,) = RunReport(events).as_dict()["not_recovered"]
        return entry

    def test_a_call_that_gave_up(self):
        entry = self.only(scheduled(), started(), exhausted(), failed())
        assert (entry["error"], entry["http_status"], entry["attempts"]) == ("HTTPStatusError (HTTP 503)", 503, 2)
        assert entry["why"] == "gave up after attempt 2: no attempts left"

    @pytest.mark.parametrize(
        ("kind", "why"),
        [("permanent", "it would fail again"), ("malformed", "the data is malformed"), ("custom", "custom")],
    )
    def test_a_call_that_was_not_retried(self, kind, why):
        assert self.only(failed(kind=kind))["why"] == f"not retried: {why}"

    def test_the_call_in_which_a_failure_began_is_named_and_those_that_failed_with_it(self):
        events = [
            exhausted(),
            failed(),
            failed(call="o", operation="month", of="c"),
            failed(call="p", operation="year", of="o"),
        ]
        entry = self.only(*events)
        assert (entry["operation"], entry["call"]) == ("fetch", "c")
        assert entry["why"] == ("gave up after attempt 2: no attempts left; month failed with it; year failed with it")
        assert RunReport(events).failed == 1

    def test_a_failure_that_an_outer_call_retried_is_not_listed(self):
        outer = {"of": "c", "call": "o"}
        assert RunReport([failed(), scheduled(**outer), recovered(call="o")]).as_dict()["not_recovered"] == []

    def test_an_outer_loop_that_gave_up_is_part_of_the_reason(self):
        entry = self.only(
            failed(call="c1"), scheduled(call="o", of="c1"), failed(call="c2"), exhausted(call="o", of="c2"),
            failed(call="o", operation="month", of="c2"),
        )  # fmt: skip
        assert entry["call"] == "c2"
        assert entry["why"].endswith("; month gave up after attempt 2: no attempts left, and failed with it")

    def test_an_attempt_that_prefect_repeats_is_a_retry(self):
        found = RunReport([failed(again=True)])
        assert (found.failed, found.as_dict()["counts"]["retries"], found.as_dict()["not_recovered"]) == (0, 1, [])


class TestTimeLine:
    """Times come from the events; what is unknown is left out."""

    def test_attempts_and_waits_of_a_call_that_recovered(self):
        (call,) = calls_of(scheduled(), started(), recovered())
        assert (call["outcome"], call["task_run"]) == ("recovered", "fetch-0")
        first, second = call["attempts"]
        assert (first["started"], first["ended"], first["outcome"]) == (9.5, 10.0, "failed")
        assert first["error"] == "HTTPStatusError (HTTP 503)"
        assert (second["started"], second["ended"], second["outcome"], second["error"]) == (12.0, 13.0, "ok", None)
        assert call["waits"] == [{"started": 10.0, "ended": 12.0, "reason": "retry after HTTP 503"}]

    def test_an_unknown_start_is_left_out(self):
        (call,) = calls_of(scheduled(seconds=None))
        assert call["attempts"][0]["started"] is None

    def test_a_call_that_failed_at_once(self):
        (call,) = calls_of(failed())
        assert call["outcome"] == "failed"
        assert [(each["number"], each["started"], each["ended"]) for each in call["attempts"]] == [(1, 9.5, 13.0)]

    def test_a_degraded_call_has_a_mark_with_its_stand_in(self):
        (call,) = calls_of(exhausted(), degraded())
        assert call["outcome"] == "degraded"
        assert "last good result of 1970-01-01 00:01 UTC, 1 h old, stands in" in call["marks"][0]["text"]

    @pytest.mark.parametrize(("abandoned", "outcome"), [(True, "abandoned"), (False, "timeout")])
    def test_an_attempt_that_took_too_long(self, abandoned, outcome):
        limit = {"policy": "timeout", "limit": 0.5, "stopped": not abandoned, "abandoned": abandoned}
        exceeded = TimeoutExceeded(operation="fetch", call="c", time=9.9, **limit)
        (call,) = calls_of(exceeded, scheduled())
        assert [each["outcome"] for each in call["attempts"]] == [outcome]
        assert call["attempts"][0]["ended"] == 10.0

    def test_a_call_that_has_not_ended_is_running(self):
        (call,) = calls_of(scheduled(), started())
        assert call["outcome"] == call["attempts"][-1]["outcome"] == "running"

    def test_attempts_by_prefect_are_one_line(self):
        events = [failed(call="a", again=True), scheduled(call="b"), started(call="b"), recovered(call="b")]
        (call,) = calls_of(*events)
        assert [each["number"] for each in call["attempts"]] == [1, 2, 3]
        assert call["outcome"] == "recovered"

    def test_waits_for_a_rate_limit_are_shown(self):
        (call,) = calls_of(
            RateLimitReached(operation="fetch", call="c", time=5.0, limit="api", refused=False, delay=2.5)
        )
        assert call["waits"] == [{"started": 5.0, "ended": 7.5, "reason": "rate limit api"}]
        assert call["outcome"] == "ok"

    def test_the_worst_and_longest_calls_are_kept_and_the_rest_counted(self):
        events = [scheduled(call=f"r{n}") for n in range(2000)] + [recovered(call=f"r{n}") for n in range(2000)]
        found = RunReport([*events[:1000], failed(call="bad"), *events[1000:]]).as_dict()["timeline"]
        assert len(found["calls"]) == 300
        assert found["calls"][0]["call"] == "bad"
        assert found["left_out"] == 2001 - 300

    def test_a_call_with_very_many_attempts_keeps_the_first_and_the_last(self):
        (call,) = calls_of(*(scheduled(attempt=number, time=float(number)) for number in range(1, 1001)))
        numbers = [each["number"] for each in call["attempts"]]
        assert (len(numbers), numbers[0], numbers[-1]) == (100, 1, 1000)
        assert call["marks"][-1]["text"] == "900 further attempts are not shown"

    def test_real_calls_have_the_times_of_their_attempts(self, drive, resilient_events, flaky):
        drive(flaky(ConnectionError()), retry=Retry(attempts=2, wait=0.01))()
        (call,) = calls_of(*resilient_events)
        first, second = call["attempts"]
        assert first["started"] <= first["ended"] <= second["started"] <= second["ended"]


class TestCircuits:
    """Spans in which a circuit was not closed, whatever the order of the files."""

    EVENTS = (
        BreakerOpened(operation="f", time=1.0, breaker="api", reason="3 of 3 failed", open_for=5.0),
        BreakerHalfOpened(operation="f", time=6.0, breaker="api", reason="open long enough"),
        BreakerClosed(operation="f", time=7.0, breaker="api", reason="a probe succeeded", seconds=6.0),
        BreakerOpened(operation="f", time=9.0, breaker="api", reason="again", open_for=5.0),
    )

    @given(st.permutations(EVENTS))
    def test_spans(self, events):
        (circuit,) = RunReport(events).as_dict()["circuits"]
        assert [(span["state"], span["started"], span["ended"]) for span in circuit["spans"]] == [
            ("open", 1.0, 6.0),
            ("half_open", 6.0, 7.0),
            ("open", 9.0, None),
        ]
        assert "circuit api: opened 2 times, 5.0 s; still open: again" in RunReport(events).text()


class TestRowsAndAlerts:
    """Rows balance, and no message is lost."""

    def test_rows_that_a_later_attempt_quarantined_again_count_once(self):
        about = {"operation": "read", "action": "quarantined", "batch": "b", "schema": "", "path": "q/a.parquet"}
        events = [RowsQuarantined(**about, rows=10, invalid=n, reasons={"le(3)": n}) for n in (4, 2)]
        found = RunReport(events).as_dict()
        assert (found["counts"]["quarantined"], found["counts"]["rows_out"]) == (2, 2)
        assert [(each["rows"], each["invalid"], each["path"]) for each in found["rows"]] == [(10, 2, "q/a.parquet")]
        assert "read: 10 rows = 8 valid + 2 quarantined" in RunReport(events).text()

    def test_a_batch_that_a_later_attempt_emptied_is_gone(self):
        about = {"operation": "read", "action": "quarantined", "batch": "b", "schema": "", "path": "q/a.parquet"}
        events = [RowsQuarantined(**about, rows=10, invalid=n, reasons={"le(3)": n}) for n in (4, 0)]
        assert (RunReport(events).quarantined, RunReport(events).as_dict()["rows"]) == (0, [])

    def test_rows_that_were_refused_are_added_up(self):
        about = {"operation": "read", "action": "refused", "part": "orders", "reasons": {"le(3)": 1}}
        found = RunReport([RowsInvalid(**about, rows=10, invalid=1), RowsInvalid(**about, rows=5, invalid=1)]).as_dict()
        assert found["rows"] == [{**about, "rows": 15, "invalid": 2, "reasons": {"le(3)": 2}, "path": None}]

    def test_alerts(self):
        about = {"operation": "fetch", "channel": "slack"}
        problem = {"error_type": "TimeoutError", "message": "hung", "retry_in": 3.0}
        found = RunReport(
            [
                NotifyFailed(**about, key="a", time=1.0, **problem),
                NotifySent(**about, key="b", time=2.0),
                NotifySuppressed(**about, suppressed=1),
                NotifyKnown(**about, suppressed=2),
                NotifySent(**about, key="c", time=9.0),
                NotifyFailed(**about, key="c", time=8.0, **problem),
            ]
        ).as_dict()
        assert (found["alerts"]["sent"], found["alerts"]["suppressed"]) == (2, 2)
        assert found["alerts"]["waiting"] == [{"channel": "slack", "reason": "hung", "retry_in_s": 3.0}]

    def test_work_that_was_not_stopped(self, drive, resilient_events):
        release = []
        call = drive(lambda: release or __import__("time").sleep(0.05), timeout=Timeout(0.01, enforce="cooperative"))
        call.outcome()
        (entry,) = RunReport(resilient_events).as_dict()["not_stopped"]
        assert entry["limit_s"] == 0.01


_OUTCOMES = st.lists(st.sampled_from(["ok", "fail"]), min_size=1, max_size=5)


@given(st.lists(_OUTCOMES, min_size=1, max_size=8), st.booleans())
def test_a_report_agrees_with_what_the_calls_returned(scripts, has_fallback):
    from resilient_tasks.testing import RecordedEvents, VirtualClock, use_clock

    ends = {"ok": 0, "recovered": 0, "degraded": 0, "failed": 0}
    with use_clock(VirtualClock()), RecordedEvents.listening() as events:
        for script in scripts:
            left = list(script)

            @resilient(retry=Retry(attempts=3, wait=1), **({"fallback": Fallback(value=None)} if has_fallback else {}))
            def work(left=left):
                if (left.pop(0) if left else "ok") == "fail":
                    raise ConnectionError("down")
                return 1

            outcome = work.outcome()
            kind = type(outcome).__name__
            ends["failed" if kind == "Failed" else "degraded" if kind == "Degraded" else "ok"] += 1
            if kind == "Ok" and outcome.attempts > 1:
                ends["recovered"] += 1
    counts = RunReport(events).as_dict()["counts"]
    assert {name: counts[name] for name in ("failed", "degraded", "recovered")} == {
        name: ends[name] for name in ("failed", "degraded", "recovered")
    }


def _endless(number):
    for n in range(number):
        yield scheduled(call=f"c{n}")
        yield started(call=f"c{n}")
        yield from (
            [recovered(call=f"c{n}")],
            [exhausted(call=f"c{n}"), degraded(call=f"c{n}")],
            [failed(call=f"c{n}")],
        )[n % 3]
        rows = {"action": "quarantined", "rows": 10, "invalid": n % 7, "reasons": {"le(3)": 1}}
        yield RowsQuarantined(operation=f"read {n}", call=f"q{n}", **rows, path=f"q/{n}", batch="b", schema="")


def test_the_memory_for_a_report_does_not_grow_with_its_events():
    """Ids are kept as texts and numbers, which the collector does not count: they are bounded, too."""

    def kept(number):
        gc.collect()
        before = len(gc.get_objects())
        report = RunReport(_endless(number))
        gc.collect()
        assert report.as_dict()["counts"]["failed"] == number // 3
        return len(gc.get_objects()) - before

    assert kept(9_000) < 1.1 * kept(4_500)
