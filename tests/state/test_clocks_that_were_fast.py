"""A clock that ran fast for a moment: times that were stored by it delay nothing for longer than they should."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks import Bulkhead, CircuitBreaker, CircuitOpen, Ok, Pipeline, RateLimit, RetryBudget
from resilient_tasks.core.execution import clock as clocks
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.breaker.machine import Admission, CallResult, Circuit, Rules
from resilient_tasks.policies.bulkhead.machine import Holder, Slots
from resilient_tasks.policies.rate_limit.machine import SlidingWindow, Times, TokenBucket
from resilient_tasks.state.redis import RedisStore
from resilient_tasks.state.states import states, use_store
from resilient_tasks.state.window import TimeWindow, Totals
from resilient_tasks.testing import VirtualClock

AHEAD = st.floats(0, 1e6)


class Wall(VirtualClock):
    """A clock whose unix seconds can be set, as by an operator or a virtual machine."""

    ahead = 0.0

    def wall(self):
        return self.now() + self.ahead


class Shared(MemoryStore):
    """A store that uses unix seconds, as shared stores do."""

    def __init__(self):
        super().__init__(clocks.wall)


@pytest.fixture
def wall():
    clock = Wall(start=1_000_000)
    with use_clock(clock), use_store(Shared()):
        yield clock


def call(policy, work=lambda: "done"):
    return Pipeline(policy).outcome(work)


def down():
    raise ConnectionError("down")


def while_fast(wall, work):
    wall.ahead = 3600
    result = work()
    wall.ahead = 0
    wall.advance(1)  # so that the cached state is stale
    return result


def test_a_circuit_that_it_opened_is_probed_when_its_time_is_over(wall):
    breaker = CircuitBreaker("api", failures=1, open_for=30)
    while_fast(wall, lambda: call(breaker, down))
    refused = call(breaker).error
    assert isinstance(refused, CircuitOpen)
    assert refused.retry_in <= 30
    for _ in range(3):
        wall.advance(10)
        call(breaker)
    wall.advance(1)
    assert isinstance(call(breaker), Ok)
    assert breaker.status().state == "closed"


def test_a_probe_that_it_lost_does_not_block_others(wall):
    breaker = CircuitBreaker("api", failures=1, open_for=30)
    call(breaker, down)

    def probe_and_die():
        states().view("breaker/api", None).update(
            lambda circuit, now: circuit.admit(breaker._rules, now, "of a process that dies"),
            lambda *_, **__: None,
        )

    while_fast(wall, probe_and_die)
    call(breaker)
    wall.advance(31)
    assert isinstance(call(breaker), Ok)


def test_failures_that_it_counted_count_as_of_now_and_so_do_later_ones(wall):
    breaker = CircuitBreaker("api", window=60, min_calls=4)
    while_fast(wall, lambda: [call(breaker, down) for _ in range(2)])
    call(breaker, down)
    call(breaker, down)
    assert breaker.status().state == "open"


@pytest.mark.parametrize("burst", [None, 1])
def test_a_rate_limit_that_it_used_is_free_again_when_its_time_is_over(wall, burst):
    limit = RateLimit("api", 1, per=10, burst=burst, wait=False)
    assert isinstance(while_fast(wall, lambda: call(limit)), Ok)
    refused = call(limit).error
    assert refused.retry_in <= 10
    wall.advance(10)
    assert isinstance(call(limit), Ok)


def test_a_budget_that_it_used_up_is_full_again_when_its_window_is_over(wall):
    budget = RetryBudget("api", share=0, floor=2, per=5)
    assert [while_fast(wall, budget.why_not) for _ in range(2)] == [None, None]
    assert budget.why_not() is not None
    wall.advance(6)
    assert budget.why_not() is None


def test_a_slot_of_a_dead_process_is_free_again_after_half_a_minute(wall):
    def take_and_die():
        states().update("bulkhead/house", lambda _, now: (Slots().hold("dead", Holder(1, now + 30)).encode(), None))

    while_fast(wall, take_and_die)
    house = Bulkhead("house", 1)
    assert not isinstance(call(house), Ok)
    wall.advance(31)
    assert isinstance(call(house), Ok)


RULES = Rules(
    failures=None,
    failure_rate=0.5,
    slow_rate=None,
    min_calls=3,
    window=60,
    last=None,
    open_for=30,
    open_at_most=120,
    probes=2,
)


@given(st.lists(st.tuples(st.sampled_from(["admit", "fail", "well"]), st.floats(0, 50)), max_size=30), AHEAD)
def test_no_time_in_a_circuit_is_further_ahead_than_it_stays_open(steps, ahead):
    circuit, now, admission = Circuit(), 1_000_000.0, Admission(0)
    for number, (step, later) in enumerate(steps):
        fast = now + (ahead if number % 3 == 0 else 0)
        if step == "admit":
            circuit, answer = circuit.corrected(fast).admit(RULES, fast, f"{number}")
            admission = answer if isinstance(answer, Admission) else admission
        else:
            circuit = circuit.corrected(fast).record(RULES, fast, admission, CallResult(step == "well"))
        found = Circuit.decode(circuit.encode()).corrected(now)
        assert max(found.since, found.closed_until) <= now
        assert (found.retry_in(now) or 0) <= found.open_for
        assert all(ends <= now + found.open_for for ends in found.probes.values())
        assert found.corrected(now) is found
        now += later


@given(AHEAD, st.integers(1, 5), st.integers(1, 5))
def test_a_window_keeps_counts_from_the_future(ahead, early, late):
    now = 1_000_000.0
    window = TimeWindow(60).add(now + ahead, Totals(early)).corrected(now).add(now, Totals(late))
    assert window.totals(now).calls == early + late
    assert window.totals(now + 64).calls == 0


@pytest.mark.parametrize("rate", [SlidingWindow(3, 10.0), TokenBucket(3, 10.0, 3)], ids=["window", "bucket"])
@given(st.lists(st.tuples(AHEAD, st.floats(0, 5)), max_size=30))
def test_a_time_reserved_by_a_fast_clock_makes_no_call_wait_longer_than_one_reserved_by_a_right_clock(rate, calls):
    now, times = 1_000_000.0, Times()
    for number, (ahead, later) in enumerate(calls, 1):
        rate.reserve(times, now + ahead, 1e9)
        now += later
        as_if_all_were_made_now = Times()
        for _ in range(number):
            rate.reserve(as_if_all_were_made_now, now, 1e9)
        most = rate.reserve(as_if_all_were_made_now, now, 1e9)[1].wait
        assert rate.reserve(Times.decode(times.encode()), now, 1e9)[1].wait <= most + 1e-3


def test_redis_refuses_a_change_by_a_clock_that_was_set_since_the_last_request(redis_server, monkeypatch):
    redis_server.empty()
    store = RedisStore(redis_server.url, bound=5)
    store.connect()
    assert store.swap("k", None, b"1") == (True, b"1")
    right, real = store.now(), clocks.wall
    monkeypatch.setattr("resilient_tasks.state.redis.time.time", lambda: real() + 3600)
    monkeypatch.setattr("resilient_tasks.state.redis.clock.wall", lambda: real() + 3600)
    assert store.now() > right + 3000
    assert store.swap("k", b"1", b"wrong") == (False, b"1")
    assert abs(store.now() - right) < 60
    assert store.swap("k", b"1", b"right") == (True, b"right")
    store.close()
