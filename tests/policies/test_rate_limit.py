"""RateLimit: which calls wait, which are refused, and that limits of one name are shared."""

import cloudpickle
import pytest

from resilient_tasks import Kind, Ok, Pipeline, PolicyError, RateLimit, RateLimited, Retry, explain, resilient
from resilient_tasks.state.states import states


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


def test_a_call_that_comes_too_early_waits_until_the_window_allows_it(drive, clock, resilient_events):
    fetch = drive(clock.now, rate_limit=RateLimit("api", calls=2, per=10))
    assert [fetch() for _ in range(5)] == [0, 0, 10, 10, 20]
    assert clock.waits == [10, 10]
    assert resilient_events.names == ["rate.limited"] * 2
    assert resilient_events[0].sentence() == "rate limit api: waits 10.0 s"


def test_the_window_slides(drive, clock):
    fetch = drive(clock.now, rate_limit=RateLimit("api", calls=2, per=10))
    times = []
    for _ in range(4):
        times.append(fetch())
        clock.advance(3)
    assert times == [0, 3, 10, 13]


def test_a_bucket_allows_a_burst_and_then_the_rate(drive, clock):
    fetch = drive(clock.now, rate_limit=RateLimit("api", calls=2, per=10, burst=3))
    assert [fetch() for _ in range(5)] == pytest.approx([0, 0, 0, 5, 10])
    clock.advance(100)  # no longer than it takes to fill the bucket
    assert [fetch() - 110 for _ in range(5)] == pytest.approx([0, 0, 0, 5, 10])


def test_a_call_that_may_not_wait_is_refused_and_reserves_nothing(drive, clock, resilient_events):
    fetch = drive(clock.now, rate_limit=RateLimit("api", calls=1, per=10, wait=False))
    assert fetch() == 0
    for _ in range(3):
        outcome = fetch.outcome()
        assert isinstance(outcome.error, RateLimited)
        assert outcome.error.retry_in == 10
    assert str(outcome.error) == (
        "rate limit api (1 call in 10 s): VirtualClock.now was not called;"
        " it would have had to wait 10.0 s, and may wait 0.0 s"
    )
    assert resilient_events.named("rate.limited")[0].sentence() == (
        "rate limit api: refused, 10.0 s of waiting would be too long"
    )
    clock.advance(10)
    assert fetch() == 10


def test_a_call_waits_no_longer_than_it_may(drive, clock):
    fetch = drive(clock.now, rate_limit=RateLimit("api", calls=1, per=10, wait=15))
    assert [fetch(), fetch()] == [0, 10]
    assert fetch() == 20
    refused = drive(clock.now, rate_limit=RateLimit("api", calls=1, per=10, wait=9)).outcome()
    assert isinstance(refused.error, RateLimited)


def test_a_call_whose_deadline_comes_first_is_refused_at_once(drive, clock):
    fetch = drive(clock.now, rate_limit=RateLimit("api", calls=1, per=60), deadline=5)
    assert fetch() == 0
    assert isinstance(fetch.outcome().error, RateLimited)
    assert clock.waits == []


def test_each_attempt_counts(drive, clock):
    tries = []

    def fetch():
        tries.append(clock.now())
        raise ConnectionError

    drive(fetch, retry=Retry(attempts=3, wait=1), rate_limit=RateLimit("api", calls=1, per=10)).outcome()
    assert tries == [0, 10, 20]


def test_a_refused_call_is_retried_only_on_request_and_then_when_the_limit_allows(drive, clock):
    limit = RateLimit("api", calls=1, per=10, wait=False)
    fetch = drive(clock.now, rate_limit=limit, retry=Retry(wait=1))
    assert fetch() == 0
    assert isinstance(fetch.outcome().error, RateLimited)
    patient = drive(clock.now, rate_limit=limit, retry=Retry(on=Kind.REJECTED, wait=1))
    assert patient() == 10
    assert clock.waits == [10]


def test_functions_share_a_limit_of_one_name(drive, clock):
    limit = RateLimit("api", calls=2, per=10)
    times = [drive(clock.now, rate_limit=limit)(), drive(clock.now, rate_limit=limit)()]
    assert [*times, drive(clock.now, rate_limit=limit)()] == [0, 0, 10]
    assert drive(clock.now, rate_limit=RateLimit("another", calls=1, per=10))() == 10


@pytest.mark.parametrize("state", [b"garbage", b"[]", b"{}", b"null", b'{"held":[],"queue":{}}'])
def test_an_unreadable_state_is_replaced(state):
    states().update("rate/api", lambda *_: (state, None))
    assert isinstance(Pipeline(RateLimit("api", 1, 10)).outcome(int, "7"), Ok)


def test_it_crosses_to_another_process_as_a_value():
    limit = cloudpickle.loads(cloudpickle.dumps(RateLimit("api", 5, 1, burst=2)))
    assert isinstance(Pipeline(limit).outcome(int, "7"), Ok)
    assert limit.describe() == "rate limit: api, 5 calls in 1 s, up to 2 at once"


def test_it_is_explained():
    text = explain(resilient(rate_limit=RateLimit("api", 5, 60), retry=3, timeout=1, idempotent=True)(print))
    assert [line.partition(":")[0] for line in text.splitlines()[:4]] == [
        "1. retry",
        "2. rate limit",
        "3. timeout",
        "4. the function",
    ]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"name": " "}, "name of shared state"),
        ({"calls": 0}, "whole number of 1 or more"),
        ({"calls": 2.5}, "whole number of 1 or more"),
        ({"per": 0}, "seconds above 0"),
        ({"burst": 0}, "whole number of 1 or more"),
        ({"wait": -1}, "seconds above 0"),
        ({"wait": "long"}, "seconds above 0"),
        ({"calls": 1001}, r"1,000 are the most: give burst="),
    ],
)
def test_impossible_arguments_are_refused(given, complaint):
    with pytest.raises(PolicyError, match=complaint):
        RateLimit(**{"name": "api", "calls": 1, "per": 1, **given})


def test_a_bucket_allows_any_number_of_calls():
    assert RateLimit("api", 100_000, 60, burst=1000).calls == 100_000


def test_a_keyword_that_is_no_rate_limit_is_refused():
    with pytest.raises(PolicyError, match=r"rate_limit= takes a RateLimit\(\.\.\.\), not 5"):
        resilient(rate_limit=5)(print)
