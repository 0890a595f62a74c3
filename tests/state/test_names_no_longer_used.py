"""Caches of names are bounded: the least recently used are evicted, and never those still needed."""

import math
import sqlite3
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    CircuitBreaker,
    CircuitOpen,
    Pipeline,
    RateLimit,
    Retry,
    RetryBudget,
    resilient,
)
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state import client, sqlite
from resilient_tasks.state.sqlite import SQLiteStore
from resilient_tasks.state.states import states, use_store
from resilient_tasks.state.views import MOST, Views
from resilient_tasks.testing import VirtualClock

#: More names than are kept, and the views beyond `MOST` that may exist while all were just used.
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
    assert len(states().on_regained) == len(states().views)
    assert len(states()._store._values) <= MOST + SPARE


def test_rate_limits_and_budgets_are_forgotten_once_they_have_no_effect(clock):
    for number in range(MANY):
        call(RateLimit(f"api {number}", 5, per=1))
        call(RateLimit(f"bucket {number}", 5, per=1, burst=5))
        RetryBudget(f"api {number}").pay_in()
        clock.advance(1)
    assert len(states()._store._values) < 1000
    assert len(states().views) <= MOST + SPARE


def test_caches_of_a_shared_store_are_bounded_and_successes_are_flushed_on_eviction():
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
        assert len(shared._last) <= client._REMEMBERED


class View:
    def __init__(self, is_needed):
        self.is_needed, self.was_used, self.gone = is_needed, True, False

    def let_go(self):
        self.gone = True


@given(st.lists(st.tuples(st.integers(0, 28), st.booleans()), max_size=400), st.integers(1, 20))
def test_views_are_bounded_and_needed_ones_are_never_evicted(asked, most):
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
def test_a_memory_keeps_live_states_and_not_much_more(puts):
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


def test_expired_states_in_a_memory_are_deleted():
    clock = VirtualClock()
    with use_clock(clock):
        store = MemoryStore()
        for number in range(10_000):
            store.swap(f"{number}", None, bytes(1000), ttl=1)
            clock.advance(0.1)
        assert len(store._values) <= 256


def rows(path):
    with sqlite3.connect(path) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM states ORDER BY key")]


@pytest.mark.parametrize("begin", ["a", "m", "z"])
def test_expired_states_in_a_file_are_deleted_everywhere_a_part_at_a_time(clock, tmp_path, monkeypatch, begin):
    monkeypatch.setattr(sqlite, "_PURGING", 1.0)
    monkeypatch.setattr(sqlite, "_CHECKED", 50)
    path = tmp_path / "states.db"
    SQLiteStore(f"sqlite:///{path}").connect()
    with sqlite3.connect(path) as connection:
        names = [f"{letter}{number:03}" for letter in "bny" for number in range(100)]
        expires = [clock.wall() + (5 if number % 2 else 1000) for number in range(300)]
        connection.executemany("INSERT INTO states VALUES (?, '', ?)", zip(names, expires, strict=True))
    clock.advance(10)
    store = SQLiteStore(f"sqlite:///{path}", bound=5)
    store.connect()
    before = len(rows(path))
    assert store.swap(begin, None, b"1") == (True, b"1")
    assert before - 60 <= len(rows(path)) < before
    for number in range(10):
        store.swap(begin, b"1" if number == 0 else f"{number}".encode(), f"{number + 1}".encode())
    assert rows(path) == sorted([begin, *names[::2]])
    store.close()


def test_every_state_of_a_key_has_an_end_but_a_circuit_that_a_person_isolated(clock):
    with use_store(Ending()) as shared:
        by_key = resilient(
            breaker=CircuitBreaker(lambda key: key, failures=1),
            rate_limit=RateLimit(lambda key: key, 5, per=1),
            bulkhead=Bulkhead(lambda key: key, 2),
            retry=Retry(attempts=1, budget=RetryBudget(lambda key: key)),
        )
        by_key(lambda key: key)("well")
        by_key(lambda key: down()).outcome("open")
        CircuitBreaker("isolated").isolate()
        CircuitBreaker("closed").open(1)
        CircuitBreaker("closed").close()
        ends = shared._store.ends
        assert {key for key, ttl in ends.items() if ttl is None} == {"breaker/isolated"}
        assert {key.partition("/")[0] for key in ends} >= {"breaker", "rate", "bulkhead", "budget"}
        day = 86_400
        assert ends["breaker/closed"] == day
        assert ends["breaker/open"] == 30 * day + 30
        assert max(ttl for key, ttl in ends.items() if ttl and not key.startswith("breaker/")) < 200


class Ending(MemoryStore):
    """Stands for a shared store, and records the time to live of each state."""

    def __init__(self):
        super().__init__()
        self.ends = {}

    def swap(self, key, old, new, *, ttl=None):
        if not key.startswith("is-there/"):
            self.ends[key] = ttl
        return super().swap(key, old, new, ttl=ttl)


def by_key(policy, work=lambda key: key):
    return resilient(policies=[policy])(work).outcome


#: A low limit for a process, and more keys than that.
FEW, KEYS = 100, 600


@pytest.mark.parametrize("shared", [False, True], ids=["memory", "shared"])
def test_caches_of_open_circuits_of_many_keys_are_bounded_and_expire(clock, shared):
    breaker = CircuitBreaker(lambda key: f"{key}", failures=1)
    with use_store(Ending() if shared else MemoryStore()) as states:
        states.views = Views(FEW)
        fetch = by_key(breaker, lambda key: down())
        for key in range(KEYS):
            fetch(key)
        assert len(states.views) <= FEW + SPARE
        assert {type(fetch(key).error) for key in (0, 1, KEYS // 2, KEYS - 1)} == {CircuitOpen}  # none was forgotten
        if shared:
            return
        clock.advance(30)
        assert breaker.status(key=1).state == "open"
        assert isinstance(fetch(1).error, ConnectionError)  # a probe, and one is enough
        assert isinstance(fetch(1).error, CircuitOpen)
        clock.advance(400)
        for key in range(KEYS, 2 * KEYS):
            fetch(key)
        assert len(states._store._values) <= KEYS + SPARE


def test_a_forgotten_circuit_of_a_key_starts_closed(clock):
    breaker = CircuitBreaker(lambda key: f"{key}", failures=2)
    states().views = Views(FEW)
    fetch = by_key(breaker, lambda key: down())
    fetch(0), fetch(0)
    assert isinstance(fetch(0).error, CircuitOpen)
    for key in range(1, KEYS):
        fetch(key)
    clock.advance(331)
    assert breaker.status(key=0).state == "closed"
    assert [type(fetch(0).error) for _ in range(3)] == [ConnectionError, ConnectionError, CircuitOpen]


EACH_POLICY = pytest.mark.parametrize(
    "policy",
    [
        CircuitBreaker(lambda key: f"{key}"),
        CircuitBreaker(lambda key: f"{key}", failures=3),
        RateLimit(lambda key: f"{key}", 5, per=1),
        AdaptiveRateLimit(lambda key: f"{key}", start=5),
        Bulkhead(lambda key: f"{key}", 2),
        Retry(attempts=1, budget=RetryBudget(lambda key: f"{key}")),
    ],
    ids=["rate", "in a row", "limit", "adaptive limit", "bulkhead", "budget"],
)


@EACH_POLICY
@pytest.mark.parametrize("store", [MemoryStore, Ending], ids=["memory", "shared"])
@pytest.mark.parametrize("error", [None, ConnectionError("down")], ids=["well", "failing"])
@pytest.mark.parametrize("way", ["__call__", "outcome"])
def test_a_name_that_is_in_use_is_kept_while_others_are_forgotten(clock, policy, store, error, way):
    def work(key):
        if error is not None:
            raise error

    with use_store(store()) as shared:
        shared.views, views = Views(6), []
        fetch = getattr(resilient(policies=[policy])(work), way)
        for key in range(20):
            clock.advance(0.5)
            for name in (f"{key}", "in use"):
                with suppress(ConnectionError, CircuitOpen):
                    fetch(name)
            views += [view for name, view in shared.views.items() if name.endswith("in use")]
        assert len(views) == 20
        assert len(set(views)) == 1


def test_a_circuit_whose_calls_pass_an_open_door_is_kept_while_others_are_forgotten(clock):
    states().views = Views(6)
    breaker = CircuitBreaker("in use")
    fetch, others = resilient(breaker=breaker)(lambda: "done"), by_key(CircuitBreaker(lambda key: f"{key}"))
    for key in range(60):
        others(key)
        for _ in range(4):
            fetch()
            clock.advance(1)
    assert breaker.status().calls > 50  # of the last minute, one in each second


@EACH_POLICY
def test_many_keys_leave_no_more_states_than_the_limit(clock, policy):
    states().views = Views(FEW)
    fetch = by_key(policy)
    most = 0
    for key in range(KEYS):
        fetch(key)
        clock.advance(0.2)
        most = max(most, len(states()._store._values), len(states().views), len(states().on_regained))
    assert most <= 256 + SPARE  # a memory of no more is not tidied


def test_the_memory_that_stands_in_for_a_lost_store_is_bounded_too(clock):
    class Gone(MemoryStore):
        def connect(self):
            raise ConnectionError("refused")

    with use_store(Gone()) as states:
        for number in range(MANY):
            call(CircuitBreaker(f"api {number}", failures=3))
        assert not states.is_available
        assert len(states._failover.memory._values) <= MOST + SPARE
