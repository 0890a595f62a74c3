"""Failure events have the duration of the attempt or call, if its start is known; it is never invented."""

import pytest

from resilient_tasks import Fallback, Pipeline, Retry, resilient
from resilient_tasks.core.events import FallbackUsed, RetryScheduled, bus


@pytest.fixture
def took(drive, resilient_clock, resilient_events, flaky):
    """`took(3, 4, **options)` calls a function that fails after these seconds, then works; returns the durations."""

    def call(*seconds, last=0.0, first_call=True, **options):
        left = [*seconds]

        def work():
            resilient_clock.advance(left.pop(0) if left else last)
            if len(left) < len(seconds) and failing.pop(0):
                raise ConnectionError("down")

        failing = [True] * len(seconds) + [False] * 5
        fn = drive(work, **options)
        if not first_call:
            left, failing = [], [False, *failing]
            fn()
            left[:] = seconds
            resilient_events.clear()
        fn.outcome() if first_call else _call(fn)
        return [(event.name, event.seconds) for event in resilient_events if hasattr(event, "seconds")]

    return call


def _call(fn):
    try:
        return fn()
    except ConnectionError:
        return None


def test_each_attempt_of_a_call_in_the_pipeline_has_its_own_seconds(took):
    assert took(3, 4, last=5.0, retry=Retry(attempts=3, wait=10)) == [
        ("retry.scheduled", 3.0),
        ("retry.scheduled", 4.0),
        ("retry.recovered", 5.0),
    ]


def test_a_failed_call_lasts_from_its_start_with_all_waits(took):
    assert took(3, 4, retry=Retry(attempts=2, wait=10)) == [
        ("retry.scheduled", 3.0),
        ("retry.exhausted", 4.0),
        ("call.failed", 17.0),
    ]


def test_a_degraded_call_lasts_until_the_stand_in_is_there(took):
    assert took(3, retry=Retry(attempts=1), fallback=Fallback(value=0))[-1] == ("fallback.used", 3.0)


def test_a_first_attempt_made_without_the_pipeline_has_no_seconds(took):
    assert took(3, 4, last=5.0, first_call=False, retry=Retry(attempts=3, wait=10)) == [
        ("retry.scheduled", None),
        ("retry.scheduled", 4.0),
        ("retry.recovered", 5.0),
    ]


def test_the_seconds_of_a_failed_call_are_unknown_if_its_start_is(took):
    assert took(3, first_call=False, fallback=Fallback(value=0)) == [("fallback.used", None)]


def test_a_call_with_a_limit_knows_when_it_began(took):
    assert took(3, 4, first_call=False, deadline=60, retry=Retry(attempts=2, wait=10)) == [
        ("retry.scheduled", 3.0),
        ("retry.exhausted", 4.0),
        ("call.failed", 17.0),
    ]


def test_attempts_made_without_the_pipeline_invent_no_start(resilient_clock, own_store, monkeypatch):
    monkeypatch.setattr(bus, "sinks", ())  # a logger at INFO would listen to what the pipeline emits
    seen = []
    unsubscribe = bus.subscribe(seen.append, lambda event: event is RetryScheduled)
    left = [1, 1, 1]

    @resilient(retry=Retry(attempts=3, wait=1))
    def fetch():
        resilient_clock.advance(2)
        if left and left.pop():
            raise ConnectionError("down")

    try:
        left, kept = [], left
        fetch()
        left = kept[:2]
        fetch()
    finally:
        unsubscribe()
    # Known is a start only if the pipeline is entered, which calls of other tests that are still fenced bring about.
    assert [event.seconds for event in seen] in ([None, None], [None, 2], [2, 2])


def test_the_first_attempt_of_an_inner_loop_is_unknown_in_a_later_attempt_of_the_outer(
    resilient_clock, resilient_events
):
    def fails():
        resilient_clock.advance(2)
        raise ConnectionError("down")

    Pipeline(Retry(attempts=2, wait=1), Retry(attempts=2, wait=1)).outcome(fails)
    scheduled = resilient_events.named("retry.scheduled")
    assert [(event.attempt, event.seconds) for event in scheduled] == [(1, 2.0), (1, 5.0), (1, None)]


def test_a_generator_that_fails_lasts_from_its_first_item(resilient_clock, resilient_events):
    @resilient(fallback=Fallback(value=()))
    def pages():
        resilient_clock.advance(2)
        raise ConnectionError("down")
        yield

    assert list(pages()) == []
    assert [event.seconds for event in resilient_events if isinstance(event, FallbackUsed)] == [2.0]
