"""AdaptiveRateLimit finds the rate of a service: several workers, sync and async, on virtual time."""

import itertools

import pytest

from resilient_tasks import AdaptiveRateLimit, Retry, resilient
from resilient_tasks.core import settings
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store
from tests.policies.course import Service, TooMany, run

RETRY_AFTER = pytest.mark.parametrize("retry_after", [None, 1], ids=["bare", "retry-after"])


@pytest.fixture(autouse=True)
def own_states():
    with use_store(MemoryStore()):
        yield


@pytest.fixture(params=["sync", "async"])
def course(request):
    """`course(service, limit, ...)` has workers call the service."""

    def course(service, limit, seconds, workers=8, **options):
        decorate = resilient(rate_limit=limit, **options)
        run(decorate, service, is_async=request.param == "async", workers=workers, seconds=seconds)

    return course


@RETRY_AFTER
@pytest.mark.parametrize(("start", "rate"), [(10, 20), (10, 5)], ids=["from below", "from above"])
def test_it_finds_the_rate_of_the_service_with_few_refused_calls(course, start, rate, retry_after):
    service = Service(lambda _: rate, retry_after=retry_after)
    course(service, AdaptiveRateLimit("api", start=start, per=1), 150)
    accepted, refused = service.shares(30, 150)
    assert accepted > 0.8
    assert refused < 0.07


@RETRY_AFTER
def test_it_follows_a_rate_that_changes(course, retry_after):
    service = Service(lambda at: 20 if at < 60 or at >= 120 else 5, retry_after=retry_after)
    course(service, AdaptiveRateLimit("api", start=10, per=1), 200)
    for begin, end in ((20, 60), (70, 120), (140, 200)):
        accepted, refused = service.shares(begin, end)
        assert accepted > 0.75
        assert refused < 0.1


def test_retried_attempts_count_and_all_calls_succeed_in_the_end(course):
    service = Service(lambda _: 10, retry_after=1)
    course(service, AdaptiveRateLimit("api", start=20, per=1), 60, retry=Retry(attempts=5))
    accepted, refused = service.shares(10, 60)
    assert accepted > 0.75
    assert refused < 0.07


def test_no_call_of_any_worker_begins_in_a_pause_and_no_herd_follows_it(course):
    refuses_at = itertools.count()

    class Once(Service):
        def __call__(self):
            if next(refuses_at) == 30:
                self.paused_at = self.at
                raise TooMany(5)
            super().__call__()

    service = Once(lambda _: 1000, burst=1000)
    course(service, AdaptiveRateLimit("api", start=10, per=1, most=10), 20, workers=20)
    begun = [at - 0.1 for at in service.accepted]  # a call takes this long to arrive
    after = sorted(at for at in begun if at > service.paused_at)
    assert after[0] == pytest.approx(service.paused_at + 5)
    assert min(later - at for at, later in itertools.pairwise(after)) > 0.08
    assert all(later - at > 0.999 for at, later in zip(after, after[11:], strict=False))
    assert len(after) > 50


def test_the_limit_does_not_grow_with_few_calls(course):
    service = Service(lambda _: 1000, burst=1000)
    limit = AdaptiveRateLimit("api", start=10, per=1)
    course(service, limit, 100, workers=1)  # one worker makes at most ten calls a second
    assert limit.status().rate <= 10 / 0.75 + 1


def test_accepted_calls_are_reported_within_the_staleness_of_the_store(course, monkeypatch):
    monkeypatch.setattr(settings, "current", settings.Settings(store_staleness=0))
    service = Service(lambda _: 20)
    course(service, AdaptiveRateLimit("api", start=10, per=1), 60)
    assert service.shares(20, 60)[0] > 0.8
