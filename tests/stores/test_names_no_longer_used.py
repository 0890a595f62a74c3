"""What a process knows of names is bounded: those go that were not used for long, and never what is still needed."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks import Bulkhead, CircuitBreaker, CircuitOpen, Pipeline, RateLimit, RetryBudget, resilient
from resilient_tasks.core.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.shared import asking
from resilient_tasks.shared.states import states, use_store
from resilient_tasks.shared.views import MOST, Views
from resilient_tasks.testing import VirtualClock

#: More names than are kept, and views of which more than `MOST` may be there while all of them were used just now.
MANY, SPARE = MOST + 600, 64


@pytest.fixture
def clock():
    clock = VirtualClock(start=1000)
    with use_clock(clock), use_store(MemoryStore()):
        yield clock


def call(policy, work=lambda: "done"):
    return Pipeline(policy).outcome(work)


def down():
    raise ConnectionError("down")


@pytest.mark.parametrize(
    "rule", [{"failures": 3}, {}, {"last": 10}, {"slow": 1}], ids=["in a row", "rate", "last", "slow"]
)
@pytest.mark.parametrize("work", [lambda: "done", down], ids=["well", "failing"])
def test_circuits_of_many_names_are_forgotten_but_for_those_used_last(clock, rule, work):
    for number in range(MANY):
        call(CircuitBreaker(f"api {number}", **rule), work)
    assert len(states().views) <= MOST + SPARE
    assert len(states().keys("breaker/")) <= MOST + SPARE
    assert len(states()._store._values) <= MOST + SPARE
    assert f"breaker/api {MANY - 1}" in states().views


def test_a_circuit_that_is_not_closed_and_one_that_is_in_use_are_kept(clock):
    opened, isolated, used = (CircuitBreaker(name, failures=1) for name in ("opened", "isolated", "used"))
    call(opened, down)
    isolated.isolate()
    two_in_a_row = CircuitBreaker("used", failures=3)
    call(two_in_a_row, down)
    call(two_in_a_row, down)
    for number in range(MANY):
        call(CircuitBreaker(f"api {number}", failures=3))
        if number % 500 == 0:
            call(used, lambda: "done") if number == 0 else call(two_in_a_row, lambda: (_ for _ in ()).throw(KeyError()))
    assert isinstance(call(opened).error, CircuitOpen)
    assert isinstance(call(isolated).error, CircuitOpen)
    assert "breaker/used" in states().views


def test_slots_that_are_taken_are_kept_and_empty_bulkheads_are_forgotten(clock):
    held = Bulkhead("held", 1)

    def many_others():
        for number in range(MANY):
            call(Bulkhead(f"house {number}", 1))
        return call(held).error

    assert type(call(held, many_others).value).__name__ == "BulkheadFull"
    assert len(states().views) <= MOST + SPARE
    assert len(states().when_back) == len(states().views)
    assert len(states()._store._values) <= MOST + SPARE


def test_rate_limits_and_budgets_are_forgotten_once_they_say_nothing(clock):
    for number in range(MANY):
        call(RateLimit(f"api {number}", 5, per=1))
        call(RateLimit(f"bucket {number}", 5, per=1, burst=5))
        RetryBudget(f"api {number}").pay_in()
        clock.advance(1)
    assert len(states()._store._values) < 1000
    assert len(states().views) <= MOST + SPARE


def test_what_a_process_knows_of_a_shared_store_is_bounded_and_successes_are_told_before_they_are_forgotten():
    class Shared(MemoryStore):
        pass

    clock = VirtualClock(start=1000)
    with use_clock(clock), use_store(Shared()) as shared:
        breaker = CircuitBreaker("first", failure_rate=0.5, min_calls=10)
        work = resilient(breaker=breaker)(lambda: "done")
        for _ in range(50):
            work()
        assert breaker.status().calls < 50
        for number in range(MANY):
            call(CircuitBreaker(f"api {number}"))
        assert len(shared.views) <= MOST + SPARE
        assert "breaker/first" not in shared.views
        assert breaker.status().calls == 50
        assert len(shared._last) <= asking._REMEMBERED


class View:
    def __init__(self, is_needed):
        self.is_needed, self.was_used, self.gone = is_needed, True, False

    def let_go(self):
        self.gone = True


@given(st.lists(st.tuples(st.integers(0, 28), st.booleans()), max_size=400), st.integers(1, 20))
def test_views_are_bounded_none_that_is_needed_goes_and_none_that_goes_stays(asked, most):
    views, made = Views(most), []

    def make(is_needed):
        made.append(View(is_needed))
        return made[-1]

    for name, is_needed in asked:
        view = views.made(f"{name}", lambda is_needed=is_needed: make(is_needed))
        view.was_used = True
        assert views[f"{name}"] is view
    needed = sum(view.is_needed for view in views.values())
    assert len(views) <= needed + most + 1
    for view in made:
        assert view.gone == (view not in views.values())
        assert not (view.gone and view.is_needed)


@given(st.lists(st.tuples(st.text(min_size=1, max_size=3), st.one_of(st.none(), st.floats(0.1, 5))), max_size=600))
def test_a_memory_keeps_what_is_alive_and_not_much_more(puts):
    clock = VirtualClock()
    with use_clock(clock):
        store, alive = MemoryStore(), {}
        for key, ttl in puts:
            store.swap(key, store.get(key), b"1", ttl=ttl)
            alive[key] = math.inf if ttl is None else clock.now() + ttl
            clock.advance(0.1)
            living = sorted(key for key, until in alive.items() if until > clock.now())
            assert len(store._values) <= max(256, 2 * len(living) + 60)
        assert sorted(store.keys("")) == living if puts else True


def test_what_a_memory_holds_that_has_expired_is_deleted():
    clock = VirtualClock()
    with use_clock(clock):
        store = MemoryStore()
        for number in range(10_000):
            store.swap(f"{number}", None, bytes(1000), ttl=1)
            clock.advance(0.1)
        assert len(store._values) <= 256


def test_what_stands_in_for_a_store_that_is_gone_is_bounded_too(clock):
    class Gone(MemoryStore):
        def connect(self):
            raise ConnectionError("refused")

    with use_store(Gone()) as states:
        for number in range(MANY):
            call(CircuitBreaker(f"api {number}", failures=3))
        assert not states.is_there
        assert len(states._link.memory._values) <= MOST + SPARE
