"""AdaptiveRateLimit: what lowers and raises the rate, which calls wait, and that limits of one name are shared."""

import asyncio
from types import SimpleNamespace

import cloudpickle
import pytest

from resilient_tasks import (
    AdaptiveRateLimit,
    CircuitOpen,
    Failed,
    Kind,
    Ok,
    Pipeline,
    PolicyError,
    PredicateError,
    RateLimit,
    RateLimited,
    Retry,
    explain,
    resilient,
)
from resilient_tasks.core import call as calls
from resilient_tasks.core.bounds import Bound
from resilient_tasks.core.execution import clock as clocks
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.adaptive_rate_limit.machine import Accepted, Limit
from resilient_tasks.policies.adaptive_rate_limit.shared_limit import SharedLimit
from resilient_tasks.state.states import states, use_store
from resilient_tasks.state.views import MOST
from resilient_tasks.testing import VirtualClock
from tests.policies.course import TooMany


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


def adaptive(name="api", **given):
    return AdaptiveRateLimit(name, **{"start": 10, "per": 1, "decrease": 0.5, **given})


class Service:
    """Raises the given failures, then returns the time."""

    def __init__(self, *failures):
        self.failures, self.began = list(failures), []

    def fetch(self):
        self.began.append(clocks.now())
        if self.failures:
            raise self.failures.pop(0)
        return self.began[-1]


def test_calls_begin_evenly_spaced_and_in_order(drive, clock, resilient_events):
    fetch = drive(clock.now, rate_limit=adaptive(start=4))
    assert [fetch() for _ in range(4)] == [0, 0.25, 0.5, 0.75]
    assert resilient_events[0].sentence() == "rate limit api: waits 0.2 s"
    clock.advance(10)  # a pause earns no burst
    assert [fetch() for _ in range(3)] == [10.75, 11, 11.25]


def test_a_refused_call_lowers_the_rate_and_the_log_has_the_reason(drive, resilient_events):
    limit = adaptive()
    drive(Service(TooMany()).fetch, rate_limit=limit).outcome()
    assert limit.status().rate == 5
    [event] = resilient_events.named("rate.adapted")
    assert event.sentence() == "rate limit api lowered from 10 to 5 calls in 1 s: TooMany (HTTP 429)"
    assert (event.rate_before, event.rate, event.per, event.pause) == (10, 5, 1, 0)


def test_it_never_falls_below_its_least_and_logs_that(drive, resilient_events):
    limit = adaptive(least=4)
    fetch = drive(Service(*[TooMany(2) for _ in range(3)]).fetch, rate_limit=limit)
    for _ in range(3):
        fetch.outcome()
    assert [event.rate for event in resilient_events.named("rate.adapted")] == [5, 4, 4]
    assert resilient_events.named("rate.adapted")[2].sentence() == (
        "rate limit api stays at its least, 4 calls in 1 s: TooMany (HTTP 429), asks to wait 2.0 s;"
        " no call begins for 2.0 s"
    )


def test_calls_that_were_under_way_together_lower_it_once(drive, clock, resilient_events):
    limit = adaptive()
    service = Service(TooMany(), TooMany(), TooMany())

    def with_another_under_way(depth):
        if depth:
            fetch.decorated.outcome(depth - 1) if not drive.is_async else inner(depth - 1)
        return service.fetch()

    inner = resilient(rate_limit=limit)(with_another_under_way).outcome
    fetch = drive(with_another_under_way, rate_limit=limit)
    fetch.outcome(2)
    assert len(service.began) == 3
    assert limit.status().rate == 5
    assert len(resilient_events.named("rate.adapted")) == 1
    service.failures.append(TooMany())
    fetch.outcome(0)  # it began under the lower rate
    assert limit.status().rate == 2.5


def test_retry_after_pauses_all_callers_of_the_limit(drive, clock):
    drive(Service(TooMany(5)).fetch, rate_limit=adaptive()).outcome()
    assert adaptive().status().pause == 5
    others = drive(clock.now, rate_limit=adaptive())
    assert [others(), others(), others()] == pytest.approx([5, 5.2, 5.4])
    assert drive(clock.now, rate_limit=adaptive("another"))() == pytest.approx(5.4)


def test_a_retry_after_without_a_new_round_pauses_calls_too():
    limit, rules = Limit(10, 0.0), adaptive()._rules
    for _ in range(5):
        limit.enqueue(0.0, 100)
    assert limit.refuse(rules, 0.0, 0, 0) is not None
    assert limit.refuse(rules, 0.0, 0, 3) is None
    assert limit.rate == 5
    assert [limit.place(0.0, 100, number).wait for number in range(1, 5)] == pytest.approx([3, 3.2, 3.4, 3.6])


def test_waiting_calls_move_with_a_pause_and_begin_one_by_one():
    limit, rules = Limit(10, 0.0), adaptive()._rules
    for _ in range(4):
        limit.enqueue(0.0, 100)
    assert [limit.place(0.1, 100, 1).wait, limit.place(0.1, 100, 2).wait] == pytest.approx([0, 0.1])
    limit.refuse(rules, 0.15, 0, 10)
    assert [limit.place(0.2, 100, number).wait for number in (2, 3)] == pytest.approx([9.95, 10.15])
    assert limit.enqueue(0.2, 100).wait == pytest.approx(10.35)


def test_a_call_that_is_late_to_begin_begins_when_the_pause_is_over():
    limit, rules = Limit(10, 0.0), adaptive()._rules
    for _ in range(3):
        limit.enqueue(0.0, 100)
    limit.place(0.2, 100, 2)  # the call before it has not polled yet
    limit.refuse(rules, 0.2, 0, 5)
    assert limit.place(0.2, 100, 1).wait == pytest.approx(5)
    assert limit.enqueue(0.2, 100).wait == pytest.approx(5)


def test_calls_of_a_dead_process_delay_no_others_after_a_pause():
    limit, rules = Limit(10, 0.0), adaptive()._rules
    for _ in range(20):
        limit.enqueue(0.0, 100)
    limit.refuse(rules, 4.0, 0, 1)
    assert limit.enqueue(4.0, 100).wait == pytest.approx(1)


def test_the_calls_behind_one_that_gives_up_move_up():
    limit = Limit(10, 0.0)
    for _ in range(5):
        limit.enqueue(0.0, 100)
    for _ in range(2):  # leaving twice has no further effect
        limit.leave(0.0, 2)
    assert [limit.place(0.0, 100, number).wait for number in (1, 3, 4)] == pytest.approx([0.1, 0.2, 0.3])
    assert limit.waiting(0.0) == 3
    limit.leave(0.0, 4)
    assert limit.enqueue(0.0, 100).wait == pytest.approx(0.3)


def test_abandoned_places_are_not_remembered_for_ever():
    limit = Limit(1000, 0.0)
    for _ in range(5000):
        limit.enqueue(0.0, 100)
    for number in range(1, 4000):
        limit.leave(0.0, number)
    assert 900 < len(limit.gaps) <= 1000
    limit.place(4.0, 100, 4500)
    for number in range(4600, 4700):
        limit.leave(4.0, number)
    assert min(limit.gaps) > 4500


def test_it_grows_by_one_step_each_time_it_was_used_and_its_calls_accepted(drive, clock):
    limit = adaptive(increase=2)
    fetch = drive(clock.now, rate_limit=limit)
    rates = []
    while fetch() < 4:
        rates.append(limit.status().rate)
    assert list(dict.fromkeys(rates)) == pytest.approx([10, 12, 14, 16])


def test_it_never_rises_above_its_most(drive, clock):
    limit = adaptive(most=11, increase=5)
    fetch = drive(clock.now, rate_limit=limit)
    while fetch() < 10:
        assert limit.status().rate <= 11
    assert limit.status().rate == 11


def test_an_unused_limit_does_not_grow(drive, clock):
    limit = adaptive()
    fetch = drive(clock.now, rate_limit=limit)
    for _ in range(200):
        fetch()
        clock.advance(0.2)
    assert limit.status().rate == 10


class Unavailable(Exception):
    status_code = 503


@pytest.mark.parametrize("error", [ConnectionError, Unavailable])
def test_calls_that_fail_for_other_reasons_do_not_change_it(drive, clock, error):
    limit = adaptive()
    fetch = drive(Service(*[error() for _ in range(100)]).fetch, rate_limit=limit)
    for _ in range(100):
        fetch.outcome()
    assert limit.status().rate == 10


def test_a_client_error_counts_as_accepted(drive, clock):
    class NotFound(Exception):
        status_code = 404

    limit = adaptive()
    fetch = drive(Service(*[NotFound() for _ in range(15)]).fetch, rate_limit=limit)
    for _ in range(15):
        fetch.outcome()
    assert limit.status().rate == 11


def test_it_grows_after_a_second_in_which_three_quarters_of_it_were_accepted():
    limit, rules = Limit(8, 0.0), adaptive(start=8, increase=2)._rules
    for now, accepted, rate in (
        (0.0, 9, 8),
        (0.5, 5, 8),
        (1.0, 0, 8),
        (1.5, 5, 8),
        (2.0, 0, 8),
        (2.5, 5, 8),
        (3.0, 1, 10),
    ):
        limit.accept(rules, now, Accepted(limit.generation, accepted))
        assert limit.rate == rate


def test_it_does_not_grow_in_a_pause():
    limit, rules = Limit(10, 0.0), adaptive()._rules
    limit.refuse(rules, 0.0, 0, 0)
    limit.refuse(rules, 0.0, 0, 5)  # of an earlier round
    for tenth in range(50):
        limit.accept(rules, tenth / 10, Accepted(1, 5))
    assert limit.rate == 5


def test_calls_that_began_under_another_rate_do_not_let_it_grow():
    limit, rules = Limit(10, 0.0), adaptive()._rules
    limit.refuse(rules, 0.0, 0, 0)
    for tenth in range(50):
        limit.accept(rules, tenth / 10, Accepted(0, 5))
    assert limit.rate == 5


@pytest.mark.parametrize("error", [TooMany(), ConnectionError(), TimeoutError(), CircuitOpen("", name="x", retry_in=9)])
def test_only_throttling_lowers_it_by_default(drive, error):
    limit = adaptive()
    drive(Service(error).fetch, rate_limit=limit).outcome()
    assert limit.status().rate == (5 if isinstance(error, TooMany) else 10)
    assert limit.status().pause == 0


def test_the_errors_that_count_as_throttled_can_be_chosen(drive):
    limit = adaptive(on=(Kind.TIMEOUT, lambda error: "slow down" in str(error)))
    patient = Retry(on=Exception, attempts=4)
    drive(Service(TimeoutError(), ValueError("slow down"), TooMany()).fetch, rate_limit=limit, retry=patient)()
    assert limit.status().rate == 2.5


def test_the_error_of_a_predicate_goes_to_the_caller(drive):
    limit = adaptive(on=lambda _: 1 / 0)
    outcome = drive(Service(TooMany()).fetch, rate_limit=limit).outcome()
    assert isinstance(outcome.error, PredicateError)
    assert limit.status().rate == 10


def test_a_pause_is_no_longer_than_the_setting_allows(drive, own_settings):
    own_settings(longest_retry_after=60)
    drive(Service(TooMany(3600)).fetch, rate_limit=adaptive()).outcome()
    assert adaptive().status().pause == 60


def test_a_limit_is_kept_while_it_is_paused(drive, clock, own_settings):
    own_settings(longest_retry_after="1 day")
    drive(Service(TooMany(36_000)).fetch, rate_limit=adaptive()).outcome()
    drive(clock.now, rate_limit=adaptive(wait=False)).outcome()
    clock.advance("9 hours")
    assert adaptive().status().pause == 3600


def test_a_call_that_may_not_wait_is_refused_and_takes_no_place(drive, clock, resilient_events):
    fetch = drive(clock.now, rate_limit=adaptive(start=1, wait=False))
    assert fetch() == 0
    for _ in range(3):
        outcome = fetch.outcome()
        assert isinstance(outcome.error, RateLimited)
        assert outcome.error.retry_in == 1
    assert str(outcome.error) == (
        "rate limit api: VirtualClock.now was not called; it would have had to wait 1.0 s, and may wait 0.0 s"
    )
    assert resilient_events.named("rate.limited")[0].refused
    assert adaptive(start=1).status().waiting == 0
    clock.advance(1)
    assert fetch() == 1


def test_a_call_waits_no_longer_than_it_may(drive, clock):
    fetch = drive(clock.now, rate_limit=adaptive(start=0.1, wait=10))
    assert [fetch(), fetch(), fetch()] == [0, 10, 20]
    refused = drive(clock.now, rate_limit=adaptive(start=0.1, wait=9)).outcome()
    assert isinstance(refused.error, RateLimited)
    assert fetch() == 30


def test_a_call_whose_deadline_comes_first_is_refused_at_once(drive, clock):
    fetch = drive(clock.now, rate_limit=adaptive(start=0.1), deadline=5)
    assert fetch() == 0
    assert isinstance(fetch.outcome().error, RateLimited)
    assert clock.waits == []


def test_a_call_that_a_pause_makes_wait_too_long_leaves_the_queue(drive, clock, monkeypatch, resilient_events):
    limit = adaptive(start=1, wait=5)
    fetch = drive(clock.now, rate_limit=limit)
    fetch()
    refused = []

    def sleep(seconds, real=clock.sleep):
        if not refused:
            refused.append(SharedLimit(states(), "adaptive/api").refuse(limit._rules, 0, 60))
        real(seconds)

    monkeypatch.setattr(clock, "sleep", sleep)
    outcome = fetch.outcome()
    assert isinstance(outcome.error, RateLimited)
    assert outcome.error.retry_in > 50
    assert [event.refused for event in resilient_events.named("rate.limited")] == [False, True]
    assert limit.status().waiting == 0


def test_a_call_whose_wait_grows_emits_the_event_again(drive, clock, monkeypatch, resilient_events):
    limit = adaptive(start=1)
    fetch = drive(clock.now, rate_limit=limit)
    fetch()
    refused = []

    def sleep(seconds, real=clock.sleep):
        if not refused:
            refused.append(SharedLimit(states(), "adaptive/api").refuse(limit._rules, 0, 60))
        real(seconds)

    monkeypatch.setattr(clock, "sleep", sleep)
    assert fetch() == 60
    assert [round(event.delay) for event in resilient_events.named("rate.limited")] == [1, 60]


def test_a_call_that_is_cancelled_while_it_waits_gives_up_its_place():
    limit = adaptive(start=0.1)

    async def scenario():
        fetch = resilient(rate_limit=limit)(_time)
        await fetch()
        waits = asyncio.create_task(fetch())
        await asyncio.sleep(0)
        assert limit.status().waiting == 1
        waits.cancel()
        await asyncio.gather(waits, return_exceptions=True)

    real = clocks.SystemClock()
    with use_clock(real), use_store(MemoryStore()):
        asyncio.run(asyncio.wait_for(scenario(), 60))
        assert limit.status().waiting == 0


async def _time():
    return clocks.now()


def test_each_attempt_counts_and_reports_its_result(drive, clock):
    service = Service(TooMany(), TooMany())
    limit = adaptive(start=2, least=0.1)
    drive(service.fetch, retry=Retry(attempts=3, wait=0), rate_limit=limit)()
    assert service.began == pytest.approx([0, 1, 3])
    assert limit.status().rate == 0.5


def test_functions_share_a_limit_of_one_name(drive, clock):
    times = [drive(clock.now, rate_limit=adaptive(start=1))() for _ in range(3)]
    assert times == [0, 1, 2]


def test_each_key_has_its_own_limit(drive, clock):
    limit = adaptive(_host, start=1)

    def fetch(host):
        return host, clock.now()

    call = drive(fetch, rate_limit=limit)
    assert [call(host) for host in "abab"] == [("a", 0), ("b", 0), ("a", 1), ("b", 1)]
    assert limit.status(key="a").name == "a"
    assert AdaptiveRateLimit("a", start=1).status() == limit.status(key="a")
    assert limit.describe() == "rate limit: each key of _host, adapts between 0.05 and 10 calls in 1 s, from 1"
    with pytest.raises(PolicyError, match="a limit for each key"):
        limit.status()
    with pytest.raises(PolicyError, match="leave the key out"):
        adaptive().status(key="a")


def test_a_key_function_that_fits_no_call_is_refused_at_decoration():
    with pytest.raises(PolicyError, match="names url"):
        resilient(rate_limit=adaptive(lambda url: url))(print_host)


def print_host(host): ...


def _host(host):
    return host


def test_many_keys_do_not_fill_the_memory_and_paused_ones_stay(clock):
    paused = adaptive("paused")
    Pipeline(paused).outcome(Service(TooMany(3000)).fetch)
    each = adaptive(lambda number: f"host {number}")
    pipeline = Pipeline(each)
    for number in range(2 * MOST):
        pipeline.call(lambda number: number, number)
        clock.advance(0.2)
    assert len(states()._store._values) <= MOST + 600
    assert len(states().views) <= MOST + 2
    assert paused.status().pause > 2000
    assert paused.status().rate == 5


def test_a_limit_that_was_not_used_for_an_hour_begins_anew(drive, clock):
    limit = adaptive()
    fetch = drive(Service(TooMany()).fetch, rate_limit=limit)
    fetch.outcome()
    clock.advance("50 min")
    assert limit.status().rate == 5
    fetch()
    clock.advance("50 min")
    assert limit.status().rate == 5
    clock.advance("2 hours")
    assert limit.status().rate == 10


def test_processes_that_make_one_call_each_let_it_grow(clock):
    store = MemoryStore()
    for _ in range(20):
        with use_store(store) as shared:  # which closes it: the next store starts with its content
            Pipeline(adaptive()).call(int, "7")
            kept = {key: shared.get(key) for key in shared.keys("")}
        store = MemoryStore()
        for key, state in kept.items():
            store.swap(key, None, state)
        clock.advance(0.1)
    with use_store(store):
        assert adaptive().status().rate == 11


def test_while_the_store_is_gone_a_process_adapts_by_itself(clock):
    class Gone(MemoryStore):
        def swap(self, *_, **__):
            raise ConnectionError

    with use_store(Gone()):
        limit = adaptive(wait=False)
        assert isinstance(Pipeline(limit).outcome(Service(TooMany(5)).fetch).error, TooMany)
        assert limit.status().rate == 5
        assert isinstance(Pipeline(limit).outcome(int, "7").error, RateLimited)
        clock.advance(5)
        assert isinstance(Pipeline(limit).outcome(int, "7"), Ok)


def test_a_fenced_attempt_has_no_effect(clock):
    limit = adaptive()

    class Permit(RateLimit):
        slot = "bulkhead"

        async def around(self, call, proceed):
            call.parent.fence() if call.parent else call.fence()
            return Failed(TooMany(5))

    Pipeline(limit, Permit("x", 1, 1)).outcome(int, "7")
    assert limit.status().rate == 10


@pytest.mark.parametrize(
    "state", [b"garbage", b"[]", b"{}", b"null", b'{"held":[],"queue":{}}', b"x" * 88, b"\xff" * 96, b"\x00" * 88]
)
def test_an_unreadable_state_is_replaced(state):
    states().update("adaptive/api", lambda *_: (state, None))
    assert isinstance(Pipeline(adaptive()).outcome(int, "7"), Ok)
    assert adaptive().status().rate <= 100


def test_a_waiting_call_writes_nothing_unless_a_clock_ran_fast():
    rules, limit = adaptive()._rules, Limit(10, 0.0)
    for _ in range(3):
        limit.enqueue(0.0, 100)
    again = Limit.decode(rules, limit.encode(), 0.05)
    assert not again.corrected
    again = Limit.decode(rules, again.encode(), 0.0)
    assert again.corrected  # it was written at 0.05
    assert not Limit.decode(rules, again.encode(), 0.0).corrected


def test_the_wait_of_the_next_call_is_that_of_its_place():
    limit = Limit(10, 5.0)
    assert (limit.wait(5.0), limit.wait(7.0)) == (0.0, 0.0)
    limit.enqueue(5.0, 100), limit.enqueue(5.0, 100)
    assert [round(limit.wait(now), 6) for now in (5.0, 5.05, 5.2, 9.0)] == [0.2, 0.15, 0.0, 0.0]


def test_a_call_that_begins_at_once_leaves_the_queue_and_earlier_calls_as_they_are():
    limit = Limit(10, 5.0)
    cell = SimpleNamespace(live=limit)
    assert Limit.try_acquire(cell, 4.9) is None  # of a clock that was set
    assert Limit.try_acquire(cell, 5.0) == 0
    assert Limit.try_acquire(cell, 5.05) is None
    assert Limit.try_acquire(cell, 5.15) == 0
    assert (limit.first, limit.begun, limit.next, limit.at, limit.written) == (1, 1, 2, 5.15, 5.15)
    for _ in range(3):
        limit.enqueue(5.15, 100)
    limit.leave(5.15, 3)  # a gap: the calls behind it move up
    assert Limit.try_acquire(cell, 6.0) is None
    cell.live = None
    assert Limit.try_acquire(cell, 9.0) is None


def test_another_policy_may_have_narrower_rules():
    Pipeline(adaptive(start=50)).call(int, "7")
    assert adaptive().status().rate == 50
    assert adaptive(most=20).status().rate == 20


def test_times_of_a_fast_clock_delay_no_call_for_longer():
    class Wall(VirtualClock):
        ahead = 0.0

        def wall(self):
            return self.now() + self.ahead

    clock, limit = Wall(start=1_000_000), adaptive(wait=False)
    with use_clock(clock), use_store(MemoryStore(clocks.wall)):
        clock.ahead = 3600
        Pipeline(limit).outcome(Service(TooMany(5)).fetch)
        shared = SharedLimit(states(), "adaptive/api")
        number = shared.place(limit._rules, 100).number
        clock.ahead = 0
        assert limit.status().pause == pytest.approx(5)
        assert shared.place(limit._rules, 100, number).wait == pytest.approx(5)
        clock.advance(2)
        assert shared.place(limit._rules, 100, number).wait == pytest.approx(3)
        shared.leave(limit._rules, number)
        assert isinstance(Pipeline(limit).outcome(int, "7"), Failed)
        clock.advance(3.2)
        assert isinstance(Pipeline(limit).outcome(int, "7"), Ok)


def test_it_crosses_to_another_process_as_a_value_and_is_explained():
    limit = cloudpickle.loads(cloudpickle.dumps(adaptive(per="1 min", on=Kind.TIMEOUT)))
    assert isinstance(Pipeline(limit).outcome(int, "7"), Ok)
    assert limit.describe() == "rate limit: api, adapts between 0.5 and 100 calls in 60 s, from 10"
    text = explain(resilient(rate_limit=limit, retry=3, timeout=1, idempotent=True)(print))
    assert [line.partition(":")[0] for line in text.splitlines()[:3]] == ["1. retry", "2. rate limit", "3. timeout"]


@pytest.mark.parametrize(("wait", "seconds"), [(False, 0.0), (4, 4.001), (True, float("inf"))])
def test_its_worst_case_is_its_longest_wait(wait, seconds):
    assert adaptive(wait=wait).longest(Bound()).total.seconds == seconds


def test_a_call_that_need_not_wait_enters_no_pipeline(drive, clock):
    fetch = drive(calls.running.get, rate_limit=adaptive())
    for number in range(6):
        assert (fetch() is None) == (number > 0)
        clock.advance(1)


def test_its_numbers_are_calls_in_its_own_period(drive, resilient_events):
    drive(Service(TooMany()).fetch, rate_limit=adaptive("other", per=60)).outcome()
    (event,) = resilient_events.named("rate.adapted")
    assert (event.rate_before, event.rate, event.per) == (10, 5, 60)
    limit = adaptive(start=10, per=60, increase=2)
    assert limit.status().rate == 10
    assert limit._rules == (10 / 60, 0.5 / 60, 100 / 60, 2 / 60, 0.5, 60)


def test_a_limit_that_no_call_has_used_is_read_with_its_rate():
    limit, rules = Limit(10, 0.0), adaptive()._rules
    limit.refuse(rules, 0.0, 0, 0.0)
    assert Limit.decode(rules, limit.encode(), 0.0).rate == 5
    limit.begun = -2  # no call has such a number
    assert Limit.decode(rules, limit.encode(), 0.0).rate == 10


def test_accepted_calls_are_reported_with_the_next_request(clock):
    writes = []

    class Counting(MemoryStore):
        def swap(self, key, *given, **more):
            writes.append(key)
            return super().swap(key, *given, **more)

    with use_store(Counting()):
        fetch, seen = resilient(rate_limit=adaptive())(clock.now), []
        for seconds in (0.0, 0.1, 0.1, 0.3, 0.1):
            clock.advance(seconds)
            writes.clear()
            fetch()
            seen.append(writes.count("adaptive/api"))
        assert seen == [2, 1, 1, 1, 1]  # the first is reported at once: a process may live for one call
        fetch = resilient(rate_limit=adaptive(start=1))(clock.now)
        fetch()
        writes.clear()
        fetch()  # waits for a second, and looks several times
        assert writes.count("adaptive/api") == 2


def test_its_least_may_be_its_most():
    assert (
        adaptive(start=5, least=5, most=5).describe() == "rate limit: api, adapts between 5 and 5 calls in 1 s, from 5"
    )


def test_it_is_given_as_the_rate_limit():
    with pytest.raises(PolicyError, match="rate limit is given twice"):
        resilient(rate_limit=adaptive(), policies=[RateLimit("api", 1, 1)])(print)
    with pytest.raises(PolicyError, match=r"write rate_limit=AdaptiveRateLimit\("):
        resilient(bulkhead=adaptive())(print)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"name": " "}, "name of shared state"),
        ({"start": 0}, "number of calls above 0"),
        ({"start": True}, "number of calls above 0"),
        ({"start": None}, "number of calls above 0"),
        ({"start": float("nan")}, "number of calls above 0"),
        ({"least": 0}, "number of calls above 0"),
        ({"most": "100"}, "number of calls above 0"),
        ({"increase": -1}, "number of calls above 0"),
        ({"per": 0}, "seconds above 0"),
        ({"decrease": 1}, "a number between 0 and 1"),
        ({"decrease": 0}, "a number between 0 and 1"),
        ({"decrease": "0.5"}, "a number between 0 and 1"),
        ({"least": 20}, "start=10 does not lie between 20 and 100: change start=, least= or both"),
        ({"most": 5}, "start=10 does not lie between 0.5 and 5: change start=, most= or both"),
        ({"wait": -1}, "seconds above 0"),
        ({"on": "throttled"}, "write Kind.THROTTLED"),
        ({"on": ()}, "is empty"),
        ({"calls": 10}, "start="),
    ],
)
def test_impossible_arguments_are_refused(given, complaint):
    with pytest.raises(PolicyError, match=complaint):
        AdaptiveRateLimit(**{"name": "api", **given})
