"""Nested retry loops are reported once, with the product of their attempts."""

import asyncio

import pytest

from resilient_tasks import Hedge, Pipeline, Retry, resilient
from resilient_tasks.core import loops
from resilient_tasks.core.host import Host, Loop, use_host


@pytest.fixture(autouse=True)
def clock(resilient_clock, monkeypatch):
    monkeypatch.setattr(loops, "_reported", set())
    return resilient_clock


def reported(events):
    return [event.sentence() for event in events.named("retry.multiplied")]


def test_a_retry_inside_a_retry_names_the_stack_and_the_product(resilient_events):
    @resilient(retry=Retry(attempts=4))
    def page():
        raise ConnectionError

    @resilient(retry=Retry(attempts=5))
    def month():
        page()

    month.outcome()
    assert reported(resilient_events) == [
        "retries multiply: month (5 attempts) × page (4 attempts) = up to 20 attempts; keep one of these loops"
    ]
    (event,) = resilient_events.named("retry.multiplied")
    assert (event.operation, event.attempts) == ("page", 20)
    month.outcome()
    assert len(reported(resilient_events)) == 1


def test_it_is_reported_even_if_everything_succeeds(resilient_events):
    @resilient(retry=2)
    def page():
        return "page"

    @resilient(retry=3)
    def month():
        return page()

    assert month() == "page"
    assert len(reported(resilient_events)) == 1


def test_coroutines_are_no_different(resilient_events):
    @resilient(retry=2)
    async def page():
        return "page"

    @resilient(retry=3)
    async def month():
        return await page()

    assert asyncio.run(month()) == "page"
    assert len(reported(resilient_events)) == 1


def test_a_call_between_them_that_makes_one_attempt_is_not_named(resilient_events):
    @resilient(retry=2)
    def page():
        return "page"

    @resilient(deadline=60)
    def day():
        return page()

    @resilient(hedge=10, idempotent=True)
    def month():
        return day()

    month()
    assert reported(resilient_events) == [
        "retries multiply: month (2 attempts) × page (2 attempts) = up to 4 attempts; keep one of these loops"
    ]


def test_a_hedged_retry_is_one_loop_of_all_its_attempts(resilient_events):
    page = resilient(hedge=10, retry=3, idempotent=True)(lambda: "page")
    assert page() == "page"
    assert reported(resilient_events) == []
    assert Pipeline(Retry(attempts=3), Hedge(10)).most_attempts == 6


def test_the_loops_of_an_orchestrator_count_too(resilient_events):
    class Looping(Host):
        def loops(self):
            return (Loop("flow train", 3),)

    @resilient(retry=3)
    def page():
        raise ConnectionError

    with use_host(Looping()):
        page.outcome()
    assert reported(resilient_events) == [
        "retries multiply: flow train (3 attempts) × page (3 attempts) = up to 9 attempts; keep one of these loops"
    ]


def test_an_unlimited_loop_makes_the_product_unlimited(resilient_events):
    from tenacity import stop_after_delay

    @resilient(retry=2)
    def page():
        return "page"

    @resilient(retry=Retry(attempts=None, stop=stop_after_delay(60)))
    def month():
        return page()

    month()
    assert reported(resilient_events) == [
        (
            "retries multiply: month (any number of attempts) × page (2 attempts) = any number of attempts;"
            " keep one of these loops"
        )
    ]
    assert resilient_events.named("retry.multiplied")[0].attempts == 0


def test_a_single_retry_is_no_stack(drive, flaky, resilient_events):
    drive(flaky(ConnectionError()), retry=3)()
    drive(flaky(), deadline=5)()
    assert reported(resilient_events) == []
