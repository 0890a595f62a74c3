"""Deadline as a policy; how the work is ended is in tests/core/test_interrupt.py."""

import pytest

from resilient_tasks import Deadline, DeadlineExceeded, Pipeline, PolicyError, Timeout

pytestmark = [pytest.mark.filterwarnings("ignore:.*is sync and has a timeout"), pytest.mark.usefixtures("each_call")]


def test_a_deadline_cuts_the_attempt_that_is_under_way_in_the_first_call_and_any_other(drive, resilient_events):
    slow = drive(drive.sleeper(5), deadline=0.05)
    for _ in range(3):
        with pytest.raises(DeadlineExceeded, match=r"exceeded the 0\.0\d+ s left of its deadline"):
            slow()
    assert [event.policy for event in resilient_events.named("timeout.exceeded")] == ["deadline"] * 3


def test_a_deadline_nearer_than_the_timeout_is_the_one_that_counts(drive, resilient_events):
    error = drive(drive.sleeper(5), deadline=0.05, timeout=5).outcome().error
    assert isinstance(error, DeadlineExceeded)
    assert resilient_events.names == ["timeout.exceeded", "call.failed"]


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


@pytest.mark.parametrize("seconds", [0, -1, "2", None, True, float("nan"), float("inf")])
def test_a_limit_is_a_number_of_seconds_above_zero(seconds):
    with pytest.raises(PolicyError, match=rf"{'Deadline'}\(seconds\) is a number of seconds above 0, not"):
        Deadline(seconds)
