"""The run report, computed from events alone: worst first, and only what events say."""

import pytest

from resilient_tasks import Fallback, Retry, RunReport, resilient
from resilient_tasks.core.events import FallbackUsed, FlightAlone, FlightJoined, RateAdapted


@pytest.fixture
def report(resilient_clock, resilient_events):
    """The report of a run with one call each that failed, was degraded, recovered and succeeded."""

    def failing(times, name):
        met = []

        def fetch():
            met.append(1)
            if len(met) <= times:
                raise ConnectionError("a | b <c>")
            return 1

        fetch.__name__ = fetch.__qualname__ = name
        return fetch

    resilient(retry=Retry(attempts=3, wait=2))(failing(2, "recovers"))()
    resilient(retry=Retry(attempts=2, wait=1), fallback=Fallback(value=0))(failing(9, "degrades"))()
    resilient(retry=Retry(attempts=2, wait=1))(failing(9, "fails")).outcome()
    resilient(retry=3)(failing(0, "goes_well"))()
    return RunReport(resilient_events)


def test_operations_that_did_not_recover_come_first(report):
    assert [operation.name for operation in report.operations] == ["fails", "degrades", "recovers"]
    assert report.headline() == "1 failed, 1 degraded, 1 recovered"


def test_retries_waits_and_errors_are_added_up(report):
    recovers = report.operations[-1]
    assert (recovers.retries, recovers.waited, dict(recovers.errors)) == (2, 4.0, {"ConnectionError": 2})
    assert dict(report.operations[0].errors) == {"ConnectionError": 2}


def test_the_text_begins_with_what_was_not_recovered(report):
    lines = report.text().splitlines()
    assert lines[:8] == [
        "1 failed, 1 degraded, 1 recovered",
        "",
        "Not recovered",
        "  fails: ConnectionError: a | b <c>; gave up after attempt 2: no attempts left",
        "",
        "Degraded",
        "  degrades: a fixed value stands in after ConnectionError",
        "",
    ]
    assert lines[8] == "operation  failed  degraded  recovered  retries  waited s  rows out  errors"
    assert lines[10].split()[:6] == ["fails", "1", "0", "0", "1", "1.0"]


def test_the_markdown_is_a_table_that_prefect_shows(report):
    assert "| fails | 1 | 0 | 0 | 1 | 1.0 | 0 | ConnectionError ×2 |" in report.markdown()


def test_the_table_for_another_page_is_escaped(report):
    assert "<td>fails</td>" in report.html_table()
    assert "<c>" not in report.html_table()


def test_abandoned_attempts_and_undelivered_alerts_are_remarks(resilient_events):
    from resilient_tasks.core.events import NotifyFailed, NotifySent, TimeoutExceeded, bus

    def exceeded(**how):
        bus.emit(TimeoutExceeded(operation="f", policy="timeout", limit=1.0, stopped=False, **how))

    for number in range(7):
        exceeded(abandoned=True, thread=f"f-{number}")
    exceeded(abandoned=False, reason="it blocked the event loop")
    for key in ("k-1", "k-2", "k-2"):
        bus.emit(NotifyFailed(operation="f", channel="slack", error_type="TimeoutError", message="hung", key=key))
    bus.emit(NotifySent(operation="f", channel="slack", key="k-1"))
    left = "; ".join(f"f in the thread f-{number}" for number in range(5))
    assert RunReport(resilient_events).remarks == (
        f"attempts abandoned, which may have continued: 7 ({left} and 2 more)",
        "attempts that overran their limit and could not be interrupted: 1 (f: it blocked the event loop)",
        "alerts that could not be delivered, and wait: 1 (slack: hung)",
        "alerts sent: 1",
    )


def test_without_events_it_is_empty():
    assert RunReport([]).operations == ()
    assert RunReport([]).headline() == "0 failed, 0 degraded, 0 recovered"


class TestWhatTheSharedPoliciesDid:
    """Events of a flow with single flight, LastGood and adaptive rate limits."""

    @staticmethod
    def remarks(*events):
        return RunReport(events).remarks

    @staticmethod
    def joined(operation, outcome="ok"):
        return FlightJoined(operation=operation, call="1", leader="call 0", outcome=outcome, waited=1.5)

    @staticmethod
    def adapted(limit, before, after):
        names = {"operation": "fetch", "call": "1", "limit": limit, "reason": "HTTP 429"}
        return RateAdapted(**names, rate_before=before, rate=after, per=60.0, pause=0.0)

    def test_calls_that_shared_an_attempt_are_counted_by_their_operation(self):
        assert self.remarks(self.joined("fetch"), self.joined("token", "failed"), self.joined("fetch", "degraded")) == (
            "calls that shared the attempt of another: 3 (fetch ×2; token)",
        )

    def test_calls_that_waited_until_their_deadline_shared_nothing(self):
        assert self.remarks(self.joined("fetch", "deadline")) == (
            "calls whose deadline came while they waited for the attempt of another: 1 (fetch)",
        )

    def test_reasons_why_calls_could_not_share_an_attempt_are_given(self):
        assert self.remarks(FlightAlone(operation="fetch", call="1", reason="the store is away")) == (
            "calls that could not share an attempt and ran one by one: 1 (fetch: the store is away)",
        )

    def test_adaptive_limits_show_how_often_they_fell_and_how_far(self):
        found = self.remarks(self.adapted("a", 10, 7), self.adapted("b", 2, 1), self.adapted("a", 9, 6.3))
        each = "a: 2 times, down to 6.3 calls in 60 s; b: 1 time, down to 1 call in 60 s"
        assert found == (f"rate limits that throttled calls lowered: 2 ({each})",)

    def test_results_of_one_age_are_named_once(self):
        error = {"error_type": "ConnectionError", "message": "refused", "http_status": None, "kind": "transient"}
        used = FallbackUsed(operation="fetch", call="1", fallback="last good result", age=7200.0, since=0.0, **error)
        assert self.remarks(used, used, used) == ("last good results that stood in: 3 (fetch: 2 h old ×3)",)


class TestAFailureThatComesUpThroughSeveralCalls:
    """It counts once, for the outermost call that handled it."""

    @pytest.fixture
    def around(self, resilient_clock):
        """`around(depth, **options)` makes a function with `depth` nested resilient calls."""

        def make(depth, name="page", **options):
            def innermost():
                raise ConnectionError("down")

            fn = innermost
            for number in range(depth):
                fn.__qualname__ = f"{name} {number}"
                fn = resilient(**options)(fn) if number == depth - 1 else resilient(timeout=9)(fn)
                inner = fn

                def calling(inner=inner):
                    return inner()

                fn = calling
            return inner

        return make

    @pytest.mark.parametrize("depth", [1, 2, 3, 4])
    def test_it_counts_once_however_many_calls_raise_it(self, around, resilient_events, depth):
        around(depth, timeout=9).outcome()
        report = RunReport(resilient_events)
        assert (report.failed, len(resilient_events.named("call.failed"))) == (1, depth)
        assert [operation.failed for operation in report.operations] == [1] * depth
        assert report.headline().startswith("1 failed")

    def test_a_degraded_outer_call_does_not_count_as_failed_too(self, around, resilient_events):
        assert around(2, fallback=Fallback(value=0))() == 0
        report = RunReport(resilient_events)
        assert (report.failed, report.degraded) == (0, 1)

    def test_retried_attempts_belong_to_the_outer_call(self, around, resilient_events):
        around(2, retry=Retry(attempts=3, wait=0)).outcome()
        report = RunReport(resilient_events)
        assert (report.failed, len(resilient_events.named("call.failed"))) == (1, 4)

    def test_an_error_of_the_code_in_between_counts(self, around, resilient_events):
        inner = around(1, timeout=9)

        @resilient(timeout=9)
        def goes_on_without():
            inner.outcome()
            return 1

        assert goes_on_without() == 1
        assert RunReport(resilient_events).failed == 1

    def test_another_error_counts_separately(self, around, resilient_events):
        inner = around(1, timeout=9)

        @resilient(timeout=9)
        def month():
            try:
                inner()
            except ConnectionError:
                raise LookupError("no page") from None

        month.outcome()
        assert RunReport(resilient_events).failed == 2

    def test_one_error_raised_by_parallel_calls_counts_for_each(self, resilient_events):
        error = ConnectionError("down")

        @resilient(timeout=9)
        def page():
            raise error

        for _ in range(3):
            page.outcome()
        assert RunReport(resilient_events).failed == 3
