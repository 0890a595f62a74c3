"""Retry, on a virtual clock: how often, when, for which failures, and which events it emits."""

import datetime as dt
from email.utils import format_datetime

import httpx
import pytest
import tenacity

from resilient_tasks import (
    Degraded,
    Fallback,
    InvalidData,
    Kind,
    Ok,
    Pipeline,
    PolicyError,
    ResultRejected,
    Retry,
    TimedOut,
    explain,
    register_kind,
)
from resilient_tasks.core import failures


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


def throttled(retry_after, status=429):
    request = httpx.Request("GET", "http://127.0.0.1/")
    response = httpx.Response(status, headers={"Retry-After": str(retry_after)}, request=request)
    return httpx.HTTPStatusError("slow down", request=request, response=response)


class TestHowOften:
    def test_a_temporary_failure_does_not_reach_the_caller(self, drive, flaky, resilient_events):
        fetch = flaky(ConnectionError(), TimeoutError())
        assert drive(fetch, retry=Retry(attempts=5, wait=2))("value") == "value"
        assert fetch.calls == 3
        assert resilient_events.names == ["retry.scheduled", "retry.started"] * 2 + ["retry.recovered"]

    def test_attempts_counts_the_first_one_too(self, drive, flaky):
        fetch = flaky(*[ConnectionError()] * 9)
        with pytest.raises(ConnectionError):
            drive(fetch, retry=Retry(attempts=4, wait=0))()
        assert fetch.calls == 4

    def test_a_number_is_short_for_that_number_of_attempts(self, drive, flaky):
        fetch = flaky(*[ConnectionError()] * 9)
        drive(fetch, retry=2).outcome()
        assert fetch.calls == 2

    def test_one_attempt_is_no_retry(self, drive, flaky, clock):
        fetch = flaky(ConnectionError())
        drive(fetch, retry=1).outcome()
        assert (fetch.calls, clock.waits) == (1, [])

    def test_an_outcome_knows_the_attempt_that_succeeded(self, drive, flaky):
        outcome = drive(flaky(ConnectionError(), ConnectionError()), retry=Retry(attempts=3, wait=0)).outcome()
        assert isinstance(outcome, Ok)
        assert outcome.attempts == 3
        assert drive(flaky(), retry=3).outcome().attempts == 1

    def test_each_attempt_gets_the_same_arguments(self, drive):
        seen = []

        def fetch(month, *, year=0):
            seen.append((month, year))
            if len(seen) < 2:
                raise ConnectionError

        drive(fetch, retry=Retry(attempts=2, wait=0))("07", year=2013)
        assert seen == [("07", 2013)] * 2

    @pytest.mark.usefixtures("each_call")
    def test_a_wait_sees_which_arguments_were_given_by_name(self, drive):
        seen = []

        def wait(call):
            seen.append((call.work.args, call.work.kwargs))
            return 0

        def fetch(month, year=0):
            if not seen:
                raise ConnectionError

        drive(fetch, retry=Retry(attempts=2, wait=wait))("07", year=2013)
        assert seen == [(("07",), {"year": 2013})]

    def test_each_call_has_its_own_count(self, drive, flaky):
        fetch = flaky(*[ConnectionError()] * 2, *[])
        call = drive(fetch, retry=Retry(attempts=2, wait=0))
        call.outcome()
        assert call() == "done"
        assert fetch.calls == 3

    def test_a_tenacity_stop_decides_when_to_give_up(self, drive, flaky, clock, resilient_events):
        fetch = flaky(*[ConnectionError()] * 99)
        call = drive(fetch, retry=Retry(attempts=None, wait=10, stop=tenacity.stop_after_delay(35)))
        call.outcome()
        assert clock.waits == [10, 10, 10, 10]
        assert resilient_events.named("retry.exhausted")[0].reason == "stopped by stop_after_delay"

    def test_a_stop_knows_the_next_wait(self, drive, flaky, clock):
        fetch = flaky(*[ConnectionError()] * 99)
        drive(fetch, retry=Retry(attempts=None, wait=10, stop=tenacity.stop_before_delay(35))).outcome()
        assert clock.waits == [10, 10, 10]

    def test_attempts_and_stop_together_end_at_whichever_comes_first(self, drive, flaky):
        first, second = flaky(*[ConnectionError()] * 99), flaky(*[ConnectionError()] * 99)
        drive(first, retry=Retry(attempts=2, wait=1, stop=tenacity.stop_after_attempt(5))).outcome()
        drive(second, retry=Retry(attempts=5, wait=1, stop=tenacity.stop_after_attempt(2))).outcome()
        assert (first.calls, second.calls) == (2, 2)

    @pytest.mark.parametrize("others", [(), (ValueError,), (lambda error: False,)])
    def test_a_condition_of_tenacity_sees_the_arguments_and_the_attempt(self, drive, flaky, others):
        seen = []

        class Asked(tenacity.retry_base):
            def __call__(self, state):
                seen.append((state.args, state.attempt_number))
                return True

        fetch = flaky(*[ConnectionError()] * 2)
        assert drive(fetch, retry=Retry(on=(*others, Asked()), attempts=3, wait=0))("flights") == "flights"
        assert seen == [(("flights",), 1), (("flights",), 2)]

    def test_stops_can_be_combined(self, drive, flaky):
        fetch = flaky(*[ConnectionError()] * 99)
        stop = tenacity.stop_after_delay(1000) | tenacity.stop_after_attempt(3)
        drive(fetch, retry=Retry(attempts=None, wait=1, stop=stop)).outcome()
        assert fetch.calls == 3


class TestHowLong:
    @pytest.mark.parametrize(
        ("wait", "waits"),
        [
            (2, [2, 2, 2]),
            (0, []),
            (0.25, [0.25, 0.25, 0.25]),
            (tenacity.wait_fixed(3), [3, 3, 3]),
            (tenacity.wait_exponential(multiplier=1, max=3), [1, 2, 3]),
            (tenacity.wait_incrementing(1, 2), [1, 3, 5]),
            (tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(9)), [1, 9, 9]),
            (tenacity.wait_fixed(1) + tenacity.wait_incrementing(0, 1), [1, 2, 3]),
            (lambda call: call.attempt * 10, [10, 20, 30]),
        ],
    )
    def test_the_wait_is_a_number_a_strategy_or_a_function_of_the_call(self, drive, flaky, clock, wait, waits):
        drive(flaky(*[ConnectionError()] * 9), retry=Retry(attempts=4, wait=wait)).outcome()
        assert clock.waits == waits

    def test_the_default_is_exponential_with_full_jitter(self, flaky, clock):
        pipeline = Pipeline(Retry(attempts=10))
        for _ in range(40):
            pipeline.outcome(flaky(*[ConnectionError()] * 10))
        by_attempt = [clock.waits[number::9] for number in range(9)]
        for number, waits in enumerate(by_attempt):
            assert max(waits) <= min(60, 0.5 * 2**number)
            assert len(set(waits)) == 40
        assert max(by_attempt[8]) > 30
        assert min(by_attempt[8]) < 30

    def test_a_wait_function_can_read_the_remaining_time(self, drive, flaky, clock):
        call = drive(
            flaky(ConnectionError()), retry=Retry(attempts=2, wait=lambda call: call.remaining() / 4), deadline=40
        )
        call()
        assert clock.waits == [10]

    def test_a_negative_wait_is_no_wait(self, drive, flaky, clock):
        assert drive(flaky(ConnectionError()), retry=Retry(attempts=2, wait=lambda _: -5))() == "done"
        assert clock.waits == []

    def test_retry_after_is_honoured_if_it_is_longer(self, drive, flaky, clock):
        drive(flaky(throttled(30), throttled(1)), retry=Retry(attempts=3, wait=5))()
        assert clock.waits == [30, 5]

    def test_retry_after_may_be_a_date(self, drive, flaky, clock):
        date = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=60), usegmt=True)
        drive(flaky(throttled(date, 503)), retry=Retry(attempts=2, wait=1))()
        assert clock.waits == [pytest.approx(60, abs=2)]

    def test_no_wait_is_begun_that_would_end_after_the_deadline(self, drive, flaky, clock, resilient_events):
        fetch = flaky(throttled(1), throttled(3600))
        with pytest.raises(httpx.HTTPStatusError) as info:
            drive(fetch, retry=Retry(attempts=9, wait=0), deadline=60)()
        assert clock.waits == [1]
        assert "after 3600.0 s, would start past the deadline" in info.value.__notes__[0]
        assert "past the deadline" in resilient_events.named("retry.exhausted")[0].reason

    def test_a_wait_that_ends_at_the_deadline_is_too_long_already(self, drive, flaky, clock):
        drive(flaky(*[ConnectionError()] * 3), retry=Retry(attempts=9, wait=30), deadline=60).outcome()
        assert clock.waits == [30]

    def test_time_that_attempts_take_counts_towards_the_deadline(self, drive, clock):
        def slow():
            clock.advance(25)
            raise ConnectionError

        drive(slow, retry=Retry(attempts=9, wait=10), deadline=60).outcome()
        assert clock.waits == [10]


class TestWhichFailures:
    @pytest.mark.parametrize(
        ("on", "error", "retried"),
        [
            (None, ConnectionError(), True),
            (None, TimeoutError(), True),
            (None, throttled(0), True),
            (None, KeyError(), False),
            (None, InvalidData("bad"), False),
            (None, MemoryError(), False),
            (Kind.MALFORMED, InvalidData("bad"), True),
            (Kind.MALFORMED, ConnectionError(), False),
            (OSError, ConnectionError(), True),
            (OSError, KeyError(), False),
            ((KeyError, Kind.TIMEOUT), TimeoutError(), True),
            ((KeyError, Kind.TIMEOUT), KeyError(), True),
            ([KeyError, Kind.TIMEOUT], ConnectionError(), False),
            ({Kind.TIMEOUT, Kind.TRANSIENT}, ConnectionError(), True),
            (lambda error: "again" in str(error), ValueError("again"), True),
            (lambda error: "again" in str(error), ValueError("never"), False),
            ((KeyError, lambda error: "again" in str(error)), ValueError("again"), True),
            ((kind for kind in Kind), KeyError(), True),
        ],
    )
    def test_on_takes_kinds_types_predicates_and_mixes(self, flaky, on, error, retried):
        outcome = Pipeline(Retry(on=on, attempts=2, wait=0)).outcome(flaky(error))
        assert isinstance(outcome, Ok) is retried

    def test_an_error_that_is_not_retried_is_raised_as_it_is(self, drive, flaky, clock, resilient_events):
        with pytest.raises(KeyError) as info:
            drive(flaky(KeyError("mine")), retry=3)()
        assert not hasattr(info.value, "__notes__")
        assert clock.waits == []
        assert resilient_events.names == ["call.failed"]

    def test_an_error_that_ends_earlier_retries_has_a_note(self, drive, flaky):
        error = drive(flaky(ConnectionError(), KeyError()), retry=Retry(attempts=5, wait=0)).outcome().error
        assert error.__notes__ == ["flaky: gave up after attempt 2 (ConnectionError, KeyError): not a failure to retry"]

    def test_an_abandoned_attempt_is_not_retried(self, drive, flaky):
        abandoned = TimedOut("slow", stopped=False, abandoned=True)
        call = drive(flaky(abandoned), retry=Retry(attempts=3, wait=0))
        assert "idempotent=True" in call.outcome().error.__notes__[0]

    def test_an_abandoned_attempt_of_an_idempotent_operation_is_retried(self, drive, flaky):
        abandoned = TimedOut("slow", stopped=False, abandoned=True)
        assert drive(flaky(abandoned), retry=Retry(attempts=3, wait=0), idempotent=True)() == "done"

    def test_a_predicate_that_raises_ends_the_call(self, drive, flaky, resilient_events):
        def broken(error):
            raise ZeroDivisionError

        call = drive(flaky(ConnectionError()), retry=Retry(on=broken))
        with pytest.raises(PolicyError, match="the predicate broken raised ZeroDivisionError"):
            call()
        assert resilient_events.names == ["retry.exhausted", "call.failed"]


class TestResults:
    def test_a_result_can_cause_another_attempt(self, drive, clock):
        results = iter([None, None, 7])
        call = drive(lambda: next(results), retry=Retry(on_result=lambda value: value is None, attempts=5, wait=2))
        assert call() == 7
        assert clock.waits == [2, 2]

    def test_a_call_whose_results_are_all_rejected_fails_with_the_last(self, drive, resilient_events):
        def empty():
            return []

        call = drive(empty, retry=Retry(on_result=lambda value: not value, attempts=2, wait=0))
        error = call.outcome().error
        assert isinstance(error, ResultRejected)
        assert error.result == []
        assert "attempt 2" in str(error)
        assert resilient_events.named("retry.exhausted")[0].errors == {"ResultRejected": 2}

    def test_a_rejected_result_is_retried_whatever_on_says(self, drive):
        results = iter([None, 7])
        call = drive(lambda: next(results), retry=Retry(on=KeyError, on_result=lambda value: value is None, wait=0))
        assert call() == 7

    def test_a_stand_in_of_an_inner_call_is_not_rejected(self, drive, flaky):
        pipeline = Pipeline(Retry(on_result=lambda _: True, attempts=3, wait=0), Fallback(value="stand-in"))
        fetch = flaky(ConnectionError())
        outcome = drive(fetch, policies=pipeline).outcome()
        assert isinstance(outcome, Degraded)
        assert fetch.calls == 1

    def test_a_stand_in_ends_the_attempts(self, drive, flaky, resilient_events):
        fallback = Fallback(value="stand-in", on=TimeoutError)
        call = drive(flaky(ConnectionError(), TimeoutError()), policies=Pipeline(Retry(wait=0), fallback))
        assert call() == "stand-in"
        assert resilient_events.names[-1] == "retry.recovered"


class TestEvents:
    def test_the_error_is_the_functions_own_with_a_note_of_the_attempts(self, drive, flaky):
        last = ConnectionResetError("third")
        failures = [ConnectionRefusedError("first"), ConnectionRefusedError("second"), last]
        with pytest.raises(ConnectionResetError) as info:
            drive(flaky(*failures), retry=Retry(attempts=3, wait=0))()
        assert info.value is last
        assert last.__notes__ == [
            "flaky: gave up after attempt 3 (ConnectionRefusedError ×2, ConnectionResetError): no attempts left"
        ]

    def test_each_scheduled_attempt_is_reported_with_its_reason_and_its_wait(self, drive, flaky, resilient_events):
        drive(flaky(ConnectionError("refused"), throttled(7)), retry=Retry(attempts=3, wait=2))()
        first, second = resilient_events.named("retry.scheduled")
        assert (first.attempt, first.attempts, first.delay, first.kind) == (1, 3, 2, "transient")
        assert (first.error_type, first.message) == ("ConnectionError", "refused")
        assert (second.attempt, second.delay, second.kind) == (2, 7, "throttled")
        assert [event.attempt for event in resilient_events.named("retry.started")] == [2, 3]

    def test_a_recovery_is_reported_with_what_it_recovered_from(self, drive, flaky, resilient_events):
        failures = ConnectionError(), ConnectionError(), TimeoutError()
        drive(flaky(*failures), retry=Retry(attempts=5, wait=0))()
        (event,) = resilient_events.named("retry.recovered")
        assert (event.attempt, event.errors) == (4, {"ConnectionError": 2, "TimeoutError": 1})

    def test_a_first_success_is_no_event(self, drive, flaky, resilient_events):
        drive(flaky(), retry=3)()
        assert resilient_events == []

    def test_giving_up_is_reported_before_the_failed_call(self, drive, flaky, resilient_events):
        drive(flaky(*[ConnectionError()] * 2), retry=Retry(attempts=2, wait=0)).outcome()
        assert resilient_events.names == ["retry.scheduled", "retry.started", "retry.exhausted", "call.failed"]
        assert {event.operation for event in resilient_events} == {"flaky"}

    def test_explaining_names_the_failures_it_is_for(self):
        told = explain(Pipeline(Retry(on=(Kind.TIMEOUT, Kind.MALFORMED, KeyError, callable))))
        assert "timed-out and malformed failures, KeyError, what callable accepts" in told

    def test_explaining_names_what_is_registered_as_one_of_its_kinds(self, monkeypatch):
        monkeypatch.setattr(failures, "_registered", [])
        register_kind(ZeroDivisionError, Kind.TRANSIENT)
        register_kind(KeyError, Kind.RESOURCE)
        told = explain(Pipeline(Retry()))
        assert "transient, throttled and timed-out failures (registered: ZeroDivisionError as transient)" in told


class TestWhatIsRefused:
    @pytest.mark.parametrize("attempts", [0, -1, 2.5, True, "3"])
    def test_attempts_below_one(self, attempts):
        with pytest.raises(PolicyError, match="including the first, so it is 1 or more"):
            Retry(attempts=attempts)

    def test_an_endless_loop(self):
        with pytest.raises(PolicyError, match=r"would never stop: give attempts=5, or stop="):
            Retry(attempts=None)

    @pytest.mark.parametrize("wait", [-1, "2", True, float("inf"), float("nan")])
    def test_an_invalid_wait(self, wait):
        with pytest.raises(PolicyError, match="takes seconds from 0 up, a tenacity strategy or a function"):
            Retry(wait=wait)

    def test_an_async_wait(self):
        async def wait(call):
            return 1

        with pytest.raises(PolicyError, match="give it a plain function, not an async one"):
            Retry(wait=wait)

    def test_an_invalid_stop(self):
        with pytest.raises(PolicyError, match="takes a tenacity stop strategy such as"):
            Retry(stop=60)

    def test_an_invalid_result_predicate(self):
        with pytest.raises(PolicyError, match="takes a predicate of the result"):
            Retry(on_result=[None])

    async def _predicate(self, error):
        return True

    @pytest.mark.parametrize("on", ["ConnectionError", 503, [503], ["ConnectionError"], _predicate])
    def test_an_invalid_on(self, on):
        with pytest.raises(PolicyError, match="takes kinds, exception types or a plain predicate") as info:
            Retry(on=on)
        if isinstance(on, str):
            assert "'ConnectionError'" in str(info.value)

    @pytest.mark.parametrize("on", [KeyboardInterrupt, BaseException, (KeyError, SystemExit), int])
    def test_base_exceptions_are_refused(self, on):
        with pytest.raises(PolicyError, match="is not an Exception: cancellation and interrupts are never caught"):
            Retry(on=on)

    def test_an_empty_on(self):
        with pytest.raises(PolicyError, match="is empty, so it would match no failure"):
            Retry(on=[])

    def test_a_strategy_in_the_wrong_place_is_refused(self):
        for strategy in (tenacity.wait_fixed(1), tenacity.retry_always):
            with pytest.raises(PolicyError, match=r"Retry\(stop=\.\.\.\) is given tenacity's .*: give it as Retry\("):
                Retry(stop=strategy)
        with pytest.raises(PolicyError, match="a list of seconds, not 'soon': write 20, "):
            Retry(wait="soon")


def test_the_seconds_of_an_attempt_are_known_unless_a_loop_inside_a_loop_began_before(clock, resilient_events):
    def fetch():
        clock.advance(1)
        raise ConnectionError("refused")

    Pipeline(Retry(attempts=2, wait=10), Retry(attempts=2, wait=3)).outcome(fetch)
    seconds = [event.seconds for event in resilient_events if event.name in ("retry.scheduled", "retry.exhausted")]
    # By attempt: of the inner loop, two; of the outer one, which has both and the wait; and the same again.
    assert seconds == [1, 1, 5, None, 1, 5]


@pytest.mark.parametrize(
    ("attempts", "made", "said"),
    [(3, 3, "stopped after 3 attempts"), (None, 1, "stopped, as attempts=None sets no other limit")],
)
def test_a_stop_that_raises_ends_only_a_retry_without_another_limit(drive, flaky, attempts, made, said):
    fetch = flaky(*[ConnectionError("refused")] * 9)
    outcome = drive(fetch, retry=Retry(attempts=attempts, wait=0, stop=lambda _: 1 / 0)).outcome()
    assert fetch.calls == made
    assert said in "".join(outcome.error.__notes__)


def test_a_strategy_is_given_the_error(drive, flaky, clock):
    by_error = tenacity.wait.wait_exception(lambda error: float(str(error)))
    on = tenacity.retry_if_exception_message(match="[0-9]+")
    fetch = drive(flaky(ConnectionError("7"), ConnectionError("3")), retry=Retry(on=on, wait=by_error))
    assert fetch() == "done"
    assert clock.waits == [7, 3]
