"""Timeout and Deadline as policies; how the work is ended is in tests/core/test_interrupt.py."""

import pytest

from resilient_tasks import Deadline, DeadlineExceeded, Failed, Ok, Pipeline, PolicyError, Retry, TimedOut, Timeout

pytestmark = pytest.mark.filterwarnings("ignore:.*is sync and has a timeout")


def test_an_attempt_that_is_too_slow_is_ended_on_time(drive):
    with pytest.raises(TimedOut) as info:
        drive(drive.sleeper(5), timeout=0.05)()
    assert str(info.value) == "slow exceeded its timeout of 0.05 s"
    assert (info.value.seconds, info.value.stopped) == (0.05, True)


def test_an_attempt_in_time_keeps_its_result(drive):
    assert drive(drive.sleeper(0, "done"), timeout=5, deadline=5)() == "done"


def test_each_attempt_has_the_whole_timeout(drive, resilient_events):
    call = drive(drive.sleeper(5), timeout=0.05, retry=Retry(attempts=2, wait=0))
    assert isinstance(call.outcome(), Failed)
    assert [event.attempt for event in resilient_events.named("timeout.exceeded")] == [1, 2]


def test_a_deadline_cuts_the_attempt_that_is_under_way(drive, resilient_events):
    with pytest.raises(DeadlineExceeded, match=r"exceeded the 0\.0\d+ s left of its deadline"):
        drive(drive.sleeper(5), deadline=0.05)()
    assert [event.policy for event in resilient_events.named("timeout.exceeded")] == ["deadline"]


def test_a_deadline_nearer_than_the_timeout_is_the_one_that_counts(drive, resilient_events):
    error = drive(drive.sleeper(5), deadline=0.05, timeout=5).outcome().error
    assert isinstance(error, DeadlineExceeded)
    assert resilient_events.names == ["timeout.exceeded", "call.failed"]


def test_a_timeout_nearer_than_the_deadline_is_the_one_that_counts(drive):
    assert type(drive(drive.sleeper(5), deadline=5, timeout=0.05).outcome().error) is TimedOut


def test_a_late_result_has_failed_even_if_nothing_could_stop_the_work(drive, resilient_clock, resilient_events):
    def slow():
        resilient_clock.advance(3)
        return "late"

    error = drive(slow, deadline=2).outcome().error
    assert isinstance(error, DeadlineExceeded)
    assert not error.stopped
    assert [event.stopped for event in resilient_events.named("timeout.exceeded")] == [False]


def test_no_attempt_begins_once_the_deadline_has_come(resilient_clock):
    calls = []

    class Waits(Timeout):
        async def around(self, call, proceed):
            resilient_clock.advance(10)
            return await super().around(call, proceed)

    error = Pipeline(Deadline(5), Waits(1)).outcome(lambda: calls.append(1)).error
    assert isinstance(error, DeadlineExceeded)
    assert error.stopped
    assert calls == []


def test_the_inner_of_two_deadlines_counts_if_it_is_nearer(resilient_clock):
    pipeline = Pipeline(Deadline(60), Deadline(2))

    def slow():
        resilient_clock.advance(3)

    assert "the 2 s left" in str(pipeline.outcome(slow).error)


def test_the_deadline_of_a_call_around_ends_the_call_inside(drive, resilient_clock):
    def slow():
        resilient_clock.advance(3)

    inner = drive(slow, retry=5).decorated

    def outer():
        return inner()

    async def aouter():
        return await inner()

    error = drive(aouter if drive.is_async else outer, deadline=2).outcome().error
    assert isinstance(error, DeadlineExceeded)


class TestCooperative:
    LIMIT = Timeout(2, enforce="cooperative")

    def test_a_late_result_is_kept_and_reported(self, drive, resilient_clock, resilient_events):
        def slow():
            resilient_clock.advance(3)
            return "late"

        assert isinstance(drive(slow, timeout=self.LIMIT).outcome(), Ok)
        (event,) = resilient_events
        assert (event.name, event.limit, event.stopped, event.abandoned) == ("timeout.exceeded", 2, False, False)

    def test_a_result_in_time_is_no_event(self, drive, resilient_clock, resilient_events):
        assert drive(lambda: "done", timeout=self.LIMIT)() == "done"
        assert resilient_events == []

    def test_it_runs_on_the_callers_thread(self):
        import threading

        assert Pipeline(self.LIMIT).call(threading.current_thread) is threading.current_thread()


@pytest.mark.parametrize("policy", [Timeout, Deadline])
@pytest.mark.parametrize("seconds", [0, -1, "2", None, True, float("nan"), float("inf")])
def test_a_limit_is_a_number_of_seconds_above_zero(policy, seconds):
    with pytest.raises(PolicyError, match=rf"{policy.__name__}\(seconds\) is a number of seconds above 0, not"):
        policy(seconds)


@pytest.mark.parametrize("enforce", ["hard", None, "process"])
def test_enforce_is_one_of_its_words(enforce):
    with pytest.raises(PolicyError, match=r"Timeout\(enforce=...\) is one of auto, cooperative, not"):
        Timeout(1, enforce=enforce)
