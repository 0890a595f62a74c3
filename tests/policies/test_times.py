"""The state machine of a rate limit: the times of its calls."""

import pytest

from resilient_tasks.policies.rate_limit.machine import Numbers, SlidingWindow, Times, TokenBucket
from resilient_tasks.state.changes import Changes

SPARE = 10.0


def reserved(rate, times, *calls):
    """Return the waits of calls at these times, and the times afterwards."""
    waits = []
    for now in calls:
        after, reservation = rate.reserve(times, now, 1e9)
        times = after or times
        waits.append(reservation.wait)
    return waits, times


@pytest.mark.parametrize("ahead", [900.0, 0.5])
def test_times_of_a_clock_that_ran_fast_move_back_by_the_difference(ahead):
    times = Times(100.0 + ahead, [90.0 + ahead, 100.0 + ahead, 104.0 + ahead])
    assert times.correct(100.0)
    assert (times.written, times.in_order(), times.latest) == (100.0, [90.0, 100.0, 104.0], 104.0)
    assert not times.correct(100.0)
    assert not times.correct(101.0)


def test_after_a_clock_ran_fast_calls_wait_as_if_it_had_not():
    _, times = reserved(SlidingWindow(1, 10.0), Times(), 5000.0)
    assert reserved(SlidingWindow(1, 10.0), times, 100.0, 105.0)[0] == [10.0, 15.0]


@pytest.mark.parametrize(
    ("rate", "until"),
    [(Numbers(2, 60.0), 130.0 + 60.0 + SPARE), (Numbers(2, 60.0, 4), 160.0 + 120.0 + SPARE)],
    ids=["window", "bucket"],
)
def test_times_are_needed_until_the_last_one_limits_no_call(rate, until):
    _, times = reserved(rate.rate, Times(), 70.0, 70.0, 70.0)
    assert times.latest == until - rate.rate.kept
    assert times.needed_until == until


def test_times_from_a_store_are_needed_no_longer_than_the_store_keeps_them():
    assert Times.decode(Times(70.0, [60.0, 65.0]).encode()).needed_until == 70.0


def test_times_with_changed_numbers_are_needed_for_ever():
    times = Times(changes=Changes({"calls": 3}, "anna", 1.0))
    assert times.needed_until == float("inf")
    assert times.renumbered(None).needed_until < 0


def test_numbers_that_change_leave_the_times_needed_as_long():
    _, times = reserved(SlidingWindow(2, 60.0), Times(), 70.0)
    assert times.renumbered(None).needed_until == times.needed_until == 140.0


@pytest.mark.parametrize("fewer", [1, 2])
def test_a_window_of_other_numbers_goes_on_with_the_times_that_are_known(fewer):
    _, times = reserved(SlidingWindow(3, 10.0), Times(), 0.0, 1.0, 2.0)
    waits, _ = reserved(SlidingWindow(fewer, 10.0), times, 3.0, 3.0)
    assert waits == {1: [9.0, 19.0], 2: [8.0, 9.0]}[fewer]


def test_a_window_becomes_a_bucket_that_is_full_at_the_latest_time():
    _, times = reserved(SlidingWindow(3, 10.0), Times(), 0.0, 1.0)
    waits, _ = reserved(TokenBucket(1, 10.0, 1), times, 1.0, 1.0)
    assert waits == [0.0, 10.0]


def test_a_call_that_may_not_wait_reserves_nothing():
    _, times = reserved(SlidingWindow(1, 10.0), Times(), 0.0)
    after, reservation = SlidingWindow(1, 10.0).reserve(times, 4.0, 5.9)
    assert (after, reservation) == (None, (False, 6.0))
    after, reservation = SlidingWindow(1, 10.0).reserve(times, 4.0, 6.0)
    assert (after.latest, reservation) == (10.0, (True, 6.0))


@pytest.mark.parametrize("rate", [Numbers(2, 10.0), Numbers(2, 10.0, 3)], ids=["window", "bucket"])
def test_times_change_in_place_as_long_as_their_number_stays(rate):
    """A call that is made at once looks into the times of this process's memory, without a lock."""
    _, times = reserved(rate.rate, Times(), 0.0)
    assert rate.rate.reserve(times, 1.0, 0.0)[0] is times
    _, others = reserved(SlidingWindow(4, 10.0), Times(), 0.0)
    before = others.in_order()
    assert rate.rate.reserve(others, 1.0, 0.0)[0] is not others
    assert (others.count, others.in_order()) == (4, before)


def test_a_number_of_a_newer_version_is_left_out():
    numbers = Numbers(3, 10.0).changed(Changes({"calls": 5, "later": 1}, "anna", 1.0))
    assert numbers == Numbers(5, 10.0)
